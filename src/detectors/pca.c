/*
 * pca.c
 *		Principal components: Shyu, Chen, Sarinnapakorn and Chang, "A Novel Anomaly Detection Scheme Based on Principal
 *		Component Classifier", ICDM Foundations and New Directions of Data Mining Workshop 2003.
 *
 * With y_k a row's coordinates along the eigenvectors of the covariance and λ_k its eigenvalues, there are two raw scores.
 *
 *	weighted		the root of Σ y_k² / √λ_k over all components.  Shyu et al. divide by λ_k, which makes the sum Mahalanobis's
 *					distance and lets the noise of the least components speak as loud as all others; what PyOD computes
 *					comes to dividing by nothing, where the largest drown the rest.  This stands between the two.
 *	reconstruction	the distance to the plane of the major components: those that explain half of the variance, as Shyu et
 *					al. take them, or as many as `components` says.
 *
 * Features are on the scale with logarithmic tails (scaling.c), so that a few extreme values do not direct the components.  Up to
 * 512 features all components are found, and kept with 8 d² bytes, 2 MB at most; past that at most 128 as ellipsoid.c says, and the
 * rest of the row counts as a component of the mean variance left.
 */
#include "kernel/port.h"

#include <math.h>

#include "detectors/ellipsoid.h"

#define MAJOR_SHARE 0.5			/* of the variance */
#define LEAST_RATIO 1e-6		/* of an eigenvalue to the mean one */
#define NO_PART 1e300			/* a length that makes a direction count for nothing */

enum
{
	SETTING_SCORE,
	SETTING_COMPONENTS,
	SETTING_COUNT
};

enum
{
	SCORE_WEIGHTED,
	SCORE_RECONSTRUCTION
};

static const PynParameter parameters[SETTING_COUNT] = {
	{.name = "score",.initial = SCORE_WEIGHTED,.minimum = SCORE_WEIGHTED,.maximum = SCORE_RECONSTRUCTION,.kind = PYN_PARAMETER_CHOICE,
	.choices = "weighted, reconstruction",
	.description = "all components, each against its variance, or the distance to the plane of the major ones"},
	{.name = "components",.initial = 0,.minimum = 0,.maximum = PYN_MAX_FEATURES,
	.description = "major components of the reconstruction; 0: those that explain half of the variance"},
};

/* How many components are major: not all, or nothing would be left. */
static int
count_major(const PynEllipsoid *directions, double trace, int wanted)
{
	double		explained = 0;
	int			count = 0;

	while (count < directions->rank && (wanted > 0 ? count < wanted : explained < MAJOR_SHARE * trace))
		explained += directions->values[count++];
	return Min(count, directions->features - 1);
}

static void
pca_fit(const PynTraining *training, const PynPlan *plan, PynWriter *writer)
{
	int			features = training->features;
	double	   *rows = pyn_new(double, (Size) training->rows * features);
	double	   *weights = pyn_new(double, training->rows);
	PynScaling	scaling;
	PynEllipsoid directions;
	double		trace;
	double		least;

	pyn_scaling_fit(training, NULL, PYN_SCALE_TAILS, &scaling);
	pyn_scale_training(&scaling, training, rows);
	for (int row = 0; row < training->rows; row++)
		weights[row] = (double) training->weights[row];
	trace = pyn_ellipsoid_fit_directions(&directions, rows, training->rows, features, weights, training->seed);
	least = trace > 0 ? LEAST_RATIO * trace / features : 1.0;
	if ((int) plan->settings[SETTING_SCORE] == SCORE_RECONSTRUCTION)
	{
		directions.rank = count_major(&directions, trace, (int) plan->settings[SETTING_COMPONENTS]);
		for (int i = 0; i < directions.rank; i++)
			directions.values[i] = NO_PART;
		directions.rest = 1.0;
	}
	else
	{
		for (int i = 0; i < directions.rank; i++)
			directions.values[i] = sqrt(Max(directions.values[i], least));
		directions.rest = directions.rank < features ? sqrt(Max(directions.rest, least)) : NO_PART;
	}
	pyn_ellipsoid_set_precision(&directions);
	pyn_scaling_write(&scaling, writer);
	pyn_ellipsoid_write(&directions, writer);
	pyn_ellipsoid_free(&directions);
	pfree(rows);
	pfree(weights);
}

const PynDetector pyn_pca = {
	.name = "pca",
	.description = "distance along all principal components, or from the plane of the major ones; columns that go together",
	.source = "Shyu, Chen, Sarinnapakorn and Chang: A novel anomaly detection scheme based on principal component classifier. 2003",
	.parameter_count = SETTING_COUNT,
	.parameters = parameters,
	.fit = pca_fit,
	.open = pyn_scaled_ellipsoid_open,
	.score_row = pyn_scaled_ellipsoid_score_row,
	.score_block = pyn_scaled_ellipsoid_score_block,
	.contribute = pyn_scaled_ellipsoid_contribute,
};
