/*
 * sketch.h
 *		The sketch: one scan's mergeable summary of a relation.
 *
 * This is the working state, free of SQL: cells in, statistics out.  sketch_format.c turns it into the flat, versioned
 * bytes of the SQL type and back; sketch_type.c wraps it as an expanded object.
 *
 * What merges exactly (the same result for any split of the rows and any order): counts, minimum and maximum, the
 * extremes, the distinct counter and the row sample.  Models are fitted only from these.  Moments and heavy hitters
 * merge within rounding and within their error bounds.
 */
#ifndef PYN_SKETCH_H
#define PYN_SKETCH_H

#include "kernel/bytes.h"
#include "sketch/distinct.h"
#include "sketch/heavy_hitters.h"

#define PYN_BLOCK_ROWS 1024		/* rows collected before the columns are updated, and scored at a time */
#define PYN_NAME_SIZE 256		/* a column's name in UTF-8: up to 63 characters of 4 bytes, and a NUL */
#define PYN_MAX_COLUMNS 1600
#define PYN_SAMPLE_ROWS 65536	/* the sample's size for rows of up to 1 kB */
#define PYN_SAMPLE_BYTES (64 * 1024 * 1024) /* and the memory that wider rows share */
#define PYN_SAMPLE_TEXT 32		/* bytes of text kept beside a sampled cell's hash */
#define PYN_EXTREMES 128		/* smallest and largest values kept exactly */
#define PYN_DEFAULT_SEED 42
#define PYN_MAX_ROWS (INT64CONST(1) << 60) /* so that sums of two counts do not overflow */

/* Kinds of columns; stored in sketches and models, so the numbers stay. */
typedef enum PynKind
{
	PYN_KIND_NONE = 0,
	PYN_KIND_INTEGER = 1,
	PYN_KIND_NUMBER = 2,
	PYN_KIND_BOOLEAN = 3,
	PYN_KIND_DATE = 4,			/* seconds since 1970-01-01 */
	PYN_KIND_TIME = 5,			/* seconds since midnight */
	PYN_KIND_TIMESTAMP = 6,		/* seconds since 1970-01-01, no time zone */
	PYN_KIND_TIMESTAMPTZ = 7,	/* seconds since 1970-01-01 UTC */
	PYN_KIND_TEXT = 8,
	PYN_KIND_UUID = 9,
	PYN_KIND_LAST = PYN_KIND_UUID
} PynKind;

#define pyn_kind_is_text(kind) ((kind) >= PYN_KIND_TEXT)

/*
 * One value.  A number: SQL NULL is one NaN of its own, an ordinary NaN is a value.  A text: the hash of its UTF-8 bytes,
 * 0 for NULL.
 */
typedef union PynCell
{
	double		number;
	uint64		hash;
} PynCell;

#define PYN_NULL_BITS UINT64CONST(0x7FF8000000504E59)	/* a quiet NaN that no computation makes */
#define PYN_NAN_BITS UINT64CONST(0x7FF8000000000000)

typedef struct PynText
{
	const char *data;			/* UTF-8, not NUL-terminated */
	int32		length;			/* bytes */
} PynText;

/* The PYN_EXTREMES smallest of all values (each with its repetitions); for the largest the values are negated. */
typedef struct PynExtremes
{
	double	   *values;			/* 2 × PYN_EXTREMES places; unordered until pyn_extremes_settle */
	int			count;
	double		limit;			/* only smaller values can still belong */
} PynExtremes;

typedef struct PynColumn
{
	char		name[PYN_NAME_SIZE];
	PynKind		kind;
	bool		is_key;

	int64		nulls;
	int64		zeros;
	int64		negatives;
	int64		nans;
	int64		positive_infinities;
	int64		negative_infinities;
	int64		empties;		/* text of length 0 */

	/* Finite numbers; for text its length in characters. */
	int64		count;
	double		minimum;
	double		maximum;
	double		mean;
	double		m2;				/* sums of powers of the distance to the mean */
	double		m3;
	double		m4;
	PynExtremes lowest;
	PynExtremes highest;
	PynDistinct distinct;
	PynHeavyHitters hitters;

	PynCell    *block;			/* PYN_BLOCK_ROWS cells not yet counted */
	int32	   *lengths;		/* their lengths in characters, for text */
} PynColumn;

/* One sampled row; its cells lie in a slot of the sample's store. */
typedef struct PynSampleRow
{
	uint64		hash;			/* of the row's key, seeded: the smallest are the sample */
	uint64		row_hash;		/* of the row's cells: breaks ties between rows of one key */
	int64		weight;			/* how many rows of the relation are alike in both */
	uint32		slot;
} PynSampleRow;

