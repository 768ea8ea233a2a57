/*
 * cblof.c
 *		Cluster-based local outlier factor: He, Xu and Deng, "Discovering cluster-based local outliers", Pattern Recognition
 *		Letters 2003; unweighted as Amer and Goldstein 2012 found better.
 *
 * Rows are clustered; the clusters are large or small: with sizes sorted falling, the first b are large where together they
 * hold the share alpha of all rows and the last of them is beta times as large as the next one, or, where no b meets both, where it
 * meets the first, else the second.  A row's score is its distance to the centre of its cluster, or of the nearest large
 * one if its own is small; weighted by its cluster's size where that is asked for.
 *
 * Clusters are those of k-means: Lloyd's iterations (1982) from centres drawn by k-means++ (Arthur and Vassilvitskii,
 * SODA 2007), the best of several starts.  They are found on at most 10,000 rows, and their sizes counted over all.
 *
 * Size of a model: 8 × (features + 1) + 1 bytes a cluster, and the scaling's 16 × features.
 */
#include "kernel/port.h"

#include <math.h>

#include "detectors/reference_sets.h"

#define MAX_CLUSTERS 256
#define STARTS 10
#define MOST_ITERATIONS 100
#define MOST_ROWS 10000
#define MOST_NUMBERS (2 * 1024 * 1024)	/* of the rows that are clustered */

enum
{
	SETTING_CLUSTERS,
	SETTING_ALPHA,
	SETTING_BETA,
	SETTING_USE_WEIGHTS,
	SETTING_SCALE,
	SETTING_COUNT
};

static const PynParameter parameters[SETTING_COUNT] = {
	{.name = "n_clusters",.initial = 8,.minimum = 1,.maximum = MAX_CLUSTERS,.description = "number of clusters"},
	{.name = "alpha",.initial = 0.9,.minimum = 0.5,.maximum = 1,.kind = PYN_PARAMETER_NUMBER,
	.description = "large clusters hold this share of the rows"},
	{.name = "beta",.initial = 5,.minimum = 1,.maximum = 1e6,.kind = PYN_PARAMETER_NUMBER,
	.description = "and are so many times as large as small ones"},
	{.name = "use_weights",.kind = PYN_PARAMETER_CHOICE,.choices = "no, yes",.maximum = 1,
	.description = "whether distances are multiplied by the size of the row's cluster"},
	PYN_SCALE_PARAMETER(PYN_CHOOSE_ROBUST),
};

typedef struct Cblof
{
	int			clusters;
	bool		use_weights;
	PynScaling	scaling;
	double	   *centres;		/* row-major, the largest cluster first */
	double	   *sizes;			/* share of all rows */
	int			large;			/* so many are */
} Cblof;

static double
square_between(const double *a, const double *b, int features)
{
	double		sum = 0;

	for (int feature = 0; feature < features; feature++)
		sum += (a[feature] - b[feature]) * (a[feature] - b[feature]);
	return sum;
}

/* The nearest of some centres, the first of equally near ones. */
static int
nearest_centre(const double *centres, int count, int features, const double *row, double *square)
{
	int			nearest = 0;

	*square = INFINITY;
	for (int i = 0; i < count; i++)
	{
		double		here = square_between(centres + (Size) i * features, row, features);

		if (here < *square)
		{
			*square = here;
			nearest = i;
		}
	}
	return nearest;
}

/* ---------------------------------------------------------------- k-means */

/* The rows that are clustered; a row drawn twice is there twice. */
typedef struct Clustering
{
	int			rows;
	int			features;
	int			wanted;
	const double *values;		/* row-major, scaled */
	int			count;			/* clusters found */
	double	   *centres;
	double	   *sums;
	int		   *members;		/* number of rows of each cluster */
	double	   *squares;		/* of each row to its centre */
	PynRandom	random;
} Clustering;

/* The sum of squared distances if a row became a centre, too. */
static double
total_with(const Clustering *clustering, int row)
{
	int			features = clustering->features;
	const double *centre = clustering->values + (Size) row * features;
	double		total = 0;

	for (int i = 0; i < clustering->rows; i++)
	{
		double		square = square_between(clustering->values + (Size) i * features, centre, features);

		total += Min(square, clustering->squares[i]);
	}
	return total;
}

