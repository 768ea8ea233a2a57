/*
 * cleaned_neighbours.c
 *		Distances to the nearest of small random sets of rows, from which a first pass has removed what looks odd.
 *
 * That the nearest neighbour in a small random sample tells anomalies as well as all rows do, and faster, is from Sugiyama
 * and Borgwardt, "Rapid Distance-Based Outlier Detection via Sampling", NIPS 2013.  Anomalies that lie close together
 * are near to each other, though: once they are among the references, they hide.  So the references are cleaned, gently
 * and in passes.  The first pass takes tiny sets of all rows, in which few anomalies can meet; the second takes sets of
 * the 90 % that the first found least odd, and the third of the 50 % that the second did.  To clean by half at once would
 * lose rare but ordinary groups, which the second pass still knows.
 *
 * Features are scaled by median and interquartile range, then by asinh, so that one far-off value does not outweigh all
 * else; after the first pass by those of the 70 % least odd.  A pass gives the logarithm of the mean over its sets of the
 * distance to the k-th nearest reference, in units of the median absolute deviation from its median among the training
 * rows; the raw score is the weighted mean over the passes and half the largest.
 *
 * Explanation: a feature's part is how much smaller a row's distances would be without it.
 *
 * Model: 4 bytes for each number of each reference: some 0.13 MB for 8 features, at most 2 MB a pass.  Time: some
 * 4,000 distances for each row, fewer where there are more than 256 features; fitting takes as long as scoring the training rows twice.
 */
#include "kernel/port.h"
#include "kernel/hash.h"

#include <math.h>

#include "detectors/cleaned_neighbours.h"
#include "detectors/reference_sets.h"
#include "numeric/math.h"

#define LEAST_POOL 40			/* rows */
#define LEAST_SIZE 32			/* references, however many features there are */
#define MOST_NUMBERS (1 << 19)	/* of a pass's references, where sets and references are not that few already */
#define LEAST_DISTANCE 1e-9		/* added before the logarithm, since rows may be equal; or this share of the median */
#define LEAST_SHARE 0.01
#define LEAST_SPREAD 0.001		/* of the clean part's scale to that of all rows */
#define MAX_SETS 64

enum
{
	SETTING_NEIGHBORS,
	SETTING_COUNT
};

static const PynParameter parameters[SETTING_COUNT] = {
	{.name = "n_neighbors",.initial = 5,.minimum = 1,.maximum = 50,.description = "the distance to which reference of a set counts"},
};

/* What each pass draws its references from, the least odd share as the pass before ranks the rows; and how it counts. */
static const struct
{
	double		share;
	int			sets;
	int			size;			/* references of a set */
	double		weight;
}			plans[] = {{1.0, 32, 32, 1.0}, {0.9, 16, 64, 2.0}, {0.5, 8, 256, 2.0}};

#define SCALE_SHARE 0.7			/* the share, as the first pass ranks the rows, that sets the scale of the others */
#define PASSES ((int) lengthof(plans))

typedef struct Pass
{
	PynReferenceSets sets;
	double		least;			/* added to distances */
	double		median;			/* of the logarithms */
	double		factor;			/* 1 / their scale */
} Pass;

typedef struct Cleaned
{
	int			neighbors;
	PynScaling	first_scaling;
	PynScaling	scaling;		/* of all passes after the first */
	int			passes;
	Pass	   *pass;
	double		weights[PYN_MAX_PASSES];
} Cleaned;

/* ---------------------------------------------------------------- score */

static inline double
mean_of(const float *distances, int stride, int sets)
{
	double		sum = 0;

	for (int set = 0; set < sets; set++)
		sum += distances[(Size) set * stride];
	return sum / sets;
}

/* What a pass says of a row, from its distances. */
static inline double
pass_score(const Pass *pass, const float *distances, int stride)
{
	return (pyn_log(pass->least + mean_of(distances, stride, pass->sets.sets)) - pass->median) * pass->factor;
}

static inline const PynScaling *
scaling_of(const Cleaned *cleaned, int pass)
{
	return pass == 0 ? &cleaned->first_scaling : &cleaned->scaling;
}

