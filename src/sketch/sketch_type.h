/*
 * sketch_type.h
 *		pynomaly.sketch as an SQL value: flat when stored or sent, expanded in memory while it grows.
 */
#ifndef PYN_SKETCH_TYPE_H
#define PYN_SKETCH_TYPE_H

#include "kernel/port.h"

#include "fmgr.h"
#include "utils/expandeddatum.h"

#include "sketch/sketch.h"

/* An expanded sketch; `context` in the header owns everything. */
typedef struct PynExpandedSketch
{
	ExpandedObjectHeader header;
	int			magic;
	PynSketch  *sketch;
	uint8	   *flat;			/* the flat bytes, when known and still right */
	Size		flat_length;
} PynExpandedSketch;

/* A new, empty wrapper in a memory context of its own below `parent`; the caller sets its sketch. */
extern PynExpandedSketch *pyn_expanded_sketch_create(MemoryContext parent);

/* The datum as an expanded object that may be changed: itself, or a copy below `parent`. */
extern PynExpandedSketch *pyn_sketch_for_update(Datum value, MemoryContext parent);

/* The working state of a datum, to be read only; made in the current memory context when it was flat. */
extern PynSketch *pyn_sketch_from_datum(Datum value);

/* Memory that a sketch may take: the setting pynomaly.work_mem, in kB. */
extern int	pyn_work_mem;
extern void pyn_require_sketch_memory(int column_count, int text_count, bool sample_text);

/* The flat datum of a working state, in the current memory context. */
extern Datum pyn_sketch_to_datum(PynSketch *sketch);

/* Text forms of both value types: "<prefix>:<base64 of the bytes>". */
extern char *pyn_bytes_to_text(const char *prefix, const void *data, Size length);
extern uint8 *pyn_text_to_bytes(const char *prefix, const char *type, const char *text, Size *length);

#endif							/* PYN_SKETCH_TYPE_H */
