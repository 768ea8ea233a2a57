/*
 * forest.h
 *		What the files of the isolation forest share.
 *
 *		isolation_forest.c		options, the model's head, and which of the two kinds of forest is asked
 *		forest_sample.c			the rows that a tree is grown from
 *		forest_plain.c			trees that split one feature: grown, read into complete trees, walked
 *		forest_bulk.c			the same for many rows at a time
 *		forest_oblique.c		trees that split a sum of features: grown
 *		forest_chain.c			and read into chains of trees, walked
 */
#ifndef PYN_FOREST_H
#define PYN_FOREST_H

#include "kernel/hash.h"
#include "detectors/detector.h"

#define PYN_FOREST_MAX_HEIGHT 14	/* of a tree of the largest sample, when it is cut at log2 of it */
#define PYN_FOREST_MAX_TREES 1000
#define PYN_FOREST_MAX_DIMENSIONS 16
#define PYN_FOREST_LANES 8		/* walks side by side */

/* What a forest is like: the model's head. */
typedef struct PynForestShape
{
	PynForestSplits splits;
	int			trees;
	int			sample_size;
	int			dimensions;		/* features in a split; 1 when they are plain */
	int			tries;			/* splits drawn for a node, of which the best is taken; while it is grown */
} PynForestShape;

/* Draws the rows of trees. */
typedef struct PynForestSampler
{
	const PynTraining *training;
	int64	   *cumulative;		/* per training row: the relation's rows up to and with it */
	uint64	   *drawn;			/* a set of those already drawn */
	uint32		mask;			/* of its slots */
} PynForestSampler;

typedef struct PynPlainForest PynPlainForest;
typedef struct PynBulkForest PynBulkForest;
typedef struct PynChainForest PynChainForest;

/* ceil(log2 sample_size) */
static inline int
pyn_forest_height(int64 sample_size)
{
	int			height = 1;

	while (((int64) 1 << height) < sample_size)
		height++;
	return height;
}

/* forest_sample.c */
extern void pyn_forest_sampler_init(PynForestSampler *sampler, const PynTraining *training, int sample_size);
extern void pyn_forest_draw(PynForestSampler *sampler, int count, PynRandom *random, uint32 *rows);
extern void pyn_forest_sampler_free(PynForestSampler *sampler);

/* c(n) of the paper for n from 0 to `most`, in the current memory context. */
extern double *pyn_forest_mean_paths(int most);
extern double pyn_forest_mean_path(int n);

/* forest_plain.c */
extern void pyn_plain_grow(const PynTraining *training, const PynForestShape *shape, PynWriter *writer);
extern const char *pyn_plain_open(PynReader *reader, int features, const PynForestShape *shape, PynPlainForest **result);
extern double pyn_plain_score_row(const PynPlainForest *forest, const double *row);
extern void pyn_plain_score_block(const PynPlainForest *forest, const double *values, int stride, int rows, double *scores);

/* Adds to each feature's part what its splits tell of a row. */
extern void pyn_plain_contribute(const PynPlainForest *forest, const double *row, double *parts);

/* forest_bulk.c */
extern PynBulkForest *pyn_bulk_make(int features, int trees, int height, const uint64 *nodes, const uint32 *paths);
extern void pyn_bulk_sums(const PynBulkForest *forest, const int32 *keys, int rows, uint64 *sums);

/* forest_oblique.c */
extern void pyn_oblique_grow(const PynTraining *training, const PynForestShape *shape, PynWriter *writer);

/* forest_chain.c */
extern const char *pyn_chain_open(PynReader *reader, int features, const PynForestShape *shape, PynChainForest **result);
extern void pyn_chain_contribute(const PynChainForest *forest, const double *row, double *parts);
extern double pyn_chain_score_row(const PynChainForest *forest, const double *row);
extern void pyn_chain_score_block(const PynChainForest *forest, const double *values, int stride, int rows, double *scores);

/*
 * Path lengths that rows of the sample have from a node on, in the mean, in units of 2^-8.  A split tells of a row how much less it has
 * to go from there than was to be expected before: that is its features' part in why the row is odd.
 */
#define PYN_EXPECTED_UNIT 256.0

static inline uint16
pyn_forest_expected(double path)
{
	return (uint16) Min(path * PYN_EXPECTED_UNIT + 0.5, 65535.0);
}

#define PYN_FOREST_MOST 1e12f	/* features of oblique trees are cut here, so that no sum of them overflows */
#define PYN_OBLIQUE_MAX_HEIGHT 256	/* of trees that grow until rows cannot be split */
#define PYN_OBLIQUE_LEAF 0xFFFF /* in place of a node's first column: a leaf of one row */
#define PYN_OBLIQUE_FULL_LEAF 0xFFFE	/* and of more */

/* A feature as oblique trees see it; missing is the centre. */
static inline float
pyn_forest_scaled(double value, double centre, double factor)
{
	double		z = (value - centre) * factor;

	return (float) (z > PYN_FOREST_MOST ? PYN_FOREST_MOST : z < -PYN_FOREST_MOST ? -PYN_FOREST_MOST : z == z ? z : 0.0);
}

#endif							/* PYN_FOREST_H */
