/*
 * calibration.c
 *		From raw scores to scores in [0, 1] and p-values.
 *
 * The p-value of a raw score is the share of training rows that score at least as high, counted from the middle of the
 * row itself (Hazen: (r - ½)/n for the r-th highest), so that p ≤ c flags the share c of the training rows.  A detector in
 * which a row makes itself less odd says how odd each would be if it were not one: the share is then of those scores, so that
 * p ≤ c flags the share c of ordinary new rows, and fewer of the training rows.  The p-value is kept at knots: some 64 through the body, eight for each halving of the tail, and is interpolated between them.  Past the highest
 * training score a generalised Pareto distribution goes on, fitted to the excesses of the top tenth by L-moments
 * (Hosking and Wallis 1987), its shape kept in [0, ½]: a tail without an end, with a finite variance.
 *
 * The score is 1 - p within the knots.  Outside them it approaches 0 and 1 hyperbolically instead, so that it stays
 * strictly monotone where the p-value would round to nothing.
 */
#include "kernel/port.h"

#include <math.h>

#include "detectors/calibration.h"
#include "numeric/math.h"

#define SAME 1e-9				/* scores of rows left out that differ by less, as a ratio, are equal but for rounding */
#define BODY_STEP (1.0 / 64)	/* knots in the body are so far apart */
#define TAIL_STEP 0.917004043204671 /* 2^(-1/8): and so in the tail, as a ratio */
#define SMALLEST_P 1e-300
#define LARGEST_TAIL 0.99999999999999988898 /* the number below 1 */

typedef struct ScoredRow
{
	double		raw;
	double		weight;
} ScoredRow;

/* Highest first; PostgreSQL's own sort, with the comparison compiled into it. */
#define ST_SORT sort_scored
#define ST_ELEMENT_TYPE ScoredRow
#define ST_COMPARE(a, b) (((a)->raw < (b)->raw) - ((a)->raw > (b)->raw))
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

/*
 * Fits σ and ξ to the excesses of the highest `count` rows over the next one: with l1 the mean and t the L-CV of the
 * excesses, ξ = 2 - 1/t and σ = l1 (1/t - 1).
 */
static void
fit_tail(PynCalibration *calibration, const ScoredRow *rows, int count)
{
	double		base = rows[count].raw;
	double		weight = 0;
	double		b0 = 0;
	double		b1 = 0;
	double		below = 0;

	for (int i = 0; i < count; i++)
		weight += rows[i].weight;
	/* Probability-weighted moments, lowest excess first; a row of weight w takes w places. */
	for (int i = count - 1; i >= 0; i--)
	{
		double		excess = rows[i].raw - base;

		b0 += excess * rows[i].weight;
		b1 += excess * rows[i].weight * (below + (rows[i].weight - 1.0) / 2.0);
		below += rows[i].weight;
	}
	b0 /= weight;
	b1 = weight > 1 ? b1 / (weight * (weight - 1.0)) : 0;
	calibration->tail_shape = 0.0;
	calibration->tail_scale = b0;
	if (2.0 * b1 - b0 > 0 && b0 > 0)
	{
		double		inverse_cv = b0 / (2.0 * b1 - b0);

		calibration->tail_shape = Max(0.0, Min(0.5, 2.0 - inverse_cv));
		/* With the shape bounded, the scale follows from the mean: σ = l1 (1 - ξ). */
		calibration->tail_scale = b0 * (1.0 - calibration->tail_shape);
	}

	/* The excess over the last knot, given that it is passed, is generalised Pareto too: σ + ξ (last - base). */
	calibration->tail_scale += calibration->tail_shape * (rows[0].raw - base);
}

/* The rows, highest first. */
static ScoredRow *
sort_rows(const double *scores, const int64 *weights, int rows)
{
	ScoredRow  *sorted = pyn_new(ScoredRow, rows);

	for (int i = 0; i < rows; i++)
	{
		sorted[i].raw = scores[i];
		sorted[i].weight = (double) weights[i];
	}
	sort_scored(sorted, rows);
	return sorted;
}

/*
 * pyn_calibration_fit learns from the raw scores of `rows` ≥ 1 training rows, and from those that they have when they are left
 * out of the training, or NULL.
 */
