/*
 * forest_bulk.c
 *		Scores many rows by a forest of plain trees: every node of a tree is asked about every row.
 *
 * A walk visits log2(sample) nodes of a tree, about 90 for a tree of 256, one after the other, and each visit waits for the one
 * before.  Asking all nodes needs no waiting and no addresses that depend on a row: one instruction compares a
 * byte of 32 rows, and three more choose for each row which of a node's two subtrees' leaves it reaches, from the
 * bottom up.  QuickScorer (Lucchese et al., SIGIR 2015) asks nodes feature by feature in the same spirit.
 *
 * A byte suffices exactly.  What matters of a feature is its rank among the thresholds on it: rows below a threshold have smaller
 * ranks than rows from it on.  Trees are put into groups that have at most 255 thresholds on each feature, so within a
 * group a rank fits a byte.  A row's rank among all thresholds of the forest is searched once; a table for each group and
 * feature makes the group's rank of it.  A tree's leaves are numbered by a byte, too, as a tree of up to 255 nodes has no more
 * than 256 of them.  Walks and this give the same sums of whole numbers.
 *
 * A tree is a program of steps in postorder on the numbers of leaves reached so far:
 *
 *	BEGIN			a node of two leaves; what was there is put aside first where `put_aside` says so
 *	LEFT, RIGHT		a node whose other child is a leaf; what is there is that of the left, the right child
 *	JOIN			what was put aside is that of the left child, what is there is that of the right one
 */
#include "kernel/port.h"
#include "detectors/forest.h"
#include "numeric/vector.h"

#define MOST_NODES 255			/* of a tree */
#define MOST_RANKS 65535		/* of a feature */
#define MOST_TABLE (1024 * 1024)	/* bytes of all tables: beyond they are slower than walks */
#define VECTOR 32				/* rows compared at a time */
#define VECTORS 8				/* side by side */
#define CHUNK (VECTOR * VECTORS)
#define MAX_STACK 16

typedef int8 Vector __attribute__((vector_size(VECTOR), may_alias));

typedef enum StepKind
{
	STEP_BEGIN,
	STEP_LEFT,
	STEP_RIGHT,
	STEP_JOIN
} StepKind;

typedef struct Step
{
	uint16		slot;			/* of the feature in its group */
	int8		threshold;		/* a row whose rank - 128 is larger goes right */
	uint8		kind;
	bool		put_aside;
	int8		left;			/* numbers of leaves */
	int8		right;
} Step;

typedef struct Tree
{
	Size		first_step;
	int			steps;
	Size		first_leaf;
} Tree;

/* A feature that a group's trees split. */
typedef struct Slot
{
	int			feature;
	Size		table;			/* of the group's ranks - 128 by those among all thresholds */
} Slot;

typedef struct Group
{
	int			first_tree;
	int			trees;
	Size		first_slot;
	int			slots;
} Group;

struct PynBulkForest
{
	int			features;
	int		   *threshold_counts;	/* per feature */
	Size	   *first_thresholds;
	int32	   *thresholds;		/* rising, of one feature after the other */
	int			tree_count;
	Tree	   *trees;
	Step	   *steps;
	uint32	   *leaves;			/* path lengths by number */
	int			group_count;
	Group	   *groups;
	int			most_slots;
	Slot	   *slots;
	int8	   *tables;
	uint32		constant;		/* paths of trees that are a leaf */
};

/* ---------------------------------------------------------------- build */

/* A node of a complete tree, as forest_plain.c keeps it. */
#define FEATURE(node) ((uint32) (node))
#define THRESHOLD(node) ((int32) ((node) >> 32))

#define ST_SORT sort_keys
#define ST_ELEMENT_TYPE int32
#define ST_COMPARE(a, b) ((*(a) > *(b)) - (*(a) < *(b)))
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

typedef struct Build
{
	PynBulkForest *forest;
	int			height;
	const uint64 *nodes;		/* of the tree at hand, every LANES-th */
	const uint32 *paths;
	Size		step_count;
	Size		leaf_count;
	Size		tree_leaf;		/* the tree's first */
	bool		live;			/* a subtree's leaves are there already */
} Build;

