/*
 * lof.c
 *		Local outlier factor: Breunig, Kriegel, Ng and Sander, "LOF: Identifying Density-Based Local Outliers", SIGMOD 2000.
 *
 * A row is odd when it lies less densely than its neighbours do, however densely that is.  With d_k(p) the distance from
 * p to its k-th nearest neighbour, the reachability distance of x from p is max(d_k(p), d(x, p)); the local reachability
 * density of x is one over the mean of these over its k neighbours, and the factor is the neighbours' mean density over
 * that of x: about 1 inside of a cluster, more outside.
 *
 * Neighbours are training rows; a training row is not its own neighbour, so it gets the factor that it has in the paper, and
 * a new row that of a novelty.  As scikit-learn does, 1e-10 is added to the mean reachability distance, which is zero among
 * more than k equal rows.  Of a set of equally distant k-th neighbours the paper takes all, others and we take k.
 *
 * Size of a model: 20 + 8 × features bytes for each different row, at most 34 MB (1.7 MB for 20,000 rows of 8 features).
 * While it is fitted the neighbours of each take 16 × k bytes.
 */
#include "kernel/port.h"

#include <math.h>

#include "detectors/neighbours.h"

#define LEAST_REACHABILITY 1e-10
#define MOST_DISTANCE 1e110		/* more than any between scaled rows */

enum
{
	SETTING_K,
	SETTING_MAX_REFERENCES,
	SETTING_SCALE,
	SETTING_COUNT
};

static const PynParameter parameters[SETTING_COUNT] = {
	{.name = "k",.initial = 20,.minimum = 1,.maximum = PYN_MAX_NEIGHBOURS,.description = "number of neighbours"},
	{.name = "max_references",.initial = 20000,.minimum = 2,.maximum = PYN_MAX_POINTS,
	.description = "training rows that are kept as neighbours"},
	PYN_SCALE_PARAMETER(PYN_CHOOSE_STANDARD),
};

typedef struct Lof
{
	int			k;
	PynScaling	scaling;
	PynNeighbourIndex *index;
	double	   *reaches;		/* per point: the distance to its k-th neighbour */
	double	   *densities;		/* and its local reachability density */
} Lof;

/* One over the mean reachability distance of a row from its neighbours, of which there is at least one. */
static double
local_density(const double *reaches, const PynNeighbour *found, int count)
{
	double		sum = 0;
	int			copies = 0;

	for (int i = 0; i < count; i++)
	{
		double		distance = sqrt(found[i].square);

		sum += found[i].copies * Max(reaches[found[i].point], distance);
		copies += found[i].copies;
	}
	return 1.0 / (sum / copies + LEAST_REACHABILITY);
}

/* ---------------------------------------------------------------- fit */

/* The neighbours of all points are found once and kept, since a density needs the reach of each neighbour. */
static void
measure_points(const PynPoints *points, int k, double *reaches, double *densities)
{
	PynNeighbourIndex *index = pyn_neighbours_build(points);
	int			most = (int) Min(points->total - 1, (int64) k);
	PynNeighbour *found = pyn_new(PynNeighbour, (Size) points->count * most + 2);
	int		   *counts = pyn_new(int, points->count);
	PynNeighbour few[PYN_MAX_NEIGHBOURS + 2];

	for (int i = 0; i < points->count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		counts[i] = pyn_neighbours_find_others(index, points->values + (Size) i * points->features, k, few);
		reaches[i] = counts[i] > 0 ? sqrt(few[counts[i] - 1].square) : 0.0;
		memcpy(found + (Size) i * most, few, sizeof(PynNeighbour) * counts[i]);
	}
	for (int i = 0; i < points->count; i++)
		densities[i] = counts[i] > 0 ? local_density(reaches, found + (Size) i * most, counts[i]) : 1.0;
	pfree(found);
	pfree(counts);
}

static void
lof_fit(const PynTraining *training, const PynPlan *plan, PynWriter *writer)
{
	int			k = (int) plan->settings[SETTING_K];
	PynScaling	scaling;
	PynPoints	points;
	double	   *reaches;
	double	   *densities;

	pyn_scaling_fit(training, NULL, pyn_chosen_scale(plan->settings[SETTING_SCALE]), &scaling);
	pyn_points_draw(training, &scaling, pyn_points_limit((int) plan->settings[SETTING_MAX_REFERENCES], training->features),
					training->seed, &points);
	reaches = pyn_new(double, points.count);
	densities = pyn_new(double, points.count);
	measure_points(&points, k, reaches, densities);

	pyn_write_u16(writer, (uint16) k);
	pyn_scaling_write(&scaling, writer);
	pyn_points_write(&points, writer);
	for (int i = 0; i < points.count; i++)
	{
		pyn_write_f64(writer, reaches[i]);
		pyn_write_f64(writer, densities[i]);
	}
	pfree(points.values);
	pfree(points.copies);
	pfree(reaches);
	pfree(densities);
}

