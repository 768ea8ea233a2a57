/*
 * hbos.c
 *		HBOS: Goldstein and Dengel, "Histogram-based Outlier Score (HBOS)", KI 2012.
 *
 * Each feature gets a histogram; a value is the odder the less dense its bin is: with h the density as a multiple of the
 * uniform one over the feature's range, a feature's part is ln((h_max + alpha) / (h + alpha)), 0 in the densest bin, and
 * the raw score is the sum of the parts.  (The paper has ln(h_max / h); alpha keeps a bin that is empty by chance from
 * outweighing all other features, as in PyOD.)  Bins are of equal width, or dynamic: of equal weight, as the paper advises
 * where values have gaps.  How many of equal width there are is chosen after Birgé and Rozenholc, "How many bins should be
 * put in a regular histogram", ESAIM: Probability and Statistics 2006: the number D that maximises the likelihood less
 * D - 1 + (ln D)^2.5.  A feature of at most 20 different values has a bin for each.  In one of two values, a flag, no bin is
 * empty by chance: alpha is that of half a row then, so that a value that is missing for once stands out.
 *
 * Values outside count to the outermost bins as far as half a bin's width, and have density 0 beyond, as has a value
 * between those that have bins of their own.  A missing value adds nothing: it has a feature of its own.  A model takes at
 * most 8 kB a feature, an open one 20 kB more.
 */
#include "kernel/port.h"

#include <math.h>

#include "detectors/marginal.h"
#include "numeric/math.h"

#define MAX_BINS 500
#define MAX_AUTOMATIC 256		/* bins that are chosen at most */
#define FEW_VALUES 20			/* up to so many each has a bin of its own */
#define LARGEST 1.7976931348623157e308
#define LEAST_WIDTH 1e-290		/* of a bin, as a share of the range: densities stay finite */

enum
{
	SETTING_BINS,
	SETTING_WIDTH,
	SETTING_ALPHA,
	SETTING_COUNT
};

enum
{
	WIDTH_STATIC,
	WIDTH_DYNAMIC
};

static const PynParameter parameters[SETTING_COUNT] = {
	{.name = "bins",.initial = 0,.minimum = 0,.maximum = MAX_BINS,.description = "number of bins of each column; 0: chosen by its values"},
	{.name = "width",.initial = WIDTH_STATIC,.minimum = 0,.maximum = WIDTH_DYNAMIC,.description = "bins of equal width, or of equal weight",
	.kind = PYN_PARAMETER_CHOICE,.choices = "static, dynamic"},
	{.name = "alpha",.initial = 0.1,.minimum = 1e-6,.maximum = 1,.description = "density added to each bin's, in uniform ones",
	.kind = PYN_PARAMETER_NUMBER},
};

/* ---------------------------------------------------------------- fit */

/* One feature's histogram as it is made; bin i runs from edges[i] to edges[i + 1], the last one with its end. */
typedef struct Histogram
{
	int			bins;
	double		edges[MAX_BINS + 1];
	double		weights[MAX_BINS];
	double	   *up_to;			/* per value of the marginal: weight before it */
} Histogram;

static double
edge_at(double low, double high, double share)
{
	return 2.0 * (0.5 * low * (1.0 - share) + 0.5 * high * share);
}

/* Weight of the values below an edge. */
static double
weight_below(const PynMarginal *marginal, const double *up_to, double edge)
{
	int			low = 0;
	int			high = marginal->count;

	while (low < high)
	{
		int			middle = (low + high) >> 1;

		if (marginal->values[middle].value < edge)
			low = middle + 1;
		else
			high = middle;
	}
	return low < marginal->count ? up_to[low] : marginal->total;
}

