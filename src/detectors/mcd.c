/*
 * mcd.c
 *		Minimum covariance determinant: Rousseeuw and Van Driessen, "A Fast Algorithm for the Minimum Covariance Determinant
 *		Estimator", Technometrics 1999.
 *
 * Centre and covariance are those of the half of the rows whose covariance has the smallest determinant: up to half of the
 * rows may be anomalies without drawing them to themselves.  The half is sought by concentration steps, each of which fits
 * to the rows nearest to the fit before, from 500 random starts of features + 1 rows and one of all rows.  Of more than 600 rows
 * up to five subsets of 300 (5 rows a feature, if that is more) try the starts; the ten best of each go on with the subsets
 * merged, and the best of those with all rows.  Then the fit is made consistent for normal rows (the median distance is what
 * chi square says) and fitted once more to the rows within chi square's 97.5 %, as scikit-learn's MinCovDet does.
 *
 * Limits.  MOST_WORK bounds the multiplications of the first stage, so with many features there are fewer starts, at least
 * two.  With less than FEW_ROWS rows a feature the covariances are shrunk as Ledoit and Wolf estimate it; past 512 features,
 * where ellipsoid.c keeps only leading directions, the one start is that from all rows.  The model is as large as mahalanobis's.
 */
#include "kernel/port.h"

#include <math.h>

#include "detectors/ellipsoid.h"
#include "kernel/hash.h"
#include "numeric/matrix.h"

#define STARTS 500
#define SUBSETS 5
#define SUBSET_ROWS 300
#define FEW_ROWS 5				/* rows a feature below which covariances are shrunk */
#define BEST 10					/* starts that go on */
#define FIRST_STEPS 2
#define MOST_STEPS 30
#define MOST_WORK 3e9
#define MANY_NUMBERS 100000		/* rows × features from which only one start goes on with all rows */
#define CONSTANT 20.0			/* -ln of the variance that a constant feature is taken to have had */
#define REWEIGHTED_SHARE 0.975

enum
{
	SETTING_SUPPORT_FRACTION,
	SETTING_COUNT
};

static const PynParameter parameters[SETTING_COUNT] = {
	{.name = "support_fraction",.initial = 0,.minimum = 0,.maximum = 1,.kind = PYN_PARAMETER_NUMBER,
	.description = "share of the rows that the covariance is sought from; 0: just over a half"},
};

/* Some rows, and what concentration steps on them need. */
typedef struct Rows
{
	int			count;
	int			features;
	const double *values;		/* values[row * features + feature], scaled */
	const double *weights;
	double		total;
	double		share;			/* of the weight that a step keeps */
	double		shrinkage;
	uint64		seed;
	double	   *kept;			/* the weights of those kept, 0 of others */
	double	   *squares;
	PynWeighted *order;
	double	   *work;
} Rows;

/* A fit and how good it is. */
typedef struct Candidate
{
	PynEllipsoid ellipsoid;
	double		determinant;	/* its logarithm */
	bool		there;
} Candidate;

static void
prepare_rows(Rows *rows, const Rows *like, int count, const double *values, const double *weights)
{
	*rows = *like;
	rows->count = count;
	rows->values = values;
	rows->weights = weights;
	rows->total = 0;
	for (int row = 0; row < count; row++)
		rows->total += weights[row];
	rows->kept = pyn_new(double, count);
	rows->squares = pyn_new(double, count);
	rows->order = pyn_new(PynWeighted, count);
	rows->work = pyn_new(double, rows->features);
}

static void
free_rows(Rows *rows)
{
	pfree(rows->kept);
	pfree(rows->squares);
	pfree(rows->order);
	pfree(rows->work);
}

/* Keeps the rows nearest to the fit. */
static void
keep_nearest(Rows *rows, const PynEllipsoid *ellipsoid)
{
	double		farthest;

	for (int row = 0; row < rows->count; row++)
	{
		if (row % 256 == 0)
			CHECK_FOR_INTERRUPTS();
		rows->squares[row] = pyn_squared_distance(ellipsoid, rows->values + (Size) row * rows->features, rows->work);
		rows->order[row].value = rows->squares[row];
		rows->order[row].weight = rows->weights[row];
	}
	pyn_weighted_sort(rows->order, rows->count);
	farthest = pyn_weighted_quantile(rows->order, rows->count, rows->total, rows->share - 0.5 / rows->total);
	for (int row = 0; row < rows->count; row++)
		rows->kept[row] = rows->squares[row] <= farthest ? rows->weights[row] : 0.0;
}

