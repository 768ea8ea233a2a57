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
	bool		flagged_only;	/* flagged rows, worst first, each with its row as jsonb */
	int64		limit;			/* of those; negative: all */
} PynScoring;

/* Reads the source (once more) and fills the set of a materialising function. Between SPI_connect and SPI_finish. */
extern void pyn_score_rows(const PynScoring *scoring, ReturnSetInfo *info);

#endif							/* PYN_SCORE_ROWS_H */
