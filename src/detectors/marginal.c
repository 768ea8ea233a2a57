/*
 * marginal.c
 *		A feature on its own: its values in order, their moments and quantiles, its empirical distribution.
 *
 * Values are measured in units of the largest one where their powers would overflow.
 *
 * A distribution is kept as knots: every distinct value while there are few; else the extremes one by one, and between
 * them a knot wherever the share of rows has grown by a body's step or, nearer to an end, by a small part of the share
 * that lies beyond.  What scores see is the logarithm of that share, so this bounds the error of the logarithm, in the
 * tails as in the body: 1/24 of a nat at a knot that is left out, and far less where the distribution is smooth.  At knots
 * the shares are exact; between two knots the parts that are made of them run straight.
 */
#include "kernel/port.h"

#include <math.h>

#include "detectors/marginal.h"

#define LARGE 1e100				/* from here on powers could overflow in sums */
#define NO_SKEW 1e-12			/* a third moment that is so much smaller than its parts is rounding */
#define MAX_KNOTS 511			/* one less than a power of two: see curve.h */
#define END_KNOTS 32			/* values kept one by one at each end */
#define BODY_STEP (1.0 / 192)	/* knots are at most so far apart, as a share of all rows */
#define TAIL_STEP (1.0 / 24)	/* and as one of the rows that lie beyond */

/* PostgreSQL's own sort, with the comparison compiled into it. */
#define ST_SORT sort_weighted
#define ST_ELEMENT_TYPE PynWeighted
#define ST_COMPARE(a, b) (((a)->value > (b)->value) - ((a)->value < (b)->value))
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

/* ---------------------------------------------------------------- values in order */

void
pyn_weighted_sort(PynWeighted *numbers, int count)
{
	sort_weighted(numbers, count);
}

double
pyn_weighted_quantile(const PynWeighted *numbers, int count, double total, double share)
{
	double		reached = 0;

	for (int i = 0; i < count; i++)
	{
		reached += numbers[i].weight;
		if (reached > share * total)
			return numbers[i].value;
	}
	return numbers[count - 1].value;
}

void
pyn_marginal_init(PynMarginal *marginal, int rows)
{
	memset(marginal, 0, sizeof(*marginal));
	marginal->values = pyn_new(PynWeighted, rows);
}

void
pyn_marginal_collect(PynMarginal *marginal, const PynTraining *training, const PynRows *rows, int feature)
{
	const double *values = training->values + (Size) feature * training->rows;
	int			row_count = rows != NULL ? rows->count : training->rows;
	double		largest = 0;

	marginal->count = 0;
	marginal->total = 0;
	for (int i = 0; i < row_count; i++)
	{
		int			row = rows != NULL ? rows->rows[i] : i;
		PynWeighted *number = &marginal->values[marginal->count];

		if (values[row] != values[row])
			continue;
		number->value = values[row];
		number->weight = (double) training->weights[row];
		marginal->total += number->weight;
		largest = Max(largest, fabs(values[row]));
		marginal->count++;
	}
	marginal->unit = largest > LARGE ? largest : 1.0;
}

void
pyn_marginal_sort(PynMarginal *marginal, const PynTraining *training, int feature)
{
	PynWeighted *values = marginal->values;
	int			distinct = 0;

	pyn_marginal_collect(marginal, training, NULL, feature);
	sort_weighted(values, marginal->count);
	for (int i = 0; i < marginal->count; i++)
	{
		if (distinct > 0 && values[distinct - 1].value == values[i].value)
			values[distinct - 1].weight += values[i].weight;
		else
			values[distinct++] = values[i];
	}
	marginal->count = distinct;
}

void
pyn_marginal_moments(const PynMarginal *marginal, PynMoments *moments)
{
	double		squares = 0;
	double		cubes = 0;
	double		magnitude = 0;

	moments->mean = 0;
	for (int i = 0; i < marginal->count; i++)
		moments->mean += marginal->values[i].value / marginal->unit * (marginal->values[i].weight / marginal->total);
	for (int i = 0; i < marginal->count; i++)
	{
		double		difference = marginal->values[i].value / marginal->unit - moments->mean;
		double		square = difference * difference * (marginal->values[i].weight / marginal->total);

		squares += square;
		cubes += square * difference;
		magnitude += fabs(square * difference);
	}
	moments->deviation = sqrt(squares);
	moments->skew = fabs(cubes) <= NO_SKEW * magnitude ? 0 : cubes > 0 ? 1 : -1;
}

double
pyn_marginal_quantile(const PynMarginal *marginal, double share)
{
	double		reached = 0;

	for (int i = 0; i < marginal->count - 1; i++)
	{
		reached += marginal->values[i].weight;
		if (reached > share * marginal->total)
			return marginal->values[i].value;
		if (reached == share * marginal->total)
			return 0.5 * marginal->values[i].value + 0.5 * marginal->values[i + 1].value;
	}
	return marginal->values[marginal->count - 1].value;
}

/* ---------------------------------------------------------------- distributions */

/* Marks the values that become knots, `coarseness` times as far apart as they should be; returns how many they are. */
static int
choose_knots(const PynMarginal *marginal, double coarseness, bool *chosen)
{
	double		up_to = 0;
	double		next = 0;
	int			count = 0;

	for (int i = 0; i < marginal->count; i++)
	{
		double		from = marginal->total - up_to;

		up_to += marginal->values[i].weight;
		chosen[i] = i < END_KNOTS || i >= marginal->count - END_KNOTS || up_to >= next;
		if (chosen[i])
		{
			next = up_to + coarseness * Min(BODY_STEP * marginal->total, TAIL_STEP * Min(up_to, from));
			count++;
		}
	}
	return count;
}

