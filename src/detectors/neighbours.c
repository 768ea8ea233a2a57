/*
 * neighbours.c
 *		Exact nearest neighbours among stored points, by a tree of boxes.
 *
 * The tree is Friedman, Bentley and Finkel's k-d tree ("An algorithm for finding best matches in logarithmic expected
 * time", 1977): each node splits its points at the median of the feature in which they reach farthest.  A node keeps the
 * box around its points, and is passed over when the box is farther away than the k nearest so far.  The distance to a
 * box is summed over the features in the order in which that to a point is, and rounding is monotone, so it never
 * exceeds the computed distance to a point inside: results are exact, ties included.
 *
 * In many features every box is near everything; then there is one leaf that is scanned.  Points lie in blocks of LANES,
 * feature by feature, so that a block's distances are computed side by side.
 */
#include "kernel/port.h"

#include <math.h>

#include "detectors/neighbours.h"
#include "numeric/vector.h"

#define LANES 8
#define LEAF_BLOCKS 3			/* a node with more is split */
#define MOST_TREE_FEATURES 64	/* with more features all points are scanned */
#define CHECKED_FEATURES 16		/* after so many features a sum that is too large already is left */
#define MAX_DEPTH 32

typedef double Vector __attribute__((vector_size(8 * LANES)));

typedef struct BoxNode
{
	int			first;			/* place of its first point, a multiple of LANES */
	int			count;
	int			left;			/* its children's numbers; 0: it is a leaf */
	int			right;
} BoxNode;

struct PynNeighbourIndex
{
	int			count;
	int			features;
	int			node_count;
	BoxNode	   *nodes;
	double	   *low;			/* per node and feature: its box */
	double	   *high;
	double	   *values;			/* [block][feature][lane] */
	int		   *points;			/* which point lies at a place */
	int		   *places;			/* and where a point lies */
	uint32	   *copies;			/* per place */
};

/* ---------------------------------------------------------------- points */

typedef struct Rows
{
	const double *values;
	int			features;
} Rows;

static inline int
compare_rows(int a, int b, const Rows *rows)
{
	const double *x = rows->values + (Size) a * rows->features;
	const double *y = rows->values + (Size) b * rows->features;

	for (int feature = 0; feature < rows->features; feature++)
		if (x[feature] != y[feature])
			return x[feature] < y[feature] ? -1 : 1;
	return 0;
}

/* PostgreSQL's own sort, with the comparison compiled into it. */
#define ST_SORT sort_rows
#define ST_ELEMENT_TYPE int
#define ST_COMPARE_ARG_TYPE const Rows
#define ST_COMPARE(a, b, rows) compare_rows(*(a), *(b), rows)
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

int
pyn_points_limit(int wanted, int features)
{
	return Max(Min(wanted, PYN_MOST_POINT_BYTES / (int) sizeof(double) / features), 2);
}

void
pyn_points_draw(const PynTraining *training, const PynScaling *scaling, int most, uint64 seed, PynPoints *points)
{
	int			features = training->features;
	PynRandom	random = {pyn_hash_u64(seed, 0x706F696E74)};
	PynPool		pool;
	int			count;
	int		   *drawn;
	int		   *order;
	double	   *values;
	Rows		rows;

	pyn_pool_init(&pool, training, NULL, training->rows);
	count = (int) Min(pool.total, (int64) most);
	drawn = pyn_new(int, count);
	order = pyn_new(int, count);
	values = pyn_new(double, (Size) count * features);
	pyn_pool_draw(&pool, count, &random, drawn);
	for (int i = 0; i < count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		order[i] = i;
		for (int feature = 0; feature < features; feature++)
			values[(Size) i * features + feature] =
				pyn_scaled(scaling, feature, training->values[(Size) feature * training->rows + drawn[i]]);
	}
	rows.values = values;
	rows.features = features;
	sort_rows(order, count, &rows);

	points->count = 0;
	points->features = features;
	points->total = count;
	points->values = pyn_new(double, (Size) count * features);
	points->copies = pyn_new(uint32, count);
	for (int i = 0; i < count; i++)
	{
		if (i > 0 && compare_rows(order[i - 1], order[i], &rows) == 0)
		{
			points->copies[points->count - 1]++;
			continue;
		}
		memcpy(points->values + (Size) points->count * features, values + (Size) order[i] * features, sizeof(double) * features);
		points->copies[points->count++] = 1;
	}
	pfree(pool.cumulative);
	pfree(drawn);
	pfree(order);
	pfree(values);
}

