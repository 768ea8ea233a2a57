/*
 * loda.c
 *		LODA: Pevný, "Loda: Lightweight on-line detector of anomalies", Machine Learning 102 (2016).
 *
 * A hundred random projections of the scaled features, each of about √d of them with normal weights, and a histogram of the
 * rows along each.  The raw score is the mean over the projections of -ln(density): weak detectors, many of them.
 *
 * The number of a histogram's bins maximises the penalised likelihood of Birgé and Rozenholc (2006, "How many bins should be put in a
 * regular histogram"), as in the paper.  Where few rows or none lie the density is that of least_rows() rows in a bin: a training row
 * is always in a bin with one row at least, itself, and would look less odd than a new one beside it, so that more new rows than the
 * contamination says would be flagged (1.4 times as many at 1 % of 2,000 rows, 1.1 with this).
 *
 * A feature's part is the paper's one-sided test: how much higher -ln(density) is on projections that use the feature than on
 * those that do not, in units of that difference's standard error.
 *
 * The model takes 12 bytes for each of projections × √d weights and 8 for each of projections × bins: 100 kB for 10 columns,
 * 2.5 MB at most with 100 projections.
 */
#include "kernel/port.h"

#include <math.h>

#include "detectors/scaling.h"
#include "kernel/hash.h"
#include "numeric/matrix.h"

#define MAX_PROJECTIONS 1000
#define MAX_BINS 256
#define LEAST_SHARE 0.005		/* of all rows: a bin with fewer counts as having these, */
#define LEAST_ROWS 1.0			/* but at least so many */
#define MOST_LEAST_ROWS 10.0	/* and at most */

enum
{
	SETTING_PROJECTIONS,
	SETTING_BINS,
	SETTING_COUNT
};

static const PynParameter parameters[SETTING_COUNT] = {
	{.name = "projections",.initial = 100,.minimum = 1,.maximum = MAX_PROJECTIONS,.description = "random directions, each with a histogram"},
	{.name = "bins",.initial = 0,.minimum = 0,.maximum = MAX_BINS,.description = "of each histogram; 0: as many as are likeliest"},
};

typedef struct Projection
{
	int			count;			/* of features used */
	int			bins;
	int		   *features;
	double	   *weights;
	double		low;			/* where the histogram begins */
	double		scale;			/* bins per unit */
	double		outside;		/* -ln density beyond the histogram */
	double	   *parts;			/* and in each bin */
} Projection;

typedef struct Loda
{
	PynScaling	scaling;
	int			count;
	Projection *projections;
} Loda;

static int
used_features(int features)
{
	int			used = 1;

	while ((used + 1) * (used + 1) <= features)
		used++;
	return used;
}

/* ---------------------------------------------------------------- fit */

/* Marsaglia's polar method would reject; the quantile of a uniform number does not. */
static double
draw_normal(PynRandom *random)
{
	return pyn_normal_quantile(pyn_random_double(random) * (1.0 - 2e-16) + 1e-16);
}

/* Counts the rows' weights in bins of one width; the highest value belongs to the last bin. */
static void
count_bins(const double *values, const int64 *weights, int rows, double low, double high, int bins, double *counts)
{
	double		scale = bins / (high - low);

	memset(counts, 0, sizeof(double) * bins);
	for (int row = 0; row < rows; row++)
	{
		int			bin = (int) ((values[row] - low) * scale);

		counts[Max(0, Min(bin, bins - 1))] += (double) weights[row];
	}
}

static double
least_rows(double total)
{
	return Max(LEAST_ROWS, Min(MOST_LEAST_ROWS, LEAST_SHARE * total));
}

/* The penalised log likelihood of a histogram, from counts. */
static double
likelihood(const double *counts, int bins, double total)
{
	double		sum = 0;
	double		log_bins = pyn_log(bins);

	for (int bin = 0; bin < bins; bin++)
		if (counts[bin] > 0)
			sum += counts[bin] * pyn_log(bins * counts[bin] / total);
	return sum - (bins - 1) - log_bins * log_bins * sqrt(log_bins);
}

/* The likeliest number of bins, up to rows / ln rows; all numbers are tried up to 20, and steps of a tenth from there. */
static int
choose_bins(const double *values, const int64 *weights, int rows, double total, double low, double high, double *counts)
{
	double		best = 0;
	int			chosen = 1;
	int			most = (int) Min((double) MAX_BINS, rows > 2 ? rows / pyn_log(rows) : 1.0);

	for (int bins = 2; bins <= most; bins += Max(1, bins / 10))
	{
		double		value;

		count_bins(values, weights, rows, low, high, bins, counts);
		value = likelihood(counts, bins, total);
		if (value > best)
		{
			best = value;
			chosen = bins;
		}
	}
	return chosen;
}

