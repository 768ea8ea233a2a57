/*
 * mahalanobis.c
 *		Distance from the middle of all rows in units of their covariance (Mahalanobis 1936), trimmed.
 *
 * A row is odd when it lies far out, or where columns that usually agree do not.  The raw score is the distance, the root of
 * (x - m)' S^-1 (x - m), on features scaled to standard deviation 1.
 *
 * Anomalies among the training rows draw the centre to themselves and inflate the covariance.  So each of `trimming` passes
 * leaves out the quarter of the rows that lies farthest and fits again, from all rows each time: concentration steps, as those of
 * mcd.c from random starts, from one start.  The covariance is shrunk as ellipsoid.c says, which bounds time and memory, too: the
 * model takes 4 d² + 36 d bytes for d features, at most 1.1 MB, past 512 features 2.4 MB.
 *
 * A missing value lies at its feature's mean.
 */
#include "kernel/port.h"

#include "detectors/ellipsoid.h"

#define KEPT 0.75				/* share of the weight that a pass keeps */

enum
{
	SETTING_TRIMMING,
	SETTING_SHRINKAGE,
	SETTING_COUNT
};

static const PynParameter parameters[SETTING_COUNT] = {
	{.name = "trimming",.initial = 3,.minimum = 0,.maximum = 20,
	.description = "passes that leave out the farthest quarter of the rows and fit again"},
	{.name = "shrinkage",.initial = PYN_ESTIMATE_SHRINKAGE,.minimum = -1,.maximum = 1,.kind = PYN_PARAMETER_NUMBER,
	.description = "of the covariance towards that of columns that vary alike, 0 to 1; -1: as Ledoit and Wolf estimate it"},
};

/* Gives weight to the nearest rows only, as many as make up the share that is kept. */
static void
trim(const PynTraining *training, const double *squares, double *weights)
{
	PynWeighted *distances = pyn_new(PynWeighted, training->rows);
	double		farthest;

	for (int row = 0; row < training->rows; row++)
	{
		distances[row].value = squares[row];
		distances[row].weight = (double) training->weights[row];
	}
	pyn_weighted_sort(distances, training->rows);
	farthest = pyn_weighted_quantile(distances, training->rows, (double) training->total_weight, KEPT);
	for (int row = 0; row < training->rows; row++)
		weights[row] = squares[row] <= farthest ? (double) training->weights[row] : 0.0;
	pfree(distances);
}

static void
mahalanobis_fit(const PynTraining *training, const PynPlan *plan, PynWriter *writer)
{
	int			features = training->features;
	int			passes = (int) plan->settings[SETTING_TRIMMING];
	double	   *rows = pyn_new(double, (Size) training->rows * features);
	double	   *weights = pyn_new(double, training->rows);
	double	   *squares = pyn_new(double, training->rows);
	double	   *work = pyn_new(double, features);
	PynScaling	scaling;
	PynEllipsoid ellipsoid;

	pyn_scaling_fit(training, NULL, PYN_SCALE_STANDARD, &scaling);
	pyn_scale_training(&scaling, training, rows);
	for (int row = 0; row < training->rows; row++)
		weights[row] = (double) training->weights[row];
	pyn_ellipsoid_fit(&ellipsoid, rows, training->rows, features, weights, plan->settings[SETTING_SHRINKAGE], training->seed);
	for (int pass = 0; pass < passes; pass++)
	{
		for (int row = 0; row < training->rows; row++)
		{
			CHECK_FOR_INTERRUPTS();
			squares[row] = pyn_squared_distance(&ellipsoid, rows + (Size) row * features, work);
		}
		trim(training, squares, weights);
		pyn_ellipsoid_free(&ellipsoid);
		pyn_ellipsoid_fit(&ellipsoid, rows, training->rows, features, weights, plan->settings[SETTING_SHRINKAGE], training->seed);
	}
	pyn_scaling_write(&scaling, writer);
	pyn_ellipsoid_write(&ellipsoid, writer);
	pyn_ellipsoid_free(&ellipsoid);
	pfree(rows);
	pfree(weights);
	pfree(squares);
	pfree(work);
}

const PynDetector pyn_mahalanobis = {
	.name = "mahalanobis",
	.description = "distance from the middle in units of the covariance; finds columns that disagree; very fast to score",
	.source = "Mahalanobis: On the generalised distance in statistics. 1936; Ledoit and Wolf: A well-conditioned estimator for "
	"large-dimensional covariance matrices. JMVA 2004",
	.parameter_count = SETTING_COUNT,
	.parameters = parameters,
	.fit = mahalanobis_fit,
	.open = pyn_scaled_ellipsoid_open,
	.score_row = pyn_scaled_ellipsoid_score_row,
	.score_block = pyn_scaled_ellipsoid_score_block,
	.contribute = pyn_scaled_ellipsoid_contribute,
};