/* u32 count, then u32 copies and f64 values of each point. */
void
pyn_points_write(const PynPoints *points, PynWriter *writer)
{
	pyn_write_u32(writer, (uint32) points->count);
	for (int i = 0; i < points->count; i++)
	{
		pyn_write_u32(writer, points->copies[i]);
		for (int feature = 0; feature < points->features; feature++)
			pyn_write_f64(writer, points->values[(Size) i * points->features + feature]);
	}
}

const char *
pyn_points_read(PynReader *reader, int features, PynPoints *points)
{
	uint32		count = pyn_read_u32(reader);

	if (count < 1 || count > PYN_MAX_POINTS || !pyn_reader_has(reader, count, sizeof(uint32) + sizeof(double) * features))
		return "the points are cut off";
	points->count = (int) count;
	points->features = features;
	points->total = 0;
	points->values = pyn_new(double, (Size) count * features);
	points->copies = pyn_new(uint32, count);
	for (uint32 i = 0; i < count; i++)
	{
		points->copies[i] = pyn_read_u32(reader);
		if (points->copies[i] < 1 || points->copies[i] > PYN_MAX_POINTS)
			return "a point has an impossible number of copies";
		points->total += points->copies[i];
		for (int feature = 0; feature < features; feature++)
		{
			double		value = pyn_read_f64(reader);

			if (!(fabs(value) <= PYN_MOST_SCALED))
				return "a point is not finite";
			points->values[(Size) i * features + feature] = value;
		}
	}
	return NULL;
}

/* ---------------------------------------------------------------- build */

/* A point by its value in the feature that is split; equal ones by number, so that the order is one. */
typedef struct Key
{
	double		value;
	int			point;
} Key;

static inline bool
key_below(Key a, Key b)
{
	return a.value != b.value ? a.value < b.value : a.point < b.point;
}

/* Reorders keys so that none before `rank` is above it and none after it below: quickselect (Hoare 1961). */
static void
select_key(Key *keys, int count, int rank)
{
	PynRandom	random = {(uint64) count};
	int			low = 0;
	int			high = count - 1;

	while (low < high)
	{
		Key			pivot = keys[low + (int) pyn_random_below(&random, (uint32) (high - low + 1))];
		int			i = low;
		int			j = high;

		while (i <= j)
		{
			while (key_below(keys[i], pivot))
				i++;
			while (key_below(pivot, keys[j]))
				j--;
			if (i <= j)
			{
				Key			swap = keys[i];

				keys[i++] = keys[j];
				keys[j--] = swap;
			}
		}
		if (rank <= j)
			high = j;
		else if (rank >= i)
			low = i;
		else
			return;
	}
}

/* Makes the node of some places and those below it; returns its number. */
static int
build_node(PynNeighbourIndex *index, const PynPoints *points, Key *keys, int first, int count)
{
	int			features = index->features;
	int			number = index->node_count++;
	double	   *low = index->low + (Size) number * features;
	double	   *high = index->high + (Size) number * features;
	int			widest = 0;
	int			left_count;

	CHECK_FOR_INTERRUPTS();
	for (int feature = 0; feature < features; feature++)
		low[feature] = INFINITY, high[feature] = -INFINITY;
	for (int i = first; i < first + count; i++)
	{
		const double *values = points->values + (Size) index->points[i] * features;

		for (int feature = 0; feature < features; feature++)
		{
			low[feature] = Min(low[feature], values[feature]);
			high[feature] = Max(high[feature], values[feature]);
		}
	}
	for (int feature = 1; feature < features; feature++)
		if (high[feature] - low[feature] > high[widest] - low[widest])
			widest = feature;
	index->nodes[number] = (BoxNode) {.first = first,.count = count};
	if (count <= LEAF_BLOCKS * LANES || features > MOST_TREE_FEATURES)
		return number;

	/* The left part has whole blocks, so only the last block of all is not full. */
	left_count = (count / 2 + LANES - 1) / LANES * LANES;
	for (int i = 0; i < count; i++)
	{
		int			point = index->points[first + i];

		keys[i] = (Key) {points->values[(Size) point * features + widest], point};
	}
	select_key(keys, count, left_count);
	for (int i = 0; i < count; i++)
		index->points[first + i] = keys[i].point;
	index->nodes[number].left = build_node(index, points, keys, first, left_count);
	index->nodes[number].right = build_node(index, points, keys, first + left_count, count - left_count);
	return number;
}