/* Mean distances of all training rows in one pass. */
static void
distances_of_training(const Cleaned *cleaned, int pass, const PynTraining *training, double *means)
{
	const PynReferenceSets *sets = &cleaned->pass[pass].sets;
	float	   *scaled = pyn_new(float, (Size) training->features * PYN_SCORE_BLOCK);
	float	   *distances = pyn_new(float, (Size) sets->sets * PYN_SCORE_BLOCK);

	for (int start = 0; start < training->rows; start += PYN_SCORE_BLOCK)
	{
		int			rows = Min(PYN_SCORE_BLOCK, training->rows - start);

		CHECK_FOR_INTERRUPTS();
		pyn_scale_block(scaling_of(cleaned, pass), training->values + start, training->rows, rows, scaled, PYN_SCORE_BLOCK);
		pyn_reference_block(sets, scaled, PYN_SCORE_BLOCK, rows, cleaned->neighbors, PYN_NEAREST_LARGEST, distances);
		for (int row = 0; row < rows; row++)
			means[start + row] = mean_of(distances + row, PYN_SCORE_BLOCK, sets->sets);
	}
	pfree(scaled);
	pfree(distances);
}

int
pyn_cleaned_passes(const void *state, double *weights)
{
	const Cleaned *cleaned = state;

	memcpy(weights, cleaned->weights, sizeof(double) * cleaned->passes);
	return cleaned->passes;
}

void
pyn_cleaned_row(const void *state, const double *row, double *scores)
{
	const Cleaned *cleaned = state;
	float	   *scaled = pyn_new(float, cleaned->scaling.features);
	float		distances[MAX_SETS];

	for (int i = 0; i < cleaned->passes; i++)
	{
		/* The first pass has a scale of its own, the others share one. */
		if (i <= 1)
			pyn_scale_row(scaling_of(cleaned, i), row, scaled);
		pyn_reference_row(&cleaned->pass[i].sets, scaled, cleaned->neighbors, PYN_NEAREST_LARGEST, distances);
		scores[i] = pass_score(&cleaned->pass[i], distances, 1);
	}
	pfree(scaled);
}

void
pyn_cleaned_block(const void *state, const double *values, int stride, int rows, double *scores)
{
	const Cleaned *cleaned = state;
	int			padded = (rows + PYN_LANES - 1) / PYN_LANES * PYN_LANES;
	float	   *scaled = pyn_new(float, (Size) cleaned->scaling.features * padded);
	float	   *distances = pyn_new(float, (Size) MAX_SETS * padded);

	for (int i = 0; i < cleaned->passes; i++)
	{
		const Pass *pass = &cleaned->pass[i];

		if (i <= 1)
			pyn_scale_block(scaling_of(cleaned, i), values, stride, rows, scaled, padded);
		pyn_reference_block(&pass->sets, scaled, padded, rows, cleaned->neighbors, PYN_NEAREST_LARGEST, distances);
		for (int row = 0; row < rows; row++)
			scores[(Size) i * rows + row] = pass_score(pass, distances + row, padded);
	}
	pfree(scaled);
	pfree(distances);
}

static double
cleaned_score_row(const void *state, const double *row)
{
	const Cleaned *cleaned = state;
	double		scores[PYN_MAX_PASSES];

	pyn_cleaned_row(state, row, scores);
	return pyn_mean_and_largest(scores, 1, cleaned->weights, cleaned->passes);
}

static void
cleaned_score_block(const void *state, const double *values, int stride, int rows, double *scores)
{
	const Cleaned *cleaned = state;
	double	   *all = pyn_new(double, (Size) cleaned->passes * rows);

	pyn_cleaned_block(state, values, stride, rows, all);
	for (int row = 0; row < rows; row++)
		scores[row] = pyn_mean_and_largest(all + row, rows, cleaned->weights, cleaned->passes);
	pfree(all);
}

/* ---------------------------------------------------------------- explain */

