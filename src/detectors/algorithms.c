/*
 * algorithms.c
 *		The detectors that there are, by name.
 */
#include "kernel/port.h"
#include "detectors/detector.h"

const PynDetector *const pyn_detectors[] = {
	&pyn_auto,
	&pyn_isolation_forest,
	&pyn_ecod,
	&pyn_knn,
	&pyn_lof,
	&pyn_inne,
	&pyn_cblof,
	&pyn_cleaned_neighbours,
	&pyn_ensemble,
	&pyn_copod,
	&pyn_zscore,
	&pyn_mad,
	&pyn_iqr,
	&pyn_mahalanobis,
	&pyn_gesd,
	&pyn_hbos,
	&pyn_mcd,
	&pyn_pca,
	&pyn_loda,
	&pyn_ocsvm,
};

const int	pyn_detector_count = lengthof(pyn_detectors);

const PynDetector *
pyn_find_detector(const char *name)
{
	for (int i = 0; i < pyn_detector_count; i++)
		if (strcmp(pyn_detectors[i]->name, name) == 0)
			return pyn_detectors[i];
	return NULL;
}

/*
 * pyn_score_training gives the raw scores of the training rows.
 */
void
pyn_score_training(const PynDetector *detector, const void *state, const PynTraining *training, double *scores)
{
	for (int start = 0; start < training->rows; start += PYN_SCORE_BLOCK)
	{
		CHECK_FOR_INTERRUPTS();
		detector->score_block(state, training->values + start, training->rows,
							  Min(PYN_SCORE_BLOCK, training->rows - start), scores + start);
	}
}

/*
 * pyn_plan_defaults makes the plan that of a detector with the initial value of each parameter.
 */
void
pyn_plan_defaults(PynPlan *plan, const PynDetector *detector)
{
	memset(plan, 0, sizeof(*plan));
	plan->detector = detector;
	plan->weight = 1.0;
	for (int i = 0; i < detector->parameter_count; i++)
		plan->settings[i] = detector->parameters[i].initial;
}

bool
pyn_plan_learns(const PynPlan *plan)
{
	for (int i = 0; i < plan->member_count; i++)
		if (pyn_plan_learns(&plan->members[i]))
			return true;
	return plan->detector->learns;
}