PynNeighbourIndex *
pyn_neighbours_build(const PynPoints *points)
{
	PynNeighbourIndex *index = palloc0(sizeof(PynNeighbourIndex));
	int			features = points->features;
	int			blocks = (points->count + LANES - 1) / LANES;
	int			most_nodes = features > MOST_TREE_FEATURES ? 1 : 2 * blocks;
	Key		   *keys = pyn_new(Key, points->count);

	index->count = points->count;
	index->features = features;
	index->nodes = pyn_new(BoxNode, most_nodes);
	index->low = pyn_new(double, (Size) most_nodes * features);
	index->high = pyn_new(double, (Size) most_nodes * features);
	index->points = pyn_new(int, points->count);
	index->places = pyn_new(int, points->count);
	index->copies = pyn_new(uint32, points->count);
	index->values = pyn_new(double, (Size) blocks * LANES * features);
	for (int i = 0; i < points->count; i++)
		index->points[i] = i;
	build_node(index, points, keys, 0, points->count);
	for (int place = 0; place < blocks * LANES; place++)
	{
		double	   *out = index->values + (Size) (place / LANES) * features * LANES + place % LANES;
		int			point = place < points->count ? index->points[place] : -1;

		for (int feature = 0; feature < features; feature++)
			out[feature * LANES] = point >= 0 ? points->values[(Size) point * features + feature] : INFINITY;
		if (point < 0)
			continue;
		index->places[point] = place;
		index->copies[place] = points->copies[point];
	}
	pfree(keys);
	return index;
}

/* ---------------------------------------------------------------- find */

/* The nearest so far, by rising distance and number; all but the last are needed to reach `wanted` copies. */
typedef struct Search
{
	const PynNeighbourIndex *index;
	const double *row;
	int64		wanted;
	int64		copies;			/* of all found */
	double		farthest;		/* what is farther away is of no use */
	PynNeighbour *found;
	int			count;
} Search;

static void
take(Search *search, double square, int place)
{
	const PynNeighbourIndex *index = search->index;
	PynNeighbour *found = search->found;
	int			point = index->points[place];
	int			at = search->count++;

	for (; at > 0 && (found[at - 1].square > square || (found[at - 1].square == square && found[at - 1].point > point)); at--)
		found[at] = found[at - 1];
	found[at] = (PynNeighbour) {square, point, (int) index->copies[place]};
	search->copies += index->copies[place];
	while (search->copies - found[search->count - 1].copies >= search->wanted)
		search->copies -= found[--search->count].copies;
	if (search->copies >= search->wanted)
		search->farthest = found[search->count - 1].square;
}

/* Squared distances of a row to the points of a block; false when all of them are farther than `farthest`. */
static PYN_ANY_CPU bool
block_distances(const double *values, const double *row, int features, double farthest, double *squares)
{
	Vector		sum = {0};

	for (int feature = 0; feature < features;)
	{
		int			end = Min(feature + CHECKED_FEATURES, features);
		bool		near = false;

		for (; feature < end; feature++)
		{
			Vector		points;
			Vector		difference;

			memcpy(&points, values + (Size) feature * LANES, sizeof(points));
			difference = row[feature] - points;
			sum += difference * difference;
		}
		for (int lane = 0; lane < LANES; lane++)
			near |= sum[lane] <= farthest;
		if (!near)
			return false;
	}
	memcpy(squares, &sum, sizeof(sum));
	return true;
}

