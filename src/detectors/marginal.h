/*
 * marginal.h
 *		A feature on its own: its values in order, their moments and quantiles, its empirical distribution.
 */
#ifndef PYN_MARGINAL_H
#define PYN_MARGINAL_H

#include "detectors/curve.h"
#include "detectors/detector.h"

/* A value and for how many rows it stands. */
typedef struct PynWeighted
{
	double		value;
	double		weight;
} PynWeighted;

/* Sorts by value, smallest first. */
extern void pyn_weighted_sort(PynWeighted *numbers, int count);

/* The smallest value at which more than so large a share of all weight is reached, of sorted numbers, count > 0. */
extern double pyn_weighted_quantile(const PynWeighted *numbers, int count, double total, double share);

/* Some of the training rows; NULL where all are meant. */
typedef struct PynRows
{
	int			count;
	const int  *rows;
} PynRows;

/* A feature's values that are there. */
typedef struct PynMarginal
{
	PynWeighted *values;		/* room for one per row */
	int			count;
	double		total;			/* weight */
	double		unit;			/* the largest magnitude, where powers of values could overflow; else 1 */
} PynMarginal;

/* Of values divided by the unit. */
typedef struct PynMoments
{
	double		mean;
	double		deviation;		/* standard deviation, the root of the mean square */
	int			skew;			/* sign of the third central moment; 0 where that is rounding only */
} PynMoments;

extern void pyn_marginal_init(PynMarginal *marginal, int rows);
extern void pyn_marginal_collect(PynMarginal *marginal, const PynTraining *training, const PynRows *rows, int feature);

/* The same, sorted, equal values joined. */
extern void pyn_marginal_sort(PynMarginal *marginal, const PynTraining *training, int feature);
extern void pyn_marginal_moments(const PynMarginal *marginal, PynMoments *moments);

/*
 * Quantile of a sorted marginal: where a share is reached exactly, the middle between that value and the next, so that
 * the median is everybody's (Hyndman and Fan's second definition; numpy's averaged_inverted_cdf).
 */
extern double pyn_marginal_quantile(const PynMarginal *marginal, double share);

/*
 * A distribution's part in a score: of a value with the share `up_to` of rows up to and with it and the share `from` of rows
 * from it on, both above 0, in a feature with this sign of skew.
 */
typedef double (*PynTailPart) (double up_to, double from, int skew);

/* Writes a sorted marginal's distribution functions at knots; opens them as a curve of parts. */
extern void pyn_distribution_write(const PynMarginal *marginal, PynWriter *writer);
extern const char *pyn_distribution_open(PynReader *reader, PynTailPart part, PynCurve *curve);

/* The fit and open of a detector that is a sum of such parts. */
extern void pyn_distributions_fit(const PynTraining *training, const PynPlan *plan, PynWriter *writer);
extern const char *pyn_distributions_open(PynReader *reader, int features, PynTailPart part, void **state);

#endif							/* PYN_MARGINAL_H */