/* Birgé and Rozenholc's number of bins. */
static int
choose_bins(const PynMarginal *marginal, const double *up_to)
{
	double		smallest = marginal->values[0].value;
	double		largest = marginal->values[marginal->count - 1].value;
	double		most = marginal->total / pyn_log(marginal->total);
	double		best = 0;
	int			chosen = 1;

	for (int bins = 2; bins <= MAX_AUTOMATIC && bins <= most; bins++)
	{
		double		log_bins = pyn_log(bins);
		double		value = 1.0 - bins - log_bins * log_bins * sqrt(log_bins);
		double		below = 0;

		CHECK_FOR_INTERRUPTS();
		for (int i = 1; i <= bins; i++)
		{
			double		reached = i == bins ? marginal->total :
				weight_below(marginal, up_to, edge_at(smallest, largest, (double) i / bins));

			if (reached > below)
				value += (reached - below) * pyn_log(bins * (reached - below) / marginal->total);
			below = reached;
		}
		if (value > best)
		{
			best = value;
			chosen = bins;
		}
	}
	return chosen;
}

static void
make_static(const PynMarginal *marginal, Histogram *histogram, int bins)
{
	double		smallest = marginal->values[0].value;
	double		largest = marginal->values[marginal->count - 1].value;

	if (bins == 0)
		bins = choose_bins(marginal, histogram->up_to);
	histogram->bins = 0;
	histogram->edges[0] = smallest;
	for (int i = 1; i <= bins; i++)
	{
		double		edge = i == bins ? largest : edge_at(smallest, largest, (double) i / bins);

		/* Where the range is a few units in the last place, edges fall together. */
		if (edge > histogram->edges[histogram->bins] && (i == bins || edge < largest))
			histogram->edges[++histogram->bins] = edge;
	}
	for (int i = 0; i < histogram->bins; i++)
		histogram->weights[i] = (i == histogram->bins - 1 ? marginal->total :
								 weight_below(marginal, histogram->up_to, histogram->edges[i + 1])) -
			weight_below(marginal, histogram->up_to, histogram->edges[i]);
}

/* Each bin takes the next values until it has its share; equal values stay together. */
static void
make_dynamic(const PynMarginal *marginal, Histogram *histogram, int bins)
{
	double		share;

	if (bins == 0)
		bins = (int) Max(Min(sqrt(marginal->total), MAX_AUTOMATIC), 1.0);
	share = marginal->total / bins;
	histogram->bins = 0;
	histogram->edges[0] = marginal->values[0].value;
	histogram->weights[0] = 0;
	for (int i = 0; i < marginal->count; i++)
	{
		/* The last value would be a bin without width: it goes with those before it. */
		if (histogram->weights[histogram->bins] >= share && i < marginal->count - 1 && histogram->bins < bins - 1)
		{
			histogram->edges[++histogram->bins] = marginal->values[i].value;
			histogram->weights[histogram->bins] = 0;
		}
		histogram->weights[histogram->bins] += marginal->values[i].weight;
	}
	histogram->edges[++histogram->bins] = marginal->values[marginal->count - 1].value;
}

/*
 * u8 whether values have bins of their own, f64 alpha, u32 bins, of each f64 where it begins, f64 density; f64 where the
 * last ends, if they have not.
 */
static void
write_feature(const PynMarginal *marginal, Histogram *histogram, const PynPlan *plan, PynWriter *writer)
{
	bool		few = marginal->count <= FEW_VALUES;
	double		range;
	double		reached = 0;

	pyn_write_u8(writer, few);
	pyn_write_f64(writer, marginal->count == 2 ? 0.5 / marginal->total * marginal->count : plan->settings[SETTING_ALPHA]);
	if (few)
	{
		pyn_write_u32(writer, (uint32) marginal->count);
		for (int i = 0; i < marginal->count; i++)
		{
			pyn_write_f64(writer, marginal->values[i].value);
			pyn_write_f64(writer, marginal->values[i].weight / marginal->total * marginal->count);
		}
		return;
	}
	for (int i = 0; i < marginal->count; i++)
	{
		histogram->up_to[i] = reached;
		reached += marginal->values[i].weight;
	}
	if (plan->settings[SETTING_WIDTH] == WIDTH_DYNAMIC)
		make_dynamic(marginal, histogram, (int) plan->settings[SETTING_BINS]);
	else
		make_static(marginal, histogram, (int) plan->settings[SETTING_BINS]);
	range = 0.5 * histogram->edges[histogram->bins] - 0.5 * histogram->edges[0];
	pyn_write_u32(writer, (uint32) histogram->bins);
	for (int i = 0; i < histogram->bins; i++)
	{
		double		width = (0.5 * histogram->edges[i + 1] - 0.5 * histogram->edges[i]) / range;

		pyn_write_f64(writer, histogram->edges[i]);
		pyn_write_f64(writer, histogram->weights[i] / marginal->total / Max(width, LEAST_WIDTH));
	}
	pyn_write_f64(writer, histogram->edges[histogram->bins]);
}

