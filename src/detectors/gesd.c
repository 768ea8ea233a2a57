/*
 * gesd.c
 *		The generalised extreme studentised deviate test: Rosner, "Percentage Points for a Generalized ESD Many-Outlier
 *		Procedure", Technometrics 1983.
 *
 * For i = 1 to r the value farthest from the mean of those left, in their standard deviations R_i, is taken out; the
 * outliers are the first m values taken out, m the largest i with R_i > lambda_i, a bound that by chance is passed with
 * probability alpha (his equation 2.5).  So outliers that hide each other by inflating mean and deviation are found all the
 * same.  The test supposes normal data, and is for 25 rows or more.
 *
 * Its decision is made a score for any value: the distance from the mean of the rows left, as a multiple of the distance
 * from which on one more row would be declared an outlier by the same test of them and it.  On either side that is moved, where
 * necessary, between the last row declared and the next one, so that a score is 1 or more exactly when the test declares
 * the value an outlier; values equal to one declared are declared, too.  Columns are tested one by one, and a row's score
 * is the largest of them.  Rows are flagged by the test, not by contamination, unless that is given.
 *
 * A model takes 32 bytes a feature.  Mean and deviation of the rest are kept up to date as values are taken out, and are
 * computed anew whenever the sum of squares has shrunk to a thousandth, so that they stay exact.
 */
#include "kernel/port.h"

#include <math.h>

#include "detectors/fences.h"
#include "detectors/marginal.h"
#include "numeric/student.h"

#define MOST_OUTLIERS 100000
#define MOST_AUTOMATIC 10000
#define AUTOMATIC_SHARE 0.1
#define SHRUNK 1e-3

enum
{
	SETTING_ALPHA,
	SETTING_MAX_OUTLIERS,
	SETTING_COUNT
};

static const PynParameter parameters[SETTING_COUNT] = {
	{.name = "alpha",.initial = 0.05,.minimum = 1e-6,.maximum = 0.5,.description = "probability of an outlier among normal values, by column",
	.kind = PYN_PARAMETER_NUMBER},
	{.name = "max_outliers",.initial = 0,.minimum = 0,.maximum = MOST_OUTLIERS,.description = "outliers looked for in each column; 0: a tenth of the rows, at most 10000"},
};

/* What is left of a feature's sorted values: those from low to high, with some copies of the two ends. */
typedef struct Rest
{
	const PynMarginal *marginal;
	int			low;
	int			high;
	double		low_weight;
	double		high_weight;
	double		weight;			/* all */
	/* Sums over (x - centre) / unit; halves are kept, since differences may overflow. */
	double		half_centre;
	double		half_unit;
	double		sum;
	double		squares;
	double		first_squares;	/* when the sums were made */
} Rest;

static double
weight_at(const Rest *rest, int i)
{
	return i == rest->low ? rest->low_weight : i == rest->high ? rest->high_weight : rest->marginal->values[i].weight;
}

static inline double
standing(const Rest *rest, int i)
{
	return (0.5 * rest->marginal->values[i].value - rest->half_centre) / rest->half_unit;
}

/* Makes the sums, about the mean of the rest. */
static void
make_sums(Rest *rest)
{
	const PynWeighted *values = rest->marginal->values;

	rest->half_centre = 0;
	for (int i = rest->low; i <= rest->high; i++)
		rest->half_centre += 0.5 * values[i].value * (weight_at(rest, i) / rest->weight);
	rest->half_unit = Max(0.5 * values[rest->high].value - rest->half_centre, rest->half_centre - 0.5 * values[rest->low].value);
	rest->sum = rest->squares = 0;
	if (!(rest->half_unit > 0))
		rest->half_unit = 1.0;	/* they are all equal */
	for (int i = rest->low; rest->low < rest->high && i <= rest->high; i++)
	{
		double		z = standing(rest, i);

		rest->sum += z * weight_at(rest, i);
		rest->squares += z * z * weight_at(rest, i);
	}
	rest->first_squares = rest->squares;
}

static void
begin_rest(Rest *rest, const PynMarginal *marginal)
{
	rest->marginal = marginal;
	rest->low = 0;
	rest->high = marginal->count - 1;
	rest->low_weight = marginal->values[0].weight;
	rest->high_weight = marginal->values[rest->high].weight;
	rest->weight = marginal->total;
	make_sums(rest);
}

/* The standard deviation of the rest, in its units; 0 when all are equal. */
static double
deviation_of(const Rest *rest)
{
	double		squares = rest->squares - rest->sum * (rest->sum / rest->weight);

	return rest->low < rest->high && squares > 0 ? sqrt(squares / (rest->weight - 1.0)) : 0.0;
}

/* Takes one copy of the value farthest from the mean out and gives its R; 0 when nothing is left that differs. */
static double
take_farthest(Rest *rest)
{
	double		deviation = deviation_of(rest);
	double		mean = rest->sum / rest->weight;
	double		below = mean - standing(rest, rest->low);
	double		above = standing(rest, rest->high) - mean;
	double		taken;

	if (!(deviation > 0))
		return 0.0;
	if (above >= below)
	{
		taken = standing(rest, rest->high);
		if ((rest->high_weight -= 1.0) < 0.5)
		{
			rest->high--;
			rest->high_weight = rest->high == rest->low ? rest->low_weight : rest->marginal->values[rest->high].weight;
		}
	}
	else
	{
		taken = standing(rest, rest->low);
		if ((rest->low_weight -= 1.0) < 0.5)
		{
			rest->low++;
			rest->low_weight = rest->low == rest->high ? rest->high_weight : rest->marginal->values[rest->low].weight;
		}
	}
	rest->weight -= 1.0;
	rest->sum -= taken;
	rest->squares -= taken * taken;
	if (rest->squares < SHRUNK * rest->first_squares)
		make_sums(rest);
	return Max(above, below) / deviation;
}