/* Follows what only sends rows on to the right; true when that is to a leaf. */
static bool
settle(const Build *build, uint32 *place)
{
	while (*place < (uint32) 1 << build->height && THRESHOLD(build->nodes[*place * PYN_FOREST_LANES]) == INT32_MIN)
		*place = 2 * *place + 1;
	return *place >= (uint32) 1 << build->height;
}

static int
count_nodes(const Build *build, uint32 place)
{
	return settle(build, &place) ? 0 : 1 + count_nodes(build, 2 * place) + count_nodes(build, 2 * place + 1);
}

static int8
add_leaf(Build *build, uint32 place)
{
	build->forest->leaves[build->leaf_count] = build->paths[(place - (1 << build->height)) * PYN_FOREST_LANES];
	return (int8) (uint8) (build->leaf_count++ - build->tree_leaf);
}

/* Appends the steps of a node that is no leaf; their feature and threshold are put into `nodes_of` for later. */
static void
add_steps(Build *build, uint32 place, uint64 *node_of_step)
{
	uint32		left = 2 * place;
	uint32		right = 2 * place + 1;
	bool		left_is_leaf = settle(build, &left);
	bool		right_is_leaf = settle(build, &right);
	Step		step = {0};

	if (!left_is_leaf)
		add_steps(build, left, node_of_step);
	if (!right_is_leaf)
		add_steps(build, right, node_of_step);
	step.kind = left_is_leaf ? (right_is_leaf ? STEP_BEGIN : STEP_RIGHT) : (right_is_leaf ? STEP_LEFT : STEP_JOIN);
	step.put_aside = step.kind == STEP_BEGIN && build->live;
	if (left_is_leaf)
		step.left = add_leaf(build, left);
	if (right_is_leaf)
		step.right = add_leaf(build, right);
	build->live = true;
	node_of_step[build->step_count] = build->nodes[place * PYN_FOREST_LANES];
	build->forest->steps[build->step_count++] = step;
}

/* Collects the thresholds of each feature, sorted and without repetition; false when there are too many. */
static bool
collect_thresholds(PynBulkForest *forest, const uint64 *node_of_step, Size steps)
{
	int		   *counts = pyn_new0(int, forest->features);
	Size		place = 0;

	for (Size i = 0; i < steps; i++)
		counts[FEATURE(node_of_step[i])]++;
	for (int feature = 0; feature < forest->features; feature++)
	{
		forest->first_thresholds[feature] = place;
		place += counts[feature];
		counts[feature] = 0;
	}
	for (Size i = 0; i < steps; i++)
	{
		uint32		feature = FEATURE(node_of_step[i]);

		forest->thresholds[forest->first_thresholds[feature] + counts[feature]++] = THRESHOLD(node_of_step[i]);
	}
	for (int feature = 0; feature < forest->features; feature++)
	{
		int32	   *thresholds = forest->thresholds + forest->first_thresholds[feature];
		int			distinct = 0;

		CHECK_FOR_INTERRUPTS();
		sort_keys(thresholds, counts[feature]);
		for (int i = 0; i < counts[feature]; i++)
			if (distinct == 0 || thresholds[distinct - 1] != thresholds[i])
				thresholds[distinct++] = thresholds[i];
		forest->threshold_counts[feature] = distinct;
		if (distinct > MOST_RANKS)
			return false;
	}
	pfree(counts);
	return true;
}

/* How many thresholds a key reaches, of `count` rising ones. */
static inline int
rank_of(const int32 *thresholds, int count, int32 key)
{
	int			base = 0;

	if (count == 0)
		return 0;
	while (count > 1)
	{
		int			half = count / 2;

		base += thresholds[base + half - 1] <= key ? half : 0;
		count -= half;
	}
	return base + (thresholds[base] <= key);
}

/*
 * Puts trees from `first_tree` on into a group, as long as no feature has more than 255 thresholds in it, and gives their steps slots
 * and thresholds.  `used` has a byte for each threshold of the forest, all 0.
 */