static void
hbos_fit(const PynTraining *training, const PynPlan *plan, PynWriter *writer)
{
	PynMarginal marginal;
	Histogram  *histogram = palloc(sizeof(Histogram));

	pyn_marginal_init(&marginal, training->rows);
	histogram->up_to = pyn_new(double, training->rows);
	for (int feature = 0; feature < training->features; feature++)
	{
		CHECK_FOR_INTERRUPTS();
		pyn_marginal_sort(&marginal, training, feature);
		write_feature(&marginal, histogram, plan, writer);
	}
	pfree(histogram->up_to);
	pfree(histogram);
	pfree(marginal.values);
}

/* ---------------------------------------------------------------- open */

/* A bin that was read. */
typedef struct Bin
{
	double		begin;
	double		part;			/* the density first, then what it adds to the score */
} Bin;

/* Reads the bins and turns their densities into parts; *empty is that of a density of 0. */
static const char *
read_bins(PynReader *reader, double alpha, Bin *bins, int count, double *empty)
{
	double		densest = 0;

	for (int i = 0; i < count; i++)
	{
		bins[i].begin = pyn_read_f64(reader);
		bins[i].part = pyn_read_f64(reader);
		if (!(fabs(bins[i].begin) <= LARGEST) || (i > 0 && !(bins[i].begin > bins[i - 1].begin)))
			return "a histogram is not in order";
		if (!(bins[i].part >= 0 && bins[i].part <= 1e300))
			return "a histogram has an impossible density";
		densest = Max(densest, bins[i].part);
	}
	for (int i = 0; i < count; i++)
		bins[i].part = pyn_log((densest + alpha) / (bins[i].part + alpha));
	*empty = pyn_log((densest + alpha) / alpha);
	return NULL;
}

static const char *
open_feature(PynReader *reader, PynCurve *curve)
{
	uint8		few = pyn_read_u8(reader);
	double		alpha = pyn_read_f64(reader);
	uint32		count = pyn_read_u32(reader);
	int			last = (int) count - 1;
	double		empty;
	double		end;
	Bin		   *bins;
	const char *problem;

	if (reader->failed || few > 1 || count > (few ? FEW_VALUES : MAX_BINS) || (!few && count == 0) ||
		!pyn_reader_has(reader, count, 2 * sizeof(double)))
		return "a histogram is cut off";
	if (!(alpha >= 1e-20 && alpha <= 1e9))
		return "a histogram has an impossible alpha";
	pyn_curve_init(curve, few ? (int) count : (int) count + 1);
	if (count == 0)
		return NULL;
	bins = pyn_new(Bin, count);
	problem = read_bins(reader, alpha, bins, (int) count, &empty);
	if (problem != NULL)
		return problem;
	if (few)
	{
		for (int i = 0; i < last; i++)
			pyn_curve_set(curve, i, bins[i].begin, bins[i].part, empty, empty, bins[i + 1].begin);
		pyn_curve_set_end(curve, last, bins[last].begin, bins[last].part, empty);
	}
	else
	{
		double		first_end;

		end = pyn_read_f64(reader);
		if (!(end > bins[last].begin && end <= LARGEST))
			return "a histogram is not in order";
		first_end = count > 1 ? bins[1].begin : end;
		end = Min(end + (0.5 * end - 0.5 * bins[last].begin), LARGEST);
		bins[0].begin = Max(bins[0].begin - (0.5 * first_end - 0.5 * bins[0].begin), -LARGEST);
		for (int i = 0; i <= last; i++)
			pyn_curve_set(curve, i, bins[i].begin, bins[i].part, bins[i].part, bins[i].part, i < last ? bins[i + 1].begin : end);
		pyn_curve_set_end(curve, last + 1, end, bins[last].part, empty);
	}
	pyn_curve_set_beginning(curve, empty);
	pfree(bins);
	return NULL;
}

