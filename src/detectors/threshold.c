/*
 * threshold.c
 *		From which raw score on a row is flagged: the rules beside the contamination.
 *
 *		percentile, budget	the raw score whose p-value is the share asked for
 *		iqr					third quartile + k × interquartile range (Tukey 1977), of the logarithms where these are the
 *							more symmetric
 *		mad					median + k × MAD / 0.6745 (Iglewicz and Hoaglin 1993)
 *		largest_gap			the middle of the widest gap between neighbours in the top tenth, measured against how far
 *							above the median it begins
 *		tail				the return level of a generalised Pareto distribution fitted to the excesses of the top tenth
 *							(peaks over threshold: Pickands 1975; Siffer et al. 2017 use it for this), by L-moments
 *							(Hosking and Wallis 1987), which are not swayed by single outliers as the maximum likelihood is
 *
 * All of them answer on the scale of raw scores, where two doubles that differ stay different: the score in [0, 1] would
 * run into 1 far out.  iqr and mad flag what lies beyond the fence, not on it, so that equal scores are not all flagged.
 */
#include "kernel/port.h"

#include <math.h>

#include "detectors/scaling.h"
#include "detectors/threshold.h"
#include "numeric/math.h"

#define MOST_RAW 1e300			/* raw scores do not lie beyond it */
#define MAD_OF_NORMAL 0.6745	/* of the standard normal distribution, as Iglewicz and Hoaglin round it */
#define MEAN_OF_NORMAL 0.7979	/* its mean absolute deviation */
#define TOP_SHARE 0.1			/* where gaps and excesses are looked for */
#define LEAST_EXCESSES 10
#define MOST_SHAPE 0.5			/* of the Pareto tail, to both sides */

static const char *const method_names[] = {
	[PYN_THRESHOLD_CONTAMINATION] = "contamination",
	[PYN_THRESHOLD_SCORE] = "score",
	[PYN_THRESHOLD_PERCENTILE] = "percentile",
	[PYN_THRESHOLD_IQR] = "iqr",
	[PYN_THRESHOLD_MAD] = "mad",
	[PYN_THRESHOLD_LARGEST_GAP] = "largest_gap",
	[PYN_THRESHOLD_TAIL] = "tail",
	[PYN_THRESHOLD_BUDGET] = "budget",
	[PYN_THRESHOLD_DETECTOR] = "detector",
	[PYN_THRESHOLD_FEEDBACK] = "feedback",
};

const char *
pyn_threshold_name(PynThresholdMethod method)
{
	return method_names[method];
}

/* The training rows' raw scores, lowest first. */
typedef struct Scores
{
	PynWeighted *numbers;
	int			count;
	double		total;
} Scores;

/* ---------------------------------------------------------------- numbers */

/* Doubles in their order as whole numbers in theirs: bisection then ends at neighbours. */
static int64
rank_of(double number)
{
	int64		bits;

	memcpy(&bits, &number, sizeof(bits));
	return bits >= 0 ? bits : (int64) (UINT64CONST(0x8000000000000000) - (uint64) bits);
}

static double
number_of(int64 rank)
{
	int64		bits = rank >= 0 ? rank : (int64) (UINT64CONST(0x8000000000000000) - (uint64) rank);
	double		number;

	memcpy(&number, &bits, sizeof(number));
	return number;
}

/* The next larger number. */
double
pyn_raw_after(double number)
{
	return number < MOST_RAW ? number_of(rank_of(number + 0.0) + 1) : number;
}

/*
 * pyn_raw_of_p gives the smallest raw score whose p-value is at most so large.
 */
double
pyn_raw_of_p(const PynCalibration *calibration, double p)
{
	int64		low = rank_of(-MOST_RAW);
	int64		high = rank_of(MOST_RAW);

	while (low < high)
	{
		int64		middle = low + (int64) (((uint64) high - (uint64) low) / 2);

		if (pyn_p_value(calibration, number_of(middle)) <= p)
			high = middle;
		else
			low = middle + 1;
	}
	return number_of(low);
}

/* The quantile of numbers that each stand for `weight` equal ones, interpolated linearly (type 7 of Hyndman and Fan). */
static double
quantile(const PynWeighted *numbers, int count, double total, double share)
{
	double		place = (total - 1.0) * share;
	double		whole = floor(place);
	double		reached = 0;

	for (int i = 0; i < count; i++)
	{
		reached += numbers[i].weight;
		if (reached > whole)
		{
			double		next = reached > whole + 1.0 || i == count - 1 ? numbers[i].value : numbers[i + 1].value;

			return numbers[i].value + (place - whole) * (next - numbers[i].value);
		}
	}
	return numbers[count - 1].value;
}

/* ---------------------------------------------------------------- the rules */

