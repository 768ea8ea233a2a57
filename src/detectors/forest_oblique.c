/*
 * forest_oblique.c
 *		Grows trees whose splits are sums of several features.
 *
 * A node's split compares a random linear combination of `dimensions` of the columns that vary among its rows, each put on
 * one scale by its standard deviation there, with normally distributed coefficients.  The place of the split is
 *
 *	extended		random between the smallest and the largest sum, and the height is limited to log2 of the sample: Hariri,
 *					Carrasco Kind and Brunner, "Extended Isolation Forest", IEEE TKDE 2019.  (They draw a point of the
 *					box about the node's rows; here it is one between the projected rows.)
 *	pooled_gain		where the standard deviations of the two parts, pooled, are the smallest, and trees grow until rows cannot
 *					be split: the fair-cut forest of Cortes, "Revisiting randomized choices in isolation forests", 2021.
 *	averaged_gain	where the mean of the two standard deviations is the smallest, however few rows a part has: the criterion of
 *					SCiForest (Liu, Ting and Zhou, "On Detecting Clustered Anomalies Using SCiForest", ECML PKDD 2010).  Rows
 *					outside of the range of a node's sums are walked like others; the paper lets them end there.
 *
 * Of the last two, with several tries the split of the largest gain is taken, as in SCiForest.
 *
 * The largest coefficient is made 1 by dividing the others and the threshold: comparing stays the same and costs a
 * multiplication less.  Sums are computed in float4 in the order in which the walk computes them, so that rows part where
 * they were parted.
 *
 * Missing values lie at the centre.  The model's features are in units of the median distance from the median of the rows
 * that are not on it, which one far value does not change.
 */
#include "kernel/port.h"

#include <math.h>

#include "detectors/forest.h"
#include "detectors/scaling.h"

#define FURTHER_TRIES 3			/* when no split was found where rows differ */

#define ST_SORT sort_sums
#define ST_ELEMENT_TYPE float
#define ST_COMPARE(a, b) ((*(a) > *(b)) - (*(a) < *(b)))
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

/* A split as it is written: a row goes right when the sum of ratios × features is at least the threshold. */
typedef struct Split
{
	int			columns[PYN_FOREST_MAX_DIMENSIONS];
	float		ratios[PYN_FOREST_MAX_DIMENSIONS];	/* the first is 1 */
	float		threshold;
	double		gain;
} Split;

typedef struct Growth
{
	const PynTraining *training;
	const PynForestShape *shape;
	const double *factors;
	uint32	   *rows;			/* the tree's sample, reordered as nodes split it */
	int		   *candidates;		/* columns; those that do not vary in a node are at the end */
	float	   *columns;		/* values of a node's rows, one column after the other */
	float	   *sums;			/* their linear combination */
	float	   *sorted;
	PynRandom	random;
	PynWriter  *writer;
} Growth;

/* ---------------------------------------------------------------- a split */

/* Fetches a column's values of the node's rows; returns their standard deviation, 0 when all are equal. */
static double
fetch_column(const Growth *growth, int first, int count, int column, float *values)
{
	const PynTraining *training = growth->training;
	const double *stored = training->values + (Size) column * training->rows;
	double		centre = training->centres[column];
	double		factor = growth->factors[column];
	double		mean = 0;
	double		squares = 0;
	bool		varies = false;

	for (int i = 0; i < count; i++)
	{
		values[i] = pyn_forest_scaled(stored[growth->rows[first + i]], centre, factor);
		varies |= values[i] != values[0];
		mean += values[i];
	}
	if (!varies)
		return 0.0;
	mean /= count;
	for (int i = 0; i < count; i++)
		squares += (values[i] - mean) * (values[i] - mean);
	return sqrt(squares / count);
}

/* A number of the standard normal distribution, never infinite. */
static double
random_normal(PynRandom *random)
{
	double		u = pyn_random_double(random) + 0.5 / 9007199254740992.0;

	return pyn_normal_quantile(Min(u, 1.0 - 1.0 / 9007199254740992.0));
}

