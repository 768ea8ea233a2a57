/*
 * source.h
 *		Where rows come from: a relation or a query, read with the caller's rights and snapshot.
 */
#ifndef PYN_SOURCE_H
#define PYN_SOURCE_H

#include "kernel/port.h"

#include "executor/spi.h"
#include "executor/tuptable.h"
#include "utils/array.h"
#include "utils/tuplestore.h"

#include "sketch/cell.h"
#include "sketch/sketch.h"

/* A column that takes part. */
typedef struct PynSourceColumn
{
	char	   *name;			/* in the server's encoding */
	int			position;		/* in the rows read, from 0 */
	PynCellReader reader;
	bool		is_key;
} PynSourceColumn;

/* How a row is addressed. */
typedef enum PynKeyKind
{
	PYN_KEY_COLUMNS,			/* the primary key or the columns that were named */
	PYN_KEY_CTID,				/* a row of a heap without a primary key */
	PYN_KEY_PARTITION_CTID,		/* the same where a row may be in one of several tables */
	PYN_KEY_ROW_NUMBER			/* anything else: the number of the row as it was read */
} PynKeyKind;

typedef struct PynKeyColumn
{
	char	   *name;
	int			position;
	Oid			type;			/* the base type */
} PynKeyColumn;

/* What becomes of the column of labels, which is never a feature. */
typedef enum PynLabelUse
{
	PYN_LABEL_IGNORED,
	PYN_LABEL_IF_POSSIBLE,		/* it is read into the sketch where the caller may read it and it can be a label */
	PYN_LABEL_READ				/* it is read, or that is an error */
} PynLabelUse;

typedef struct PynSource
{
	char	   *description;	/* relation "public.payments", or the query, for messages */
	SPIPlanPtr	plan;
	TupleDesc	row_type;		/* of the rows read */
	int			row_columns;	/* the first so many columns of row_type are the row itself */
	int			column_count;
	PynSourceColumn *columns;
	PynSourceColumn *label;		/* the last column of the sketch, not among `columns`; or NULL */
	PynKeyKind	key_kind;
	int			key_count;
	PynKeyColumn *keys;
	bool		rereads;		/* a second scan under the same snapshot gives the same rows */
	Tuplestorestate *store;		/* else: the rows of the first scan */
	MemoryContext context;		/* that the source lives in, and the store with it */
	List	   *left_out;		/* char *: columns that cannot take part, and why */
} PynSource;

typedef struct PynSourceOptions
{
	ArrayType  *columns;		/* NULL: every usable column */
	ArrayType  *key;			/* NULL: the primary key, else what the relation has */
	const char *except;			/* a column that is never a feature (the label), or NULL */
	PynLabelUse label;			/* whether that one is read all the same */
	bool		whole_row;		/* all columns are wanted, not only those that take part */
	bool		keep_key;		/* key columns take part (marked is_key) when columns is NULL */
} PynSourceOptions;

/* Called for each row; the slot has all its attributes. */
typedef void (*PynRowFunction) (void *state, TupleTableSlot *slot);

/* All of these are called between SPI_connect and SPI_finish. */
extern PynSource *pyn_source_of_relation(Oid relation, const PynSourceOptions *options);
extern PynSource *pyn_source_of_query(const char *query, const PynSourceOptions *options);
extern void pyn_source_scan(PynSource *source, PynRowFunction function, void *state);
extern void pyn_source_scan_again(PynSource *source, PynRowFunction function, void *state);
extern uint64 pyn_source_key(const PynSource *source, TupleTableSlot *slot, bool *has_key);

/* Reads a row's cells; texts may be NULL when no text is wanted beyond the call. */
extern void pyn_source_cells(const PynSource *source, TupleTableSlot *slot, PynCell *cells, PynText *texts);

/* Reads a row's label. */
extern PynCell pyn_source_label(const PynSource *source, TupleTableSlot *slot);

/* sketch_of.c */
extern PynSketch *pyn_sketch_source(PynSource *source, uint64 seed, bool sample_text);

#endif							/* PYN_SOURCE_H */