typedef struct PynSample
{
	uint32		capacity;		/* rows kept */
	uint32		count;			/* rows held now; up to capacity + slack before settling */
	uint32		sorted;			/* the first so many are settled: sorted and without repetition */
	uint32		room;			/* allocated rows and slots */
	uint64		limit;			/* only smaller hashes can still belong */
	PynSampleRow *rows;
	uint32	   *free_slots;
	uint32		free_count;
	uint32		slots_used;
	Size		slot_bytes;
	uint8	   *slots;			/* per slot: a cell per column, then length and text for each text column */
} PynSample;

typedef struct PynSketch
{
	uint64		seed;
	bool		sample_text;
	int64		rows;
	int			column_count;
	int			text_count;
	PynColumn  *columns;
	PynSample	sample;
	int			block_rows;		/* rows waiting in the blocks */
	uint64	   *hash_scratch;	/* PYN_BLOCK_ROWS */
	uint64	   *value_scratch;
} PynSketch;

/* sketch.c: everything is allocated in the memory context of the call; callers switch to the sketch's own. */
extern PynSketch *pyn_sketch_create(int column_count, uint64 seed, bool sample_text);
extern void pyn_sketch_set_column(PynSketch *sketch, int column, const char *name, PynKind kind, bool is_key);
extern void pyn_sketch_ready(PynSketch *sketch);	/* after the last column is set */
extern Size pyn_sketch_memory(int column_count, int text_count, bool sample_text);
extern void pyn_sketch_add(PynSketch *sketch, const uint64 *key, const PynCell *cells, const PynText *texts);
extern void pyn_sketch_settle(PynSketch *sketch);
extern const char *pyn_sketch_merge(PynSketch *into, PynSketch *from);
extern int	pyn_sketch_find_column(const PynSketch *sketch, const char *name);

/* column.c */
extern void pyn_column_init(PynColumn *column);
extern void pyn_column_add_block(PynColumn *column, int rows, uint64 *hashes, uint64 *values);
extern void pyn_column_merge(PynColumn *into, PynColumn *from);
extern void pyn_extremes_add(PynExtremes *extremes, double value);
extern void pyn_extremes_settle(PynExtremes *extremes);	/* sorts and cuts to PYN_EXTREMES */

/* sample.c */
extern void pyn_sample_init(PynSample *sample, int column_count, int text_count, bool sample_text);
extern void pyn_sample_reserve(PynSample *sample, uint32 count);
extern void pyn_sample_add(PynSample *sample, uint64 hash, uint64 row_hash, int64 weight, const void *slot);
extern void pyn_sample_settle(PynSample *sample);
extern uint32 pyn_sample_capacity(int column_count, int text_count, bool sample_text);
extern Size pyn_sample_slot_bytes(int column_count, int text_count, bool sample_text);

static inline uint8 *
pyn_sample_slot(const PynSample *sample, uint32 row)
{
	return sample->slots + (Size) sample->rows[row].slot * sample->slot_bytes;
}

static inline PynCell
pyn_sample_cell(const PynSample *sample, uint32 row, int column)
{
	PynCell		cell;

	memcpy(&cell, pyn_sample_slot(sample, row) + sizeof(PynCell) * column, sizeof(cell));
	return cell;
}

/* quantiles.c: of a settled sketch */
typedef struct PynQuantiles
{
	int			count;
	double	   *values;			/* the sampled finite values in order */
	double	   *ranks;			/* share of the rows below the middle of each */
	const PynColumn *column;
} PynQuantiles;

extern void pyn_quantiles_open(PynQuantiles *quantiles, const PynSketch *sketch, int column);
extern double pyn_quantile(const PynQuantiles *quantiles, double share);

/* sketch_format.c */
#define PYN_SKETCH_MAGIC 0x534E5950 /* "PYNS" */
#define PYN_SKETCH_VERSION 1
extern void pyn_sketch_write(PynSketch *sketch, PynWriter *writer);
extern const char *pyn_sketch_read(const void *data, Size length, PynSketch **sketch);
extern const char *pyn_check_name(const char *name);

/* sketch.c: cells */
static inline PynCell
pyn_null_cell(PynKind kind)
{
	PynCell		cell;

	cell.hash = pyn_kind_is_text(kind) ? 0 : PYN_NULL_BITS;
	return cell;
}

static inline bool
pyn_cell_is_null(PynKind kind, PynCell cell)
{
	return cell.hash == (pyn_kind_is_text(kind) ? 0 : PYN_NULL_BITS);
}

static inline bool
pyn_is_finite(double value)
{
	uint64		bits;

	memcpy(&bits, &value, sizeof(bits));
	return (bits & UINT64CONST(0x7FF0000000000000)) != UINT64CONST(0x7FF0000000000000);
}

static inline double
pyn_nan(void)
{
	PynCell		cell;

	cell.hash = PYN_NAN_BITS;
	return cell.number;
}

#endif							/* PYN_SKETCH_H */
