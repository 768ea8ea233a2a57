/*
 * quartiles.c
 *		The quartiles of a column of numbers, from the row sample.
 *
 * pyn_quantiles_open sorts the sampled values, which for 65,536 of them takes ten times as long as all the checks of
 * the column.  Three numbers need no order, so they are selected; only where rows stand for several of their like are they
 * read from the sorted form.
 */
#include "kernel/port.h"

#include <math.h>

#include "data_quality/data_quality.h"
#include "numeric/selection.h"

/* The finite sampled values, and their number; *weighted where some stand for more than one row. */
static double *
sampled_numbers(const PynSketch *sketch, int column, int *count, bool *weighted)
{
	const PynSample *sample = &sketch->sample;
	double	   *numbers = pyn_new(double, sample->count);

	*count = 0;
	*weighted = false;
	for (uint32 row = 0; row < sample->count; row++)
	{
		double		number = pyn_sample_cell(sample, row, column).number;

		if (!pyn_is_finite(number))
			continue;
		numbers[(*count)++] = number;
		*weighted |= sample->rows[row].weight > 1;
	}
	return numbers;
}

/* Interpolates between the values whose places (i + 1/2)/n are around `share`, as pyn_quantile does; reorders them. */
static double
select_share(double *numbers, int count, double share)
{
	double		position = Min(Max(share * count - 0.5, 0), count - 1);
	int			left = (int) position;
	double		value = pyn_select(numbers, count, left);
	double		next;

	if (position == left)
		return value;
	/* None after the selected place is smaller. */
	next = numbers[left + 1];
	for (int i = left + 2; i < count; i++)
		next = Min(next, numbers[i]);
	return value * (1 - (position - left)) + next * (position - left);
}

/*
 * pyn_quality_quartiles gives the quartiles of a column's finite values; NaN when none of them was sampled.
 */
void
pyn_quality_quartiles(const PynSketch *sketch, int column, double quartiles[3])
{
	PynQuantiles sorted;
	bool		weighted;
	int			count;
	double	   *numbers = sampled_numbers(sketch, column, &count, &weighted);

	for (int i = 0; i < 3; i++)
		quartiles[i] = pyn_nan();
	if (weighted)
	{
		pyn_quantiles_open(&sorted, sketch, column);
		for (int i = 0; i < 3; i++)
			quartiles[i] = pyn_quantile(&sorted, 0.25 * (i + 1));
		pfree(sorted.values);
		pfree(sorted.ranks);
	}
	else if (count > 0)
		for (int i = 0; i < 3; i++)
			quartiles[i] = select_share(numbers, count, 0.25 * (i + 1));
	pfree(numbers);
}