/* Fits to the rows that are kept. */
static void
fit_kept(Rows *rows, Candidate *candidate)
{
	if (candidate->there)
		pyn_ellipsoid_free(&candidate->ellipsoid);
	pyn_ellipsoid_fit(&candidate->ellipsoid, rows->values, rows->count, rows->features, rows->kept, rows->shrinkage, rows->seed);
	candidate->there = true;

	/* Where features do not vary the determinant is 0: next to nothing, but still to be compared. */
	candidate->determinant = candidate->ellipsoid.factor == NULL ? 0.0 :
		pyn_log_determinant(candidate->ellipsoid.factor, rows->features) - CONSTANT * candidate->ellipsoid.constant;
}

/* Concentration steps until the determinant no longer falls, at most so many. */
static void
concentrate(Rows *rows, Candidate *candidate, int steps)
{
	for (int step = 0; step < steps; step++)
	{
		double		before = candidate->determinant;

		keep_nearest(rows, &candidate->ellipsoid);
		fit_kept(rows, candidate);
		/* The first step's fit is to other rows than the determinant before it may have been of. */
		if (step > 0 && candidate->ellipsoid.factor != NULL && !(candidate->determinant < before - 1e-12))
			break;
	}
}

/* Keeps features + 1 random rows, by weight; those that stand for many rows may come more than once. */
static void
keep_random(Rows *rows, PynRandom *random)
{
	memset(rows->kept, 0, sizeof(double) * rows->count);
	for (int i = 0; i <= rows->features; i++)
	{
		double		place = pyn_random_double(random) * rows->total;
		int			row = 0;

		while (row < rows->count - 1 && place >= rows->weights[row])
			place -= rows->weights[row++];
		rows->kept[row] += 1.0;
	}
}

/* Puts a candidate among the best, which are in order, and takes its memory; or frees it. */
static void
add_candidate(Candidate *best, int most, Candidate candidate)
{
	int			place = most;

	while (place > 0 && (!best[place - 1].there || candidate.determinant < best[place - 1].determinant))
		place--;
	if (place == most)
	{
		pyn_ellipsoid_free(&candidate.ellipsoid);
		return;
	}
	if (best[most - 1].there)
		pyn_ellipsoid_free(&best[most - 1].ellipsoid);
	memmove(best + place + 1, best + place, sizeof(Candidate) * (most - 1 - place));
	best[place] = candidate;
}

/* Tries random starts, and that from all rows. */
static void
try_starts(Rows *rows, int starts, PynRandom *random, Candidate *best)
{
	for (int start = 0; start < starts; start++)
	{
		Candidate	candidate = {0};

		if (start == 0)
			memcpy(rows->kept, rows->weights, sizeof(double) * rows->count);
		else
			keep_random(rows, random);
		fit_kept(rows, &candidate);
		concentrate(rows, &candidate, FIRST_STEPS);
		add_candidate(best, BEST, candidate);
	}
}

/* Goes on with candidates until they are settled; *result is the best. */
static void
settle(Rows *rows, Candidate *candidates, int count, Candidate *results, int most)
{
	memset(results, 0, sizeof(Candidate) * most);
	for (int i = 0; i < count; i++)
	{
		if (!candidates[i].there)
			continue;
		concentrate(rows, &candidates[i], MOST_STEPS);
		add_candidate(results, most, candidates[i]);
	}
}

/* The order in which rows are dealt to subsets. */
static int *
shuffle(int count, PynRandom *random)
{
	int		   *order = pyn_new(int, count);

	for (int i = 0; i < count; i++)
		order[i] = i;
	for (int i = count - 1; i > 0; i--)
	{
		int			j = (int) pyn_random_below(random, (uint32) i + 1);
		int			swap = order[i];

		order[i] = order[j];
		order[j] = swap;
	}
	return order;
}

/* Starts in subsets, goes on in their union, and gives the best few of that. */
static void
search_subsets(const Rows *all, int size, int subsets, PynRandom *random, Candidate *results, int most)
{
	int			features = all->features;
	int		   *order = shuffle(all->count, random);
	double	   *values = pyn_new(double, (Size) subsets * size * features);
	double	   *weights = pyn_new(double, (Size) subsets * size);
	Candidate	candidates[SUBSETS * BEST] = {0};
	double		step_work = 2.0 * size * features * features;
	int			starts = (int) Max(2.0, Min((double) STARTS, MOST_WORK / (FIRST_STEPS + 1) / step_work) / subsets);
	Rows		rows;

	for (int i = 0; i < subsets * size; i++)
	{
		memcpy(values + (Size) i * features, all->values + (Size) order[i] * features, sizeof(double) * features);
		weights[i] = all->weights[order[i]];
	}
	for (int subset = 0; subset < subsets; subset++)
	{
		prepare_rows(&rows, all, size, values + (Size) subset * size * features, weights + (Size) subset * size);
		try_starts(&rows, starts, random, candidates + subset * BEST);
		free_rows(&rows);
	}
	prepare_rows(&rows, all, subsets * size, values, weights);
	settle(&rows, candidates, subsets * BEST, results, most);
	free_rows(&rows);
	pfree(order);
	pfree(values);
	pfree(weights);
}

