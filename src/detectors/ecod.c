/*
 * ecod.c
 *		ECOD: Li, Zhao, Hu, Botta, Ionescu and Chen, "ECOD: Unsupervised Outlier Detection Using Empirical Cumulative
 *		Distribution Functions", IEEE TKDE 2022.
 *
 * A value is odd when it lies in a tail of its feature: with F(x) the share of rows up to x and G(x) that from x on, a
 * feature's part is max(-ln F(x), -ln G(x)), and the sum of both where the feature has no skew; the raw score is the sum
 * of the parts.  (The authors' implementation takes the larger tail per feature; the paper's text takes it of the sums.)
 *
 * The two distribution functions of a feature are kept as knots: every distinct value while there are few, else the
 * extremes one by one and the body at even ranks; between two knots the shares are interpolated.  Past the smallest and
 * the largest value seen the share is that of half a row.  A missing value adds nothing: it has a feature of its own.
 */
#include "kernel/port.h"
#include "detectors/detector.h"
#include "detectors/math.h"

#define TAIL_KNOTS 64			/* values kept one by one at each end */
#define BODY_KNOTS 256			/* and between */
#define MAX_KNOTS (2 * TAIL_KNOTS + BODY_KNOTS + 2)

/* One feature's distribution; the parts are computed when it is opened. */
typedef struct Margin
{
	int			count;
	double	   *values;			/* rising */
	double	   *up_to;			/* F at the value: share of rows up to and with it */
	double	   *from;			/* G at the value: share of rows from it on */
	double		beyond;			/* share of half a row */
	bool		no_skew;
} Margin;

typedef struct Ecod
{
	int			features;
	Margin	   *margins;
} Ecod;

/* ---------------------------------------------------------------- fit */

typedef struct Observation
{
	double		value;
	int64		weight;
} Observation;

static int
compare_observations(const void *a, const void *b)
{
	double		x = ((const Observation *) a)->value;
	double		y = ((const Observation *) b)->value;

	return (x > y) - (x < y);
}

/* Sorts a feature's values that are there and joins equal ones; returns how many differ. */
static int
sort_values(const PynTraining *training, int feature, Observation *observations, int64 *total)
{
	const double *values = training->values + (Size) feature * training->rows;
	int			count = 0;
	int			distinct = 0;

	*total = 0;
	for (int row = 0; row < training->rows; row++)
	{
		if (values[row] != values[row])
			continue;
		observations[count].value = values[row];
		observations[count].weight = training->weights[row];
		*total += training->weights[row];
		count++;
	}
	qsort(observations, count, sizeof(Observation), compare_observations);
	for (int i = 0; i < count; i++)
	{
		if (distinct > 0 && observations[distinct - 1].value == observations[i].value)
			observations[distinct - 1].weight += observations[i].weight;
		else
			observations[distinct++] = observations[i];
	}
	return distinct;
}

/* True when the third central moment of the values is exactly zero, as of symmetric ones. */
static bool
has_no_skew(const Observation *observations, int count, int64 total)
{
	double		mean = 0;
	double		m3 = 0;

	for (int i = 0; i < count; i++)
		mean += observations[i].value * ((double) observations[i].weight / (double) total);
	for (int i = 0; i < count; i++)
	{
		double		d = observations[i].value - mean;

		m3 += d * d * d * (double) observations[i].weight;
	}
	return m3 == 0;
}

static void
write_margin(const Observation *observations, int count, int64 total, PynWriter *writer)
{
	bool		keep_all = count <= MAX_KNOTS;
	double		step = (double) total / (BODY_KNOTS + 1);
	double		next = step;
	int64		up_to = 0;
	uint32		kept = 0;
	Size		count_place;

	pyn_write_f64(writer, (double) total);
	pyn_write_u8(writer, count > 0 && has_no_skew(observations, count, total));
	count_place = writer->length;
	pyn_write_u32(writer, 0);
	for (int i = 0; i < count; i++)
	{
		int64		below = up_to;

		up_to += observations[i].weight;
		if (keep_all || i < TAIL_KNOTS || i >= count - TAIL_KNOTS || (double) up_to >= next)
		{
			pyn_write_f64(writer, observations[i].value);
			pyn_write_f64(writer, (double) up_to);
			pyn_write_f64(writer, (double) (total - below));
			kept++;
			while (next <= (double) up_to)
				next += step;
		}
	}
	for (int i = 0; i < 4; i++)
		writer->data[count_place + i] = (uint8) (kept >> (8 * i));
}

static void
ecod_fit(const PynTraining *training, const PynPlan *plan, PynWriter *writer)
{
	Observation *observations = pyn_new(Observation, training->rows);

	for (int feature = 0; feature < training->features; feature++)
	{
		int64		total;
		int			count;

		CHECK_FOR_INTERRUPTS();
		count = sort_values(training, feature, observations, &total);
		write_margin(observations, count, total, writer);
	}
	pfree(observations);
}

/* ---------------------------------------------------------------- open */