/* Adds a pass's part to those features without which its distance would be smaller, by how much its logarithm would. */
static void
add_parts(const Pass *pass, const float *row, int neighbors, double part, double *without, double *parts)
{
	int			features = pass->sets.features;
	double		all = pyn_log(pass->least + pyn_reference_without(&pass->sets, row, neighbors, without));
	double		sum = 0;

	for (int feature = 0; feature < features; feature++)
	{
		without[feature] = Max(all - pyn_log(pass->least + without[feature]), 0.0);
		sum += without[feature];
	}
	for (int feature = 0; feature < features && sum > 0; feature++)
		parts[feature] += part * without[feature] / sum;
}

static void
cleaned_contribute(const void *state, const double *row, double *contributions)
{
	const Cleaned *cleaned = state;
	int			features = cleaned->scaling.features;
	float	   *scaled = pyn_new(float, features);
	double	   *without = pyn_new(double, features);
	double		scores[PYN_MAX_PASSES];
	double		parts[PYN_MAX_PASSES];

	pyn_cleaned_row(state, row, scores);
	pyn_mean_and_largest_parts(scores, cleaned->weights, cleaned->passes, parts);
	memset(contributions, 0, sizeof(double) * features);
	for (int i = 0; i < cleaned->passes; i++)
	{
		if (i <= 1)
			pyn_scale_row(scaling_of(cleaned, i), row, scaled);
		if (parts[i] > 0)
			add_parts(&cleaned->pass[i], scaled, cleaned->neighbors, parts[i], without, contributions);
	}
	pfree(scaled);
	pfree(without);
}

/* ---------------------------------------------------------------- fit */

typedef struct Ranked
{
	double		value;
	int			row;
} Ranked;

/* Equal ones in the order of the rows, so that the pools do not depend on the sort. */
#define ST_SORT sort_ranked
#define ST_ELEMENT_TYPE Ranked
#define ST_COMPARE(a, b) ((a)->value != (b)->value ? ((a)->value > (b)->value ? 1 : -1) : ((a)->row > (b)->row) - ((a)->row < (b)->row))
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

/* Draws a pass's sets from some of the training rows. */
static void
draw_sets(const Cleaned *cleaned, int pass, const PynTraining *training, const int *rows, int count, PynReferenceSets *sets)
{
	int			features = training->features;
	PynRandom	random = {pyn_hash_u64((uint64) pass, training->seed)};
	PynPool		pool;
	int			size;
	int			set_count;
	int		   *drawn;
	float	   *references;
	double	   *raw = pyn_new(double, features);

	pyn_pool_init(&pool, training, rows, count);
	size = (int) Min((int64) Min(plans[pass].size, Max(LEAST_SIZE, MOST_NUMBERS / features)), pool.total);
	set_count = Max(1, Min(plans[pass].sets, MOST_NUMBERS / (size * features)));
	drawn = pyn_new(int, size);
	references = pyn_new(float, (Size) set_count * size * features);
	for (int set = 0; set < set_count; set++)
	{
		CHECK_FOR_INTERRUPTS();
		pyn_pool_draw(&pool, size, &random, drawn);
		for (int i = 0; i < size; i++)
		{
			pyn_training_row(training, drawn[i], raw);
			pyn_scale_row(scaling_of(cleaned, pass), raw, references + ((Size) set * size + i) * features);
		}
	}
	pyn_reference_sets_make(sets, references, set_count, size, features, pyn_by_set_pays(set_count));
	pfree(pool.cumulative);
	pfree(drawn);
	pfree(references);
	pfree(raw);
}

/* What makes a score of the distances: median and scale of the training rows' logarithms. */
static void
standardise(Pass *pass, const PynTraining *training, const double *distances)
{
	PynWeighted *numbers = pyn_new(PynWeighted, training->rows);
	double		total = (double) training->total_weight;

	for (int row = 0; row < training->rows; row++)
	{
		numbers[row].value = distances[row];
		numbers[row].weight = (double) training->weights[row];
	}
	pyn_weighted_sort(numbers, training->rows);
	pass->least = Max(LEAST_DISTANCE, LEAST_SHARE * pyn_weighted_quantile(numbers, training->rows, total, 0.5));
	for (int row = 0; row < training->rows; row++)
		numbers[row].value = pyn_log(pass->least + numbers[row].value);
	pass->factor = 1.0 / pyn_median_and_scale(numbers, training->rows, total, &pass->median);
	pfree(numbers);
}