static void
make_group(PynBulkForest *forest, int first_tree, const uint64 *node_of_step, uint8 *used, int *counts, int *slot_of)
{
	Group	   *group = &forest->groups[forest->group_count++];
	int			tree = first_tree;
	Size		first_slot = first_tree == 0 ? 0 : group[-1].first_slot + group[-1].slots;
	Size		table = first_slot == 0 ? 0 :
		forest->slots[first_slot - 1].table + forest->threshold_counts[forest->slots[first_slot - 1].feature] + 1;
	Size		end_of_steps;

	memset(counts, 0, sizeof(int) * forest->features);
	for (; tree < forest->tree_count; tree++)
	{
		const Tree *added = &forest->trees[tree];
		bool		fits = true;

		for (Size i = added->first_step; i < added->first_step + added->steps; i++)
		{
			uint32		feature = FEATURE(node_of_step[i]);
			Size		place = forest->first_thresholds[feature] +
				rank_of(forest->thresholds + forest->first_thresholds[feature], forest->threshold_counts[feature],
						THRESHOLD(node_of_step[i])) - 1;

			if (used[place] == 0)
			{
				used[place] = 2;	/* by this tree first */
				fits &= ++counts[feature] <= MOST_NODES;
			}
		}
		for (Size i = added->first_step; i < added->first_step + added->steps; i++)
		{
			uint32		feature = FEATURE(node_of_step[i]);
			Size		place = forest->first_thresholds[feature] +
				rank_of(forest->thresholds + forest->first_thresholds[feature], forest->threshold_counts[feature],
						THRESHOLD(node_of_step[i])) - 1;

			if (used[place] == 2)
			{
				used[place] = fits;
				counts[feature] -= !fits;
			}
		}
		if (!fits)
			break;
	}
	group->first_tree = first_tree;
	group->trees = tree - first_tree;
	group->first_slot = first_slot;
	for (int feature = 0; feature < forest->features; feature++)
	{
		int8	   *ranks = forest->tables + table;
		uint8	   *uses = used + forest->first_thresholds[feature];
		int			rank = 0;

		if (counts[feature] == 0)
			continue;
		slot_of[feature] = group->slots;
		forest->slots[first_slot + group->slots].feature = feature;
		forest->slots[first_slot + group->slots++].table = table;
		for (int i = 0; i <= forest->threshold_counts[feature]; i++)
		{
			ranks[i] = (int8) (rank - 128);
			if (i < forest->threshold_counts[feature])
				rank += uses[i];
		}
		memset(uses, 0, forest->threshold_counts[feature]);
		table += forest->threshold_counts[feature] + 1;
	}
	end_of_steps = tree > first_tree ? forest->trees[tree - 1].first_step + forest->trees[tree - 1].steps : 0;
	for (Size i = forest->trees[first_tree].first_step; i < end_of_steps; i++)
	{
		uint32		feature = FEATURE(node_of_step[i]);
		int			slot = slot_of[feature];
		int			rank = rank_of(forest->thresholds + forest->first_thresholds[feature], forest->threshold_counts[feature],
								   THRESHOLD(node_of_step[i]));

		/* A row goes right when it has reached this threshold: its rank is at least the threshold's own, so above that less one. */
		forest->steps[i].slot = (uint16) slot;
		forest->steps[i].threshold = (int8) (forest->tables[forest->slots[first_slot + slot].table + rank] - 1);
	}
	forest->most_slots = Max(forest->most_slots, group->slots);
}

/*
 * pyn_bulk_make prepares a forest of complete trees, LANES of them interleaved, for scoring in bulk; NULL when its trees are too
 * large, or its thresholds on one feature too many, for this to be the faster way.
 */
