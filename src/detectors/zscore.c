/*
 * zscore.c
 *		The standard score: how many standard deviations a value lies from its feature's mean (|x - mean| / s).
 *
 * The oldest rule there is, kept for those who know their data to be normal; where there are many odd rows they inflate the
 * deviation that they are measured by (masking), which mad.c and gesd.c are made against.  s is the root of the mean square
 * of the weighted training rows.
 */
#include "kernel/port.h"
#include "detectors/fences.h"
#include "detectors/scaling.h"

static const PynParameter parameters[] = {
	PYN_COMBINE_PARAMETER,
};

static void
zscore_fit(const PynTraining *training, const PynPlan *plan, PynWriter *writer)
{
	PynScaling	scaling;

	pyn_scaling_fit(training, NULL, PYN_SCALE_STANDARD, &scaling);
	pyn_fences_begin(writer, (PynCombination) plan->settings[0]);
	for (int feature = 0; feature < training->features; feature++)
	{
		PynFence	fence = {
			scaling.centres[feature], scaling.centres[feature], scaling.factors[feature], scaling.factors[feature]
		};

		pyn_fence_write(writer, &fence);
	}
	pfree(scaling.centres);
	pfree(scaling.factors);
}

const PynDetector pyn_zscore = {
	.name = "zscore",
	.description = "standard deviations from the mean, the most of any column; for columns that are normal and have few odd values",
	.source = "Shewhart: Economic Control of Quality of Manufactured Product. 1931",
	.parameter_count = lengthof(parameters),
	.parameters = parameters,
	.fit = zscore_fit,
	.open = pyn_fences_open,
	.score_row = pyn_fences_score_row,
	.score_block = pyn_fences_score_block,
	.contribute = pyn_fences_contribute,
};