/* Draws a projection's features and weights, and projects the rows. */
static void
draw_projection(const PynScaling *scaling, const PynTraining *training, int used, PynRandom *random, int *chosen, double *weights,
				double *values)
{
	int			features = training->features;

	memset(values, 0, sizeof(double) * training->rows);
	for (int i = 0; i < used; i++)
	{
		int			feature;
		bool		taken;

		do
		{
			feature = (int) pyn_random_below(random, (uint32) features);
			taken = false;
			for (int j = 0; j < i; j++)
				taken |= chosen[j] == feature;
		} while (taken);
		chosen[i] = feature;
		weights[i] = draw_normal(random);
		for (int row = 0; row < training->rows; row++)
			values[row] += weights[i] * pyn_scaled(scaling, feature, training->values[(Size) feature * training->rows + row]);
	}
}

static void
loda_fit(const PynTraining *training, const PynPlan *plan, PynWriter *writer)
{
	int			count = (int) plan->settings[SETTING_PROJECTIONS];
	int			used = used_features(training->features);
	int		   *chosen = pyn_new(int, used);
	double	   *weights = pyn_new(double, used);
	double	   *values = pyn_new(double, training->rows);
	double		counts[MAX_BINS];
	double		total = (double) training->total_weight;
	PynScaling	scaling;

	pyn_scaling_fit(training, NULL, PYN_SCALE_STANDARD, &scaling);
	pyn_scaling_write(&scaling, writer);
	pyn_write_u16(writer, (uint16) count);
	for (int k = 0; k < count; k++)
	{
		PynRandom	random = {pyn_hash_u64(k, training->seed)};
		int			bins = (int) plan->settings[SETTING_BINS];
		double		low;
		double		high;

		CHECK_FOR_INTERRUPTS();
		draw_projection(&scaling, training, used, &random, chosen, weights, values);
		low = high = values[0];
		for (int row = 1; row < training->rows; row++)
		{
			low = Min(low, values[row]);
			high = Max(high, values[row]);
		}
		/* Rows that are all alike fill one bin. */
		if (!(high - low > 1e-9 * Max(1.0, Max(fabs(low), fabs(high)))))
		{
			low -= 0.5 * Max(1.0, fabs(low));
			high += 0.5 * Max(1.0, fabs(high));
			bins = 1;
		}
		else if (bins == 0)
			bins = choose_bins(values, training->weights, training->rows, total, low, high, counts);
		count_bins(values, training->weights, training->rows, low, high, bins, counts);

		for (int i = 0; i < used; i++)
		{
			pyn_write_u32(writer, (uint32) chosen[i]);
			pyn_write_f64(writer, weights[i]);
		}
		pyn_write_f64(writer, low);
		pyn_write_f64(writer, high);
		pyn_write_u16(writer, (uint16) bins);
		for (int bin = -1; bin < bins; bin++)
		{
			double		share = Max(bin < 0 ? 0.0 : counts[bin], least_rows(total)) / total;

			pyn_write_f64(writer, pyn_log((high - low) / bins) - pyn_log(share));
		}
	}
	pfree(chosen);
	pfree(weights);
	pfree(values);
}

/* ---------------------------------------------------------------- open */

static const char *
open_projection(PynReader *reader, int features, int used, Projection *projection)
{
	double		high;

	if (!pyn_reader_has(reader, used, sizeof(uint32) + sizeof(double)))
		return "a projection is cut off";
	projection->count = used;
	projection->features = pyn_new(int, used);
	projection->weights = pyn_new(double, used);
	for (int i = 0; i < used; i++)
	{
		uint32		feature = pyn_read_u32(reader);

		if (feature >= (uint32) features)
			return "a projection uses a feature that there is not";
		projection->features[i] = (int) feature;
		projection->weights[i] = pyn_read_f64(reader);
		if (!(fabs(projection->weights[i]) <= 100))
			return "a projection has an impossible weight";
	}
	projection->low = pyn_read_f64(reader);
	high = pyn_read_f64(reader);
	projection->bins = pyn_read_u16(reader);
	if (reader->failed || projection->bins < 1 || projection->bins > MAX_BINS ||
		!pyn_reader_has(reader, projection->bins + 1, sizeof(double)))
		return "a histogram is cut off";
	if (!(projection->low >= -1e200 && high <= 1e200 && high > projection->low))
		return "a histogram has impossible borders";
	projection->scale = projection->bins / (high - projection->low);
	projection->parts = pyn_new(double, projection->bins);
	for (int bin = -1; bin < projection->bins; bin++)
	{
		double		part = pyn_read_f64(reader);

		if (!(fabs(part) <= 1e6))
			return "a histogram has an impossible density";
		if (bin < 0)
			projection->outside = part;
		else
			projection->parts[bin] = part;
	}
	return NULL;
}

