/*
 * forest_plain.c
 *		Trees that split one feature: Liu, Ting and Zhou, "Isolation Forest", ICDM 2008.
 *
 * A tree splits a subsample of rows by a random feature at a random place between its smallest and largest value there,
 * until each row is alone or the height limit ceil(log2 subsample) is reached.
 *
 * Layout.  Every tree becomes a complete binary tree of the height limit, 1-based in an array, so the walk is a fixed
 * number of identical steps i = 2i + (key >= threshold) without a branch to mispredict; a leaf above the bottom sends
 * its rows rightwards by a threshold that every key reaches.  A node is one 64-bit word: the feature below, the threshold
 * above.  A step waits for the loads of the step before, so a row walks LANES trees side by side; those trees' nodes are
 * interleaved, node i of each beside the others', so that one register addresses all.  Rows of a block go through one group
 * of trees after the other, which stays in the cache.  Path lengths are whole numbers of 2^-16, so their sum is the same in
 * any order: one row and a block give the same bits.
 *
 * Features are centred at their median and rounded to float4 before comparing; a missing value lies at the centre.
 */
#include "kernel/port.h"
#include "detectors/forest.h"
#include "numeric/math.h"

#define PATH_UNIT 65536.0		/* path lengths are stored in units of 2^-16 */
#define LANES PYN_FOREST_LANES
#define FEW_ROWS 48				/* fewer walk also where they need not */

struct PynPlainForest
{
	int			features;
	int			height;
	double		scale;			/* -1 / (trees × c(psi) × PATH_UNIT) */
	double	   *centres;
	int			groups;			/* of LANES trees; the last is filled up with trees whose paths are 0 */
	uint64	   *nodes;			/* per group 2^height × LANES words, the first LANES unused */
	uint32	   *paths;			/* per group 2^height × LANES leaves */
	uint16	   *expected;		/* as nodes, leaves after them: what rows of the sample still have to go there */
	PynBulkForest *bulk;		/* the same for many rows; NULL: they walk, too */
};

#define NODE(feature, threshold) ((uint64) (uint32) (threshold) << 32 | (uint32) (feature))

/* ---------------------------------------------------------------- grow */

/* What grows one tree. */
typedef struct Growth
{
	const PynTraining *training;
	int			height;
	uint32	   *rows;			/* the subsample, reordered as nodes split it */
	int		   *candidates;		/* features still to be tried at a node */
	PynRandom	random;
	PynWriter  *writer;
} Growth;

/* The key of a subsample's row.  Keys are made when they are looked at: a tree sees few of all. */
static inline int32
key_of(const Growth *growth, int place, int feature)
{
	const PynTraining *training = growth->training;
	double		value = training->values[(Size) feature * training->rows + growth->rows[place]];

	return pyn_order_key(value - training->centres[feature]);
}

/* Smallest and largest key of a feature among a node's rows. */
static void
key_range(const Growth *growth, int first, int count, int feature, int32 *low, int32 *high)
{
	*low = *high = key_of(growth, first, feature);
	for (int i = first + 1; i < first + count; i++)
	{
		int32		key = key_of(growth, i, feature);

		*low = Min(*low, key);
		*high = Max(*high, key);
	}
}

/* A random threshold above `low` and up to `high`, uniform between the two numbers. */
static int32
random_threshold(PynRandom *random, int32 low, int32 high)
{
	double		from = pyn_key_number(low);
	double		to = pyn_key_number(high);
	int32		key = pyn_order_key(from + pyn_random_double(random) * (to - from));

	return Max(low + 1, Min(high, key));
}

/*
 * Writes a node and what is below it, in preorder: a leaf as 0xFFFF and its rows, else the feature and the threshold.
 */