/* How far the quartiles are from lying evenly about the median (Bowley's skewness), without its sign. */
static double
unevenness(double q1, double q2, double q3)
{
	return q3 > q1 ? fabs((q3 - q2) - (q2 - q1)) / (q3 - q1) : 0.0;
}

static double
tukey_fence(const PynThresholdRule *rule, const Scores *scores, char *reason)
{
	double		q1 = quantile(scores->numbers, scores->count, scores->total, 0.25);
	double		q2 = quantile(scores->numbers, scores->count, scores->total, 0.5);
	double		q3 = quantile(scores->numbers, scores->count, scores->total, 0.75);
	bool		logs = false;
	double		fence = q3 + rule->multiplier * (q3 - q1);

	/* Quartiles of logarithms are the logarithms of quartiles, but for the interpolation between two neighbours. */
	if (scores->numbers[0].value > 0 && q3 > q1)
	{
		double		l1 = pyn_log(q1);
		double		l2 = pyn_log(q2);
		double		l3 = pyn_log(q3);

		logs = unevenness(l1, l2, l3) < unevenness(q1, q2, q3);
		if (logs)
			fence = pyn_exp(l3 + rule->multiplier * (l3 - l1));
	}
	snprintf(reason, PYN_THRESHOLD_REASON, "past the third quartile + %g x the interquartile range of the training rows' %s",
			 rule->multiplier, logs ? "logarithms of raw scores" : "raw scores");
	return pyn_raw_after(fence);
}

static double
mad_fence(const PynThresholdRule *rule, const Scores *scores, char *reason)
{
	double		median = quantile(scores->numbers, scores->count, scores->total, 0.5);
	PynWeighted *deviations = pyn_new(PynWeighted, scores->count);
	double		scale;
	bool		mean = false;

	for (int i = 0; i < scores->count; i++)
	{
		deviations[i].value = fabs(scores->numbers[i].value - median);
		deviations[i].weight = scores->numbers[i].weight;
	}
	pyn_weighted_sort(deviations, scores->count);
	scale = quantile(deviations, scores->count, scores->total, 0.5) / MAD_OF_NORMAL;
	if (!(scale > 0))
	{
		/* More than half of the scores are equal: the mean deviation still tells those that are not. */
		mean = true;
		scale = 0;
		for (int i = 0; i < scores->count; i++)
			scale += deviations[i].value * (deviations[i].weight / scores->total);
		scale /= MEAN_OF_NORMAL;
	}
	pfree(deviations);
	snprintf(reason, PYN_THRESHOLD_REASON, "past the median + %g x the %s absolute deviation of the training rows' raw scores, "
			 "scaled to a normal distribution's standard deviation", rule->multiplier, mean ? "mean" : "median");
	return pyn_raw_after(median + rule->multiplier * scale);
}

/* The first place of the highest rows that make up the top share, at least `least` rows, but not all. */
static int
top_place(const Scores *scores, int least)
{
	double		weight = 0;
	int			place = scores->count;

	while (place > 1 && (weight < scores->total * TOP_SHARE || scores->count - place < least))
		weight += scores->numbers[--place].weight;
	return place;
}

static double
largest_gap(const Scores *scores, char *reason)
{
	double		median = quantile(scores->numbers, scores->count, scores->total, 0.5);
	double		widest = 0;
	double		threshold = pyn_raw_after(scores->numbers[scores->count - 1].value);
	double		above = 0;

	/* A gap that begins at the median is infinitely wide in proportion: the first of those wins. */
	for (int i = scores->count - 1; i >= Max(top_place(scores, LEAST_EXCESSES), 1); i--)
	{
		double		low = scores->numbers[i - 1].value;
		double		high = scores->numbers[i].value;
		double		gap;

		if (!(low >= median) || !(high > low))
			continue;
		gap = low > median ? (high - low) / (low - median) : INFINITY;
		if (gap > widest)
		{
			widest = gap;
			threshold = low + (high - low) / 2;
		}
	}
	for (int i = 0; i < scores->count; i++)
		if (scores->numbers[i].value >= threshold)
			above += scores->numbers[i].weight;
	if (widest == 0)
		snprintf(reason, PYN_THRESHOLD_REASON, "no gap among the highest raw scores of the training rows: past the highest");
	else if (widest <= 1e300)
		snprintf(reason, PYN_THRESHOLD_REASON, "in the widest gap of the training rows' highest raw scores, %.3g of the distance "
				 "from the median; %.0f rows lie above it", widest, above);
	else
		snprintf(reason, PYN_THRESHOLD_REASON, "in the gap between the median and the next raw score of the training rows; "
				 "%.0f rows lie above it", above);
	return threshold;
}

/*
 * Scale and shape of the generalised Pareto distribution of the excesses over `base`, by L-moments: with l1 the mean and t
 * the L-CV, the shape is 2 - 1/t, and σ = l1 (1 - ξ) also where the shape was bounded.
 */