PynBulkForest *
pyn_bulk_make(int features, int trees, int height, const uint64 *nodes, const uint32 *paths)
{
	PynBulkForest *forest = palloc0(sizeof(PynBulkForest));
	Build		build = {.forest = forest, .height = height};
	Size		total = 0;
	Size		table_bytes = 0;
	uint64	   *node_of_step = NULL;
	uint8	   *used;
	int		   *counts;
	int		   *slot_of;

	for (int pass = 0; pass < 2; pass++)
	{
		if (pass == 1)
		{
			forest->features = features;
			forest->tree_count = trees;
			forest->trees = pyn_new0(Tree, trees);
			forest->steps = pyn_new(Step, total + 1);
			forest->leaves = pyn_new(uint32, total + trees);
			node_of_step = pyn_new(uint64, total + 1);
		}
		for (int tree = 0; tree < trees; tree++)
		{
			uint32		root = 1;
			int			count;

			build.nodes = nodes + ((Size) (tree / PYN_FOREST_LANES * PYN_FOREST_LANES) << height) + tree % PYN_FOREST_LANES;
			build.paths = paths + ((Size) (tree / PYN_FOREST_LANES * PYN_FOREST_LANES) << height) + tree % PYN_FOREST_LANES;
			if (pass == 0)
			{
				if ((count = count_nodes(&build, root)) > MOST_NODES)
					return NULL;
				total += count;
				continue;
			}
			CHECK_FOR_INTERRUPTS();
			build.live = false;
			build.tree_leaf = build.leaf_count;
			forest->trees[tree].first_step = build.step_count;
			forest->trees[tree].first_leaf = build.leaf_count;
			if (settle(&build, &root))
				forest->constant += build.paths[(root - (1 << height)) * PYN_FOREST_LANES];
			else
				add_steps(&build, root, node_of_step);
			forest->trees[tree].steps = (int) (build.step_count - forest->trees[tree].first_step);
		}
	}

	forest->threshold_counts = pyn_new(int, features);
	forest->first_thresholds = pyn_new(Size, features);
	forest->thresholds = pyn_new(int32, total + 1);
	if (!collect_thresholds(forest, node_of_step, total))
		return NULL;

	/* A group is full when a feature has 255 thresholds in it or nearly, so there cannot be many more groups than this. */
	for (int feature = 0; feature < features; feature++)
		table_bytes += (Size) forest->threshold_counts[feature] + 1;
	counts = pyn_new(int, features);
	slot_of = pyn_new(int, features);
	used = pyn_new0(uint8, total + 1);
	forest->groups = pyn_new0(Group, trees);
	forest->slots = NULL;
	forest->tables = NULL;
	for (int next = 0; next < trees; next += forest->groups[forest->group_count - 1].trees)
	{
		Size		groups = forest->group_count + 1;

		CHECK_FOR_INTERRUPTS();
		if (groups * table_bytes > MOST_TABLE)
			return NULL;
		forest->slots = forest->slots == NULL ? pyn_new(Slot, features) :
			pyn_repalloc_huge(forest->slots, sizeof(Slot) * groups * features);
		forest->tables = forest->tables == NULL ? pyn_new(int8, table_bytes) :
			pyn_repalloc_huge(forest->tables, groups * table_bytes);
		make_group(forest, next, node_of_step, used, counts, slot_of);
	}
	pfree(node_of_step);
	pfree(used);
	pfree(counts);
	pfree(slot_of);
	return forest;
}

/* ---------------------------------------------------------------- score */

/* The ranks of many keys, some side by side: a search waits for what it loads. */
static void
rank_all(const int32 *thresholds, int count, const int32 *keys, int rows, uint16 *ranks)
{
	int			row = 0;

	for (; row + PYN_FOREST_LANES <= rows; row += PYN_FOREST_LANES)
	{
		uint32		bases[PYN_FOREST_LANES] = {0};
		uint32		left = (uint32) count;

		while (left > 1)
		{
			uint32		half = left / 2;
			const int32 *middle = thresholds + half - 1;

#pragma GCC unroll 8
			for (int lane = 0; lane < PYN_FOREST_LANES; lane++)
				bases[lane] += half & -(uint32) (middle[bases[lane]] <= keys[row + lane]);
			left -= half;
		}
#pragma GCC unroll 8
		for (int lane = 0; lane < PYN_FOREST_LANES; lane++)
			ranks[row + lane] = (uint16) (bases[lane] + (thresholds[bases[lane]] <= keys[row + lane]));
	}
	for (; row < rows; row++)
		ranks[row] = (uint16) rank_of(thresholds, count, keys[row]);
}

