/*
 * ellipsoid.h
 *		A centre and a covariance, and how far rows lie from the one in units of the other (Mahalanobis 1936).
 */
#ifndef PYN_ELLIPSOID_H
#define PYN_ELLIPSOID_H

#include "detectors/scaling.h"

#define PYN_MOST_DENSE 512		/* features whose covariance is kept whole */
#define PYN_ESTIMATE_SHRINKAGE -1.0

typedef struct PynEllipsoid
{
	int			features;
	int			rank;			/* how many directions are kept */
	int			constant;		/* when it was fitted: features that did not vary */
	double	   *centre;
	double	   *precision;		/* the diagonal of the covariance's inverse */
	double	   *factor;			/* whole: L' as pyn_cholesky leaves it */
	double	   *lower;			/* and L by lines, when it was read */
	double	   *vectors;		/* else: the leading eigenvectors, a line each, */
	double	   *values;			/* their eigenvalues */
	double		rest;			/* and the variance in every direction across them */
} PynEllipsoid;

/*
 * Fits to those of the scaled rows, rows[row * features + feature], that have a weight.  shrinkage: 0 to 1, or
 * PYN_ESTIMATE_SHRINKAGE.  What it allocates lives in the current memory context until pyn_ellipsoid_free.
 */
extern void pyn_ellipsoid_fit(PynEllipsoid *ellipsoid, const double *rows, int count, int features, const double *weights,
							  double shrinkage, uint64 seed);

/*
 * Finds the directions alone: eigenvectors and eigenvalues as they are, all of them up to PYN_MOST_DENSE features, `rest` the mean
 * variance across them.  Returns the sum of all variances.  The caller makes lengths of the values and the rest, all
 * positive, and then has the precision set.
 */
extern double pyn_ellipsoid_fit_directions(PynEllipsoid *ellipsoid, const double *rows, int count, int features,
										   const double *weights, uint64 seed);
extern void pyn_ellipsoid_set_precision(PynEllipsoid *ellipsoid);
extern void pyn_ellipsoid_free(PynEllipsoid *ellipsoid);
extern void pyn_ellipsoid_write(const PynEllipsoid *ellipsoid, PynWriter *writer);
extern const char *pyn_ellipsoid_read(PynReader *reader, int features, PynEllipsoid *ellipsoid);

/* Squared distance of one scaled row; `work` has room for `features` numbers. */
extern double pyn_squared_distance(const PynEllipsoid *ellipsoid, const double *row, double *work);

/* Distances of rows that are not scaled yet: values[feature * stride + row].  The same bits as the square root of the above. */
extern void pyn_distances(const PynEllipsoid *ellipsoid, const PynScaling *scaling, const double *values, int stride,
						  int rows, double *distances);
extern double pyn_distance(const PynEllipsoid *ellipsoid, const PynScaling *scaling, const double *row);

/* By how much the squared distance would fall if a feature had the value that the others let expect, for each. */
extern void pyn_distance_parts(const PynEllipsoid *ellipsoid, const PynScaling *scaling, const double *row, double *parts);

/* What detectors keep of a scaling and an ellipsoid, one after the other in their bytes; the raw score is the distance. */
typedef struct PynScaledEllipsoid
{
	PynScaling	scaling;
	PynEllipsoid ellipsoid;
} PynScaledEllipsoid;

extern const char *pyn_scaled_ellipsoid_open(PynReader *reader, int features, void **state);
extern double pyn_scaled_ellipsoid_score_row(const void *state, const double *row);
extern void pyn_scaled_ellipsoid_score_block(const void *state, const double *values, int stride, int rows, double *scores);
extern void pyn_scaled_ellipsoid_contribute(const void *state, const double *row, double *contributions);

#endif							/* PYN_ELLIPSOID_H */