/* lambda of a test among so many rows. */
static double
critical_value(double rows, double alpha)
{
	double		freedom = rows - 2.0;
	double		t = pyn_student_quantile(0.5 * alpha / rows, freedom);

	return (rows - 1.0) * t / sqrt((freedom + t * t) * rows);
}

/*
 * How many values the test declares outliers.  lambda falls with i, so that a value known for a later i spares most
 * computations of it.
 */
static int
count_outliers(const PynMarginal *marginal, double alpha, int most, double *deviates)
{
	Rest		rest;
	int			steps = 0;
	double		known = 0;

	begin_rest(&rest, marginal);
	while (steps < most)
	{
		if (steps % 1024 == 0)
			CHECK_FOR_INTERRUPTS();
		deviates[steps] = take_farthest(&rest);
		if (!(deviates[steps] > 0))
			break;
		steps++;
	}
	for (int i = steps; i > 0; i--)
	{
		if (deviates[i - 1] <= known)
			continue;
		known = critical_value(marginal->total - (double) (i - 1), alpha);
		if (deviates[i - 1] > known)
			return i;
	}
	return 0;
}

/* How far from the rest's mean, in its deviations, one row more is declared an outlier of the rest and itself. */
static double
declared_from(double rows, double alpha)
{
	double		lambda = critical_value(rows + 1.0, alpha);
	double		room = rows * rows / (rows + 1.0) - lambda * lambda;

	/* lambda is below the largest R that there can be, up to rounding. */
	return lambda * sqrt((rows - 1.0) / (rows / (rows + 1.0) * Max(room, 1e-9)));
}

/* The limit on one side, between the distance of the last row kept and that of the first one taken out. */
static double
side_limit(double limit, double kept, bool any_taken, double taken)
{
	if (!any_taken)
		return Max(limit, kept * (1.0 + 1e-9));
	return limit > kept && limit <= taken ? limit : 0.5 * kept + 0.5 * taken;
}

static void
fit_feature(const PynMarginal *marginal, double alpha, int most, double *deviates, PynFence *fence)
{
	int			outliers = count_outliers(marginal, alpha, most, deviates);
	int			last = marginal->count - 1;
	int			low;			/* the outermost values kept: none of which a copy was taken out */
	int			high;
	double		deviation = 0;	/* half of it: the scale of distances */
	double		mean;
	double		limit;
	Rest		rest;

	begin_rest(&rest, marginal);
	for (int i = 0; i < outliers; i++)
	{
		deviation = deviation_of(&rest) * rest.half_unit;
		(void) take_farthest(&rest);
	}
	/* Where all that is left are equal, the deviation is that with the last outlier. */
	if (deviation_of(&rest) > 0)
		deviation = deviation_of(&rest) * rest.half_unit;
	if (!(deviation > 0))
		return;
	low = rest.low + (rest.low_weight < marginal->values[rest.low].weight && rest.low < last);
	high = rest.high - (rest.high_weight < marginal->values[rest.high].weight && rest.high > low);
	low = Min(low, high);
	mean = rest.half_centre + rest.sum / rest.weight * rest.half_unit;
	limit = declared_from(rest.weight, alpha);
	fence->low = fence->high = 2.0 * mean;
	fence->below = 0.5 / (deviation * side_limit(limit, (mean - 0.5 * marginal->values[low].value) / deviation, low > 0,
												 low > 0 ? (mean - 0.5 * marginal->values[low - 1].value) / deviation : 0));
	fence->above = 0.5 / (deviation * side_limit(limit, (0.5 * marginal->values[high].value - mean) / deviation, high < last,
												 high < last ? (0.5 * marginal->values[high + 1].value - mean) / deviation : 0));
}

static void
gesd_fit(const PynTraining *training, const PynPlan *plan, PynWriter *writer)
{
	PynMarginal marginal;
	double	   *deviates = pyn_new(double, MOST_OUTLIERS);

	pyn_marginal_init(&marginal, training->rows);
	pyn_fences_begin(writer, PYN_COMBINE_MAX);
	for (int feature = 0; feature < training->features; feature++)
	{
		PynFence	fence = {0};

		CHECK_FOR_INTERRUPTS();
		pyn_marginal_sort(&marginal, training, feature);
		if (marginal.total >= 3)
		{
			double		most = plan->settings[SETTING_MAX_OUTLIERS];

			if (most == 0)
				most = Min(MOST_AUTOMATIC, Max(AUTOMATIC_SHARE * marginal.total, 1.0));
			fit_feature(&marginal, plan->settings[SETTING_ALPHA], (int) Min(most, marginal.total - 2.0), deviates, &fence);
		}
		pyn_fence_write(writer, &fence);
	}
	pfree(deviates);
	pfree(marginal.values);
}

const PynDetector pyn_gesd = {
	.name = "gesd",
	.description = "Rosner's test for several outliers in columns of normal data: flags what it declares outliers, unless contamination is given",
	.source = "Rosner: Percentage Points for a Generalized ESD Many-Outlier Procedure. Technometrics 1983",
	.parameter_count = SETTING_COUNT,
	.parameters = parameters,
	.cutoff = 1.0,
	.fit = gesd_fit,
	.open = pyn_fences_open,
	.score_row = pyn_fences_score_row,
	.score_block = pyn_fences_score_block,
	.contribute = pyn_fences_contribute,
};
