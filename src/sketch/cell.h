/*
 * cell.h
 *		From SQL values to cells: which types take part, and how each is read.
 */
#ifndef PYN_CELL_H
#define PYN_CELL_H

#include "kernel/port.h"
#include "sketch/sketch.h"

/* How values of one SQL type become cells. */
typedef struct PynCellReader
{
	Oid			type;			/* the base type, below any domain */
	PynKind		kind;
	bool		is_enum;
} PynCellReader;

/*
 * Finds the reader of a type: false when the type cannot take part.  An enum's labels can be renamed, so what reads
 * enums is not immutable: only calls that allow it pass allow_enum.
 */
extern bool pyn_cell_reader(Oid type, bool allow_enum, PynCellReader *reader);

/*
 * Reads one value that is not NULL.  Texts, when asked for, lie in the value itself or in the current memory context.
 */
extern PynCell pyn_read_cell(const PynCellReader *reader, Datum value, PynText *text);

extern const char *pyn_kind_name(PynKind kind);

/* Hash of a row's key, seedless: what pynomaly.row_key gives. */
extern uint64 pyn_hash_key_start(void);
extern uint64 pyn_hash_key_next(uint64 hash, Oid type, Datum value, bool is_null);

/* Names and texts between the server's encoding and UTF-8. */
extern char *pyn_name_to_utf8(const char *name);
extern char *pyn_utf8_to_server(const char *text, int length);

/* A value of a kind as it reads in JSON: a number, true/false, or a string. */
struct JsonbValue;
extern void pyn_cell_to_jsonb_value(PynKind kind, double number, struct JsonbValue *value);

#endif							/* PYN_CELL_H */
