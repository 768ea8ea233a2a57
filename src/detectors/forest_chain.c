/*
 * forest_chain.c
 *		Reads trees whose splits are sums of features into chains, and walks them.
 *
 * Rows leave such trees at very different depths, so complete trees would be mostly filling.  Instead the trees of a group
 * make one chain: the edge to a leaf leads on to the root of the next tree, and from the last one to a place 0 that every
 * step keeps.  Leaves are not nodes.  An edge is one 32-bit number: where it leads, relative to the node, and above it
 * the path length that it adds; so a walk is one number, too, its place in the lower 16 bits and the path length above.
 * A step adds to it one of the node's two edges, without a branch.  Subtracting a place that is larger borrows from the path
 * length, which the wrapping of the place gives back.
 *
 * Of a block, LANES rows walk a group side by side, their features beside each other; a single row walks LANES groups.
 * Groups are about as large as a first-level cache, so that a block's rows find them there.  Path lengths are whole numbers of
 * 2^-11, so their sum is the same in any order, and one row and a block give the same bits.  A node takes 20 bytes and 8 for each
 * dimension past two.
 */
#include "kernel/port.h"

#include "detectors/forest.h"
#include "numeric/math.h"

#define LANES PYN_FOREST_LANES
#define PATH_UNIT 2048
#define MOST_PATH 31			/* that an edge can add */
#define GROUP_BYTES 32768
#define STEPS 4					/* between two looks whether all walks are at the end */
#define LEAF_EDGE 0x80000000	/* while a tree is read: the edge is the path to a leaf */

typedef struct Split
{
	uint16		column;			/* × LANES */
	uint16		second;			/* × LANES */
	float		ratio;			/* of the second */
	float		threshold;
	uint32		edges[2];
} Split;

/* A further column of a split of more than two dimensions. */
typedef struct Term
{
	uint32		column;			/* × LANES */
	float		ratio;
} Term;

struct PynChainForest
{
	int			features;
	int			more;			/* terms of a node beside the split's own */
	double		scale;			/* -1 / (trees × c(psi) × PATH_UNIT) */
	double	   *centres;
	double	   *factors;
	uint64		constant;		/* paths of trees that are a leaf */
	int			groups;			/* a multiple of LANES; some may be empty */
	Size	   *starts;			/* per group its first node, which is the end of its chain */
	uint16	   *roots;			/* per group its first tree's, 0 when it is empty */
	Split	   *splits;
	Term	   *terms;
	uint16	   *expected;		/* per node what rows of the sample still have to go, as in forest.h */
	bool	   *is_root;		/* per node */
};

/* ---------------------------------------------------------------- open */

typedef struct Reading
{
	PynReader  *reader;
	PynChainForest *forest;
	int			dimensions;
	int			height;
	int			sample_size;
	const double *mean_paths;
	Size		capacity;		/* of nodes */
	Size		start;			/* of the group */
	Size		next;			/* node to be filled */
} Reading;

static uint32
path_units(const Reading *reading, int rows)
{
	return (uint32) (reading->mean_paths[rows] * PATH_UNIT + 0.5);
}

static const char *
read_terms(Reading *reading, uint16 first, Size place)
{
	PynReader  *reader = reading->reader;
	Split	   *split = &reading->forest->splits[place];
	Term	   *terms = reading->forest->terms + place * reading->forest->more;
	uint16		columns[PYN_FOREST_MAX_DIMENSIONS] = {first, first};

	for (int i = 1; i < reading->dimensions; i++)
		columns[i] = pyn_read_u16(reader);
	for (int i = 0; i < reading->dimensions; i++)
		if (columns[i] >= reading->forest->features)
			return "a tree splits a feature that there is not";
	split->column = columns[0] * LANES;
	split->second = columns[1] * LANES;
	split->ratio = 0;
	for (int i = 1; i < reading->dimensions; i++)
	{
		float		ratio = pyn_read_f32(reader);

		if (!(ratio >= -1.0f && ratio <= 1.0f))
			return "a ratio is impossible";
		if (i == 1)
			split->ratio = ratio;
		else
		{
			terms[i - 2].column = columns[i] * LANES;
			terms[i - 2].ratio = ratio;
		}
	}
	split->threshold = pyn_read_f32(reader);
	if (!(split->threshold >= -3.4028234663852886e38f && split->threshold <= 3.4028234663852886e38f))
		return "a threshold is not finite";
	return NULL;
}