/* The raw estimate: the smallest determinant found. */
static Candidate
search(Rows *rows, PynRandom *random)
{
	int			size = Max(SUBSET_ROWS, FEW_ROWS * rows->features);
	int			subsets = Min(SUBSETS, rows->count / size);
	Candidate	best[BEST] = {0};
	Candidate	result;
	int			most = (double) rows->count * rows->features > MANY_NUMBERS ? 1 : BEST;

	if (rows->features > PYN_MOST_DENSE)
	{
		Candidate	candidate = {0};

		memcpy(rows->kept, rows->weights, sizeof(double) * rows->count);
		fit_kept(rows, &candidate);
		concentrate(rows, &candidate, FIRST_STEPS);
		return candidate;
	}
	if (subsets >= 2)
		search_subsets(rows, size, subsets, random, best, most);
	else
	{
		double		work = 2.0 * rows->count * rows->features * rows->features;

		try_starts(rows, (int) Max(2.0, Min((double) STARTS, MOST_WORK / (FIRST_STEPS + 1) / work)), random, best);
	}
	settle(rows, best, BEST, &result, 1);
	return result;
}

/* Fits to the rows that are not too far for normal ones. */
static void
reweight(Rows *rows, Candidate *candidate)
{
	double		median;
	double		limit = pyn_chi_square_quantile(REWEIGHTED_SHARE, rows->features);

	keep_nearest(rows, &candidate->ellipsoid);
	median = pyn_weighted_quantile(rows->order, rows->count, rows->total, 0.5);
	limit *= median / pyn_chi_square_quantile(0.5, rows->features);
	for (int row = 0; row < rows->count; row++)
		rows->kept[row] = rows->squares[row] <= limit ? rows->weights[row] : 0.0;
	fit_kept(rows, candidate);
}

static void
mcd_fit(const PynTraining *training, const PynPlan *plan, PynWriter *writer)
{
	int			features = training->features;
	double		total = (double) training->total_weight;
	double	   *values = pyn_new(double, (Size) training->rows * features);
	double	   *weights = pyn_new(double, training->rows);
	PynRandom	random = {pyn_hash_u64(0x3CD, training->seed)};
	PynScaling	scaling;
	Rows		rows;
	Rows		like = {.features = features,.seed = training->seed};
	Candidate	result;

	pyn_scaling_fit(training, NULL, PYN_SCALE_STANDARD, &scaling);
	pyn_scale_training(&scaling, training, values);
	for (int row = 0; row < training->rows; row++)
		weights[row] = (double) training->weights[row];
	like.share = Min(1.0, Max(plan->settings[SETTING_SUPPORT_FRACTION], (double) (int64) (0.5 * (total + features + 2)) / total));
	like.shrinkage = training->rows < FEW_ROWS * features ? PYN_ESTIMATE_SHRINKAGE : 0.0;
	prepare_rows(&rows, &like, training->rows, values, weights);
	result = search(&rows, &random);
	reweight(&rows, &result);
	pyn_scaling_write(&scaling, writer);
	pyn_ellipsoid_write(&result.ellipsoid, writer);
	pyn_ellipsoid_free(&result.ellipsoid);
	free_rows(&rows);
	pfree(values);
	pfree(weights);
}

const PynDetector pyn_mcd = {
	.name = "mcd",
	.description = "as mahalanobis, from the half of the rows that lies closest together; up to half may be anomalies",
	.source = "Rousseeuw and Van Driessen: A fast algorithm for the minimum covariance determinant estimator. Technometrics 1999",
	.parameter_count = SETTING_COUNT,
	.parameters = parameters,
	.fit = mcd_fit,
	.open = pyn_scaled_ellipsoid_open,
	.score_row = pyn_scaled_ellipsoid_score_row,
	.score_block = pyn_scaled_ellipsoid_score_block,
	.contribute = pyn_scaled_ellipsoid_contribute,
};
