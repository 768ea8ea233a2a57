/*
 * expectation.c
 *		What a series of earlier measurements leads to expect of the next one.
 *
 * The series is short (3 to 30 numbers), may hold outliers, which are what is looked for, and may grow.  So it is
 * summed up by order statistics that up to a fourth of bad numbers cannot move far:
 *
 * - The centre is the median, and the spread the median absolute deviation from it, times 1.4826 so that it estimates
 *   the standard deviation of normal numbers (Hampel 1974; Rousseeuw and Croux 1993).
 * - If the numbers have a trend, the centre is its continuation: the trend is Theil's line, whose slope is the median
 *   of the slopes between all pairs (Theil 1950; Sen 1968), and the spread that of the distances to it.  Three
 *   numbers rise or fall by chance too often, so a trend is believed only where Mann's test of Kendall's S, with the
 *   correction for continuity, rejects chance at 1 % (Mann 1945; Kendall 1975), which takes at least 6 numbers.  Who
 *   checks again before new data have come must not be told that they are too few, so what is expected reaches from
 *   where the numbers were of late (the median of the last three) to where the trend leads.
 *
 * A number is not surprising within 5 spreads.  The deviation of a few numbers is often far too small, so that with
 * fewer than 10 it must also be farther away than twice the whole range of them.  Simulated with 200,000 series of
 * normal numbers, the share of false alarms is then 6.5 % with 3 numbers, 2.4 % with 4, 0.9 % with 5, at most 1 %
 * with more, and 0.05 % with 30; the checks' own tolerances make it smaller.
 */
#include "kernel/port.h"

#include <math.h>

#include "data_quality/data_quality.h"

#define NORMAL_DEVIATION 1.4826 /* 1 / the normal distribution's upper quartile */
#define SURPRISE 5.0			/* spreads */
#define FEW 10					/* numbers whose deviation alone is not trusted */
#define FEW_RANGES 2.0
#define OF_LATE 3				/* numbers that tell where a trend has come to */
#define TREND_Z 2.5758			/* of the normal distribution, two-sided at 1 % */

static int
compare_numbers(const void *a, const void *b)
{
	double		x = *(const double *) a;
	double		y = *(const double *) b;

	return (x > y) - (x < y);
}

/*
 * pyn_quality_median gives the median of numbers, none NaN, and leaves them sorted; NaN when there is none.
 */
double
pyn_quality_median(double *values, int count)
{
	if (count == 0)
		return pyn_nan();
	qsort(values, count, sizeof(double), compare_numbers);
	if (count % 2 == 1)
		return values[count / 2];
	return values[count / 2 - 1] / 2 + values[count / 2] / 2;
}

/* Mann's test: is the order of the numbers one that chance does not make? */
static bool
has_trend(const double *values, int count)
{
	double		variance = count * (count - 1.0) * (2.0 * count + 5.0) / 18.0;
	int			s = 0;

	for (int i = 0; i < count; i++)
		for (int j = i + 1; j < count; j++)
			s += (values[j] > values[i]) - (values[j] < values[i]);
	return (abs(s) - 1) / sqrt(variance) > TREND_Z;
}

/* Theil's slope, per step of the series. */
static double
slope_of(const double *values, int count)
{
	double		slopes[PYN_QUALITY_HISTORY * (PYN_QUALITY_HISTORY - 1) / 2];
	int			n = 0;

	for (int i = 0; i < count; i++)
		for (int j = i + 1; j < count; j++)
			slopes[n++] = (values[j] - values[i]) / (j - i);
	return pyn_quality_median(slopes, n);
}

/*
 * pyn_quality_expect sums up at most PYN_QUALITY_HISTORY finite numbers, the oldest first; false when they are too
 * few to expect anything.
 */
bool
pyn_quality_expect(const double *values, int count, bool may_have_trend, PynExpectation *expectation)
{
	double		rest[PYN_QUALITY_HISTORY];
	double		late[OF_LATE];
	double		slope = 0;
	double		level;
	double		range;

	memset(expectation, 0, sizeof(*expectation));
	expectation->count = count;
	if (count < PYN_QUALITY_HISTORY_NEEDED)
		return false;
	expectation->has_trend = may_have_trend && has_trend(values, count);
	if (expectation->has_trend)
		slope = slope_of(values, count);

	for (int i = 0; i < count; i++)
		rest[i] = values[i] - slope * i;
	level = pyn_quality_median(rest, count);
	range = rest[count - 1] - rest[0];	/* sorted by now */
	for (int i = 0; i < count; i++)
		rest[i] = fabs(rest[i] - level);
	expectation->low = expectation->high = level + slope * count;
	if (expectation->has_trend)
	{
		memcpy(late, &values[count - OF_LATE], sizeof(late));
		level = pyn_quality_median(late, OF_LATE);
		expectation->low = Min(expectation->low, level);
		expectation->high = Max(expectation->high, level);
	}
	expectation->tolerance = SURPRISE * NORMAL_DEVIATION * pyn_quality_median(rest, count);
	if (count < FEW)
		expectation->tolerance = Max(expectation->tolerance, FEW_RANGES * range);
	return true;
}