static void
grow(Growth *growth, int first, int count, int depth)
{
	int			left = growth->training->features;
	int			begin;
	int			end;
	int32		threshold;
	int			feature = -1;
	int32		low;
	int32		high;

	if (count > 1 && depth < growth->height)
	{
		/* Draw features without replacement until one is not constant here. */
		while (left > 0)
		{
			uint32		draw = pyn_random_below(&growth->random, left);
			int			candidate = growth->candidates[draw];

			CHECK_FOR_INTERRUPTS();
			growth->candidates[draw] = growth->candidates[--left];
			growth->candidates[left] = candidate;
			key_range(growth, first, count, candidate, &low, &high);
			if (low < high)
			{
				feature = candidate;
				break;
			}
		}
	}
	if (feature < 0)
	{
		pyn_write_u16(growth->writer, 0xFFFF);
		pyn_write_u16(growth->writer, (uint16) count);
		return;
	}
	threshold = random_threshold(&growth->random, low, high);
	pyn_write_u16(growth->writer, (uint16) feature);
	pyn_write_u32(growth->writer, (uint32) threshold);
	begin = first;
	end = first + count;
	while (begin < end)
	{
		if (key_of(growth, begin, feature) < threshold)
			begin++;
		else
		{
			uint32		row = growth->rows[begin];

			growth->rows[begin] = growth->rows[--end];
			growth->rows[end] = row;
		}
	}
	grow(growth, first, begin - first, depth + 1);
	grow(growth, begin, first + count - begin, depth + 1);
}

/*
 * pyn_plain_grow writes the centre of each feature, then the trees.
 */
void
pyn_plain_grow(const PynTraining *training, const PynForestShape *shape, PynWriter *writer)
{
	PynForestSampler sampler;
	Growth		growth = {.training = training, .height = pyn_forest_height(shape->sample_size), .writer = writer};

	for (int feature = 0; feature < training->features; feature++)
		pyn_write_f64(writer, training->centres[feature]);
	pyn_forest_sampler_init(&sampler, training, shape->sample_size);
	growth.rows = pyn_new(uint32, shape->sample_size);
	growth.candidates = pyn_new(int, training->features);
	for (int tree = 0; tree < shape->trees; tree++)
	{
		CHECK_FOR_INTERRUPTS();

		/* Each tree has random numbers of its own, so that a tree does not depend on those before it. */
		growth.random.state = pyn_hash_u64(tree, training->seed);
		pyn_forest_draw(&sampler, shape->sample_size, &growth.random, growth.rows);
		for (int feature = 0; feature < training->features; feature++)
			growth.candidates[feature] = feature;
		grow(&growth, 0, shape->sample_size, 0);
	}
	pyn_forest_sampler_free(&sampler);
	pfree(growth.rows);
	pfree(growth.candidates);
}

/* ---------------------------------------------------------------- open */

/* What reads one tree into the complete layout. */
typedef struct Reading
{
	PynReader  *reader;
	int			features;
	int			height;
	int			sample_size;
	const double *mean_paths;	/* c(n) for n up to sample_size */
	uint64	   *nodes;			/* of the tree's lane: every LANES-th word is its */
	uint32	   *paths;
	uint16	   *expected;
} Reading;

static const char *
read_node(Reading *reading, uint32 place, int depth, int *rows, double *path)
{
	uint16		feature = pyn_read_u16(reading->reader);
	int			left_rows;
	int			right_rows;
	double		left_path;
	double		right_path;
	const char *problem;

	if (reading->reader->failed)
		return "a tree is cut off";
	if (feature == 0xFFFF)
	{
		int			count = pyn_read_u16(reading->reader);
		uint32		leaf = place;

		if (count == 0 || count > reading->sample_size)
			return "a leaf has an impossible number of rows";
		*path = reading->mean_paths[count];
		for (int level = depth; level < reading->height; level++)
		{
			reading->nodes[leaf * LANES] = NODE(0, INT32_MIN);
			reading->expected[leaf * LANES] = pyn_forest_expected(*path);
			leaf = 2 * leaf + 1;
		}
		reading->expected[leaf * LANES] = pyn_forest_expected(*path);
		reading->paths[(leaf - (1 << reading->height)) * LANES] =
			(uint32) ((depth + reading->mean_paths[count]) * PATH_UNIT + 0.5);
		*rows = count;
		return NULL;
	}
	if (depth >= reading->height)
		return "a tree is higher than its limit";
	if (feature >= reading->features)
		return "a tree splits a feature that there is not";
	reading->nodes[place * LANES] = NODE(feature, (int32) pyn_read_u32(reading->reader));
	if ((problem = read_node(reading, 2 * place, depth + 1, &left_rows, &left_path)) != NULL ||
		(problem = read_node(reading, 2 * place + 1, depth + 1, &right_rows, &right_path)) != NULL)
		return problem;
	*rows = left_rows + right_rows;
	*path = 1.0 + (left_path * left_rows + right_path * right_rows) / ((double) left_rows + right_rows);
	reading->expected[place * LANES] = pyn_forest_expected(*path);
	return NULL;
}