/* Reads a node and what is below it.  `edge` is its place in the group, or LEAF_EDGE and the path length at the leaf. */
static const char *
read_node(Reading *reading, int depth, int *rows, uint32 *edge, double *path)
{
	uint16		column = pyn_read_u16(reading->reader);
	Size		place = reading->next;
	const char *problem;
	int			count[2];
	uint32		edges[2];
	double		paths[2];

	if (column == PYN_OBLIQUE_LEAF || column == PYN_OBLIQUE_FULL_LEAF)
	{
		*rows = column == PYN_OBLIQUE_LEAF ? 1 : pyn_read_u16(reading->reader);
		if (*rows == 0 || *rows > reading->sample_size)
			return "a leaf has an impossible number of rows";
		*path = reading->mean_paths[*rows];
		*edge = LEAF_EDGE | path_units(reading, *rows);
		return NULL;
	}
	if (depth >= reading->height)
		return "a tree is higher than its limit";
	if (place >= reading->capacity || place - reading->start > 0xFFFF)
		return "a tree has too many nodes";
	reading->next++;
	if ((problem = read_terms(reading, column, place)) != NULL)
		return problem;
	if (reading->reader->failed)
		return "a tree is cut off";
	for (int side = 0; side < 2; side++)
		if ((problem = read_node(reading, depth + 1, &count[side], &edges[side], &paths[side])) != NULL)
			return problem;
	memcpy(reading->forest->splits[place].edges, edges, sizeof(edges));
	*path = 1.0 + (paths[0] * count[0] + paths[1] * count[1]) / ((double) count[0] + count[1]);
	reading->forest->expected[place] = pyn_forest_expected(*path);
	reading->forest->is_root[place] = depth == 0;
	*rows = Min(count[0] + count[1], reading->sample_size + 1);
	*edge = (uint32) (place - reading->start);
	return NULL;
}

/* Turns the edges of a tree just read into what a walk adds; `onwards` is where its leaves lead. */
static void
link_tree(Reading *reading, Size first, uint32 onwards)
{
	for (Size place = first; place < reading->next; place++)
	{
		uint32		self = (uint32) (place - reading->start);
		uint32	   *edges = reading->forest->splits[place].edges;

		for (int side = 0; side < 2; side++)
		{
			if (edges[side] & LEAF_EDGE)
				edges[side] = (((edges[side] & ~LEAF_EDGE) + PATH_UNIT) << 16) + onwards - self;
			else
				edges[side] = ((uint32) PATH_UNIT << 16) + edges[side] - self;
		}
	}
}

/* Reads the trees of one group. */
static const char *
read_group(Reading *reading, int group, int trees)
{
	PynChainForest *forest = reading->forest;
	bool		empty = true;
	Size		last = 0;

	if (reading->next >= reading->capacity)
		return "a tree is cut off";
	reading->start = forest->starts[group] = reading->next++;
	memset(&forest->splits[reading->start], 0, sizeof(Split));
	memset(forest->terms + reading->start * forest->more, 0, sizeof(Term) * forest->more);
	for (int tree = 0; tree < trees; tree++)
	{
		Size		first = reading->next;
		const char *problem;
		uint32		root;
		int			rows;
		double		path;

		CHECK_FOR_INTERRUPTS();
		if ((problem = read_node(reading, 0, &rows, &root, &path)) != NULL)
			return problem;
		if (reading->reader->failed)
			return "a tree is cut off";
		if (rows != reading->sample_size)
			return "a tree's leaves do not add up to its sample";
		if (root & LEAF_EDGE)
		{
			forest->constant += root & ~LEAF_EDGE;
			continue;
		}

		/* Now it is known where the leaves of the tree before lead. */
		if (!empty)
		{
			Size		end = reading->next;

			reading->next = first;
			link_tree(reading, last, root);
			reading->next = end;
		}
		else
			forest->roots[group] = (uint16) root;
		empty = false;
		last = first;
	}
	if (!empty)
		link_tree(reading, last, 0);
	return NULL;
}

/*
 * pyn_chain_open reads what pyn_oblique_grow wrote.
 */
