/*
 * quantiles.c
 *		Quantiles of a column from the row sample, exact in both tails.
 *
 * The sample is a uniform one of n rows, so by the Dvoretzky–Kiefer–Wolfowitz inequality every rank is right to within
 * sqrt(ln(200) / 2n) with 99 % confidence: 0.64 % for 65,536 values, 1 % for 26,500.  The 128 smallest and largest values
 * are known exactly, which is where a sample is weakest.  A column of up to `capacity` rows is exact throughout.
 */
#include "kernel/port.h"
#include "sketch/sketch.h"

typedef struct WeightedValue
{
	double		value;
	int64		weight;
} WeightedValue;

#define ST_SORT sort_values
#define ST_ELEMENT_TYPE WeightedValue
#define ST_COMPARE(a, b) (((a)->value > (b)->value) - ((a)->value < (b)->value))
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

/*
 * pyn_quantiles_open sorts the sampled finite values of a column of numbers; the arrays are the caller's to free.
 */
void
pyn_quantiles_open(PynQuantiles *quantiles, const PynSketch *sketch, int column)
{
	const PynSample *sample = &sketch->sample;
	WeightedValue *values = pyn_new(WeightedValue, sample->count);
	double		total = 0;
	double		below = 0;
	int			count = 0;

	Assert(!pyn_kind_is_text(sketch->columns[column].kind));
	for (uint32 row = 0; row < sample->count; row++)
	{
		double		value = pyn_sample_cell(sample, row, column).number;

		if (!pyn_is_finite(value))
			continue;
		values[count].value = value;
		values[count].weight = sample->rows[row].weight;
		total += (double) sample->rows[row].weight;
		count++;
	}
	sort_values(values, count);
	quantiles->count = count;
	quantiles->column = &sketch->columns[column];
	quantiles->values = pyn_new(double, count);
	quantiles->ranks = pyn_new(double, count);
	for (int i = 0; i < count; i++)
	{
		quantiles->values[i] = values[i].value;
		quantiles->ranks[i] = (below + 0.5 * (double) values[i].weight) / total;
		below += (double) values[i].weight;
	}
	pfree(values);
}

/* Linear interpolation of sorted values at a position between two of them. */
static double
interpolate(const double *values, int count, double position)
{
	int			left = (int) position;
	double		share = position - left;

	if (position <= 0)
		return values[0];
	if (left >= count - 1)
		return values[count - 1];
	return share == 0 ? values[left] : values[left] * (1.0 - share) + values[left + 1] * share;
}

/*
 * pyn_quantile gives the value below which `share` of the finite values lie, 0 ≤ share ≤ 1, by linear interpolation
 * between (i + ½)/n (Hazen's plotting positions, type 5 of Hyndman and Fan 1996); NaN when there is no value.
 */
double
pyn_quantile(const PynQuantiles *quantiles, double share)
{
	const PynColumn *column = quantiles->column;
	double		position = share * (double) column->count - 0.5;
	double		from_end = (double) column->count - 1.0 - position;
	int			low = 0;
	int			high = quantiles->count;
	double		value;

	if (column->count == 0)
		return pyn_nan();
	if (column->lowest.count > 0 && position <= column->lowest.count - 1)
		return interpolate(column->lowest.values, column->lowest.count, position);
	if (column->highest.count > 0 && from_end <= column->highest.count - 1)
		return -interpolate(column->highest.values, column->highest.count, from_end);
	if (quantiles->count == 0)
		return pyn_nan();

	while (low < high)
	{
		int			middle = low + (high - low) / 2;

		if (quantiles->ranks[middle] < share)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == 0)
		value = quantiles->values[0];
	else if (low == quantiles->count)
		value = quantiles->values[quantiles->count - 1];
	else
	{
		double		width = quantiles->ranks[low] - quantiles->ranks[low - 1];

		value = interpolate(&quantiles->values[low - 1], 2, (share - quantiles->ranks[low - 1]) / width);
	}

	/* The exact tails bound what the sample may say. */
	if (column->lowest.count > 0)
		value = Max(value, column->lowest.values[column->lowest.count - 1]);
	if (column->highest.count > 0)
		value = Min(value, -column->highest.values[column->highest.count - 1]);
	return value;
}