/*
 * pyn_plain_open reads what pyn_plain_grow wrote.
 */
const char *
pyn_plain_open(PynReader *reader, int features, const PynForestShape *shape, PynPlainForest **result)
{
	PynPlainForest *forest = palloc0(sizeof(PynPlainForest));
	double	   *mean_paths = pyn_forest_mean_paths(shape->sample_size);
	Reading		reading = {.reader = reader, .features = features, .mean_paths = mean_paths};

	if (!pyn_reader_has(reader, features, sizeof(double)))
		return "the centres are cut off";
	forest->features = features;
	forest->height = pyn_forest_height(shape->sample_size);
	forest->scale = -1.0 / (shape->trees * pyn_forest_mean_path(shape->sample_size) * PATH_UNIT);
	forest->centres = pyn_new(double, features);
	for (int feature = 0; feature < features; feature++)
	{
		forest->centres[feature] = pyn_read_f64(reader);
		if (!(forest->centres[feature] >= -1.7976931348623157e308 && forest->centres[feature] <= 1.7976931348623157e308))
			return "a centre is not finite";
	}
	/* A tree has at least a leaf of 4 bytes: do not allocate for trees that cannot be there. */
	if (!pyn_reader_has(reader, shape->trees, 4))
		return "a tree is cut off";
	forest->groups = (shape->trees + LANES - 1) / LANES;
	forest->nodes = pyn_new0(uint64, (Size) forest->groups * LANES << forest->height);
	forest->paths = pyn_new0(uint32, (Size) forest->groups * LANES << forest->height);
	forest->expected = pyn_new0(uint16, (Size) forest->groups * LANES * 2 << forest->height);

	reading.height = forest->height;
	reading.sample_size = shape->sample_size;
	for (int tree = 0; tree < shape->trees; tree++)
	{
		const char *problem;
		int			rows;
		double		path;

		CHECK_FOR_INTERRUPTS();
		reading.nodes = forest->nodes + ((Size) (tree / LANES * LANES) << forest->height) + tree % LANES;
		reading.paths = forest->paths + ((Size) (tree / LANES * LANES) << forest->height) + tree % LANES;
		reading.expected = forest->expected + ((Size) (tree / LANES * LANES * 2) << forest->height) + tree % LANES;
		if ((problem = read_node(&reading, 1, 0, &rows, &path)) != NULL)
			return problem;
		if (rows != shape->sample_size)
			return "a tree's leaves do not add up to its sample";
	}
	forest->bulk = pyn_bulk_make(features, shape->trees, forest->height, forest->nodes, forest->paths);
	pfree(mean_paths);
	*result = forest;
	return NULL;
}

/* ---------------------------------------------------------------- score */

/* The sum of a row's path lengths in one group of trees. */
static inline uint64
walk_group(const uint64 *nodes, const uint32 *paths, int height, const int32 *keys)
{
	Size		place[LANES];	/* times LANES: of the tree's node in the group */
	uint64		sum = 0;

#pragma GCC unroll 8
	for (int lane = 0; lane < LANES; lane++)
		place[lane] = LANES;
	for (int level = 0; level < height; level++)
	{
#pragma GCC unroll 8
		for (int lane = 0; lane < LANES; lane++)
		{
			uint64		node = nodes[place[lane] + lane];

			place[lane] = 2 * place[lane] + LANES * (Size) (keys[(uint32) node] >= (int32) (node >> 32));
		}
	}
	paths -= (Size) LANES << height;
#pragma GCC unroll 8
	for (int lane = 0; lane < LANES; lane++)
		sum += paths[place[lane] + lane];
	return sum;
}