static const char *
loda_open(PynReader *reader, int features, void **state)
{
	Loda	   *loda = palloc0(sizeof(Loda));
	const char *problem = pyn_scaling_read(reader, features, &loda->scaling);
	int			used = used_features(features);

	*state = loda;
	if (problem != NULL)
		return problem;
	loda->count = pyn_read_u16(reader);
	if (loda->count < 1 || loda->count > MAX_PROJECTIONS || !pyn_reader_has(reader, loda->count, 12 * (Size) used))
		return "the projections are cut off";
	loda->projections = pyn_new0(Projection, loda->count);
	for (int k = 0; k < loda->count && problem == NULL; k++)
		problem = open_projection(reader, features, used, &loda->projections[k]);
	return problem;
}

/* ---------------------------------------------------------------- score */

/* -ln density at a place along a projection; a value at the upper end is in the last bin. */
static inline double
part_at(const Projection *projection, double value)
{
	double		place = (value - projection->low) * projection->scale;

	/* The highest training row may be rounded to past the end. */
	if (!(place >= 0 && place <= projection->bins + 1e-9))
		return projection->outside;
	return projection->parts[Min((int) place, projection->bins - 1)];
}

static inline double
part_of(const Projection *projection, const double *z)
{
	double		value = 0;

	for (int i = 0; i < projection->count; i++)
		value += projection->weights[i] * z[projection->features[i]];
	return part_at(projection, value);
}

static double *
scale_row(const Loda *loda, const double *row)
{
	double	   *z = pyn_new(double, loda->scaling.features);

	for (int i = 0; i < loda->scaling.features; i++)
		z[i] = pyn_scaled(&loda->scaling, i, row[i]);
	return z;
}

static double
loda_score_row(const void *state, const double *row)
{
	const Loda *loda = state;
	double	   *z = scale_row(loda, row);
	double		sum = 0;

	for (int k = 0; k < loda->count; k++)
		sum += part_of(&loda->projections[k], z);
	pfree(z);
	return sum / loda->count;
}

static void
loda_score_block(const void *state, const double *values, int stride, int rows, double *scores)
{
	const Loda *loda = state;
	int			features = loda->scaling.features;
	double	   *z = pyn_new(double, (Size) rows * features);
	double	   *along = pyn_new(double, rows);

	for (int i = 0; i < features; i++)
		for (int row = 0; row < rows; row++)
			z[(Size) i * rows + row] = pyn_scaled(&loda->scaling, i, values[(Size) i * stride + row]);
	memset(scores, 0, sizeof(double) * rows);
	for (int k = 0; k < loda->count; k++)
	{
		const Projection *projection = &loda->projections[k];

		CHECK_FOR_INTERRUPTS();
		memset(along, 0, sizeof(double) * rows);
		for (int i = 0; i < projection->count; i++)
			pyn_add_scaled(along, z + (Size) projection->features[i] * rows, projection->weights[i], rows);
		for (int row = 0; row < rows; row++)
			scores[row] += part_at(projection, along[row]);
	}
	for (int row = 0; row < rows; row++)
		scores[row] /= loda->count;
	pfree(z);
	pfree(along);
}

/* Welch's t of the projections with a feature against those without; a feature that is in none or in all has no part. */
static void
loda_contribute(const void *state, const double *row, double *contributions)
{
	const Loda *loda = state;
	int			features = loda->scaling.features;
	double	   *z = scale_row(loda, row);
	double	   *sums = pyn_new0(double, 3 * (Size) features);	/* count, sum, sum of squares */
	double		all[3] = {loda->count, 0, 0};
	double		centre = loda_score_row(state, row);

	for (int k = 0; k < loda->count; k++)
	{
		const Projection *projection = &loda->projections[k];
		double		part = part_of(projection, z) - centre;

		all[1] += part;
		all[2] += part * part;
		for (int i = 0; i < projection->count; i++)
		{
			double	   *sum = sums + 3 * (Size) projection->features[i];

			sum[0] += 1;
			sum[1] += part;
			sum[2] += part * part;
		}
	}
	for (int i = 0; i < features; i++)
	{
		const double *with = sums + 3 * (Size) i;
		double		without[3] = {all[0] - with[0], all[1] - with[1], all[2] - with[2]};
		double		variance = 0;

		contributions[i] = 0;
		if (with[0] < 1 || without[0] < 1)
			continue;
		variance += Max(with[2] / with[0] - with[1] / with[0] * (with[1] / with[0]), 0.0) / with[0];
		variance += Max(without[2] / without[0] - without[1] / without[0] * (without[1] / without[0]), 0.0) / without[0];
		contributions[i] = (with[1] / with[0] - without[1] / without[0]) / sqrt(variance + 1e-12);
	}
	pfree(z);
	pfree(sums);
}

const PynDetector pyn_loda = {
	.name = "loda",
	.description = "mean surprise over histograms of random projections; very many rows or columns, cheap and coarse",
	.source = "Pevný: Loda: Lightweight on-line detector of anomalies. Machine Learning 2016",
	.parameter_count = SETTING_COUNT,
	.parameters = parameters,
	.fit = loda_fit,
	.open = loda_open,
	.score_row = loda_score_row,
	.score_block = loda_score_block,
	.contribute = loda_contribute,
};