const char *
pyn_chain_open(PynReader *reader, int features, const PynForestShape *shape, PynChainForest **result)
{
	PynChainForest *forest = palloc0(sizeof(PynChainForest));
	double	   *mean_paths = pyn_forest_mean_paths(shape->sample_size);
	int			dimensions = Min(shape->dimensions, features);
	Size		node_bytes = 6 * dimensions;
	Size		most_bytes = (Size) shape->trees * shape->sample_size * sizeof(Split);
	Reading		reading = {.reader = reader, .forest = forest, .dimensions = dimensions, .mean_paths = mean_paths};
	const char *problem;

	if (!pyn_reader_has(reader, features, 2 * sizeof(double)))
		return "the scale is cut off";
	forest->features = features;
	forest->more = Max(dimensions - 2, 0);
	forest->scale = -1.0 / (shape->trees * mean_paths[shape->sample_size] * PATH_UNIT);
	forest->centres = pyn_new(double, features);
	forest->factors = pyn_new(double, features);
	for (int feature = 0; feature < features; feature++)
	{
		forest->centres[feature] = pyn_read_f64(reader);
		forest->factors[feature] = pyn_read_f64(reader);
		if (!(forest->centres[feature] >= -1.7976931348623157e308 && forest->centres[feature] <= 1.7976931348623157e308))
			return "a centre is not finite";
		if (!(forest->factors[feature] >= 0 && forest->factors[feature] <= 1.7976931348623157e308))
			return "a scale is impossible";
	}

	/* As many groups as make each fit the cache, of at least one tree; nodes for no more than there are bytes. */
	forest->groups = (int) Min(most_bytes / GROUP_BYTES, (Size) shape->trees);
	forest->groups = Max((forest->groups + LANES - 1) / LANES, 1) * LANES;
	forest->starts = pyn_new0(Size, forest->groups);
	forest->roots = pyn_new0(uint16, forest->groups);
	reading.capacity = pyn_reader_left(reader) / node_bytes + forest->groups;
	forest->splits = pyn_new(Split, reading.capacity);
	forest->terms = pyn_new(Term, reading.capacity * forest->more + 1);
	forest->expected = pyn_new0(uint16, reading.capacity);
	forest->is_root = pyn_new0(bool, reading.capacity);
	reading.height = shape->splits == PYN_SPLITS_EXTENDED ? pyn_forest_height(shape->sample_size) : PYN_OBLIQUE_MAX_HEIGHT;
	reading.sample_size = shape->sample_size;
	for (int group = 0; group < forest->groups; group++)
	{
		int			from = (int) ((int64) shape->trees * group / forest->groups);
		int			to = (int) ((int64) shape->trees * (group + 1) / forest->groups);

		if ((problem = read_group(&reading, group, to - from)) != NULL)
			return problem;
	}
	forest->splits = pyn_repalloc_huge(forest->splits, sizeof(Split) * reading.next);
	forest->expected = pyn_repalloc_huge(forest->expected, sizeof(uint16) * reading.next);
	forest->is_root = pyn_repalloc_huge(forest->is_root, sizeof(bool) * reading.next);
	pfree(mean_paths);
	*result = forest;
	return NULL;
}

/* ---------------------------------------------------------------- score */

/* To which side a row goes at a node. */
static inline bool
goes_right(const Split *split, const Term *terms, int more, const float *x)
{
	float		sum = x[split->column] + split->ratio * x[split->second];

	for (int i = 0; i < more; i++)
		sum += terms[i].ratio * x[terms[i].column];
	return sum >= split->threshold;
}

/* One step of a walk. */
static inline uint64
step(const Split *splits, const Term *terms, int more, uint64 walk, const float *x)
{
	Size		place = (uint16) walk;

	return walk + splits[place].edges[goes_right(&splits[place], terms + place * more, more, x)];
}

/* LANES rows, whose features lie beside each other, through one group. */
static inline void
walk_rows(const PynChainForest *forest, int group, int more, const float *x, uint64 *sums)
{
	const Split *splits = forest->splits + forest->starts[group];
	const Term *terms = forest->terms + forest->starts[group] * more;
	uint64		walks[LANES];
	uint64		open;

#pragma GCC unroll 8
	for (int lane = 0; lane < LANES; lane++)
		walks[lane] = forest->roots[group];
	do
	{
		for (int i = 0; i < STEPS; i++)
		{
#pragma GCC unroll 8
			for (int lane = 0; lane < LANES; lane++)
				walks[lane] = step(splits, terms, more, walks[lane], x + lane);
		}
		open = 0;
#pragma GCC unroll 8
		for (int lane = 0; lane < LANES; lane++)
			open |= walks[lane];
	} while ((uint16) open != 0);
#pragma GCC unroll 8
	for (int lane = 0; lane < LANES; lane++)
		sums[lane] += walks[lane] >> 16;
}

/* One row through LANES groups; returns the sum of its paths there. */
static inline uint64
walk_groups(const PynChainForest *forest, int group, int more, const float *x)
{
	const Split *splits[LANES];
	const Term *terms[LANES];
	uint64		walks[LANES];
	uint64		open;
	uint64		sum = 0;

#pragma GCC unroll 8
	for (int lane = 0; lane < LANES; lane++)
	{
		splits[lane] = forest->splits + forest->starts[group + lane];
		terms[lane] = forest->terms + forest->starts[group + lane] * more;
		walks[lane] = forest->roots[group + lane];
	}
	do
	{
		for (int i = 0; i < STEPS; i++)
		{
#pragma GCC unroll 8
			for (int lane = 0; lane < LANES; lane++)
				walks[lane] = step(splits[lane], terms[lane], more, walks[lane], x);
		}
		open = 0;
#pragma GCC unroll 8
		for (int lane = 0; lane < LANES; lane++)
			open |= walks[lane];
	} while ((uint16) open != 0);
#pragma GCC unroll 8
	for (int lane = 0; lane < LANES; lane++)
		sum += walks[lane] >> 16;
	return sum;
}