/* A row drawn with a probability in proportion to its squared distance to the centres so far; -1 when all are zero. */
static int
draw_row(Clustering *clustering, double total)
{
	double		draw = pyn_random_double(&clustering->random) * total;
	int			row = -1;

	for (int i = 0; i < clustering->rows && draw >= 0; i++)
	{
		if (clustering->squares[i] == 0)
			continue;
		draw -= clustering->squares[i];
		row = i;
	}
	return row;
}

/*
 * Draws centres by the greedy form of k-means++: each next one is the best of a few rows drawn in proportion to their
 * squared distances to those before.
 */
static void
draw_centres(Clustering *clustering)
{
	int			features = clustering->features;
	int			trials = 2 + (int) pyn_log(clustering->wanted);
	int			row = (int) pyn_random_below(&clustering->random, (uint32) clustering->rows);

	for (int i = 0; i < clustering->rows; i++)
		clustering->squares[i] = INFINITY;
	for (clustering->count = 0;;)
	{
		double	   *centre = clustering->centres + (Size) clustering->count * features;
		double		total = 0;
		double		best = INFINITY;

		memcpy(centre, clustering->values + (Size) row * features, sizeof(double) * features);
		if (++clustering->count == clustering->wanted)
			return;
		for (int i = 0; i < clustering->rows; i++)
		{
			double		square = square_between(clustering->values + (Size) i * features, centre, features);

			clustering->squares[i] = Min(clustering->squares[i], square);
			total += clustering->squares[i];
		}
		if (!(total > 0))
			return;				/* every row is a centre already */
		for (int trial = 0; trial < trials; trial++)
		{
			int			candidate = draw_row(clustering, total);
			double		with;

			CHECK_FOR_INTERRUPTS();
			with = total_with(clustering, candidate);
			if (with < best)
			{
				best = with;
				row = candidate;
			}
		}
	}
}

/* A centre that has lost its rows goes to the row farthest from its own centre. */
static void
move_empty_centre(Clustering *clustering, int empty)
{
	int			farthest = 0;

	for (int i = 1; i < clustering->rows; i++)
		if (clustering->squares[i] > clustering->squares[farthest])
			farthest = i;
	memcpy(clustering->centres + (Size) empty * clustering->features, clustering->values + (Size) farthest * clustering->features,
		   sizeof(double) * clustering->features);
	clustering->squares[farthest] = 0;
}

/* Assigns all rows and moves the centres to their means, until the sum of squares falls no more; returns it. */
static double
iterate(Clustering *clustering)
{
	int			features = clustering->features;
	double		before = INFINITY;

	for (int iteration = 0;; iteration++)
	{
		double		total = 0;

		memset(clustering->sums, 0, sizeof(double) * clustering->count * features);
		memset(clustering->members, 0, sizeof(int) * clustering->count);
		for (int i = 0; i < clustering->rows; i++)
		{
			const double *row = clustering->values + (Size) i * features;
			int			nearest;

			if (i % 256 == 0)
				CHECK_FOR_INTERRUPTS();
			nearest = nearest_centre(clustering->centres, clustering->count, features, row, &clustering->squares[i]);
			total += clustering->squares[i];
			clustering->members[nearest]++;
			for (int feature = 0; feature < features; feature++)
				clustering->sums[(Size) nearest * features + feature] += row[feature];
		}
		if (!(total < before * (1 - 1e-9)) || iteration == MOST_ITERATIONS)
			return total;
		before = total;
		for (int i = 0; i < clustering->count; i++)
		{
			if (clustering->members[i] == 0)
				move_empty_centre(clustering, i);
			else
				for (int feature = 0; feature < features; feature++)
					clustering->centres[(Size) i * features + feature] =
						clustering->sums[(Size) i * features + feature] / clustering->members[i];
		}
	}
}

