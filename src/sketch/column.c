/*
 * column.c
 *		What a sketch knows of one column: counts, moments, extremes, distinct and frequent values.
 *
 * Moments are taken in two passes over each block (its mean, then the powers of the distances to it) and merged by the
 * update formulas of Pébay (2008), which stay exact to rounding where sums of powers lose everything.
 */
#include "kernel/port.h"
#include "kernel/hash.h"
#include "sketch/sketch.h"

#define INFINITE_BITS UINT64CONST(0x7FF0000000000000)

static double
infinity(void)
{
	PynCell		cell;

	cell.hash = INFINITE_BITS;
	return cell.number;
}

static void
extremes_init(PynExtremes *extremes)
{
	extremes->values = NULL;
	extremes->count = 0;
	extremes->limit = infinity();
}

/*
 * pyn_column_init prepares a column whose name and kind are set.  Tables are allocated when the first value comes.
 */
void
pyn_column_init(PynColumn *column)
{
	column->minimum = infinity();
	column->maximum = -infinity();
	extremes_init(&column->lowest);
	extremes_init(&column->highest);
	pyn_distinct_init(&column->distinct);
	pyn_heavy_hitters_init(&column->hitters);
}

#define ST_SORT sort_numbers
#define ST_ELEMENT_TYPE double
#define ST_COMPARE(a, b) ((*(a) > *(b)) - (*(a) < *(b)))
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

/*
 * pyn_extremes_settle sorts the values and keeps the smallest; the limit then refuses what cannot belong.
 */
void
pyn_extremes_settle(PynExtremes *extremes)
{
	if (extremes->count == 0)
		return;
	sort_numbers(extremes->values, extremes->count);
	if (extremes->count >= PYN_EXTREMES)
	{
		extremes->count = PYN_EXTREMES;
		extremes->limit = extremes->values[PYN_EXTREMES - 1];
	}
}

void
pyn_extremes_add(PynExtremes *extremes, double value)
{
	if (!(value < extremes->limit))
		return;
	if (extremes->values == NULL)
		extremes->values = pyn_new(double, 2 * PYN_EXTREMES);
	extremes->values[extremes->count++] = value;
	if (extremes->count == 2 * PYN_EXTREMES)
		pyn_extremes_settle(extremes);
}

static void
extremes_merge(PynExtremes *into, const PynExtremes *from)
{
	for (int i = 0; i < from->count; i++)
		pyn_extremes_add(into, from->values[i]);
}

/* Adds count, mean and power sums of another set of values (Pébay 2008, equations 2.1 and 3.1). */
static void
moments_merge(PynColumn *into, int64 count, double mean, double m2, double m3, double m4)
{
	double		na = (double) into->count;
	double		nb = (double) count;
	double		n = na + nb;
	double		delta = mean - into->mean;
	double		ratio = delta / n;

	if (count == 0)
		return;
	if (into->count == 0)
	{
		into->count = count;
		into->mean = mean;
		into->m2 = m2;
		into->m3 = m3;
		into->m4 = m4;
		return;
	}
	into->m4 += m4 + delta * ratio * ratio * ratio * na * nb * (na * na - na * nb + nb * nb) +
		6.0 * ratio * ratio * (na * na * m2 + nb * nb * into->m2) + 4.0 * ratio * (na * m3 - nb * into->m3);
	into->m3 += m3 + delta * ratio * ratio * na * nb * (na - nb) + 3.0 * ratio * (na * m2 - nb * into->m2);
	into->m2 += m2 + delta * ratio * na * nb;
	if (pyn_is_finite(delta))
		into->mean += ratio * nb;
	else
		into->mean = into->mean * (na / n) + mean * (nb / n);	/* so far apart that the distance overflowed */
	into->count += count;
}