static inline double
raw_score(const PynChainForest *forest, uint64 sum)
{
	return pyn_exp2((double) (sum + forest->constant) * forest->scale);
}

double
pyn_chain_score_row(const PynChainForest *forest, const double *row)
{
	float		few[64 * LANES];
	float	   *x = forest->features <= 64 ? few : pyn_new(float, (Size) forest->features * LANES);
	uint64		sum = 0;

	for (int feature = 0; feature < forest->features; feature++)
		x[feature * LANES] = pyn_forest_scaled(row[feature], forest->centres[feature], forest->factors[feature]);
	for (int group = 0; group < forest->groups; group += LANES)
		sum += forest->more == 0 ? walk_groups(forest, group, 0, x) : walk_groups(forest, group, forest->more, x);
	if (x != few)
		pfree(x);
	return raw_score(forest, sum);
}

void
pyn_chain_score_block(const PynChainForest *forest, const double *values, int stride, int rows, double *scores)
{
	int			tiles = (rows + LANES - 1) / LANES;
	Size		tile_size = (Size) forest->features * LANES;
	float	   *x = pyn_new(float, tiles * tile_size);
	uint64		sums[PYN_SCORE_BLOCK + LANES];

	/* Lanes without a row repeat the last one. */
	for (int feature = 0; feature < forest->features; feature++)
	{
		const double *column = values + (Size) feature * stride;
		double		centre = forest->centres[feature];
		double		factor = forest->factors[feature];

		for (int row = 0; row < tiles * LANES; row++)
			x[row / LANES * tile_size + feature * LANES + row % LANES] =
				pyn_forest_scaled(column[Min(row, rows - 1)], centre, factor);
	}
	memset(sums, 0, sizeof(sums));
	for (int group = 0; group < forest->groups; group++)
	{
		for (int tile = 0; tile < tiles; tile++)
		{
			if (forest->more == 0)
				walk_rows(forest, group, 0, x + tile * tile_size, sums + tile * LANES);
			else
				walk_rows(forest, group, forest->more, x + tile * tile_size, sums + tile * LANES);
		}
	}
	for (int row = 0; row < rows; row++)
		scores[row] = raw_score(forest, sums[row]);
	pfree(x);
}

/*
 * Shares what a split tells among its features by how far each one of them carries the row to its side.
 */
static void
share_split(const PynChainForest *forest, Size place, bool right, double gain, const float *x, double *parts)
{
	const Split *split = &forest->splits[place];
	const Term *terms = forest->terms + place * forest->more;
	double		carried[PYN_FOREST_MAX_DIMENSIONS];
	int			features[PYN_FOREST_MAX_DIMENSIONS];
	double		sum = 0;

	for (int i = 0; i < forest->more + 2; i++)
	{
		uint32		column = i == 0 ? split->column : i == 1 ? split->second : terms[i - 2].column;
		double		ratio = i == 0 ? 1.0 : i == 1 ? split->ratio : terms[i - 2].ratio;

		features[i] = (int) (column / LANES);
		carried[i] = (right ? ratio : -ratio) * (double) x[column];
		carried[i] = Max(carried[i], 0.0);
		sum += carried[i];
	}
	for (int i = 0; i < forest->more + 2; i++)
		parts[features[i]] += gain * (sum > 0 ? carried[i] / sum : 1.0 / (forest->more + 2));
}

/*
 * pyn_chain_contribute adds to each feature's part by how much its splits, in units of PYN_EXPECTED_UNIT, shorten the row's paths.
 */
void
pyn_chain_contribute(const PynChainForest *forest, const double *row, double *parts)
{
	float	   *x = pyn_new(float, (Size) forest->features * LANES);

	for (int feature = 0; feature < forest->features; feature++)
		x[feature * LANES] = pyn_forest_scaled(row[feature], forest->centres[feature], forest->factors[feature]);
	for (int group = 0; group < forest->groups; group++)
	{
		Size		start = forest->starts[group];
		uint64		walk = forest->roots[group];

		while ((uint16) walk != 0)
		{
			Size		place = start + (uint16) walk;
			bool		right = goes_right(&forest->splits[place], forest->terms + place * forest->more, forest->more, x);
			uint64		next = walk + forest->splits[place].edges[right];
			double		before = forest->expected[place];
			double		added = (double) ((next >> 16) - (walk >> 16)) / PATH_UNIT * PYN_EXPECTED_UNIT;
			bool		is_leaf = (uint16) next == 0 || forest->is_root[start + (uint16) next];

			/* An edge to a leaf has all that is left to go, its own step among it. */
			if (!is_leaf)
				added += forest->expected[start + (uint16) next];
			share_split(forest, place, right, before - added, x, parts);
			walk = next;
		}
	}
	pfree(x);
}
