/*
 * labelled_rows.h
 *		The labelled rows of a source with what models say of them.
 */
#ifndef PYN_LABELLED_ROWS_H
#define PYN_LABELLED_ROWS_H

#include "kernel/port.h"

#include "nodes/execnodes.h"

#include "detectors/model_type.h"
#include "sketch/source.h"

#define PYN_MOST_LABELLED_ROWS 1000000000

/* One model and what it says of the rows. */
typedef struct PynJudge
{
	PynModel   *model;
	const char *name;
	int		   *positions;		/* of the model's columns among the source's */
	PynCell    *cells;			/* of the block, column-major */
	double	   *features;
	double	   *row_features;
	double		block_raw[PYN_SCORE_BLOCK];
	double	   *raw;			/* of the labelled rows */
	bool	   *flagged;
} PynJudge;

typedef struct PynEvaluation
{
	PynSource  *source;
	int			label;			/* its place among the source's columns */
	const char *label_name;
	int			judge_count;
	PynJudge	   *judges;
	PynCell    *row_cells;
	MemoryContext context;		/* of what is kept of the rows */
	MemoryContext row_context;
	int			block_rows;
	bool		block_positive[PYN_SCORE_BLOCK];
	int64		rows;			/* read */
	int64		unlabelled;
	int64		missing;		/* labelled, but without a value that a model can score */
	int			count;			/* of rows with a label and scores */
	int			capacity;
	bool	   *positive;
	int			positives;
} PynEvaluation;

/* Reads the relation as the current user, between SPI_connect and SPI_finish; label_name and the judges' models are set. */
extern void pyn_read_labelled_rows(PynEvaluation *evaluation, Oid relation);

#endif							/* PYN_LABELLED_ROWS_H */