/* Clusters rows drawn from the training data; returns the number of centres. */
static int
find_centres(const PynTraining *training, const PynScaling *scaling, int wanted, double *centres)
{
	int			features = training->features;
	PynPool		pool;
	int			count;
	int		   *drawn;
	double	   *values;
	double		best = INFINITY;
	int			best_count = 0;
	Clustering	clustering = {.features = features,.wanted = wanted,.random = {pyn_hash_u64(0, training->seed)}};

	pyn_pool_init(&pool, training, NULL, training->rows);
	count = (int) Min(pool.total, Max(Min(MOST_ROWS, MOST_NUMBERS / features), 2 * wanted));
	drawn = pyn_new(int, count);
	values = pyn_new(double, (Size) count * features);
	pyn_pool_draw(&pool, count, &clustering.random, drawn);
	for (int i = 0; i < count; i++)
		for (int feature = 0; feature < features; feature++)
			values[(Size) i * features + feature] =
				pyn_scaled(scaling, feature, training->values[(Size) feature * training->rows + drawn[i]]);
	clustering.rows = count;
	clustering.values = values;
	clustering.centres = pyn_new(double, (Size) wanted * features);
	clustering.sums = pyn_new(double, (Size) wanted * features);
	clustering.members = pyn_new(int, wanted);
	clustering.squares = pyn_new(double, count);
	for (int start = 0; start < STARTS; start++)
	{
		double		total;

		clustering.random.state = pyn_hash_u64(start + 1, training->seed);
		draw_centres(&clustering);
		total = iterate(&clustering);
		if (total < best)
		{
			best = total;
			best_count = clustering.count;
			memcpy(centres, clustering.centres, sizeof(double) * best_count * features);
		}
	}
	pfree(pool.cumulative);
	pfree(drawn);
	pfree(values);
	pfree(clustering.centres);
	pfree(clustering.sums);
	pfree(clustering.members);
	pfree(clustering.squares);
	return best_count;
}

/* ---------------------------------------------------------------- fit */

/* How many of the clusters, by falling size, are large; sizes are shares of all rows. */
static int
count_large(const double *sizes, int count, double alpha, double beta)
{
	double		sum = 0;
	int			by_alpha = 0;
	int			by_beta = 0;

	for (int large = 1; large < count; large++)
	{
		bool		enough = (sum += sizes[large - 1]) >= alpha - 1e-12;
		bool		far_larger = sizes[large - 1] >= beta * sizes[large];

		if (enough && far_larger)
			return large;
		if (enough && by_alpha == 0)
			by_alpha = large;
		if (far_larger && by_beta == 0)
			by_beta = large;
	}
	return by_alpha > 0 ? by_alpha : by_beta > 0 ? by_beta : count;
}

/* Counts the training rows of each cluster and writes them, the largest first: u16 clusters, then f64 size and centre. */
static void
write_clusters(const PynTraining *training, const PynScaling *scaling, const double *centres, int count, const double *settings,
			   PynWriter *writer)
{
	int			features = training->features;
	double	   *row = pyn_new(double, features);
	double		sizes[MAX_CLUSTERS] = {0};
	double		sorted[MAX_CLUSTERS];
	int			order[MAX_CLUSTERS];
	double		square;

	for (int i = 0; i < training->rows; i++)
	{
		if (i % 256 == 0)
			CHECK_FOR_INTERRUPTS();
		for (int feature = 0; feature < features; feature++)
			row[feature] = pyn_scaled(scaling, feature, training->values[(Size) feature * training->rows + i]);
		sizes[nearest_centre(centres, count, features, row, &square)] += (double) training->weights[i];
	}
	for (int i = 0; i < count; i++)
	{
		int			place = i;

		for (; place > 0 && sizes[order[place - 1]] < sizes[i]; place--)
			order[place] = order[place - 1];
		order[place] = i;
	}
	for (int i = 0; i < count; i++)
		sorted[i] = sizes[order[i]] / (double) training->total_weight;
	pyn_write_u16(writer, (uint16) count);
	pyn_write_u16(writer, (uint16) count_large(sorted, count, settings[SETTING_ALPHA], settings[SETTING_BETA]));
	for (int i = 0; i < count; i++)
	{
		pyn_write_f64(writer, sorted[i]);
		for (int feature = 0; feature < features; feature++)
		{
			double		centre = centres[(Size) order[i] * features + feature];

			/* A mean of values that are all cut may lie past the cut by rounding. */
			pyn_write_f64(writer, Max(Min(centre, PYN_MOST_SCALED), -PYN_MOST_SCALED));
		}
	}
	pfree(row);
}

static void
cblof_fit(const PynTraining *training, const PynPlan *plan, PynWriter *writer)
{
	const double *settings = plan->settings;
	int			wanted = (int) settings[SETTING_CLUSTERS];
	double	   *centres = pyn_new(double, (Size) wanted * training->features);
	PynScaling	scaling;
	int			count;

	pyn_scaling_fit(training, NULL, pyn_chosen_scale(settings[SETTING_SCALE]), &scaling);
	count = find_centres(training, &scaling, wanted, centres);
	pyn_write_u8(writer, (uint8) settings[SETTING_USE_WEIGHTS]);
	pyn_scaling_write(&scaling, writer);
	write_clusters(training, &scaling, centres, count, settings, writer);
	pfree(centres);
}

