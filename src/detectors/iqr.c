/*
 * iqr.c
 *		Fences: Tukey, "Exploratory Data Analysis", 1977.
 *
 * The score of a value is how far it lies outside its feature's quartiles, in interquartile ranges: Tukey's inner fences,
 * the whiskers of a box plot, are at 1.5 and his outer ones at 3.  Rows inside the box score 0.  Where the quartiles are
 * equal, since half of the rows or more are, 1.349 standard deviations take the range's place, which is what it would be
 * for normal data.
 */
#include "kernel/port.h"
#include "detectors/fences.h"
#include "detectors/marginal.h"

#define NORMAL_IQR 1.3489795003921634

static const PynParameter parameters[] = {
	PYN_COMBINE_PARAMETER,
};

static void
iqr_fit(const PynTraining *training, const PynPlan *plan, PynWriter *writer)
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
			PynMoments	moments;
			double		range;

			fence.low = pyn_marginal_quantile(&marginal, 0.25);
			fence.high = pyn_marginal_quantile(&marginal, 0.75);
			range = fence.high / marginal.unit - fence.low / marginal.unit;
			pyn_marginal_moments(&marginal, &moments);
			if (!(range > 0))
				range = NORMAL_IQR * moments.deviation;
			fence.below = fence.above = 1.0 / range / marginal.unit;
		}
		pyn_fence_write(writer, &fence);
	}
	pfree(marginal.values);
}

const PynDetector pyn_iqr = {
	.name = "iqr",
	.description = "interquartile ranges outside the quartiles, the most of any column: a box plot's fences are at 1.5 and 3",
	.source = "Tukey: Exploratory Data Analysis. 1977",
	.parameter_count = lengthof(parameters),
	.parameters = parameters,
	.fit = iqr_fit,
	.open = pyn_fences_open,
	.score_row = pyn_fences_score_row,
	.score_block = pyn_fences_score_block,
	.contribute = pyn_fences_contribute,
};
