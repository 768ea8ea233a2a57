/*
 * knn.c
 *		Distance to the nearest neighbours: Ramaswamy, Rastogi and Shim, "Efficient Algorithms for Mining Outliers from Large
 *		Data Sets", SIGMOD 2000 (the k-th distance); Angiulli and Pizzuti, "Fast Outlier Detection in High Dimensional
 *		Spaces", PKDD 2002 (the mean of the k).
 *
 * A row is odd when its neighbours are far away.  Neighbours are looked for among the training rows ("sample"), or among
 * each of several small random subsets of them ("subsets"), over which the distance is averaged: Wu and Jermaine, "Outlier
 * detection by sampling with accuracy guarantees", KDD 2006; Sugiyama and Borgwardt, "Rapid distance-based outlier
 * detection via sampling", NIPS 2013; Pang, Ting and Albrecht, "LeSiNN", ICDM workshops 2015.  Subsets are faster, and odd
 * rows that lie together hide each other less, since few of them come into one subset; so they are what is done unless told.
 *
 * Features are put on one scale first.  A training row does not count as its own neighbour (leave-one-out).
 *
 * Size of a model: a sample takes 4 + 8 × features bytes for each different row, at most 32 MB (1.4 MB for 20,000 rows of
 * 8 features); subsets take 4 bytes a number, at most 16 MB (66 kB for 32 subsets of 64 rows of 8 features).  Opened it
 * takes twice as much.
 */
#include "kernel/port.h"

#include <math.h>

#include "detectors/neighbours.h"

#define MAX_SUBSETS 256
#define MOST_NUMBERS (4 * 1024 * 1024)	/* of all subsets */

enum
{
	SETTING_K,
	SETTING_METHOD,
	SETTING_REFERENCES,
	SETTING_SUBSETS,
	SETTING_SUBSET_SIZE,
	SETTING_MAX_REFERENCES,
	SETTING_SCALE,
	SETTING_COUNT
};

enum
{
	REFERENCES_SAMPLE,
	REFERENCES_SUBSETS
};

static const PynParameter parameters[SETTING_COUNT] = {
	{.name = "k",.initial = 5,.minimum = 1,.maximum = PYN_MAX_NEIGHBOURS,.description = "number of neighbours"},
	{.name = "method",.maximum = PYN_NEAREST_MEDIAN,.kind = PYN_PARAMETER_CHOICE,.choices = "largest, mean, median",
	.description = "of the distances to the k nearest: the largest, the mean or the median"},
	{.name = "references",.initial = REFERENCES_SUBSETS,.maximum = REFERENCES_SUBSETS,.kind = PYN_PARAMETER_CHOICE,.choices = "sample, subsets",
	.description = "neighbours are training rows, or rows of each of many small random subsets"},
	{.name = "subsets",.initial = 32,.minimum = 1,.maximum = MAX_SUBSETS,.description = "number of subsets"},
	{.name = "subset_size",.initial = 64,.minimum = 2,.maximum = PYN_MAX_SET_SIZE,.description = "rows of a subset"},
	{.name = "max_references",.initial = 20000,.minimum = 2,.maximum = PYN_MAX_POINTS,
	.description = "training rows that are kept as neighbours"},
	PYN_SCALE_PARAMETER(PYN_CHOOSE_ROBUST),
};

typedef struct Knn
{
	int			k;
	PynNearest	method;
	PynScaling	scaling;
	PynNeighbourIndex *index;	/* of a sample */
	PynReferenceSets sets;		/* of subsets */
} Knn;

/* ---------------------------------------------------------------- fit */