/* The squared distance to a node's box, or some number above `farthest`. */
static double
box_distance(const PynNeighbourIndex *index, int node, const double *row, double farthest)
{
	const double *low = index->low + (Size) node * index->features;
	const double *high = index->high + (Size) node * index->features;
	double		sum = 0;

	for (int feature = 0; feature < index->features; feature++)
	{
		double		below = low[feature] - row[feature];
		double		above = row[feature] - high[feature];
		double		gap = Max(below, above);

		gap = Max(gap, 0.0);
		sum += gap * gap;
		if (sum > farthest)
			break;
	}
	return sum;
}

static void
scan_leaf(Search *search, const BoxNode *node)
{
	const PynNeighbourIndex *index = search->index;
	double		squares[LANES];

	for (int first = node->first; first < node->first + node->count; first += LANES)
	{
		int			lanes = Min(LANES, index->count - first);

		if (!block_distances(index->values + (Size) first * index->features, search->row, index->features, search->farthest, squares))
			continue;
		for (int lane = 0; lane < lanes; lane++)
			if (squares[lane] <= search->farthest)
				take(search, squares[lane], first + lane);
	}
}

int
pyn_neighbours_find(const PynNeighbourIndex *index, const double *row, int k, PynNeighbour *found)
{
	Search		search = {.index = index,.row = row,.wanted = k,.farthest = INFINITY,.found = found};
	struct
	{
		int			node;
		double		square;
	}			waiting[MAX_DEPTH];
	int			waiting_count = 1;

	waiting[0].node = 0;
	waiting[0].square = 0;
	while (waiting_count > 0)
	{
		int			number = waiting[--waiting_count].node;

		if (waiting[waiting_count].square > search.farthest)
			continue;
		while (index->nodes[number].left != 0)
		{
			const BoxNode *node = &index->nodes[number];
			double		left = box_distance(index, node->left, row, search.farthest);
			double		right = box_distance(index, node->right, row, search.farthest);
			bool		left_first = left <= right;

			/* The nearer child now, the other one later, if it can still be of use then. */
			if (Max(left, right) <= search.farthest)
			{
				waiting[waiting_count].node = left_first ? node->right : node->left;
				waiting[waiting_count++].square = Max(left, right);
			}
			number = left_first ? node->left : node->right;
			if (Min(left, right) > search.farthest)
				break;
		}
		if (index->nodes[number].left == 0)
			scan_leaf(&search, &index->nodes[number]);
	}
	if (search.copies > k)
		found[search.count - 1].copies -= (int) (search.copies - k);
	return search.count;
}

int
pyn_neighbours_find_others(const PynNeighbourIndex *index, const double *row, int k, PynNeighbour *found)
{
	int			count = pyn_neighbours_find(index, row, k + 1, found);
	int64		copies = 0;

	if (found[0].square == 0)
	{
		if (--found[0].copies == 0)
			memmove(found, found + 1, sizeof(PynNeighbour) * --count);
		return count;
	}
	for (int i = 0; i < count; i++)
		copies += found[i].copies;
	if (copies > k && --found[count - 1].copies == 0)
		count--;
	return count;
}

double
pyn_neighbours_value(const PynNeighbourIndex *index, int point, int feature)
{
	int			place = index->places[point];

	return index->values[((Size) (place / LANES) * index->features + feature) * LANES + place % LANES];
}

void
pyn_neighbours_shares(const PynNeighbourIndex *index, const double *row, const PynNeighbour *found, int count, double *shares)
{
	for (int i = 0; i < count; i++)
		for (int feature = 0; feature < index->features && found[i].square > 0; feature++)
		{
			double		difference = row[feature] - pyn_neighbours_value(index, found[i].point, feature);

			shares[feature] += found[i].copies * (difference * difference / found[i].square);
		}
}
