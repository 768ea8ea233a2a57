/*
 * matrix.h
 *		Linear algebra of symmetric matrices: covariances, factors, eigenvectors.
 *
 * Matrices are dense and row-major.  Every sum has one fixed order, so the bits are the same on any CPU.  Nothing here calls
 * LAPACK or BLAS: the one ends the process when it is displeased, the other is not reproducible.
 */
#ifndef PYN_MATRIX_H
#define PYN_MATRIX_H

#include "numeric/vector.h"

/*
 * Weighted mean and covariance (divided by the weight) of `count` rows: rows[row * features + feature].  Rows of weight 0
 * are left out.  Returns the weight.
 */
extern double pyn_covariance(const double *rows, int count, int features, const double *weights, double *centre,
							 double *covariance);

/*
 * The shrinkage in [0, 1] that Ledoit and Wolf (2004, "A well-conditioned estimator for large-dimensional covariance
 * matrices", Journal of Multivariate Analysis 88) show to be best, towards a multiple of the identity.
 */
extern double pyn_ledoit_wolf(const double *rows, int count, int features, const double *weights, const double *centre,
							  const double *covariance);

/* (1 - shrinkage) × matrix + shrinkage × mean of its diagonal × identity. */
extern void pyn_shrink(double *matrix, int size, double shrinkage);

/*
 * Factorises a symmetric positive definite matrix A = L L'.  Its upper triangle becomes L', the diagonal holds 1 / L(i,i); what
 * is below is left as it was.  False when the matrix is not positive definite.
 */
extern bool pyn_cholesky(double *matrix, int size);
extern void pyn_solve_lower(const double *factor, int size, double *x);	/* L y = x */
extern void pyn_solve_upper(const double *factor, int size, double *x);	/* L' y = x */
extern double pyn_log_determinant(const double *factor, int size);	/* of A */

/*
 * Eigenvalues of a symmetric matrix, largest first; its rows become the eigenvectors, of length 1, each with its
 * largest element positive.  False when the iteration does not end, which finite numbers have not been seen to cause.
 */
extern bool pyn_eigen(double *matrix, int size, double *values);

/* Sum of products, in four sums side by side. */
static inline double
pyn_dot(const double *a, const double *b, int count)
{
	double		s0 = 0;
	double		s1 = 0;
	double		s2 = 0;
	double		s3 = 0;
	int			i = 0;

	for (; i + 4 <= count; i += 4)
	{
		s0 += a[i] * b[i];
		s1 += a[i + 1] * b[i + 1];
		s2 += a[i + 2] * b[i + 2];
		s3 += a[i + 3] * b[i + 3];
	}
	for (; i < count; i++)
		s0 += a[i] * b[i];
	return (s0 + s1) + (s2 + s3);
}

/*
 * pyn_dot of four vectors, which follow each other at `stride`, with b, side by side: a dot product alone waits for its own sums.
 */
static PYN_INLINE void
pyn_four_dots(const double *a, Size stride, const double *b, int count, double *products)
{
	PynDoubles	sums[4] = {{0}};
	int			i = 0;

	for (; i + PYN_DOUBLES <= count; i += PYN_DOUBLES)
	{
		PynDoubles	y;

		memcpy(&y, b + i, sizeof(y));
#pragma GCC unroll 4
		for (int k = 0; k < 4; k++)
		{
			PynDoubles	x;

			memcpy(&x, a + k * stride + i, sizeof(x));
			sums[k] += x * y;
		}
	}
	for (; i < count; i++)
		for (int k = 0; k < 4; k++)
			sums[k][0] += a[k * stride + i] * b[i];
	for (int k = 0; k < 4; k++)
		products[k] = (sums[k][0] + sums[k][1]) + (sums[k][2] + sums[k][3]);
}

/* y += factor × x. */
static inline void
pyn_add_scaled(double *restrict y, const double *restrict x, double factor, int count)
{
	for (int i = 0; i < count; i++)
		y[i] += factor * x[i];
}

#endif							/* PYN_MATRIX_H */