static void
write_subsets(const PynTraining *training, const PynScaling *scaling, int subsets, int size, PynWriter *writer)
{
	int			features = training->features;
	PynPool		pool;
	int		   *drawn;
	float	   *references;
	float	   *next;

	pyn_pool_init(&pool, training, NULL, training->rows);
	size = (int) Min(pool.total, (int64) Max(2, Min(size, MOST_NUMBERS / features)));
	subsets = size == pool.total ? 1 : Max(1, Min(subsets, MOST_NUMBERS / features / size));
	drawn = pyn_new(int, size);
	next = references = pyn_new(float, (Size) subsets * size * features);
	for (int subset = 0; subset < subsets; subset++)
	{
		/* Each subset has random numbers of its own, so that it does not depend on how many there are. */
		PynRandom	random = {pyn_hash_u64(subset, training->seed)};

		CHECK_FOR_INTERRUPTS();
		pyn_pool_draw(&pool, size, &random, drawn);
		for (int i = 0; i < size; i++)
			for (int feature = 0; feature < features; feature++)
				*next++ = pyn_scaled_float(scaling, feature, training->values[(Size) feature * training->rows + drawn[i]]);
	}
	pyn_reference_sets_write(references, subsets, size, features, writer);
	pfree(pool.cumulative);
	pfree(drawn);
	pfree(references);
}

static void
knn_fit(const PynTraining *training, const PynPlan *plan, PynWriter *writer)
{
	const double *settings = plan->settings;
	int			references = (int) settings[SETTING_REFERENCES];
	PynScaling	scaling;
	PynPoints	points;

	pyn_scaling_fit(training, NULL, pyn_chosen_scale(settings[SETTING_SCALE]), &scaling);
	pyn_write_u16(writer, (uint16) settings[SETTING_K]);
	pyn_write_u8(writer, (uint8) settings[SETTING_METHOD]);
	pyn_write_u8(writer, (uint8) references);
	pyn_scaling_write(&scaling, writer);
	if (references == REFERENCES_SUBSETS)
	{
		write_subsets(training, &scaling, (int) settings[SETTING_SUBSETS], (int) settings[SETTING_SUBSET_SIZE], writer);
		return;
	}
	pyn_points_draw(training, &scaling, pyn_points_limit((int) settings[SETTING_MAX_REFERENCES], training->features),
					training->seed, &points);
	pyn_points_write(&points, writer);
	pfree(points.values);
	pfree(points.copies);
}

/* ---------------------------------------------------------------- open */

static const char *
knn_open(PynReader *reader, int features, void **state)
{
	Knn		   *knn = palloc0(sizeof(Knn));
	uint8		method;
	uint8		references;
	const char *problem;
	PynPoints	points;

	knn->k = pyn_read_u16(reader);
	method = pyn_read_u8(reader);
	references = pyn_read_u8(reader);
	if (knn->k < 1 || knn->k > PYN_MAX_NEIGHBOURS || method > PYN_NEAREST_MEDIAN || references > REFERENCES_SUBSETS)
		return "its settings are impossible";
	knn->method = (PynNearest) method;
	if ((problem = pyn_scaling_read(reader, features, &knn->scaling)) != NULL)
		return problem;
	*state = knn;
	if (references == REFERENCES_SUBSETS)
		return pyn_reference_sets_read(reader, features, &knn->sets);
	if ((problem = pyn_points_read(reader, features, &points)) != NULL)
		return problem;
	knn->index = pyn_neighbours_build(&points);
	pfree(points.values);
	pfree(points.copies);
	return NULL;
}

/* ---------------------------------------------------------------- score */

/* The distance at a rank, 0 the nearest. */
static double
distance_at(const PynNeighbour *found, int rank)
{
	for (; rank >= found->copies; found++)
		rank -= found->copies;
	return sqrt(found->square);
}

/* One number of the distances to the neighbours found. */
static double
summarise(PynNearest method, const PynNeighbour *found, int count)
{
	double		sum = 0;
	int			copies = 0;

	if (count == 0)
		return 0.0;
	for (int i = 0; i < count; i++)
	{
		copies += found[i].copies;
		if (method == PYN_NEAREST_MEAN)
			sum += found[i].copies * sqrt(found[i].square);
	}
	switch (method)
	{
		case PYN_NEAREST_MEAN:
			return sum / copies;
		case PYN_NEAREST_MEDIAN:
			return 0.5 * (distance_at(found, (copies - 1) / 2) + distance_at(found, copies / 2));
		default:
			return sqrt(found[count - 1].square);
	}
}