/* The training rows, the least odd first. */
static void
rank_rows(const PynTraining *training, const double *distances, int *rows)
{
	Ranked	   *ranked = pyn_new(Ranked, training->rows);

	for (int row = 0; row < training->rows; row++)
	{
		ranked[row].value = distances[row];
		ranked[row].row = row;
	}
	sort_ranked(ranked, training->rows);
	for (int row = 0; row < training->rows; row++)
		rows[row] = ranked[row].row;
	pfree(ranked);
}

/* How many of the ranked rows make up a share of all. */
static int
pool_size(const PynTraining *training, const int *rows, double share)
{
	double		wanted = Max(share * (double) training->total_weight, LEAST_POOL);
	double		reached = 0;
	int			count = 0;

	while (count < training->rows && reached < wanted)
		reached += (double) training->weights[rows[count++]];
	return count;
}

/*
 * The scale of the later passes: that of the clean part.  A feature that does not vary there but does elsewhere or hardly, is measured
 * by its standard deviation among all rows, from the value that it has there.
 */
static void
fit_scaling(const PynTraining *training, const int *rows, int count, PynScaling *scaling)
{
	PynRows		clean = {.count = count,.rows = rows};
	PynScaling	all;

	pyn_scaling_fit(training, &clean, PYN_SCALE_TAILS, scaling);
	pyn_scaling_fit(training, NULL, PYN_SCALE_STANDARD, &all);
	for (int feature = 0; feature < training->features; feature++)
	{
		const double *values = training->values + (Size) feature * training->rows;

		if (!(all.factors[feature] > 0))
			continue;
		if (scaling->factors[feature] > 0)
		{
			if (all.factors[feature] < scaling->factors[feature] * LEAST_SPREAD)
				scaling->factors[feature] = all.factors[feature];
			continue;
		}
		scaling->centres[feature] = training->centres[feature];
		scaling->factors[feature] = all.factors[feature];
		for (int i = 0; i < count; i++)
			if (values[rows[i]] == values[rows[i]])
			{
				scaling->centres[feature] = values[rows[i]];
				break;
			}
	}
	pfree(all.centres);
	pfree(all.factors);
}

static void
write_pass(const Pass *pass, double weight, PynWriter *writer)
{
	const PynReferenceSets *sets = &pass->sets;
	Size		of_set = (Size) sets->size * sets->features;
	float	   *references = pyn_new(float, sets->sets * of_set);

	for (int set = 0; set < sets->sets; set++)
		memcpy(references + set * of_set, sets->values + (Size) set * sets->padded * sets->features, sizeof(float) * of_set);
	pyn_write_f64(writer, weight);
	pyn_write_f64(writer, pass->least);
	pyn_write_f64(writer, pass->median);
	pyn_write_f64(writer, pass->factor);
	pyn_reference_sets_write(references, sets->sets, sets->size, sets->features, writer);
	pfree(references);
}

/*
 * u8 neighbours, two scalings, u8 passes; each pass: f64 weight, least distance, median and factor, and its reference sets.
 */
static void
cleaned_fit(const PynTraining *training, const PynPlan *plan, PynWriter *writer)
{
	Pass		passes[PASSES];
	Cleaned		cleaned = {
		.neighbors = (int) plan->settings[SETTING_NEIGHBORS],.passes = PASSES,.pass = passes
	};
	double	   *distances = pyn_new(double, training->rows);
	int		   *rows = pyn_new(int, training->rows);

	pyn_scaling_fit(training, NULL, PYN_SCALE_TAILS, &cleaned.first_scaling);
	for (int i = 0; i < PASSES; i++)
	{
		int			count = i == 0 ? training->rows : pool_size(training, rows, plans[i].share);

		draw_sets(&cleaned, i, training, i == 0 ? NULL : rows, count, &passes[i].sets);
		distances_of_training(&cleaned, i, training, distances);
		standardise(&passes[i], training, distances);
		rank_rows(training, distances, rows);
		if (i == 0)
			fit_scaling(training, rows, pool_size(training, rows, SCALE_SHARE), &cleaned.scaling);
	}

	pyn_write_u8(writer, (uint8) cleaned.neighbors);
	pyn_scaling_write(&cleaned.first_scaling, writer);
	pyn_scaling_write(&cleaned.scaling, writer);
	pyn_write_u8(writer, PASSES);
	for (int i = 0; i < PASSES; i++)
	{
		write_pass(&passes[i], plans[i].weight, writer);
		pfree(passes[i].sets.values);
		pfree(passes[i].sets.lanes);
	}
	pfree(distances);
	pfree(rows);
}

