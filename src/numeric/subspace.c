/*
 * subspace.c
 *		The leading eigenvectors of a covariance too large to be written down.
 *
 * Subspace iteration from random vectors (Halko, Martinsson and Tropp 2011, "Finding structure with randomness", SIAM Review
 * 53, algorithm 4.4): some vectors more than are wanted are multiplied by the covariance, made orthogonal, and so on a few
 * times; in the small space that they span the covariance is then solved exactly (Rayleigh and Ritz).  The covariance is never
 * formed: S q is the sum over rows of w (z q) z.
 *
 * Time for n rows, d features and k vectors: 2 n d k multiplications a round, of which there are ROUNDS + 1; memory 2 d k numbers.
 */
#include "kernel/port.h"

#include <math.h>

#include "kernel/hash.h"
#include "numeric/math.h"
#include "numeric/matrix.h"
#include "numeric/subspace.h"
#include "numeric/vector.h"

#define MORE 8					/* vectors beside those wanted */
#define BATCH 16				/* rows that go through the vectors at a time, a multiple of four */
#define ROUNDS 4				/* products with the covariance before the last */

/* What four rows give to a vector's product. */
static PYN_INLINE void
add_four(const double *rows, int features, const double *weights, const double *vector, double *restrict product)
{
	const double *restrict a = rows;
	const double *restrict b = a + features;
	const double *restrict c = b + features;
	const double *restrict d = c + features;
	double		w[4];

	pyn_four_dots(rows, features, vector, features, w);
	for (int i = 0; i < 4; i++)
		w[i] *= weights[i];
	for (int i = 0; i < features; i++)
		product[i] = (((product[i] + w[0] * a[i]) + w[1] * b[i]) + w[2] * c[i]) + w[3] * d[i];
}

/* What a batch of rows gives to all products; each vector and its product come from memory once for all of them. */
PYN_VECTORISED static void
add_rows(const double *batch, int rows, int features, const double *weights, const double *vectors, double *products, int count)
{
	for (int k = 0; k < count; k++)
		for (int row = 0; row < rows; row += 4)
			add_four(batch + (Size) row * features, features, weights + row, vectors + (Size) k * features,
					 products + (Size) k * features);
}

/* products = covariance × vectors, a line each. */
static void
multiply_covariance(const double *rows, int row_count, int features, const double *weights, const double *centre,
					const double *vectors, double *products, int count)
{
	double	   *batch = pyn_new0(double, BATCH * (Size) features);
	double		batch_weights[BATCH];
	double		total = 0;
	int			filled = 0;

	memset(products, 0, sizeof(double) * features * count);
	for (int row = 0; row < row_count; row++)
	{
		CHECK_FOR_INTERRUPTS();
		if (weights[row] == 0)
			continue;
		total += weights[row];
		for (int i = 0; i < features; i++)
			batch[(Size) filled * features + i] = rows[(Size) row * features + i] - centre[i];
		batch_weights[filled++] = weights[row];
		if (filled == BATCH)
		{
			add_rows(batch, BATCH, features, batch_weights, vectors, products, count);
			filled = 0;
		}
	}
	if (filled > 0)
	{
		int			fours = (filled + 3) / 4 * 4;

		for (int i = filled; i < fours; i++)
			batch_weights[i] = 0;
		add_rows(batch, fours, features, batch_weights, vectors, products, count);
	}
	if (total > 0)
		for (Size i = 0; i < (Size) features * count; i++)
			products[i] /= total;
	pfree(batch);
}

/* Takes what lies along vectors[0 .. place) from vectors[place]. */
PYN_VECTORISED static void
take_from(double *vectors, int features, int place)
{
	double	   *vector = vectors + (Size) place * features;

	for (int i = 0; i < place; i++)
	{
		const double *other = vectors + (Size) i * features;

		pyn_add_scaled(vector, other, -pyn_dot(vector, other, features), features);
	}
}

/*
 * Makes the vectors orthogonal and of length 1, by Gram and Schmidt twice.  One that lies among those before it becomes a unit
 * vector at right angles to them, or nothing where there is none.
 */
static void
orthogonalise(double *vectors, int features, int count)
{
	int			next_unit = 0;

	for (int k = 0; k < count; k++)
	{
		double	   *vector = vectors + (Size) k * features;

		for (;;)
		{
			double		before = sqrt(pyn_dot(vector, vector, features));
			double		length;

			CHECK_FOR_INTERRUPTS();
			if (before > 0 && before <= 1.7976931348623157e308)
			{
				for (int i = 0; i < features; i++)
					vector[i] /= before;
				take_from(vectors, features, k);
				take_from(vectors, features, k);
				length = sqrt(pyn_dot(vector, vector, features));
				if (length > 1e-10)
				{
					for (int i = 0; i < features; i++)
						vector[i] /= length;
					break;
				}
			}
			memset(vector, 0, sizeof(double) * features);
			if (next_unit == features)
				break;
			vector[next_unit++] = 1.0;
		}
	}
}

/* A number that is normal enough: the sum of four uniform ones, with variance 1. */
static double
draw_normal(PynRandom *random)
{
	double		sum = -2.0;

	for (int i = 0; i < 4; i++)
		sum += pyn_random_double(random);
	return sum * 1.7320508075688772;
}

void
pyn_leading_eigen(const double *rows, int count, int features, const double *weights, const double *centre, int wanted,
				  uint64 seed, double *vectors, double *values, double *squares)
{
	int			width = Min(wanted + MORE, features);
	double	   *space = pyn_new(double, (Size) width * features);
	double	   *products = pyn_new(double, (Size) width * features);
	double	   *small = pyn_new(double, (Size) width * width);
	double	   *small_values = pyn_new(double, width);
	PynRandom	random = {pyn_hash_u64(0x5B5, seed)};

	for (Size i = 0; i < (Size) width * features; i++)
		space[i] = draw_normal(&random);
	for (int round = 0; round < ROUNDS; round++)
	{
		double	   *swap = products;

		multiply_covariance(rows, count, features, weights, centre, space, products, width);
		/* For random g of variance 1, E |S g|² is the sum of the squared eigenvalues (Hutchinson 1989). */
		if (round == 0)
			*squares = pyn_dot(products, products, width * features) / width;
		products = space;
		space = swap;
		orthogonalise(space, features, width);
	}
	multiply_covariance(rows, count, features, weights, centre, space, products, width);
	for (int i = 0; i < width; i++)
		for (int j = 0; j <= i; j++)
			small[i * width + j] = small[j * width + i] =
				pyn_dot(space + (Size) i * features, products + (Size) j * features, features);
	(void) pyn_eigen(small, width, small_values);
	for (int i = 0; i < wanted; i++)
	{
		double	   *vector = vectors + (Size) i * features;

		values[i] = Max(small_values[i], 0.0);
		memset(vector, 0, sizeof(double) * features);
		for (int j = 0; j < width; j++)
			pyn_add_scaled(vector, space + (Size) j * features, small[i * width + j], features);
	}
	pfree(space);
	pfree(products);
	pfree(small);
	pfree(small_values);
}
