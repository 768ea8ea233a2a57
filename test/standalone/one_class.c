/* sources: src/detectors/ocsvm_solver.c */
/*
 * one_class.c
 *		What the solver of the one-class support vector machine finds is the optimum, by the conditions of Karush, Kuhn and Tucker.
 */
#include <math.h>

#include "kernel/hash.h"
#include "detectors/ocsvm_solver.h"
#include "tap.h"

#define MOST 400
#define COLUMNS 3
#define TOLERANCE 2e-3			/* the solver's, and what float4 leaves open */

/* The kernel of random rows, a part of which are equal to each other. */
static void
fill(float *matrix, int stride, int count, double gamma, double equal, PynRandom *random)
{
	static double rows[MOST][COLUMNS];

	for (int i = 0; i < count; i++)
	{
		bool		copied = i > 0 && pyn_random_double(random) < equal;
		uint32		from = pyn_random_below(random, (uint32) Max(i, 1));

		for (int j = 0; j < COLUMNS; j++)
			rows[i][j] = copied ? rows[from][j] : pyn_random_double(random) + pyn_random_double(random) * (i % 3);
	}
	for (int i = 0; i < count; i++)
		for (int j = 0; j < count; j++)
		{
			double		sum = 0;

			for (int k = 0; k < COLUMNS; k++)
				sum += (rows[i][k] - rows[j][k]) * (rows[i][k] - rows[j][k]);
			matrix[i * stride + j] = (float) exp(-gamma * sum);
		}
}

/* What is wrong with the weights, or NULL. */
static const char *
problem(const float *matrix, int stride, int count, double nu, const double *weights, double offset)
{
	double		sum = 0;
	int			vectors = 0;
	int			outside = 0;

	for (int i = 0; i < count; i++)
	{
		double		gradient = 0;

		if (!(weights[i] >= 0 && weights[i] <= 1))
			return "a weight is out of bounds";
		for (int j = 0; j < count; j++)
			gradient += weights[j] * matrix[i * stride + j];
		if (weights[i] < 1 && gradient < offset - TOLERANCE)
			return "a row outside has less than a full weight";
		if (weights[i] > 0 && gradient > offset + TOLERANCE)
			return "a row inside has a weight";
		sum += weights[i];
		vectors += weights[i] > 0;
		outside += gradient < offset - TOLERANCE;
	}
	if (fabs(sum - nu * count) > 1e-9 * count)
		return "the sum of the weights has moved";
	if (vectors < nu * count - 1e-9 || outside > nu * count + 1e-9)
		return "nu is not between the shares of outliers and of support vectors";
	return NULL;
}

int
main(void)
{
	static const int counts[] = {1, 2, 3, 17, 100, 400};
	static const double nus[] = {0.0001, 0.05, 0.1, 0.333, 0.5, 0.9, 1};
	static const double gammas[] = {0.001, 0.3, 2, 50};
	static float matrix[MOST * (MOST + 8)];
	static double weights[MOST];
	PynRandom	random = {11};
	char		sentence[200];

	for (int c = 0; c < (int) lengthof(counts); c++)
		for (int n = 0; n < (int) lengthof(nus); n++)
		{
			const char *wrong = NULL;

			for (int g = 0; g < (int) lengthof(gammas); g++)
				for (int equal = 0; equal < 3; equal++)
				{
					const char *found;
					double		offset;

					fill(matrix, counts[c] + 8, counts[c], gammas[g], equal * 0.5, &random);
					offset = pyn_solve_one_class(matrix, counts[c] + 8, counts[c], nus[n], weights);
					if ((found = problem(matrix, counts[c] + 8, counts[c], nus[n], weights, offset)) != NULL)
						wrong = found;
				}
			snprintf(sentence, sizeof(sentence), "the weights of %d rows with nu %g are optimal%s%s", counts[c], nus[n], wrong != NULL ? ": " : "",
					 wrong != NULL ? wrong : "");
			ok(wrong == NULL, sentence);
		}
	return done();
}
