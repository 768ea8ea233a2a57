/*
 * reference_sets.h
 *		Distances from rows to the nearest of a few hundred reference rows, for several sets of them.
 *
 * Reference rows and scored rows are float4, on a common scale (pyn_scaled_float).  A row's distance to a reference is
 * summed over the features in their order, so one row and a block of rows give the same bits, on any CPU.
 *
 * Leave-one-out: where a reference is exactly equal to the row, one such reference does not count, so that a row of the
 * training data is not nearer to the references than a new row like it would be.
 */
#ifndef PYN_REFERENCE_SETS_H
#define PYN_REFERENCE_SETS_H

#include "detectors/scaling.h"
#include "kernel/hash.h"
#include "numeric/vector.h"

#define PYN_MOST_SCALED_FLOAT 1e16f /* no sum of 8,192 squares of differences passes float4's range */
#define PYN_MAX_NEIGHBOURS 256
#define PYN_MAX_SETS 1000
#define PYN_MAX_SET_SIZE 4096

/* The scale as users choose it; `which` is the initial one. */
enum
{
	PYN_CHOOSE_ROBUST,
	PYN_CHOOSE_STANDARD,
	PYN_CHOOSE_TAILS
};

#define PYN_SCALE_PARAMETER(which) \
	{.name = "scale",.kind = PYN_PARAMETER_CHOICE,.choices = "robust, standard, tails",.initial = (which),.maximum = PYN_CHOOSE_TAILS, \
	.description = "by median and interquartile range, by mean and standard deviation, or robust with tails drawn in"}

static inline PynScale
pyn_chosen_scale(double setting)
{
	return setting == PYN_CHOOSE_ROBUST ? PYN_SCALE_ROBUST :
		setting == PYN_CHOOSE_STANDARD ? PYN_SCALE_STANDARD : PYN_SCALE_TAILS;
}

/* What the distances to the k nearest references are made one number by. */
typedef enum PynNearest
{
	PYN_NEAREST_LARGEST,		/* that to the k-th */
	PYN_NEAREST_MEAN,
	PYN_NEAREST_MEDIAN
} PynNearest;

/* Several sets of equally many references. */
typedef struct PynReferenceSets
{
	int			sets;
	int			size;			/* references of a set */
	int			features;
	int			padded;			/* size, made a multiple of the lanes by references infinitely far away */
	float	   *values;			/* [set][padded reference][feature] */
	bool		by_set;			/* a lane is a set, past the last one with references infinitely far away; else a reference */
	float	   *lanes;			/* [set / lanes][reference][feature][lane], or [set][reference / lanes][feature][lane] */
} PynReferenceSets;

/* Rows that are drawn from, each as many times as it stands for. */
typedef struct PynPool
{
	int			count;
	const int  *rows;			/* of the training data; NULL: all */
	int64	   *cumulative;		/* weights summed up */
	int64		total;
} PynPool;

/* Takes copies: references[(set * size + reference) * features + feature], all finite, in the current memory context.
 * `by_set`: rows by themselves meet sets side by side, which is faster where few lanes stay empty. */
extern void pyn_reference_sets_make(PynReferenceSets *sets, const float *references, int count, int size, int features,
									bool by_set);

static inline bool
pyn_by_set_pays(int count)
{
	int			lanes = (count + PYN_LANES - 1) / PYN_LANES * PYN_LANES;

	return 3 * (lanes - count) <= count;
}

/* Writes and reads sets as float4: 4 bytes a number.  What is read is checked. */
extern void pyn_reference_sets_write(const float *references, int count, int size, int features, PynWriter *writer);
extern const char *pyn_reference_sets_read(PynReader *reader, int features, PynReferenceSets *sets);

/*
 * Distances of a row to the k nearest references of each set: distances[set].  A set with fewer than k references gives
 * those that it has, and 0 when it has none.
 */
extern void pyn_reference_row(const PynReferenceSets *sets, const float *row, int k, PynNearest nearest, float *distances);

/*
 * The same of a block of rows: rows[feature * stride + row] → distances[set * stride + row].  `stride` is a multiple of
 * PYN_LANES and rows past `count` up to the next multiple can be read and are finite.
 */
extern void pyn_reference_block(const PynReferenceSets *sets, const float *rows, int stride, int count, int k,
								PynNearest nearest, float *distances);

/* Adds, for each feature, the squared differences to the k nearest references of each set as shares of their sum. */
extern void pyn_reference_shares(const PynReferenceSets *sets, const float *row, int k, double *shares);

/* reference_without.c: the mean over the sets of the distance to the k-th nearest, and what it would be without each feature. */
extern double pyn_reference_without(const PynReferenceSets *sets, const float *row, int k, double *without);

/* A feature's value on its scale, as rows of reference sets have it. */
static inline float
pyn_scaled_float(const PynScaling *scaling, int feature, double value)
{
	float		z = (float) pyn_scaled(scaling, feature, value);

	return z > PYN_MOST_SCALED_FLOAT ? PYN_MOST_SCALED_FLOAT : z < -PYN_MOST_SCALED_FLOAT ? -PYN_MOST_SCALED_FLOAT : z;
}

extern void pyn_scale_row(const PynScaling *scaling, const double *row, float *out);

/* values[feature * stride + row] → out[feature * out_stride + row]; rows up to out_stride are filled up with zeros. */
extern void pyn_scale_block(const PynScaling *scaling, const double *values, int stride, int rows, float *out, int out_stride);

extern void pyn_pool_init(PynPool *pool, const PynTraining *training, const int *rows, int count);

/* Draws without replacement among all rows that the pool's rows stand for; count ≤ pool->total.  Gives training rows. */
extern void pyn_pool_draw(const PynPool *pool, int count, PynRandom *random, int *drawn);

#endif							/* PYN_REFERENCE_SETS_H */