void
pyn_calibration_fit(PynCalibration *calibration, const double *scores, const double *left_out, const int64 *weights, int rows)
{
	ScoredRow  *sorted = sort_rows(scores, weights, rows);
	ScoredRow  *without = left_out == NULL ? NULL : sort_rows(left_out, weights, rows);
	double		total = 0;
	double		above = 0;
	double		above_without = 0;
	double		next = 0;
	double		span;
	int			distinct = 0;
	int			tail_rows;
	int			passed = 0;
	int			count = 0;

	for (int i = 0; i < rows; i++)
	{
		total += sorted[i].weight;
		if (distinct > 0 && sorted[distinct - 1].raw == sorted[i].raw)
			sorted[distinct - 1].weight += sorted[i].weight;
		else
			sorted[distinct++] = sorted[i];
	}

	/* From the highest down; the knots are turned round afterwards. */
	for (int i = 0; i < distinct; i++)
	{
		double		least = sorted[i].raw - SAME * fabs(sorted[i].raw);
		double		tail;

		above += sorted[i].weight;
		for (; without != NULL && passed < rows && without[passed].raw >= least; passed++)
			above_without += without[passed].weight;
		tail = Min((Max(above, above_without) - 0.5) / total, LARGEST_TAIL);
		if (i > 0 && i < distinct - 1 && tail < next)
			continue;
		if (count > 0 && tail <= calibration->tail[count - 1])
			continue;			/* so many rows that one more makes no difference */
		if (count == PYN_MAX_KNOTS)
			count--;			/* the lowest takes the last place */
		calibration->raw[count] = sorted[i].raw;
		calibration->tail[count] = tail;
		count++;
		next = Min(tail / TAIL_STEP, tail + BODY_STEP);
	}
	calibration->count = count;
	for (int i = 0; i < count / 2; i++)
	{
		double		raw = calibration->raw[i];
		double		tail = calibration->tail[i];

		calibration->raw[i] = calibration->raw[count - 1 - i];
		calibration->tail[i] = calibration->tail[count - 1 - i];
		calibration->raw[count - 1 - i] = raw;
		calibration->tail[count - 1 - i] = tail;
	}

	/* The top tenth, of at least ten rows, where there are so many. */
	span = sorted[0].raw - sorted[distinct - 1].raw;
	tail_rows = 0;
	for (double weight = 0; tail_rows < distinct - 1 && (weight < total / 10 || tail_rows < 10); tail_rows++)
		weight += sorted[tail_rows].weight;
	calibration->tail_scale = 0;
	calibration->tail_shape = 0;
	if (tail_rows > 0)
		fit_tail(calibration, sorted, tail_rows);
	if (!(calibration->tail_scale > 0))
		calibration->tail_scale = span > 0 ? span : 1.0;
	pfree(sorted);
	if (without != NULL)
		pfree(without);
}

void
pyn_calibrate(PynCalibration *calibration, const PynDetector *detector, const void *state, const PynTraining *training,
			  double *scores)
{
	double	   *left_out = detector->score_left_out == NULL ? NULL : pyn_new(double, training->rows);

	pyn_score_training(detector, state, training, scores);
	pyn_calibration_fit(calibration, scores, left_out != NULL && detector->score_left_out(state, training, left_out) ? left_out : NULL,
						training->weights, training->rows);
	if (left_out != NULL)
		pfree(left_out);
}

/* The share of the way from the knot before `raw` to the one at or after it; *left is the former. */
static double
locate(const PynCalibration *calibration, double raw, int *left)
{
	int			low = 0;
	int			high = calibration->count - 1;

	while (high - low > 1)
	{
		int			middle = (low + high) >> 1;

		if (calibration->raw[middle] <= raw)
			low = middle;
		else
			high = middle;
	}
	*left = low;
	if (high == low)
		return 0.0;
	return (raw - calibration->raw[low]) / (calibration->raw[high] - calibration->raw[low]);
}