/* The numbers of the leaves of one tree that CHUNK rows reach; `ranks` are the group's, of one slot after the other. */
PYN_ANY_CPU static void
reach_leaves(const Step *steps, int count, const int8 *ranks, Size stride, int8 *leaves)
{
	Vector		there[VECTORS] = {{0}};
	Vector		aside[MAX_STACK][VECTORS];
	int			depth = 0;

	for (int i = 0; i < count; i++)
	{
		const Step *step = &steps[i];
		const Vector *rank = (const Vector *) (ranks + step->slot * stride);
		Vector		threshold = (Vector) {0} + step->threshold;
		Vector		left = (Vector) {0} + step->left;
		Vector		right = (Vector) {0} + step->right;

		if (step->put_aside)
		{
#pragma GCC unroll 8
			for (int v = 0; v < VECTORS; v++)
				aside[depth][v] = there[v];
			depth++;
		}
		switch ((StepKind) step->kind)
		{
			case STEP_BEGIN:
#pragma GCC unroll 8
				for (int v = 0; v < VECTORS; v++)
					there[v] = left ^ ((left ^ right) & (rank[v] > threshold));
				break;
			case STEP_LEFT:
#pragma GCC unroll 8
				for (int v = 0; v < VECTORS; v++)
					there[v] ^= (there[v] ^ right) & (rank[v] > threshold);
				break;
			case STEP_RIGHT:
#pragma GCC unroll 8
				for (int v = 0; v < VECTORS; v++)
					there[v] = left ^ ((left ^ there[v]) & (rank[v] > threshold));
				break;
			case STEP_JOIN:
				depth--;
#pragma GCC unroll 8
				for (int v = 0; v < VECTORS; v++)
					there[v] = aside[depth][v] ^ ((aside[depth][v] ^ there[v]) & (rank[v] > threshold));
				break;
		}
	}
#pragma GCC unroll 8
	for (int v = 0; v < VECTORS; v++)
		((Vector *) leaves)[v] = there[v];
}

/* Adds one tree's paths. */
static void
add_tree(const PynBulkForest *forest, const Tree *tree, const int8 *ranks, int stride, int rows, uint64 *sums)
{
	const uint32 *paths = forest->leaves + tree->first_leaf;
	int8		leaves[CHUNK] __attribute__((aligned(VECTOR)));

	if (tree->steps == 0)
		return;					/* its path is a constant */
	for (int start = 0; start < rows; start += CHUNK)
	{
		int			end = Min(rows - start, CHUNK);

		reach_leaves(forest->steps + tree->first_step, tree->steps, ranks + start, stride, leaves);
#pragma GCC unroll 8
		for (int row = 0; row < end; row++)
			sums[start + row] += paths[(uint8) leaves[row]];
	}
}

/*
 * pyn_bulk_sums sums the path lengths of rows: keys[feature * rows + row], which may be less than PYN_SCORE_BLOCK.
 */
void
pyn_bulk_sums(const PynBulkForest *forest, const int32 *keys, int rows, uint64 *sums)
{
	int			padded = (rows + CHUNK - 1) / CHUNK * CHUNK;
	uint16	   *ranks = pyn_new(uint16, (Size) forest->features * rows);
	int8	   *allocated = pyn_new0(int8, (Size) forest->most_slots * padded + VECTOR);
	int8	   *group_ranks = (int8 *) (((uintptr_t) allocated + VECTOR - 1) / VECTOR * VECTOR);

	for (int feature = 0; feature < forest->features; feature++)
	{
		const int32 *thresholds = forest->thresholds + forest->first_thresholds[feature];
		int			count = forest->threshold_counts[feature];

		if (count > 0)
			rank_all(thresholds, count, keys + (Size) feature * rows, rows, ranks + (Size) feature * rows);
	}
	for (int row = 0; row < rows; row++)
		sums[row] = forest->constant;
	for (int i = 0; i < forest->group_count; i++)
	{
		const Group *group = &forest->groups[i];

		for (int slot = 0; slot < group->slots; slot++)
		{
			const Slot *from = &forest->slots[group->first_slot + slot];
			const uint16 *rank = ranks + (Size) from->feature * rows;
			const int8 *table = forest->tables + from->table;

			for (int row = 0; row < rows; row++)
				group_ranks[(Size) slot * padded + row] = table[rank[row]];
		}
		for (int tree = group->first_tree; tree < group->first_tree + group->trees; tree++)
			add_tree(forest, &forest->trees[tree], group_ranks, padded, rows, sums);
	}
	pfree(ranks);
	pfree(allocated);
}