/* f64 total weight, u8 sign of the skew + 1, u32 knots, of each f64 value, weight up to it, weight from it on. */
void
pyn_distribution_write(const PynMarginal *marginal, PynWriter *writer)
{
	bool	   *chosen = pyn_new(bool, marginal->count);
	int			count = marginal->count;
	PynMoments	moments = {0};
	double		up_to = 0;

	memset(chosen, true, marginal->count);
	if (count > MAX_KNOTS)
		for (double coarseness = 1.0; (count = choose_knots(marginal, coarseness, chosen)) > MAX_KNOTS;)
			coarseness *= 1.25;
	if (count > 0)
		pyn_marginal_moments(marginal, &moments);
	pyn_write_f64(writer, marginal->total);
	pyn_write_u8(writer, (uint8) (moments.skew + 1));
	pyn_write_u32(writer, (uint32) count);
	for (int i = 0; i < marginal->count; i++)
	{
		double		below = up_to;

		up_to += marginal->values[i].weight;
		if (!chosen[i])
			continue;
		pyn_write_f64(writer, marginal->values[i].value);
		pyn_write_f64(writer, up_to);
		pyn_write_f64(writer, marginal->total - below);
	}
	pfree(chosen);
}

/* A knot that was read, as shares. */
typedef struct Knot
{
	double		value;
	double		up_to;
	double		from;
} Knot;

static const char *
read_knots(PynReader *reader, double total, Knot *knots, int count)
{
	double		least = 0.5 / total;

	for (int i = 0; i < count; i++)
	{
		Knot	   *knot = &knots[i];

		knot->value = pyn_read_f64(reader);
		knot->up_to = pyn_read_f64(reader) / total;
		knot->from = pyn_read_f64(reader) / total;
		if (!(fabs(knot->value) <= 1.7976931348623157e308))
			return "a distribution has a value that is not finite";
		if (!(knot->up_to >= least && knot->up_to <= 1.0 && knot->from >= least && knot->from <= 1.0))
			return "a distribution has an impossible share";
		if (i > 0 && (!(knot->value > knot[-1].value) || knot->up_to < knot[-1].up_to || knot->from > knot[-1].from))
			return "a distribution is not in order";
	}
	return NULL;
}

/*
 * pyn_distribution_open reads a distribution and makes a curve of it.  Between two knots the part runs from that right of
 * the one, where F is what it is at the knot and G is that of what lies past it, to that left of the other.
 *
 * A row that was fitted from counts itself in both shares, a new one is in none of them: it counts half a row in each, past
 * the ends, too.  The r-th of n new rows then has (r - 1/2)/n where one of those fitted has between (r - 1)/n and r/n, so the
 * former do not look odder than the latter, from which p-values are learnt.
 */
const char *
pyn_distribution_open(PynReader *reader, PynTailPart part, PynCurve *curve)
{
	double		total = pyn_read_f64(reader);
	uint8		skew_code = pyn_read_u8(reader);
	uint32		count = pyn_read_u32(reader);
	int			skew = (int) skew_code - 1;
	int			last = (int) count - 1;
	double		half;
	Knot	   *knots;
	const char *problem;

	if (reader->failed || skew_code > 2 || count > MAX_KNOTS || !pyn_reader_has(reader, count, 3 * sizeof(double)))
		return "a distribution is cut off";
	if (!(total >= 0 && total <= 1e19) || (total == 0) != (count == 0))
		return "a distribution has an impossible number of rows";
	pyn_curve_init(curve, (int) count);
	if (count == 0)
		return NULL;
	half = 0.5 / total;
	knots = pyn_new(Knot, count);
	problem = read_knots(reader, total, knots, (int) count);
	if (problem != NULL)
		return problem;
	for (int i = 0; i < last; i++)
	{
		double		below = Max(knots[i].up_to, 1.0 - knots[i + 1].from);
		double		above = Max(knots[i + 1].from, 1.0 - knots[i].up_to);

		pyn_curve_set(curve, i, knots[i].value, part(knots[i].up_to, knots[i].from, skew),
					  part(knots[i].up_to + half, above + half, skew), part(below + half, knots[i + 1].from + half, skew),
					  knots[i + 1].value);
	}
	pyn_curve_set_end(curve, last, knots[last].value, part(knots[last].up_to, knots[last].from, skew),
					  part(1.0, 0.5 / total, skew));
	pyn_curve_set_beginning(curve, part(0.5 / total, 1.0, skew));
	pfree(knots);
	return NULL;
}

void
pyn_distributions_fit(const PynTraining *training, const PynPlan *plan, PynWriter *writer)
{
	PynMarginal marginal;

	pyn_marginal_init(&marginal, training->rows);
	for (int feature = 0; feature < training->features; feature++)
	{
		CHECK_FOR_INTERRUPTS();
		pyn_marginal_sort(&marginal, training, feature);
		pyn_distribution_write(&marginal, writer);
	}
	pfree(marginal.values);
}

const char *
pyn_distributions_open(PynReader *reader, int features, PynTailPart part, void **state)
{
	PynCurves  *curves = pyn_curves_create(features);

	for (int feature = 0; feature < features; feature++)
	{
		const char *problem = pyn_distribution_open(reader, part, &curves->curves[feature]);

		if (problem != NULL)
			return problem;
	}
	*state = curves;
	return NULL;
}
