/*
 * groups.h
 *		Clearly separated groups of ordinary rows, and how far rows lie from the nearest in its own units.
 */
#ifndef PYN_GROUPS_H
#define PYN_GROUPS_H

#include "detectors/ellipsoid.h"

#define PYN_MOST_GROUPS 16

/* What the search for groups has found, and else why it has not; stored, so the numbers stay. */
typedef enum PynGroupsOutcome
{
	PYN_GROUPS_FOUND = 0,
	PYN_GROUPS_ONE = 1,			/* ordinary rows are one, as far as density tells */
	PYN_GROUPS_CLOSE = 2,		/* they lie too close together */
	PYN_GROUPS_THIN = 3,		/* one has too few rows for its covariance, or all but one are small */
	PYN_GROUPS_UNTRIED = 4,		/* too few rows, or too many features */
	PYN_GROUPS_LAST = PYN_GROUPS_UNTRIED
} PynGroupsOutcome;

typedef struct PynGroup
{
	PynEllipsoid ellipsoid;
	double		median;			/* distance of its own rows */
	double		share;			/* of all rows */
	bool		ordinary;		/* large enough to be taken for that */
} PynGroup;

typedef struct PynGroups
{
	PynGroupsOutcome outcome;
	double		separation;		/* of the two that lie closest, as group_search.c measures it; 0: there were no two */
	int			features;
	int			count;			/* 0 unless found */
	PynScaling	scaling;
	PynGroup	group[PYN_MOST_GROUPS];
	double		median;			/* of the training rows' logarithms */
	double		factor;			/* 1 / their scale */
} PynGroups;

/* group_search.c: finds groups, all but the last two numbers. */
extern void pyn_groups_search(const PynTraining *training, PynGroups *groups);

/*
 * Standardised scores, where groups were found: the logarithm of the distance to the nearest ordinary group.  NaN where the nearest of
 * all is too small to be ordinary without doubt: others must say what its rows are.
 */
extern double pyn_groups_row(const PynGroups *groups, const double *row);
extern void pyn_groups_block(const PynGroups *groups, const double *values, int stride, int rows, double *scores);

/* What was found, as text of fewer than `size` bytes; its length. */
extern int	pyn_groups_describe(const PynGroups *groups, char *text, int size);

/* Fits, opens and explains: a part of auto whose state is a PynGroups, and which is no algorithm of its own. */
extern const PynDetector pyn_groups_part;

#endif							/* PYN_GROUPS_H */