static inline double
raw_score(const PynPlainForest *forest, uint64 path_sum)
{
	return pyn_exp2((double) path_sum * forest->scale);
}

double
pyn_plain_score_row(const PynPlainForest *forest, const double *row)
{
	Size		stride = (Size) LANES << forest->height;
	int32		few_keys[64];
	int32	   *keys = forest->features <= 64 ? few_keys : palloc(sizeof(int32) * forest->features);
	uint64		sum = 0;

	for (int feature = 0; feature < forest->features; feature++)
		keys[feature] = pyn_order_key(row[feature] - forest->centres[feature]);
	for (int group = 0; group < forest->groups; group++)
		sum += walk_group(forest->nodes + group * stride, forest->paths + group * stride, forest->height, keys);
	if (keys != few_keys)
		pfree(keys);
	return raw_score(forest, sum);
}

/*
 * pyn_plain_contribute adds to each feature's part by how much its splits, in units of PYN_EXPECTED_UNIT, shorten the row's paths.
 */
void
pyn_plain_contribute(const PynPlainForest *forest, const double *row, double *parts)
{
	int32	   *keys = pyn_new(int32, forest->features);

	for (int feature = 0; feature < forest->features; feature++)
		keys[feature] = pyn_order_key(row[feature] - forest->centres[feature]);
	for (int tree = 0; tree < forest->groups * LANES; tree++)
	{
		const uint64 *nodes = forest->nodes + ((Size) (tree / LANES * LANES) << forest->height) + tree % LANES;
		const uint16 *expected = forest->expected + ((Size) (tree / LANES * LANES * 2) << forest->height) + tree % LANES;
		Size		place = 1;

		for (int level = 0; level < forest->height; level++)
		{
			uint64		node = nodes[place * LANES];
			Size		next = 2 * place + (keys[(uint32) node] >= (int32) (node >> 32));

			if ((int32) (node >> 32) != INT32_MIN)
				parts[(uint32) node] += (double) expected[place * LANES] - expected[next * LANES] - PYN_EXPECTED_UNIT;
			place = next;
		}
	}
	pfree(keys);
}

/* Sums the paths of rows that walk one after the other through one group of trees, then the next. */
static void
walk_block(const PynPlainForest *forest, const double *values, int stride, int rows, uint64 *sums)
{
	Size		group_stride = (Size) LANES << forest->height;
	int			features = forest->features;
	int32	   *keys = pyn_new(int32, (Size) rows * features);

	for (int feature = 0; feature < features; feature++)
	{
		const double *column = values + (Size) feature * stride;
		double		centre = forest->centres[feature];

		for (int row = 0; row < rows; row++)
			keys[(Size) row * features + feature] = pyn_order_key(column[row] - centre);
	}
	memset(sums, 0, sizeof(uint64) * rows);
	for (int group = 0; group < forest->groups; group++)
	{
		const uint64 *nodes = forest->nodes + group * group_stride;
		const uint32 *paths = forest->paths + group * group_stride;

		for (int row = 0; row < rows; row++)
			sums[row] += walk_group(nodes, paths, forest->height, keys + (Size) row * features);
	}
	pfree(keys);
}

void
pyn_plain_score_block(const PynPlainForest *forest, const double *values, int stride, int rows, double *scores)
{
	uint64		sums[PYN_SCORE_BLOCK];

	if (forest->bulk == NULL || rows < FEW_ROWS)
		walk_block(forest, values, stride, rows, sums);
	else
	{
		int32	   *keys = pyn_new(int32, (Size) rows * forest->features);

		for (int feature = 0; feature < forest->features; feature++)
		{
			const double *column = values + (Size) feature * stride;
			double		centre = forest->centres[feature];

			for (int row = 0; row < rows; row++)
				keys[(Size) feature * rows + row] = pyn_order_key(column[row] - centre);
		}
		pyn_bulk_sums(forest->bulk, keys, rows, sums);
		pfree(keys);
	}
	for (int row = 0; row < rows; row++)
		scores[row] = raw_score(forest, sums[row]);
}