/* ---------------------------------------------------------------- open */

static const char *
read_pass(PynReader *reader, int features, Pass *pass, double *weight)
{
	const char *problem;

	*weight = pyn_read_f64(reader);
	pass->least = pyn_read_f64(reader);
	pass->median = pyn_read_f64(reader);
	pass->factor = pyn_read_f64(reader);
	if (!(fabs(pass->median) <= 1000.0) || !(pass->factor > 0 && pass->factor <= 1e6) ||
		!(*weight > 0 && *weight <= 1e6) || !(pass->least >= LEAST_DISTANCE && pass->least <= 1e20))
		return "a pass's weight or scale is impossible";
	if ((problem = pyn_reference_sets_read(reader, features, &pass->sets)) != NULL)
		return problem;
	return pass->sets.sets <= MAX_SETS ? NULL : "a pass has too many sets";
}

static const char *
cleaned_open(PynReader *reader, int features, void **state)
{
	Cleaned    *cleaned = palloc0(sizeof(Cleaned));
	const char *problem;

	cleaned->neighbors = pyn_read_u8(reader);
	if (cleaned->neighbors < 1 || cleaned->neighbors > parameters[SETTING_NEIGHBORS].maximum)
		return "an impossible number of neighbours";
	if ((problem = pyn_scaling_read(reader, features, &cleaned->first_scaling)) != NULL ||
		(problem = pyn_scaling_read(reader, features, &cleaned->scaling)) != NULL)
		return problem;
	cleaned->passes = pyn_read_u8(reader);
	if (cleaned->passes < 1 || cleaned->passes > PYN_MAX_PASSES)
		return "an impossible number of passes";
	cleaned->pass = pyn_new0(Pass, cleaned->passes);
	for (int i = 0; i < cleaned->passes; i++)
		if ((problem = read_pass(reader, features, &cleaned->pass[i], &cleaned->weights[i])) != NULL)
			return problem;
	*state = cleaned;
	return NULL;
}

int
pyn_cleaned_describe(const void *state, char *text, int size)
{
	const Cleaned *cleaned = state;
	int			length = snprintf(text, size, "distances to the nearest %d of", cleaned->neighbors);
	bool		reduced = false;

	for (int i = 0; i < cleaned->passes && length < size; i++)
	{
		const PynReferenceSets *sets = &cleaned->pass[i].sets;

		length += snprintf(text + length, size - length, "%s %d sets of %d rows", i > 0 ? "," : "", sets->sets, sets->size);
		reduced |= i < PASSES && sets->sets < plans[i].sets;
	}
	if (length < size)
		length += snprintf(text + length, size - length, ", each drawn from what the one before found ordinary");
	if (reduced && length < size)
		length += snprintf(text + length, size - length, "; for %d features fewer sets than usual, to bound time and size",
						   cleaned->scaling.features);
	return Min(length, size - 1);
}

const PynDetector pyn_cleaned_neighbours = {
	.name = "cleaned_neighbors",
	.description = "distance to the nearest of small random sets of rows that a first pass found ordinary; sees groups of anomalies, too",
	.source = "after Sugiyama and Borgwardt: Rapid Distance-Based Outlier Detection via Sampling. NIPS 2013",
	.parameter_count = SETTING_COUNT,
	.parameters = parameters,
	.fit = cleaned_fit,
	.open = cleaned_open,
	.score_row = cleaned_score_row,
	.score_block = cleaned_score_block,
	.contribute = cleaned_contribute,
};
