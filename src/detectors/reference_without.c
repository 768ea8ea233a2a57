/*
 * reference_without.c
 *		Distances from a row to the nearest references of sets, and what they would be without each feature.
 *
 * What is left of a squared distance without a feature is a subtraction; so the nearest without each of them are found in
 * one walk over the references, features side by side in vectors.
 */
#include "kernel/port.h"

#include <math.h>

#include "detectors/reference_sets.h"
#include "numeric/vector.h"

#define LANES 4

typedef double Doubles __attribute__((vector_size(8 * LANES)));
typedef int64 Mask __attribute__((vector_size(8 * LANES)));

/* The squared differences to references in each feature, zero past the last one: squares[reference * padded + feature]; and their sums. */
static PYN_VECTORISED void
square_differences(const float *references, int size, int features, int padded, const float *row, double *squares, double *sums)
{
	for (int i = 0; i < size; i++, references += features, squares += padded)
	{
		Doubles		sum = {0};
		Doubles		group;

		for (int feature = 0; feature < features; feature++)
		{
			double		difference = (double) row[feature] - references[feature];

			squares[feature] = difference * difference;
		}
		for (int first = 0; first < padded; first += LANES)
		{
			memcpy(&group, squares + first, sizeof(group));
			sum += group;
		}
		sums[i] = (sum[0] + sum[2]) + (sum[1] + sum[3]);
	}
}

/* The least of what is left of the references' distances without each of LANES features, as rising lists. */
static PYN_ANY_CPU void
least_without(const double *squares, const double *sums, int size, int padded, Doubles *list, int length)
{
	for (int i = 0; i < length; i++)
		list[i] = (Doubles) {0} + INFINITY;
	for (int i = 0; i < size; i++, squares += padded)
	{
		Doubles		left;
		Mask		below;

		memcpy(&left, squares, sizeof(left));
		left = sums[i] - left;
		below = left < list[length - 1];
		if ((below[0] | below[1] | below[2] | below[3]) == 0)
			continue;
		for (int place = 0; place < length; place++)
		{
			Doubles		here = list[place];
			Mask		keep = here < left;

			list[place] = (Doubles) (((Mask) here & keep) | ((Mask) left & ~keep));
			left = (Doubles) (((Mask) left & keep) | ((Mask) here & ~keep));
		}
	}
}

/* Sinks a number into a rising list of the least so far. */
static inline void
keep_least(double *list, int length, double number)
{
	int			place = length - 1;

	if (!(number < list[place]))
		return;
	for (; place > 0 && list[place - 1] > number; place--)
		list[place] = list[place - 1];
	list[place] = number;
}

double
pyn_reference_without(const PynReferenceSets *sets, const float *row, int k, double *without)
{
	int			features = sets->features;
	int			padded = (features + LANES - 1) / LANES * LANES;
	int			length = Min(k + 1, sets->size);
	double	   *squares = pyn_new0(double, (Size) sets->size * padded);
	double	   *sums = pyn_new(double, sets->size);
	double		with = 0;

	memset(without, 0, sizeof(double) * features);
	for (int set = 0; set < sets->sets; set++)
	{
		Doubles		least[PYN_MAX_NEIGHBOURS + 1];
		double		all[PYN_MAX_NEIGHBOURS + 1];
		int			place;

		CHECK_FOR_INTERRUPTS();
		square_differences(sets->values + (Size) set * sets->padded * features, sets->size, features, padded, row, squares, sums);
		for (int i = 0; i < length; i++)
			all[i] = INFINITY;
		for (int i = 0; i < sets->size; i++)
			keep_least(all, length, sums[i]);

		/* Where the row itself is a reference, it does not count. */
		place = Min(k - (all[0] > 0.0), length - 1);
		with += sqrt(all[place]);
		for (int first = 0; first < features; first += LANES)
		{
			least_without(squares + first, sums, sets->size, padded, least, length);
			for (int lane = 0; lane < Min(LANES, features - first); lane++)
				without[first + lane] += sqrt(Max(least[place][lane], 0.0));
		}
	}
	for (int feature = 0; feature < features; feature++)
		without[feature] /= sets->sets;
	pfree(squares);
	pfree(sums);
	return with / sets->sets;
}
