/*
 * isolation_forest.c
 *		Isolation forests: trees of random splits, in which odd rows are alone sooner than others.
 *
 * With E(h) the mean over trees of a row's path length (plus c(size) where a leaf holds more rows, c(n) being the mean
 * path of a search among n), the raw score is 2^(-E(h)/c(psi)), in (0, 1], about 0.5 for a row like any other.
 *
 * One algorithm, four kinds of split:
 *
 *	plain			one feature at a random place: Liu, Ting and Zhou, ICDM 2008
 *	extended		a random sum of features at a random place: Hariri, Carrasco Kind and Brunner, IEEE TKDE 2019
 *	pooled_gain		a random sum of features at the place that tells two parts apart best, in trees that grow until every row
 *					is alone: Cortes, "Revisiting randomized choices in isolation forests", 2021 (fair-cut forest)
 *	averaged_gain	the same by another measure, for which a part of few rows counts as much as one of many: Liu, Ting and Zhou,
 *					ECML PKDD 2010 (SCiForest, with its ten tries)
 *
 * The first is the fastest to score by far and the best known; the second has no regions of low scores along the axes; the third
 * finds rows that are odd in a crowd of clusters, or in how columns go together.
 *
 * For other C code that wants a forest as a part: make a PynPlan by pyn_plan_defaults and set settings by the names of
 * PynForestSetting in detector.h, then fit, open and score as any detector.
 */
#include "kernel/port.h"
#include "detectors/forest.h"

#define SCIFOREST_TRIES 10

static const PynParameter parameters[PYN_FOREST_SETTINGS] = {
	[PYN_FOREST_TREES] = {.name = "trees",.initial = 100,.minimum = 1,.maximum = PYN_FOREST_MAX_TREES,
	.description = "number of trees"},
	[PYN_FOREST_SAMPLE_SIZE] = {.name = "sample_size",.initial = 256,.minimum = 2,.maximum = 1 << PYN_FOREST_MAX_HEIGHT,
	.description = "rows that each tree is grown from"},
	[PYN_FOREST_SPLITS] = {.name = "splits",.initial = PYN_SPLITS_PLAIN,.maximum = PYN_SPLITS_LAST,.kind = PYN_PARAMETER_CHOICE,
		.choices = "plain, extended, pooled_gain, averaged_gain",
	.description = "what splits a node: a column at random, a sum of columns at random, or a sum of columns where it parts best"},
	[PYN_FOREST_DIMENSIONS] = {.name = "dimensions",.initial = 2,.minimum = 1,.maximum = PYN_FOREST_MAX_DIMENSIONS,
	.description = "columns in a split, unless splits are plain"},
	[PYN_FOREST_TRIES] = {.name = "tries",.initial = 0,.minimum = 0,.maximum = 100,
	.description = "splits drawn for a node, the best of which is taken; 0: 1 of pooled_gain, 10 of averaged_gain"},
};

typedef struct Forest
{
	int			features;
	PynPlainForest *plain;		/* one of the two */
	PynChainForest *chain;
} Forest;

static void
forest_fit(const PynTraining *training, const PynPlan *plan, PynWriter *writer)
{
	PynForestShape shape = {
		.splits = (PynForestSplits) plan->settings[PYN_FOREST_SPLITS],
		.trees = (int) plan->settings[PYN_FOREST_TREES],
		.sample_size = (int) Min(plan->settings[PYN_FOREST_SAMPLE_SIZE], (double) training->total_weight),
		.dimensions = 1,
		.tries = 1,
	};

	if (shape.splits != PYN_SPLITS_PLAIN)
		shape.dimensions = (int) plan->settings[PYN_FOREST_DIMENSIONS];
	if (shape.splits >= PYN_SPLITS_POOLED_GAIN)
	{
		shape.tries = (int) plan->settings[PYN_FOREST_TRIES];
		if (shape.tries == 0)
			shape.tries = shape.splits == PYN_SPLITS_AVERAGED_GAIN ? SCIFOREST_TRIES : 1;
	}
	pyn_write_u8(writer, (uint8) shape.splits);
	pyn_write_u8(writer, (uint8) shape.dimensions);
	pyn_write_u16(writer, (uint16) shape.trees);
	pyn_write_u32(writer, (uint32) shape.sample_size);
	if (shape.splits == PYN_SPLITS_PLAIN)
		pyn_plain_grow(training, &shape, writer);
	else
		pyn_oblique_grow(training, &shape, writer);
}

static const char *
forest_open(PynReader *reader, int features, void **state)
{
	Forest	   *forest = palloc0(sizeof(Forest));
	uint8		splits = pyn_read_u8(reader);
	uint8		dimensions = pyn_read_u8(reader);
	uint16		trees = pyn_read_u16(reader);
	uint32		sample_size = pyn_read_u32(reader);
	PynForestShape shape = {.splits = splits,.trees = trees,.sample_size = (int) sample_size,.dimensions = dimensions};

	if (splits > PYN_SPLITS_LAST)
		return "a forest has unknown splits";
	if (dimensions < 1 || dimensions > (splits == PYN_SPLITS_PLAIN ? 1 : PYN_FOREST_MAX_DIMENSIONS))
		return "a forest has an impossible number of dimensions";
	if (trees < 1 || trees > PYN_FOREST_MAX_TREES)
		return "a forest has an impossible number of trees";
	if (sample_size < 2 || sample_size > (1 << PYN_FOREST_MAX_HEIGHT))
		return "a forest has an impossible sample size";
	forest->features = features;
	*state = forest;
	if (splits == PYN_SPLITS_PLAIN)
		return pyn_plain_open(reader, features, &shape, &forest->plain);
	return pyn_chain_open(reader, features, &shape, &forest->chain);
}

static double
forest_score_row(const void *state, const double *row)
{
	const Forest *forest = state;

	return forest->plain != NULL ? pyn_plain_score_row(forest->plain, row) : pyn_chain_score_row(forest->chain, row);
}

static void
forest_score_block(const void *state, const double *values, int stride, int rows, double *scores)
{
	const Forest *forest = state;

	Assert(rows <= PYN_SCORE_BLOCK);
	if (forest->plain != NULL)
		pyn_plain_score_block(forest->plain, values, stride, rows, scores);
	else
		pyn_chain_score_block(forest->chain, values, stride, rows, scores);
}

/*
 * Each split of a row's paths shortens or lengthens what is left to go, against what was expected before it; a feature's part is
 * the sum of what its splits shorten.
 */
static void
forest_contribute(const void *state, const double *row, double *contributions)
{
	const Forest *forest = state;

	memset(contributions, 0, sizeof(double) * forest->features);
	if (forest->plain != NULL)
		pyn_plain_contribute(forest->plain, row, contributions);
	else
		pyn_chain_contribute(forest->chain, row, contributions);
}

const PynDetector pyn_isolation_forest = {
	.name = "isolation_forest",
	.description = "random splits isolate odd rows sooner; any number of columns, no distances, no scaling",
	.source = "Liu, Ting and Zhou: Isolation Forest. ICDM 2008; Hariri, Carrasco Kind and Brunner: Extended Isolation Forest. "
	"IEEE TKDE 2019; Liu, Ting and Zhou: SCiForest. ECML PKDD 2010; Cortes: Revisiting randomized choices in isolation forests. 2021",
	.parameter_count = PYN_FOREST_SETTINGS,
	.parameters = parameters,
	.fit = forest_fit,
	.open = forest_open,
	.score_row = forest_score_row,
	.score_block = forest_score_block,
	.contribute = forest_contribute,
};
