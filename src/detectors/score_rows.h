/*
 * score_rows.h
 *		Scores the rows of a source in blocks and gives them as a result set.
 */
#ifndef PYN_SCORE_ROWS_H
#define PYN_SCORE_ROWS_H

#include "kernel/port.h"

#include "nodes/execnodes.h"

#include "detectors/model_type.h"
#include "sketch/source.h"

/* What of the scored rows is wanted. */
typedef struct PynScoring
{
	PynSource  *source;
	const PynModel *model;
	PynExplain	explain;
	bool		flagged_only;	/* flagged rows, worst first */
	bool		with_row;		/* each of those with its row as jsonb */
	bool		with_evidence;	/* or with what feedback.c needs of its scores */
	int64		limit;			/* of those; negative: all */
} PynScoring;

/* How many rows there were, and how many were flagged. */
typedef struct PynScored
{
	int64		rows;
	int64		flagged;
} PynScored;

/* Reads the source (once more) and fills the store. Between SPI_connect and SPI_finish. */
extern PynScored pyn_score_rows(const PynScoring *scoring, Tuplestorestate *store, TupleDesc type);

/* The row type of a store of flagged rows: that of pynomaly.anomalies, with evidence in the place of the row. */
extern TupleDesc pyn_flagged_type(void);

/*
 * detect.c: judges a relation's rows by a model, whose columns it must have, and puts the flagged ones, worst first, into
 * the store; as the current user, between SPI_connect and SPI_finish.
 */
extern PynScored pyn_detect_flagged(Oid relation, ArrayType *key, const PynModel *model, bool explained, int64 limit,
									Tuplestorestate *store, TupleDesc type);

#endif							/* PYN_SCORE_ROWS_H */