/* Draws columns that vary among the node's rows, and their coefficients; false when none does. */
static bool
draw_direction(Growth *growth, int first, int count, int *varying, Split *split)
{
	int			wanted = Min(growth->shape->dimensions, growth->training->features);
	double		weights[PYN_FOREST_MAX_DIMENSIONS];
	int			taken = 0;
	int			largest = 0;

	while (taken < wanted && taken < *varying)
	{
		int			place = taken + (int) pyn_random_below(&growth->random, (uint32) (*varying - taken));
		int			column = growth->candidates[place];
		double		deviation = fetch_column(growth, first, count, column, growth->columns + (Size) taken * count);

		CHECK_FOR_INTERRUPTS();
		if (deviation > 0)
		{
			growth->candidates[place] = growth->candidates[taken];
			growth->candidates[taken] = column;
			split->columns[taken] = column;
			weights[taken] = random_normal(&growth->random) / deviation;
			if (fabs(weights[taken]) > fabs(weights[largest]))
				largest = taken;
			taken++;
		}
		else
		{
			/* It varies in no node below this one either. */
			growth->candidates[place] = growth->candidates[--*varying];
			growth->candidates[*varying] = column;
		}
	}
	if (taken == 0)
		return false;
	if (largest > 0)
	{
		int			column = split->columns[0];
		double		weight = weights[0];

		split->columns[0] = split->columns[largest];
		split->columns[largest] = column;
		weights[0] = weights[largest];
		weights[largest] = weight;
		for (int i = 0; i < count; i++)
		{
			float		value = growth->columns[i];

			growth->columns[i] = growth->columns[(Size) largest * count + i];
			growth->columns[(Size) largest * count + i] = value;
		}
	}
	split->ratios[0] = 1.0f;
	for (int i = 1; i < wanted; i++)
	{
		split->columns[i] = split->columns[i < taken ? i : 0];
		split->ratios[i] = i < taken && weights[0] != 0 ? (float) (weights[i] / weights[0]) : 0.0f;
	}
	for (int i = 0; i < count; i++)
	{
		float		sum = growth->columns[i];

		for (int k = 1; k < taken; k++)
			sum += split->ratios[k] * growth->columns[(Size) k * count + i];
		growth->sums[i] = sum;
	}
	return true;
}

/* A random place between the smallest and the largest sum; false when all are equal. */
static bool
split_anywhere(Growth *growth, int count, Split *split)
{
	float		low = growth->sums[0];
	float		high = growth->sums[0];

	for (int i = 1; i < count; i++)
	{
		low = Min(low, growth->sums[i]);
		high = Max(high, growth->sums[i]);
	}
	if (!(low < high))
		return false;
	split->threshold = (float) (low + pyn_random_double(&growth->random) * ((double) high - low));
	if (!(split->threshold > low))
		split->threshold = high;
	split->gain = 0;
	return true;
}

/* Standard deviation from a count, sum and sum of squares. */
static inline double
deviation_of(double count, double sum, double squares)
{
	double		variance = squares / count - (sum / count) * (sum / count);

	return variance > 0 ? sqrt(variance) : 0.0;
}

/* The place that leaves the least pooled or mean standard deviation; false when all sums are equal. */
static bool
split_by_gain(Growth *growth, int count, Split *split)
{
	float	   *sorted = growth->sorted;
	double		mean = 0;
	double		all_sum = 0;
	double		all_squares = 0;
	double		sum = 0;
	double		squares = 0;
	double		least = 0;
	double		deviation;
	int			best = -1;
	bool		averaged = growth->shape->splits == PYN_SPLITS_AVERAGED_GAIN;

	memcpy(sorted, growth->sums, sizeof(float) * count);
	sort_sums(sorted, count);
	for (int i = 0; i < count; i++)
		mean += sorted[i];
	mean /= count;
	for (int i = 0; i < count; i++)
	{
		double		distance = sorted[i] - mean;

		all_sum += distance;
		all_squares += distance * distance;
	}
	for (int i = 0; i < count - 1; i++)
	{
		double		distance = sorted[i] - mean;
		double		left = i + 1;
		double		right = count - left;
		double		deviations[2];
		double		both;

		sum += distance;
		squares += distance * distance;
		if (!(sorted[i] < sorted[i + 1]))
			continue;
		deviations[0] = deviation_of(left, sum, squares);
		deviations[1] = deviation_of(right, all_sum - sum, all_squares - squares);
		both = averaged ? 0.5 * count * (deviations[0] + deviations[1]) : left * deviations[0] + right * deviations[1];
		if (best < 0 || both < least)
		{
			least = both;
			best = i;
		}
	}
	if (best < 0)
		return false;
	split->threshold = (float) (0.5 * ((double) sorted[best] + sorted[best + 1]));
	if (!(split->threshold > sorted[best]))
		split->threshold = sorted[best + 1];
	deviation = deviation_of(count, all_sum, all_squares);
	split->gain = deviation > 0 ? 1.0 - least / count / deviation : 0.0;
	return true;
}

/* Finds a node's split; false when its rows cannot be told apart.  `sums` are then those of the split. */
static bool
find_split(Growth *growth, int first, int count, int *varying, Split *best)
{
	int			tries = growth->shape->tries;
	int			found = 0;
	bool		sums_are_best = false;

	for (int i = 0; i < tries || (found == 0 && i < tries + FURTHER_TRIES); i++)
	{
		Split		split;

		if (!draw_direction(growth, first, count, varying, &split))
			return false;
		sums_are_best = false;
		if (!(growth->shape->splits == PYN_SPLITS_EXTENDED ? split_anywhere : split_by_gain) (growth, count, &split))
			continue;
		if (found++ == 0 || split.gain > best->gain)
		{
			*best = split;
			sums_are_best = true;
		}
	}
	if (found > 0 && !sums_are_best)
	{
		/* Another try came after the best one. */
		int			wanted = Min(growth->shape->dimensions, growth->training->features);

		for (int k = 0; k < wanted; k++)
		{
			fetch_column(growth, first, count, best->columns[k], growth->columns);
			for (int i = 0; i < count; i++)
				growth->sums[i] = k == 0 ? growth->columns[i] : growth->sums[i] + best->ratios[k] * growth->columns[i];
		}
	}
	return found > 0;
}