/* By the sample; `scaled` is the row on the common scale. */
static double
score_by_sample(const Knn *knn, const double *scaled)
{
	PynNeighbour found[PYN_MAX_NEIGHBOURS + 2];

	return summarise(knn->method, found, pyn_neighbours_find_others(knn->index, scaled, knn->k, found));
}

/* The mean over the subsets. */
static double
average(const Knn *knn, const float *distances, int stride)
{
	double		sum = 0;

	for (int set = 0; set < knn->sets.sets; set++)
		sum += distances[(Size) set * stride];
	return sum / knn->sets.sets;
}

static double
knn_score_row(const void *state, const double *row)
{
	const Knn  *knn = state;
	int			features = knn->scaling.features;
	double		score;

	if (knn->index != NULL)
	{
		double	   *scaled = pyn_new(double, features);

		for (int feature = 0; feature < features; feature++)
			scaled[feature] = pyn_scaled(&knn->scaling, feature, row[feature]);
		score = score_by_sample(knn, scaled);
		pfree(scaled);
	}
	else
	{
		float	   *scaled = pyn_new(float, features);
		float		distances[PYN_MAX_SETS];

		pyn_scale_row(&knn->scaling, row, scaled);
		pyn_reference_row(&knn->sets, scaled, knn->k, knn->method, distances);
		score = average(knn, distances, 1);
		pfree(scaled);
	}
	return score;
}

static void
knn_score_block(const void *state, const double *values, int stride, int rows, double *scores)
{
	const Knn  *knn = state;
	int			features = knn->scaling.features;

	if (knn->index != NULL)
	{
		double	   *scaled = pyn_new(double, features);

		for (int row = 0; row < rows; row++)
		{
			if (row % 64 == 0)
				CHECK_FOR_INTERRUPTS();
			for (int feature = 0; feature < features; feature++)
				scaled[feature] = pyn_scaled(&knn->scaling, feature, values[(Size) feature * stride + row]);
			scores[row] = score_by_sample(knn, scaled);
		}
		pfree(scaled);
	}
	else
	{
		int			lanes = (rows + PYN_LANES - 1) / PYN_LANES * PYN_LANES;
		float	   *scaled = pyn_new(float, (Size) lanes * features);
		float	   *distances = pyn_new(float, (Size) lanes * knn->sets.sets);

		pyn_scale_block(&knn->scaling, values, stride, rows, scaled, lanes);
		pyn_reference_block(&knn->sets, scaled, lanes, rows, knn->k, knn->method, distances);
		for (int row = 0; row < rows; row++)
			scores[row] = average(knn, distances + row, lanes);
		pfree(scaled);
		pfree(distances);
	}
}

/* A feature's part is its share of the squared distances to the neighbours. */
static void
knn_contribute(const void *state, const double *row, double *contributions)
{
	const Knn  *knn = state;
	int			features = knn->scaling.features;

	memset(contributions, 0, sizeof(double) * features);
	if (knn->index != NULL)
	{
		PynNeighbour found[PYN_MAX_NEIGHBOURS + 2];
		double	   *scaled = pyn_new(double, features);
		int			count;

		for (int feature = 0; feature < features; feature++)
			scaled[feature] = pyn_scaled(&knn->scaling, feature, row[feature]);
		count = pyn_neighbours_find_others(knn->index, scaled, knn->k, found);
		pyn_neighbours_shares(knn->index, scaled, found, count, contributions);
		pfree(scaled);
	}
	else
	{
		float	   *scaled = pyn_new(float, features);

		pyn_scale_row(&knn->scaling, row, scaled);
		pyn_reference_shares(&knn->sets, scaled, knn->k, contributions);
		pfree(scaled);
	}
}

const PynDetector pyn_knn = {
	.name = "knn",
	.description = "distance to the k nearest neighbours; columns together, scaled; rows far from all others",
	.source = "Ramaswamy, Rastogi and Shim. SIGMOD 2000; Angiulli and Pizzuti. PKDD 2002; Wu and Jermaine. KDD 2006",
	.parameter_count = SETTING_COUNT,
	.parameters = parameters,
	.fit = knn_fit,
	.open = knn_open,
	.score_row = knn_score_row,
	.score_block = knn_score_block,
	.contribute = knn_contribute,
};
