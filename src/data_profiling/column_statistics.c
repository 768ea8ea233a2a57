/*
 * column_statistics.c
 *		A column's statistics from the sketch of its relation.
 *
 * Counts, minimum and maximum are exact; moments are exact to rounding.  Different values are counted exactly while few,
 * quantiles and the median absolute deviation are exact while the sample has all rows, and estimated past that
 * (src/sketch/quantiles.c says how well).
 */
#include "kernel/port.h"

#include <math.h>

#include "data_profiling/data_profiling.h"

static const double quantile_shares[PYN_QUANTILES] = {
	[PYN_Q01] = 0.01,
	[PYN_Q05] = 0.05,
	[PYN_Q25] = 0.25,
	[PYN_MEDIAN] = 0.5,
	[PYN_Q75] = 0.75,
	[PYN_Q95] = 0.95,
	[PYN_Q99] = 0.99,
};

/*
 * pyn_sampled_rows gives the rows that the sample has.  Rows that are alike and have no key are one sampled row, whose
 * weight is their number.
 */
int64
pyn_sampled_rows(const PynSketch *sketch)
{
	int64		rows = 0;

	for (uint32 row = 0; row < sketch->sample.count; row++)
		rows += sketch->sample.rows[row].weight;
	return rows;
}

/*
 * Takes the sorted values over from the quantiles.  Their ranks are (below + weight / 2) / total, from which the weights,
 * which are whole numbers, come back without an error.
 */
static void
sampled_values(const PynSketch *sketch, int index, const PynQuantiles *quantiles, PynSampledValues *sample)
{
	int64		below = 0;

	sample->count = quantiles->count;
	sample->values = quantiles->values;
	sample->weights = pyn_new(int64, quantiles->count);
	sample->total = 0;
	for (uint32 row = 0; row < sketch->sample.count; row++)
		if (pyn_is_finite(pyn_sample_cell(&sketch->sample, row, index).number))
			sample->total += sketch->sample.rows[row].weight;
	for (int i = 0; i < quantiles->count; i++)
	{
		sample->weights[i] = (int64) rint(2.0 * (quantiles->ranks[i] * (double) sample->total - (double) below));
		below += sample->weights[i];
	}
}

/*
 * A quantile by Hazen's rule.  Where the sample has all values, each as a row of its own, the values are interpolated by
 * their places: pyn_quantile does so by ranks, whose rounding would show in many a median.
 */
static double
quantile(const PynQuantiles *quantiles, const PynSampledValues *sample, double share)
{
	double		position = share * sample->count - 0.5;
	int			left = (int) position;
	double		part = position - left;

	if (sample->count != quantiles->column->count || sample->total != sample->count)
		return pyn_quantile(quantiles, share);
	if (position <= 0)
		return sample->values[0];
	if (left >= sample->count - 1)
		return sample->values[sample->count - 1];
	return part == 0 ? sample->values[left] : sample->values[left] * (1 - part) + sample->values[left + 1] * part;
}

/*
 * The median of |value - median|: the mean of the two middle ones where their number is even.  The values are sorted, so
 * the distances come in order from the median outwards.
 */
static double
median_absolute_deviation(const PynSampledValues *sample, double median)
{
	int			left = -1;
	int			right;
	int64		below = 0;
	double		lower = NAN;

	while (left + 1 < sample->count && sample->values[left + 1] < median)
		left++;
	right = left + 1;
	while (left >= 0 || right < sample->count)
	{
		double		to_left = left >= 0 ? median - sample->values[left] : INFINITY;
		double		to_right = right < sample->count ? sample->values[right] - median : INFINITY;
		bool		goes_left = right == sample->count || (left >= 0 && to_left <= to_right);
		double		distance = goes_left ? to_left : to_right;

		below += goes_left ? sample->weights[left--] : sample->weights[right++];
		if (isnan(lower) && below > (sample->total - 1) / 2)
			lower = distance;
		if (below > sample->total / 2)
			return lower / 2 + distance / 2;
	}
	return NAN;
}

/*
 * Moments of finite values: standard deviation with n - 1, skewness g1 and excess kurtosis g2 (Joanes and Gill 1998).
 * They are not defined where there are too few values, no spread, or powers that overflow.
 */
static void
moments(const PynColumn *column, PynColumnStatistics *statistics)
{
	double		n = (double) column->count;
	double		spread = column->m2 / n;

	statistics->mean = column->mean;
	if (column->count > 1 && isfinite(column->m2))
		statistics->standard_deviation = sqrt(column->m2 / (n - 1));
	if (spread > 0 && isfinite(spread))
	{
		statistics->skewness = column->m3 / n / (spread * sqrt(spread));
		statistics->kurtosis = column->m4 / n / (spread * spread) - 3.0;
	}
}

/* What only columns of numbers have, times and booleans among them. */
static void
number_statistics(const PynSketch *sketch, int index, PynColumnStatistics *statistics)
{
	const PynColumn *column = statistics->column;
	PynQuantiles quantiles;
	PynSampledValues sample;

	moments(column, statistics);
	pyn_quantiles_open(&quantiles, sketch, index);
	sampled_values(sketch, index, &quantiles, &sample);
	for (int i = 0; i < PYN_QUANTILES; i++)
		statistics->quantiles[i] = quantile(&quantiles, &sample, quantile_shares[i]);
	statistics->median_absolute_deviation = median_absolute_deviation(&sample, statistics->quantiles[PYN_MEDIAN]);
	if (column->kind != PYN_KIND_BOOLEAN)
		pyn_histogram(column, &sample, statistics->quantiles[PYN_Q75] - statistics->quantiles[PYN_Q25],
					  &statistics->histogram);
	pfree(sample.weights);
	pfree(quantiles.values);
	pfree(quantiles.ranks);
}

/*
 * pyn_column_statistics computes all that a profile says of one column of a settled sketch.  Texts are allocated in the
 * current memory context.
 */
void
pyn_column_statistics(const PynSketch *sketch, int index, PynColumnStatistics *statistics)
{
	const PynColumn *column = &sketch->columns[index];

	memset(statistics, 0, sizeof(*statistics));
	statistics->column = column;
	statistics->rows = sketch->rows;
	statistics->present = sketch->rows - column->nulls;
	statistics->distinct_is_exact = pyn_distinct_is_exact(&column->distinct);
	statistics->distinct = Min((int64) rint(pyn_distinct_count(&column->distinct)), statistics->present);
	statistics->mean = statistics->standard_deviation = statistics->skewness = statistics->kurtosis = NAN;
	statistics->median_absolute_deviation = NAN;
	for (int i = 0; i < PYN_QUANTILES; i++)
		statistics->quantiles[i] = NAN;

	if (column->count > 0 && !pyn_kind_is_text(column->kind))
		number_statistics(sketch, index, statistics);
	statistics->top_count = pyn_frequent_values(sketch, index, statistics->top, PYN_TOP_VALUES);
	pyn_column_alerts(sketch, index, statistics);
}