static void
fit_pareto(const PynWeighted *numbers, int count, double base, double *scale, double *shape)
{
	double		weight = 0;
	double		b0 = 0;
	double		b1 = 0;

	for (int i = 0; i < count; i++)
	{
		double		excess = numbers[i].value - base;

		b0 += excess * numbers[i].weight;
		b1 += excess * numbers[i].weight * (weight + (numbers[i].weight - 1.0) / 2.0);
		weight += numbers[i].weight;
	}
	b0 /= weight;
	b1 /= weight * (weight - 1.0);
	*shape = 2.0 * b1 > b0 ? Max(-MOST_SHAPE, Min(MOST_SHAPE, 2.0 - b0 / (2.0 * b1 - b0))) : 0.0;
	*scale = b0 * (1.0 - *shape);
}

static double
tail_level(const PynThresholdRule *rule, const PynCalibration *calibration, const Scores *scores, char *reason)
{
	int			place = top_place(scores, LEAST_EXCESSES);
	double		base = scores->numbers[Max(place - 1, 0)].value;
	double		above = 0;
	double		scale;
	double		shape;
	double		ratio;

	/* Those equal to the base are no excesses. */
	while (place < scores->count && !(scores->numbers[place].value > base))
		place++;
	for (int i = place; i < scores->count; i++)
		above += scores->numbers[i].weight;
	ratio = rule->tail_probability * scores->total / above;
	if (scores->count - place < LEAST_EXCESSES || ratio >= 1.0)
	{
		snprintf(reason, PYN_THRESHOLD_REASON, "p-value at most %g; %s", rule->tail_probability,
				 ratio >= 1.0 && above > 0 ? "that lies in the body of the training rows' raw scores" :
				 "too few raw scores of the training rows differ for a tail to be fitted");
		return pyn_raw_of_p(calibration, rule->tail_probability);
	}
	fit_pareto(scores->numbers + place, scores->count - place, base, &scale, &shape);
	snprintf(reason, PYN_THRESHOLD_REASON, "tail probability at most %g of a generalised Pareto distribution (scale %.4g, shape %.3g) "
			 "of the %.0f highest raw scores of the training rows", rule->tail_probability, scale, shape, above);
	if (fabs(shape) < 1e-6)
		return base - scale * pyn_log(ratio);
	return base + scale / shape * (pyn_exp(-shape * pyn_log(ratio)) - 1.0);
}

/*
 * pyn_threshold_fit gives the raw score from which on rows are flagged, learnt from those of `rows` ≥ 1 training rows, and
 * writes how into reason, in at most PYN_THRESHOLD_REASON bytes.  The rule is one that learns.
 */
double
pyn_threshold_fit(const PynThresholdRule *rule, const PynCalibration *calibration, const double *raw,
				  const int64 *weights, int rows, char *reason)
{
	Scores		scores = {.numbers = pyn_new(PynWeighted, rows), .count = rows};
	double		threshold = 0;
	double		share;

	for (int i = 0; i < rows; i++)
	{
		scores.numbers[i].value = raw[i];
		scores.numbers[i].weight = (double) weights[i];
		scores.total += (double) weights[i];
	}
	pyn_weighted_sort(scores.numbers, rows);
	switch (rule->method)
	{
		case PYN_THRESHOLD_PERCENTILE:
			snprintf(reason, PYN_THRESHOLD_REASON, "the training rows' raw scores' percentile %.10g", rule->percentile);
			threshold = pyn_raw_of_p(calibration, 1.0 - rule->percentile / 100.0);
			break;
		case PYN_THRESHOLD_IQR:
			threshold = tukey_fence(rule, &scores, reason);
			break;
		case PYN_THRESHOLD_MAD:
			threshold = mad_fence(rule, &scores, reason);
			break;
		case PYN_THRESHOLD_LARGEST_GAP:
			threshold = largest_gap(&scores, reason);
			break;
		case PYN_THRESHOLD_TAIL:
			threshold = tail_level(rule, calibration, &scores, reason);
			break;
		case PYN_THRESHOLD_BUDGET:
			share = rule->alarms_per_day / rule->rows_per_day;
			snprintf(reason, PYN_THRESHOLD_REASON, "%g alarms in %g rows a day: p-value at most %.4g", rule->alarms_per_day,
					 rule->rows_per_day, share);
			threshold = pyn_raw_of_p(calibration, share);
			break;
		case PYN_THRESHOLD_CONTAMINATION:
		case PYN_THRESHOLD_SCORE:
		case PYN_THRESHOLD_DETECTOR:
		case PYN_THRESHOLD_FEEDBACK:
			Assert(false);		/* nothing to learn */
	}
	pfree(scores.numbers);
	return Max(-MOST_RAW, Min(MOST_RAW, threshold));
}