/* Between the knots, both ends included. */
static double
body_tail(const PynCalibration *calibration, double raw)
{
	int			left;
	double		share = locate(calibration, raw, &left);

	if (share <= 0.0)
		return calibration->tail[left];
	return calibration->tail[left] + share * (calibration->tail[left + 1] - calibration->tail[left]);
}

/* Below the first knot: from its tail towards 1. */
static double
low_tail(const PynCalibration *calibration, double raw)
{
	double		first = calibration->tail[0];
	double		scale = calibration->tail_scale;

	return 1.0 - (1.0 - first) * (scale / (scale + (calibration->raw[0] - raw)));
}

/*
 * pyn_p_value gives the probability that an ordinary row scores at least `raw`, in (0, 1].
 */
double
pyn_p_value(const PynCalibration *calibration, double raw)
{
	int			last = calibration->count - 1;
	double		excess;
	double		survival;

	if (raw < calibration->raw[0])
		return low_tail(calibration, raw);
	if (raw <= calibration->raw[last])
		return body_tail(calibration, raw);
	excess = (raw - calibration->raw[last]) / calibration->tail_scale;
	if (calibration->tail_shape < 1e-6)
		survival = pyn_exp(-excess);
	else
		survival = pyn_exp(-pyn_log(1.0 + calibration->tail_shape * excess) / calibration->tail_shape);
	return Max(calibration->tail[last] * survival, SMALLEST_P);
}

/*
 * pyn_log_p_value gives the logarithm of the p-value, which goes on falling where the p-value itself has reached its floor.
 */
double
pyn_log_p_value(const PynCalibration *calibration, double raw)
{
	int			last = calibration->count - 1;
	double		excess;

	if (raw <= calibration->raw[last])
		return pyn_log(pyn_p_value(calibration, raw));
	excess = Min((raw - calibration->raw[last]) / calibration->tail_scale, 1e300);
	if (calibration->tail_shape < 1e-6)
		return pyn_log(calibration->tail[last]) - excess;
	return pyn_log(calibration->tail[last]) - pyn_log(1.0 + calibration->tail_shape * excess) / calibration->tail_shape;
}

/*
 * pyn_score gives the share of ordinary rows that look less odd, in [0, 1], strictly rising with `raw`.
 */
double
pyn_score(const PynCalibration *calibration, double raw)
{
	int			last = calibration->count - 1;
	double		scale = calibration->tail_scale;

	if (raw < calibration->raw[0])
		return 1.0 - low_tail(calibration, raw);
	if (raw <= calibration->raw[last])
		return 1.0 - body_tail(calibration, raw);
	return 1.0 - calibration->tail[last] * (scale / (scale + (raw - calibration->raw[last])));
}

void
pyn_calibration_write(const PynCalibration *calibration, PynWriter *writer)
{
	pyn_write_u16(writer, (uint16) calibration->count);
	for (int i = 0; i < calibration->count; i++)
	{
		pyn_write_f64(writer, calibration->raw[i]);
		pyn_write_f64(writer, calibration->tail[i]);
	}
	pyn_write_f64(writer, calibration->tail_scale);
	pyn_write_f64(writer, calibration->tail_shape);
}

const char *
pyn_calibration_read(PynCalibration *calibration, PynReader *reader)
{
	calibration->count = pyn_read_u16(reader);
	if (calibration->count < 1 || calibration->count > PYN_MAX_KNOTS)
		return "the calibration has an impossible number of knots";
	for (int i = 0; i < calibration->count; i++)
	{
		double		raw = pyn_read_f64(reader);
		double		tail = pyn_read_f64(reader);

		if (!(raw > -1e300 && raw < 1e300) || !(tail > 0 && tail < 1) ||
			(i > 0 && !(raw > calibration->raw[i - 1] && tail < calibration->tail[i - 1])))
			return "the calibration is not in order";
		calibration->raw[i] = raw;
		calibration->tail[i] = tail;
	}
	calibration->tail_scale = pyn_read_f64(reader);
	calibration->tail_shape = pyn_read_f64(reader);
	if (!(calibration->tail_scale > 0 && calibration->tail_scale < 1e300) ||
		!(calibration->tail_shape >= 0 && calibration->tail_shape <= 0.5))
		return "the calibration's tail is impossible";
	return NULL;
}