/* ---------------------------------------------------------------- open */

static const char *
cblof_open(PynReader *reader, int features, void **state)
{
	Cblof	   *cblof = palloc0(sizeof(Cblof));
	uint8		use_weights = pyn_read_u8(reader);
	const char *problem;

	if (use_weights > 1)
		return "its settings are impossible";
	cblof->use_weights = use_weights;
	if ((problem = pyn_scaling_read(reader, features, &cblof->scaling)) != NULL)
		return problem;
	cblof->clusters = pyn_read_u16(reader);
	cblof->large = pyn_read_u16(reader);
	if (cblof->clusters < 1 || cblof->clusters > MAX_CLUSTERS || cblof->large < 1 || cblof->large > cblof->clusters ||
		!pyn_reader_has(reader, (Size) cblof->clusters * (features + 1), sizeof(double)))
		return "the clusters are cut off";
	cblof->sizes = pyn_new(double, cblof->clusters);
	cblof->centres = pyn_new(double, (Size) cblof->clusters * features);
	for (int i = 0; i < cblof->clusters; i++)
	{
		cblof->sizes[i] = pyn_read_f64(reader);
		if (!(cblof->sizes[i] >= 0 && cblof->sizes[i] <= 1))
			return "a cluster has an impossible size";
		for (int feature = 0; feature < features; feature++)
		{
			double		value = pyn_read_f64(reader);

			if (!(fabs(value) <= PYN_MOST_SCALED))
				return "a centre is not finite";
			cblof->centres[(Size) i * features + feature] = value;
		}
	}
	*state = cblof;
	return NULL;
}

/* ---------------------------------------------------------------- score */

/* Scales a row, values[feature * stride], and finds its cluster and that from whose centre it is measured. */
static int
measure(const Cblof *cblof, const double *values, int stride, double *scaled, int *cluster, double *square)
{
	int			features = cblof->scaling.features;

	for (int feature = 0; feature < features; feature++)
		scaled[feature] = pyn_scaled(&cblof->scaling, feature, values[(Size) feature * stride]);
	*cluster = nearest_centre(cblof->centres, cblof->clusters, features, scaled, square);
	return *cluster < cblof->large ? *cluster : nearest_centre(cblof->centres, cblof->large, features, scaled, square);
}

static void
cblof_score_block(const void *state, const double *values, int stride, int rows, double *scores)
{
	const Cblof *cblof = state;
	double	   *scaled = pyn_new(double, cblof->scaling.features);

	for (int row = 0; row < rows; row++)
	{
		double		square;
		int			cluster;

		(void) measure(cblof, values + row, stride, scaled, &cluster, &square);
		scores[row] = sqrt(square) * (cblof->use_weights ? cblof->sizes[cluster] : 1.0);
	}
	pfree(scaled);
}

static double
cblof_score_row(const void *state, const double *row)
{
	double		score;

	cblof_score_block(state, row, 1, 1, &score);
	return score;
}

/* A feature's part is its squared difference from the centre. */
static void
cblof_contribute(const void *state, const double *row, double *contributions)
{
	const Cblof *cblof = state;
	int			features = cblof->scaling.features;
	double	   *scaled = pyn_new(double, features);
	double		square;
	int			cluster;
	const double *centre = cblof->centres + (Size) measure(cblof, row, 1, scaled, &cluster, &square) * features;

	for (int feature = 0; feature < features; feature++)
		contributions[feature] = square > 0 ? (scaled[feature] - centre[feature]) / square * (scaled[feature] - centre[feature]) : 0.0;
	pfree(scaled);
}

const PynDetector pyn_cblof = {
	.name = "cblof",
	.description = "distance to the centre of the nearest large cluster; ordinary rows form a few round clusters",
	.source = "He, Xu and Deng: CBLOF. Pattern Recognition Letters 2003",
	.parameter_count = SETTING_COUNT,
	.parameters = parameters,
	.fit = cblof_fit,
	.open = cblof_open,
	.score_row = cblof_score_row,
	.score_block = cblof_score_block,
	.contribute = cblof_contribute,
};
