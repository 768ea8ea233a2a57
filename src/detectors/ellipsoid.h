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
	int			rank;			/* of the part that is kept; equal to `features`: the covariance is whole */
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

#endif							/* PYN_ELLIPSOID_H */
