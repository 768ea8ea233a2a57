/*
 * subspace.h
 *		The leading eigenvectors of a covariance too large to be written down.
 */
#ifndef PYN_SUBSPACE_H
#define PYN_SUBSPACE_H

#include "kernel/port.h"

/*
 * Finds the `wanted` largest eigenvalues, falling, of the weighted covariance of rows[row * features + feature] about `centre`,
 * and their eigenvectors as lines of vectors[wanted * features].  wanted ≤ features.  *squares is an estimate of the sum of all
 * squared eigenvalues.  The same seed gives the same bits.
 */
extern void pyn_leading_eigen(const double *rows, int count, int features, const double *weights, const double *centre,
							  int wanted, uint64 seed, double *vectors, double *values, double *squares);

#endif							/* PYN_SUBSPACE_H */