static const char *
hbos_open(PynReader *reader, int features, void **state)
{
	PynCurves  *curves = pyn_curves_create(features);

	for (int feature = 0; feature < features; feature++)
	{
		const char *problem = open_feature(reader, &curves->curves[feature]);

		if (problem != NULL)
			return problem;
	}
	*state = curves;
	return NULL;
}

/* ---------------------------------------------------------------- calibration */

/*
 * A curve as it is for a training row in each bin, with that row left out: its bin has c - 1 rows instead of c, as has a bin
 * of so many for a new row.  With r = (c - 1) / c and e the part of density 0, whose exp(-e) is alpha's share of the densest
 * bin's, the part becomes -ln(r exp(-part) + (1 - r) exp(-e)).
 */
static PynCurve
leave_one_out(const PynCurve *curve, const PynTraining *training, int feature)
{
	const double *values = training->values + (Size) feature * training->rows;
	Size		size = 2 * (Size) curve->half;
	double	   *weights = pyn_new0(double, size);
	PynCurve	result = *curve;

	result.pieces = pyn_new(PynPiece, size);
	memcpy(result.pieces, curve->pieces, sizeof(PynPiece) * size);
	for (int row = 0; row < training->rows; row++)
		if (values[row] == values[row])
			weights[pyn_curve_place(curve, values[row])] += (double) training->weights[row];
	for (Size i = 0; i < size; i++)
		if (weights[i] > 0)
		{
			PynPiece   *piece = &result.pieces[i];
			double		left = (weights[i] - 1.0) / weights[i];
			double		part = -pyn_log(left * pyn_exp(-piece->at) + (1.0 - left) * pyn_exp(-curve->pieces[0].at));

			part = Max(part, piece->at);
			/* Between values that have bins of their own it is as before, and no training row is there. */
			if (piece->start == piece->at)
				piece->start = part;
			piece->at = part;
		}
	pfree(weights);
	return result;
}

/* Rows count in their own bins: without leaving them out those in thin ones look less odd than new rows there. */
static bool
hbos_score_left_out(const void *state, const PynTraining *training, double *scores)
{
	const PynCurves *curves = state;

	memset(scores, 0, sizeof(double) * training->rows);
	for (int feature = 0; feature < curves->features; feature++)
	{
		PynCurve	others;

		CHECK_FOR_INTERRUPTS();
		if (curves->curves[feature].half == 0)
			continue;
		others = leave_one_out(&curves->curves[feature], training, feature);
		pyn_curve_add(&others, training->values + (Size) feature * training->rows, training->rows, scores);
		pfree(others.pieces);
	}
	return true;
}

const PynDetector pyn_hbos = {
	.name = "hbos",
	.description = "sum over columns of how thin the histogram is at each value; finds gaps as well as tails, fast, columns on their own",
	.source = "Goldstein and Dengel: Histogram-based Outlier Score. KI 2012",
	.parameter_count = SETTING_COUNT,
	.parameters = parameters,
	.fit = hbos_fit,
	.open = hbos_open,
	.score_row = pyn_curves_score_row,
	.score_block = pyn_curves_score_block,
	.score_left_out = hbos_score_left_out,
	.contribute = pyn_curves_contribute,
};
