/*
 * bytes.h
 *		Portable bytes: little-endian integers and floats, written to a growing buffer and read with bounds checks.
 *
 * A reader never reads past its end: the first short read sets `failed`, and from then on every read gives zero.  A
 * parser may thus read a whole record and test once.
 */
#ifndef PYN_BYTES_H
#define PYN_BYTES_H

#include "kernel/port.h"

typedef struct PynWriter
{
	uint8	   *data;
	Size		length;
	Size		capacity;
} PynWriter;

typedef struct PynReader
{
	const uint8 *data;
	Size		length;
	Size		position;
	bool		failed;
} PynReader;

extern void pyn_writer_init(PynWriter *writer, Size capacity);
extern void pyn_write_bytes(PynWriter *writer, const void *data, Size length);
extern void pyn_write_u8(PynWriter *writer, uint8 value);
extern void pyn_write_u16(PynWriter *writer, uint16 value);
extern void pyn_write_u32(PynWriter *writer, uint32 value);
extern void pyn_write_u64(PynWriter *writer, uint64 value);
extern void pyn_write_f32(PynWriter *writer, float value);
extern void pyn_write_f64(PynWriter *writer, double value);
extern void pyn_write_text(PynWriter *writer, const char *text);	/* u16 length, then the bytes */
extern void pyn_write_u64_at(PynWriter *writer, Size position, uint64 value);

extern void pyn_reader_init(PynReader *reader, const void *data, Size length);
extern const uint8 *pyn_read_bytes(PynReader *reader, Size length); /* NULL when short */
extern uint8 pyn_read_u8(PynReader *reader);
extern uint16 pyn_read_u16(PynReader *reader);
extern uint32 pyn_read_u32(PynReader *reader);
extern uint64 pyn_read_u64(PynReader *reader);
extern float pyn_read_f32(PynReader *reader);
extern double pyn_read_f64(PynReader *reader);
extern bool pyn_read_text(PynReader *reader, char *text, Size size);	/* false when short, too long, or with a NUL */

static inline Size
pyn_reader_left(const PynReader *reader)
{
	return reader->failed ? 0 : reader->length - reader->position;
}

/* True when `count` records of `size` bytes each are still there: test before allocating from a count that was read. */
static inline bool
pyn_reader_has(const PynReader *reader, uint64 count, Size size)
{
	return count <= pyn_reader_left(reader) / size;
}

#endif							/* PYN_BYTES_H */