/* Minimum, maximum, moments and extremes of `count` > 0 finite numbers. */
static void
add_numbers(PynColumn *column, const double *values, int count)
{
	double		low = column->lowest.limit;
	double		high = column->highest.limit;
	double		sum = 0;
	double		mean;
	double		m2 = 0;
	double		m3 = 0;
	double		m4 = 0;
	double		minimum = column->minimum;
	double		maximum = column->maximum;

	for (int i = 0; i < count; i++)
	{
		sum += values[i];
		minimum = Min(minimum, values[i]);
		maximum = Max(maximum, values[i]);
	}
	column->minimum = minimum;
	column->maximum = maximum;
	mean = sum / count;
	if (!pyn_is_finite(mean))
	{
		/* The sum overflowed: divide first. */
		mean = 0;
		for (int i = 0; i < count; i++)
			mean += values[i] / count;
	}
	for (int i = 0; i < count; i++)
	{
		double		d = values[i] - mean;
		double		d2 = d * d;

		m2 += d2;
		m3 += d2 * d;
		m4 += d2 * d2;
	}
	moments_merge(column, count, mean, m2, m3, m4);
	for (int i = 0; i < count; i++)
	{
		if (values[i] < low)
		{
			pyn_extremes_add(&column->lowest, values[i]);
			low = column->lowest.limit;
		}
		if (-values[i] < high)
		{
			pyn_extremes_add(&column->highest, -values[i]);
			high = column->highest.limit;
		}
	}
}

static void
add_number_block(PynColumn *column, int rows, uint64 *hashes, uint64 *values)
{
	double		finite[PYN_BLOCK_ROWS];
	int			count = 0;
	int			present = 0;
	int			zeros = 0;
	int			negatives = 0;

	for (int i = 0; i < rows; i++)
	{
		double		value = column->block[i].number;
		uint64		bits = column->block[i].hash;

		if (likely((bits & INFINITE_BITS) != INFINITE_BITS))
		{
			finite[count++] = value;
			zeros += value == 0;
			negatives += value < 0;
		}
		else if (bits == PYN_NULL_BITS)
		{
			column->nulls++;
			continue;
		}
		else if (bits == INFINITE_BITS)
			column->positive_infinities++;
		else if (bits == (INFINITE_BITS | UINT64CONST(0x8000000000000000)))
			column->negative_infinities++;
		else
			column->nans++;
		values[present++] = bits;
	}
	column->zeros += zeros;
	column->negatives += negatives;
	if (count > 0)
		add_numbers(column, finite, count);
	for (int i = 0; i < present; i++)
	{
		uint64		hash = pyn_hash_u64(values[i], 0);

		hashes[i] = hash | (hash == 0);
	}
	pyn_distinct_add(&column->distinct, hashes, present);
	pyn_heavy_hitters_add_many(&column->hitters, hashes, values, present);
}

static void
add_text_block(PynColumn *column, int rows, uint64 *hashes, uint64 *values)
{
	double		lengths[PYN_BLOCK_ROWS];
	int			present = 0;

	for (int i = 0; i < rows; i++)
	{
		if (column->block[i].hash == 0)
		{
			column->nulls++;
			continue;
		}
		column->empties += column->lengths[i] == 0;
		lengths[present] = column->lengths[i];
		hashes[present] = column->block[i].hash;
		values[present] = 0;
		present++;
	}
	if (present > 0)
		add_numbers(column, lengths, present);
	pyn_distinct_add(&column->distinct, hashes, present);
	pyn_heavy_hitters_add_many(&column->hitters, hashes, values, present);
}

/*
 * pyn_column_add_block counts the rows that wait in the column's block.  `hashes` and `values` are scratch space for
 * PYN_BLOCK_ROWS each.
 */
void
pyn_column_add_block(PynColumn *column, int rows, uint64 *hashes, uint64 *values)
{
	if (pyn_kind_is_text(column->kind))
		add_text_block(column, rows, hashes, values);
	else
		add_number_block(column, rows, hashes, values);
}

/*
 * pyn_column_merge adds another settled column of the same name and kind.
 */
void
pyn_column_merge(PynColumn *into, PynColumn *from)
{
	into->is_key |= from->is_key;	/* whichever of the two comes first */
	into->nulls += from->nulls;
	into->zeros += from->zeros;
	into->negatives += from->negatives;
	into->nans += from->nans;
	into->positive_infinities += from->positive_infinities;
	into->negative_infinities += from->negative_infinities;
	into->empties += from->empties;
	into->minimum = Min(into->minimum, from->minimum);
	into->maximum = Max(into->maximum, from->maximum);
	moments_merge(into, from->count, from->mean, from->m2, from->m3, from->m4);
	extremes_merge(&into->lowest, &from->lowest);
	extremes_merge(&into->highest, &from->highest);
	pyn_distinct_merge(&into->distinct, &from->distinct);
	pyn_heavy_hitters_merge(&into->hitters, &from->hitters);
}
