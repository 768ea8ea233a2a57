/*
 * histogram.c
 *		A column's histogram: bins of equal width from its minimum to its maximum.
 *
 * Their number is by the rule of Freedman and Diaconis ("On the histogram as a density estimator: L2 theory", 1981), a
 * width of 2 IQR n^(-1/3), where the quartiles differ.  Where they do not, by Sturges' ("The choice of a class interval",
 * 1926), 1 + log2 n bins.  n is the number of values that the histogram is made of: those in the sample.
 */
#include "kernel/port.h"

#include <math.h>

#include "data_profiling/data_profiling.h"

static int
bin_count(double range, double quartile_range, double n, bool *is_sturges)
{
	double		bins;

	*is_sturges = !(quartile_range > 0);
	if (*is_sturges)
		bins = ceil(log2(n)) + 1;
	else
		bins = ceil(range / (2 * quartile_range) * cbrt(n));
	return (int) Max(1.0, Min(bins, (double) PYN_HISTOGRAM_BINS));
}

/* Which bin a value belongs to; arithmetic proposes, the edges decide. */
static int
find_bin(const PynHistogram *histogram, double value)
{
	double		minimum = histogram->edges[0];
	double		half_range = histogram->edges[histogram->bins] / 2 - minimum / 2;
	int			bin = (int) ((value / 2 - minimum / 2) / half_range * histogram->bins);

	bin = Max(0, Min(bin, histogram->bins - 1));
	while (bin > 0 && value < histogram->edges[bin])
		bin--;
	while (bin < histogram->bins - 1 && value >= histogram->edges[bin + 1])
		bin++;
	return bin;
}

/*
 * pyn_histogram fills the histogram of a column with at least one finite value.  Counts of the sample are scaled up to
 * all finite values, so that they add up to their number.
 */
void
pyn_histogram(const PynColumn *column, const PynSampledValues *sample, double quartile_range, PynHistogram *histogram)
{
	double		minimum = column->minimum;
	double		maximum = column->maximum;
	int64		sampled[PYN_HISTOGRAM_BINS] = {0};
	double		below = 0;
	int64		last = 0;

	histogram->bins = 0;
	if (sample->total == 0)
		return;
	histogram->is_exact = sample->total == column->count;
	histogram->bins = bin_count(maximum - minimum, quartile_range, (double) sample->total, &histogram->is_sturges);
	if (minimum == maximum)
		histogram->bins = 1;

	/* Weighted, since the range of numbers near the largest is no number. */
	for (int i = 0; i <= histogram->bins; i++)
	{
		double		share = (double) i / histogram->bins;

		histogram->edges[i] = minimum * (1 - share) + maximum * share;
	}
	histogram->edges[0] = minimum;
	histogram->edges[histogram->bins] = maximum;

	for (int i = 0; i < sample->count; i++)
		sampled[histogram->bins == 1 ? 0 : find_bin(histogram, sample->values[i])] += sample->weights[i];
	for (int i = 0; i < histogram->bins; i++)
	{
		int64		up_to = last + sampled[i];

		below += (double) sampled[i];
		if (!histogram->is_exact)
			up_to = (int64) rint(below / (double) sample->total * (double) column->count);
		histogram->counts[i] = up_to - last;
		last = up_to;
	}
}
