/*
 * mad.c
 *		The modified z-score: Iglewicz and Hoaglin, "How to Detect and Handle Outliers", ASQC 1993.
 *
 * Median and MAD, the median of the absolute deviations from it, take the places of mean and standard deviation: up to half
 * of the rows may be odd without moving either much.  The score is 0.6745 |x - median| / MAD, on the scale of a z-score for
 * normal data; the authors call values past 3.5 outliers.  Where the MAD is 0, since more than half of the rows are equal,
 * it is |x - median| / (1.253314 × mean absolute deviation), as they propose.
 */
#include "kernel/port.h"

#include <math.h>

#include "detectors/fences.h"
#include "detectors/marginal.h"

#define NORMAL_MAD 0.6745		/* MAD of the standard normal distribution, to the authors' digits */
#define NORMAL_MEAN_DEVIATION 1.253314	/* one by its mean absolute deviation, sqrt(pi / 2) */

static const PynParameter parameters[] = {
	PYN_COMBINE_PARAMETER,
};

/* Turns a sorted marginal's values into their absolute deviations from the median, in units, and sorts these. */
static void
make_deviations(PynMarginal *marginal, double median)
{
	for (int i = 0; i < marginal->count; i++)
		marginal->values[i].value = fabs(marginal->values[i].value / marginal->unit - median / marginal->unit);
	pyn_weighted_sort(marginal->values, marginal->count);
}

static double
mean_of(const PynMarginal *marginal)
{
	double		mean = 0;

	for (int i = 0; i < marginal->count; i++)
		mean += marginal->values[i].value * (marginal->values[i].weight / marginal->total);
	return mean;
}

static void
mad_fit(const PynTraining *training, const PynPlan *plan, PynWriter *writer)
{
	PynMarginal marginal;

	pyn_marginal_init(&marginal, training->rows);
	pyn_fences_begin(writer, (PynCombination) plan->settings[0]);
	for (int feature = 0; feature < training->features; feature++)
	{
		PynFence	fence = {0};

		CHECK_FOR_INTERRUPTS();
		pyn_marginal_sort(&marginal, training, feature);
		if (marginal.count > 0)
		{
			double		median = pyn_marginal_quantile(&marginal, 0.5);
			double		mad;

			make_deviations(&marginal, median);
			mad = pyn_marginal_quantile(&marginal, 0.5);
			fence.low = fence.high = median;
			fence.below = fence.above =
				(mad > 0 ? NORMAL_MAD / mad : 1.0 / (NORMAL_MEAN_DEVIATION * mean_of(&marginal))) / marginal.unit;
		}
		pyn_fence_write(writer, &fence);
	}
	pfree(marginal.values);
}

const PynDetector pyn_mad = {
	.name = "mad",
	.description = "median absolute deviations from the median, the most of any column; like zscore, but many odd rows do not hide each other",
	.source = "Iglewicz and Hoaglin: How to Detect and Handle Outliers. ASQC 1993",
	.parameter_count = lengthof(parameters),
	.parameters = parameters,
	.fit = mad_fit,
	.open = pyn_fences_open,
	.score_row = pyn_fences_score_row,
	.score_block = pyn_fences_score_block,
	.contribute = pyn_fences_contribute,
};