static const char *
open_margin(PynReader *reader, Margin *margin)
{
	double		total = pyn_read_f64(reader);
	uint8		no_skew = pyn_read_u8(reader);
	uint32		count = pyn_read_u32(reader);

	if (reader->failed || no_skew > 1 || count > MAX_KNOTS || !pyn_reader_has(reader, count, 3 * sizeof(double)))
		return "a distribution is cut off";
	if (!(total >= 0 && total <= 1e19) || (total == 0) != (count == 0))
		return "a distribution has an impossible number of rows";
	margin->count = (int) count;
	margin->no_skew = no_skew;
	margin->beyond = count > 0 ? 0.5 / total : 1.0;
	margin->values = pyn_new(double, 3 * (Size) count);
	margin->up_to = margin->values + count;
	margin->from = margin->up_to + count;
	for (uint32 i = 0; i < count; i++)
	{
		double		value = pyn_read_f64(reader);
		double		up_to = pyn_read_f64(reader) / total;
		double		from = pyn_read_f64(reader) / total;

		if (!(value >= -1.7976931348623157e308 && value <= 1.7976931348623157e308))
			return "a distribution has a value that is not finite";
		if (!(up_to >= margin->beyond && up_to <= 1.0 && from >= margin->beyond && from <= 1.0))
			return "a distribution has an impossible share";
		if (i > 0 && (!(value > margin->values[i - 1]) || up_to < margin->up_to[i - 1] || from > margin->from[i - 1]))
			return "a distribution is not in order";
		margin->values[i] = value;
		margin->up_to[i] = up_to;
		margin->from[i] = from;
	}
	return NULL;
}

static const char *
ecod_open(PynReader *reader, int features, void **state)
{
	Ecod	   *ecod = palloc0(sizeof(Ecod));

	ecod->features = features;
	ecod->margins = pyn_new0(Margin, features);
	for (int feature = 0; feature < features; feature++)
	{
		const char *problem = open_margin(reader, &ecod->margins[feature]);

		if (problem != NULL)
			return problem;
	}
	*state = ecod;
	return NULL;
}

/* ---------------------------------------------------------------- score */

/* The part of one value: how far out in the nearer tail it is, in nats. */
static double
tail_part(const Margin *margin, double value)
{
	int			low = 0;
	int			high = margin->count;
	double		up_to;
	double		from;

	if (value != value || margin->count == 0)
		return 0.0;
	while (low < high)
	{
		int			middle = (low + high) >> 1;

		if (margin->values[middle] < value)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == margin->count)
	{
		/* Above the largest value. */
		up_to = 1.0;
		from = margin->beyond;
	}
	else if (margin->values[low] == value)
	{
		up_to = margin->up_to[low];
		from = margin->from[low];
	}
	else if (low == 0)
	{
		up_to = margin->beyond;
		from = 1.0;
	}
	else
	{
		/*
		 * Between two knots: F runs from that of the left one to what is below the right one, G from
		 * what is past the left one to that of the right one.
		 */
		double		left = margin->values[low - 1];
		double		width = margin->values[low] - left;
		double		share = width <= 1.7976931348623157e308 ? (value - left) / width :
			(0.5 * value - 0.5 * left) / (0.5 * margin->values[low] - 0.5 * left);	/* the width overflowed */
		double		below = Max(margin->up_to[low - 1], 1.0 - margin->from[low]);
		double		above = Max(margin->from[low], 1.0 - margin->up_to[low - 1]);

		up_to = margin->up_to[low - 1] + share * (below - margin->up_to[low - 1]);
		from = above + share * (margin->from[low] - above);
	}
	if (margin->no_skew)
		return -pyn_log(up_to) - pyn_log(from);
	return -pyn_log(Min(up_to, from));
}

static double
ecod_score_row(const void *state, const double *row)
{
	const Ecod *ecod = state;
	double		sum = 0;

	for (int feature = 0; feature < ecod->features; feature++)
		sum += tail_part(&ecod->margins[feature], row[feature]);
	return sum;
}

static void
ecod_score_block(const void *state, const double *values, int stride, int rows, double *scores)
{
	const Ecod *ecod = state;

	memset(scores, 0, sizeof(double) * rows);
	for (int feature = 0; feature < ecod->features; feature++)
		for (int row = 0; row < rows; row++)
			scores[row] += tail_part(&ecod->margins[feature], values[(Size) feature * stride + row]);
}

static void
ecod_contribute(const void *state, const double *row, double *contributions)
{
	const Ecod *ecod = state;

	for (int feature = 0; feature < ecod->features; feature++)
		contributions[feature] = tail_part(&ecod->margins[feature], row[feature]);
}

const PynDetector pyn_ecod = {
	.name = "ecod",
	.description = "sum over columns of how far out in a tail each value is; no parameters, fast, columns on their own",
	.source = "Li, Zhao, Hu, Botta, Ionescu and Chen: ECOD. IEEE TKDE 2022",
	.fit = ecod_fit,
	.open = ecod_open,
	.score_row = ecod_score_row,
	.score_block = ecod_score_block,
	.contribute = ecod_contribute,
};