/* ---------------------------------------------------------------- open */

static const char *
lof_open(PynReader *reader, int features, void **state)
{
	Lof		   *lof = palloc0(sizeof(Lof));
	const char *problem;
	PynPoints	points;

	lof->k = pyn_read_u16(reader);
	if (lof->k < 1 || lof->k > PYN_MAX_NEIGHBOURS)
		return "its number of neighbours is impossible";
	if ((problem = pyn_scaling_read(reader, features, &lof->scaling)) != NULL ||
		(problem = pyn_points_read(reader, features, &points)) != NULL)
		return problem;
	if (!pyn_reader_has(reader, points.count, 2 * sizeof(double)))
		return "the densities are cut off";
	lof->reaches = pyn_new(double, points.count);
	lof->densities = pyn_new(double, points.count);
	for (int i = 0; i < points.count; i++)
	{
		lof->reaches[i] = pyn_read_f64(reader);
		lof->densities[i] = pyn_read_f64(reader);
		if (!(lof->reaches[i] >= 0 && lof->reaches[i] <= MOST_DISTANCE) ||
			!(lof->densities[i] >= 1 / MOST_DISTANCE && lof->densities[i] <= 1 / LEAST_REACHABILITY))
			return "a density is impossible";
	}
	lof->index = pyn_neighbours_build(&points);
	pfree(points.values);
	pfree(points.copies);
	*state = lof;
	return NULL;
}

/* ---------------------------------------------------------------- score */

/* Finds the neighbours of a row, values[feature * stride]; `scaled` gets it on the common scale. */
static int
find_neighbours(const Lof *lof, const double *values, int stride, double *scaled, PynNeighbour *found)
{
	for (int feature = 0; feature < lof->scaling.features; feature++)
		scaled[feature] = pyn_scaled(&lof->scaling, feature, values[(Size) feature * stride]);
	return pyn_neighbours_find_others(lof->index, scaled, lof->k, found);
}

static double
factor(const Lof *lof, const PynNeighbour *found, int count)
{
	double		sum = 0;
	int			copies = 0;

	if (count == 0)
		return 1.0;				/* the only row there is */
	for (int i = 0; i < count; i++)
	{
		sum += found[i].copies * lof->densities[found[i].point];
		copies += found[i].copies;
	}
	return sum / copies / local_density(lof->reaches, found, count);
}

static void
lof_score_block(const void *state, const double *values, int stride, int rows, double *scores)
{
	const Lof  *lof = state;
	double	   *scaled = pyn_new(double, lof->scaling.features);
	PynNeighbour found[PYN_MAX_NEIGHBOURS + 2];

	for (int row = 0; row < rows; row++)
	{
		if (row % 64 == 0)
			CHECK_FOR_INTERRUPTS();
		scores[row] = factor(lof, found, find_neighbours(lof, values + row, stride, scaled, found));
	}
	pfree(scaled);
}

static double
lof_score_row(const void *state, const double *row)
{
	double		score;

	lof_score_block(state, row, 1, 1, &score);
	return score;
}

/* A feature's part is its share of the squared distances to the neighbours. */
static void
lof_contribute(const void *state, const double *row, double *contributions)
{
	const Lof  *lof = state;
	double	   *scaled = pyn_new(double, lof->scaling.features);
	PynNeighbour found[PYN_MAX_NEIGHBOURS + 2];
	int			count = find_neighbours(lof, row, 1, scaled, found);

	memset(contributions, 0, sizeof(double) * lof->scaling.features);
	pyn_neighbours_shares(lof->index, scaled, found, count, contributions);
	pfree(scaled);
}

const PynDetector pyn_lof = {
	.name = "lof",
	.description = "local outlier factor: rows that lie less densely than their neighbours, where clusters differ in density",
	.source = "Breunig, Kriegel, Ng and Sander: LOF. SIGMOD 2000",
	.parameter_count = SETTING_COUNT,
	.parameters = parameters,
	.fit = lof_fit,
	.open = lof_open,
	.score_row = lof_score_row,
	.score_block = lof_score_block,
	.contribute = lof_contribute,
};
