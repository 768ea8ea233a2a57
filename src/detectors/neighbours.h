/*
 * neighbours.h
 *		Exact nearest neighbours among stored points.
 *
 * Points are distinct; each stands for as many equal rows as it has copies, and counts as so many neighbours.  So tables
 * most of whose rows are equal cost no more than others.
 */
#ifndef PYN_NEIGHBOURS_H
#define PYN_NEIGHBOURS_H

#include "detectors/reference_sets.h"

#define PYN_MAX_POINTS 65536
#define PYN_MOST_POINT_BYTES (32 * 1024 * 1024) /* a model's points take no more */

/* Distinct scaled rows. */
typedef struct PynPoints
{
	int			count;
	int			features;
	int64		total;			/* copies of all */
	double	   *values;			/* row-major */
	uint32	   *copies;
} PynPoints;

/* A point found: its squared distance, and how many neighbours it counts as. */
typedef struct PynNeighbour
{
	double		square;
	int			point;
	int			copies;
} PynNeighbour;

typedef struct PynNeighbourIndex PynNeighbourIndex;

/* How many points with so many features a model may have, at most `wanted`. */
extern int	pyn_points_limit(int wanted, int features);

/*
 * Draws up to `most` of the rows that the training data stand for, scales them and joins equal ones.
 */
extern void pyn_points_draw(const PynTraining *training, const PynScaling *scaling, int most, uint64 seed, PynPoints *points);
extern void pyn_points_write(const PynPoints *points, PynWriter *writer);
extern const char *pyn_points_read(PynReader *reader, int features, PynPoints *points);

/* Copies the points in the current memory context. */
extern PynNeighbourIndex *pyn_neighbours_build(const PynPoints *points);

/*
 * Finds the k nearest points to a row, each counted as many times as it has copies: nearest first, of equally near ones
 * that with the lowest number.  The copies given back sum to k, or to all there are.  `found` has room for k + 1.
 * Returns how many points were found.
 */
extern int	pyn_neighbours_find(const PynNeighbourIndex *index, const double *row, int k, PynNeighbour *found);

/*
 * The same by the leave-one-out rule: one copy of a point equal to the row does not count.  `found` has room for k + 2.
 */
extern int	pyn_neighbours_find_others(const PynNeighbourIndex *index, const double *row, int k, PynNeighbour *found);

/* Adds, for each feature, the squared differences to points found as shares of their sum. */
extern void pyn_neighbours_shares(const PynNeighbourIndex *index, const double *row, const PynNeighbour *found, int count,
								  double *shares);

extern double pyn_neighbours_value(const PynNeighbourIndex *index, int point, int feature);

#endif							/* PYN_NEIGHBOURS_H */