/* ---------------------------------------------------------------- a tree */

/*
 * Writes a node and what is below it, in preorder.  A leaf: PYN_OBLIQUE_LEAF, or PYN_OBLIQUE_FULL_LEAF and its rows.  A
 * split: its columns, all ratios but the first, and the threshold.
 */
static void
grow(Growth *growth, int first, int count, int depth, int height, int varying)
{
	int			wanted = Min(growth->shape->dimensions, growth->training->features);
	Split		split = {0};
	int			begin = 0;
	int			end = count;

	if (count == 1 || depth >= height || !find_split(growth, first, count, &varying, &split))
	{
		pyn_write_u16(growth->writer, count == 1 ? PYN_OBLIQUE_LEAF : PYN_OBLIQUE_FULL_LEAF);
		if (count > 1)
			pyn_write_u16(growth->writer, (uint16) count);
		return;
	}
	for (int i = 0; i < wanted; i++)
		pyn_write_u16(growth->writer, (uint16) split.columns[i]);
	for (int i = 1; i < wanted; i++)
		pyn_write_f32(growth->writer, split.ratios[i]);
	pyn_write_f32(growth->writer, split.threshold);
	while (begin < end)
	{
		if (growth->sums[begin] < split.threshold)
			begin++;
		else
		{
			uint32		row = growth->rows[first + begin];
			float		sum = growth->sums[begin];

			growth->rows[first + begin] = growth->rows[first + --end];
			growth->rows[first + end] = row;
			growth->sums[begin] = growth->sums[end];
			growth->sums[end] = sum;
		}
	}
	grow(growth, first, begin, depth + 1, height, varying);
	grow(growth, first + begin, count - begin, depth + 1, height, varying);
}

/* Per feature 1 / the median distance from the centre of the rows that are not on it; 0 where all are. */
static double *
measure_factors(const PynTraining *training)
{
	PynWeighted *distances = pyn_new(PynWeighted, training->rows);
	double	   *factors = pyn_new(double, training->features);

	for (int feature = 0; feature < training->features; feature++)
	{
		const double *values = training->values + (Size) feature * training->rows;
		double		total = 0;
		int			count = 0;

		CHECK_FOR_INTERRUPTS();
		for (int row = 0; row < training->rows; row++)
		{
			double		distance = fabs(values[row] - training->centres[feature]);

			if (!(distance > 0))
				continue;
			distances[count].value = Min(distance, 1.7976931348623157e308);
			distances[count].weight = (double) training->weights[row];
			total += distances[count++].weight;
		}
		factors[feature] = 0;
		if (count == 0)
			continue;
		pyn_weighted_sort(distances, count);
		factors[feature] = Min(1.0 / pyn_weighted_quantile(distances, count, total, 0.5), 1.7976931348623157e308);
	}
	pfree(distances);
	return factors;
}

/*
 * pyn_oblique_grow writes centre and factor of each feature, then the trees.
 */
void
pyn_oblique_grow(const PynTraining *training, const PynForestShape *shape, PynWriter *writer)
{
	int			sample_size = shape->sample_size;
	int			wanted = Min(shape->dimensions, training->features);
	double	   *factors = measure_factors(training);
	PynForestSampler sampler;
	Growth		growth = {.training = training, .shape = shape, .factors = factors, .writer = writer};
	int			height = shape->splits == PYN_SPLITS_EXTENDED ? pyn_forest_height(sample_size) : PYN_OBLIQUE_MAX_HEIGHT;

	for (int feature = 0; feature < training->features; feature++)
	{
		pyn_write_f64(writer, training->centres[feature]);
		pyn_write_f64(writer, factors[feature]);
	}
	pyn_forest_sampler_init(&sampler, training, sample_size);
	growth.rows = pyn_new(uint32, sample_size);
	growth.candidates = pyn_new(int, training->features);
	growth.columns = pyn_new(float, (Size) wanted * sample_size);
	growth.sums = pyn_new(float, sample_size);
	growth.sorted = pyn_new(float, sample_size);
	for (int tree = 0; tree < shape->trees; tree++)
	{
		CHECK_FOR_INTERRUPTS();
		growth.random.state = pyn_hash_u64(tree, training->seed);
		pyn_forest_draw(&sampler, sample_size, &growth.random, growth.rows);
		for (int feature = 0; feature < training->features; feature++)
			growth.candidates[feature] = feature;
		grow(&growth, 0, sample_size, 0, height, training->features);
	}
	pyn_forest_sampler_free(&sampler);
	pfree(factors);
	pfree(growth.rows);
	pfree(growth.candidates);
	pfree(growth.columns);
	pfree(growth.sums);
	pfree(growth.sorted);
}
