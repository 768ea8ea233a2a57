/*
 * forest_sample.c
 *		The rows that trees of an isolation forest are grown from, and what a leaf with several of them counts for.
 *
 * A training row stands for as many rows of the relation as its weight says; each tree draws its own sample of the
 * relation's rows without replacement (Floyd's algorithm: Bentley and Floyd 1987).
 */
#include "kernel/port.h"
#include "detectors/forest.h"

/*
 * pyn_forest_mean_paths gives c(n): the mean path length of an unsuccessful search in a binary search tree of n keys
 * (equation 1 of Liu, Ting and Zhou).
 */
double *
pyn_forest_mean_paths(int most)
{
	double	   *mean_paths = pyn_new(double, most + 1);
	double		harmonic = 0;

	mean_paths[0] = 0.0;
	if (most >= 1)
		mean_paths[1] = 0.0;
	for (int n = 2; n <= most; n++)
	{
		harmonic += 1.0 / (double) (n - 1);
		mean_paths[n] = 2.0 * harmonic - 2.0 * (double) (n - 1) / (double) n;
	}
	return mean_paths;
}

/*
 * pyn_forest_mean_path is the same for one n, summed from the small terms up as models have always been scored by.
 */
double
pyn_forest_mean_path(int n)
{
	double		harmonic = 0;

	for (int i = n - 1; i >= 1; i--)
		harmonic += 1.0 / (double) i;
	return n < 2 ? 0.0 : 2.0 * harmonic - 2.0 * (double) (n - 1) / (double) n;
}

void
pyn_forest_sampler_init(PynForestSampler *sampler, const PynTraining *training, int sample_size)
{
	int64		sum = 0;

	sampler->training = training;
	sampler->mask = ((uint32) 2 << pyn_forest_height(sample_size)) - 1;
	sampler->drawn = pyn_new(uint64, (Size) sampler->mask + 1);
	sampler->cumulative = pyn_new(int64, training->rows);
	for (int row = 0; row < training->rows; row++)
		sampler->cumulative[row] = (sum += training->weights[row]);
}

void
pyn_forest_sampler_free(PynForestSampler *sampler)
{
	pfree(sampler->drawn);
	pfree(sampler->cumulative);
}

/* Adds a row of the relation to the set of those drawn; false when it was there.  A slot keeps it plus one: 0 is empty. */
static bool
draw_unit(PynForestSampler *sampler, uint64 unit)
{
	uint32		place = (uint32) pyn_hash_u64(unit, 3) & sampler->mask;

	while (sampler->drawn[place] != 0)
	{
		if (sampler->drawn[place] == unit + 1)
			return false;
		place = (place + 1) & sampler->mask;
	}
	sampler->drawn[place] = unit + 1;
	return true;
}

/*
 * pyn_forest_draw draws `count` of the relation's rows without replacement, as indexes of training rows.
 */
void
pyn_forest_draw(PynForestSampler *sampler, int count, PynRandom *random, uint32 *rows)
{
	const PynTraining *training = sampler->training;

	memset(sampler->drawn, 0, sizeof(uint64) * ((Size) sampler->mask + 1));
	for (int i = 0; i < count; i++)
	{
		int64		last = training->total_weight - count + i;
		int64		unit = Min((int64) (pyn_random_double(random) * (double) (last + 1)), last);
		int			low = 0;
		int			high = training->rows - 1;

		if (!draw_unit(sampler, (uint64) unit))
		{
			unit = last;
			draw_unit(sampler, (uint64) unit);
		}
		while (low < high)
		{
			int			middle = low + (high - low) / 2;

			if (sampler->cumulative[middle] <= unit)
				low = middle + 1;
			else
				high = middle;
		}
		rows[i] = low;
	}
}
