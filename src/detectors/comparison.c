/*
 * comparison.c
 *		Whether one model ranks or flags labelled rows better than another, on the same rows.
 *
 *		ROC-AUC				DeLong, DeLong and Clarke-Pearson 1988: the covariances of correlated areas, from the placements of
 *							the rows, which midranks give in O(n log n) (Sun and Xu 2014)
 *		average precision	a Poisson bootstrap in which a row is drawn for all models alike
 *		flags				McNemar 1947: of the rows on which two models disagree, how many does each judge rightly; exact
 *							binomial up to 1,000 of those, else with the continuity correction of Edwards 1948
 */
#include "kernel/port.h"

#include <math.h>

#include "detectors/metrics.h"
#include "kernel/hash.h"
#include "numeric/math.h"

#define EXACT_UP_TO 1000.0
#define MOST_DRAWS 2e8			/* rows × models × replicates: some seconds */
#define LEAST_REPLICATES 100
#define DRAW_BITS 16

/* A row's place in a ranking. */
typedef struct Placed
{
	double		raw;
	int			row;
} Placed;

#define ST_SORT sort_placed
#define ST_ELEMENT_TYPE Placed
#define ST_COMPARE(a, b) (((a)->raw > (b)->raw) - ((a)->raw < (b)->raw))
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

/* ---------------------------------------------------------------- areas */

/* Midranks, from 1, of the rows of one kind (of all with kind < 0); ranks[row] of others stays. */
static void
midranks(const Placed *sorted, int rows, const bool *positive, int kind, double *ranks)
{
	int			before = 0;

	for (int start = 0; start < rows;)
	{
		int			end = start;
		int			counted = 0;

		for (; end < rows && sorted[end].raw == sorted[start].raw; end++)
			counted += kind < 0 || positive[sorted[end].row] == (kind > 0);
		for (int i = start; i < end; i++)
			if (kind < 0 || positive[sorted[i].row] == (kind > 0))
				ranks[sorted[i].row] = before + (counted + 1) / 2.0;
		before += counted;
		start = end;
	}
}

/*
 * pyn_delong gives the models' areas and the covariances of these, covariances[i * models + j].  A placement is the share
 * of the other kind that a row is on the right side of.  With fewer than two rows of a kind covariances are NaN.
 */
void
pyn_delong(const double *const *scores, int models, const bool *positive, int rows, double *areas, double *covariances)
{
	double	   *placements = pyn_new(double, (Size) models * Max(rows, 1));
	double	   *own = pyn_new(double, Max(rows, 1));
	Placed	   *sorted = pyn_new(Placed, Max(rows, 1));
	double		positives = 0;
	double		negatives;

	for (int row = 0; row < rows; row++)
		positives += positive[row];
	negatives = rows - positives;
	for (int model = 0; model < models; model++)
	{
		double	   *all = placements + (Size) model * rows;
		double		sum = 0;

		CHECK_FOR_INTERRUPTS();
		for (int row = 0; row < rows; row++)
		{
			sorted[row].raw = scores[model][row];
			sorted[row].row = row;
		}
		sort_placed(sorted, rows);
		midranks(sorted, rows, positive, -1, all);
		midranks(sorted, rows, positive, 0, own);
		midranks(sorted, rows, positive, 1, own);
		for (int row = 0; row < rows; row++)
		{
			all[row] = positive[row] ? (all[row] - own[row]) / negatives : 1.0 - (all[row] - own[row]) / positives;
			sum += positive[row] ? all[row] : 0.0;
		}
		areas[model] = sum / positives;
	}
	for (int i = 0; i < models; i++)
		for (int j = 0; j <= i; j++)
		{
			const double *a = placements + (Size) i * rows;
			const double *b = placements + (Size) j * rows;
			double		of_positives = 0;
			double		of_negatives = 0;

			for (int row = 0; row < rows; row++)
			{
				double		product = (a[row] - areas[i]) * (b[row] - areas[j]);

				if (positive[row])
					of_positives += product;
				else
					of_negatives += product;
			}
			covariances[i * models + j] = covariances[j * models + i] =
				positives < 2 || negatives < 2 ? NAN :
				of_positives / (positives - 1) / positives + of_negatives / (negatives - 1) / negatives;
		}
	pfree(placements);
	pfree(own);
	pfree(sorted);
}

/* The probability that a standard normal number is as far from 0 as z. */
double
pyn_two_sided(double z)
{
	return 2.0 * pyn_normal_tail(fabs(z));
}

/* ---------------------------------------------------------------- flags */

/*
 * pyn_mcnemar gives the probability that two equally good models differ by so much: the rows that only the one and only the
 * other judges rightly are given.
 */
double
pyn_mcnemar(double only_first, double only_second)
{
	double		fewer = Min(only_first, only_second);
	double		all = only_first + only_second;
	double		term;
	double		sum = 0;
	double		chi;

	if (all == 0)
		return 1.0;
	if (all > EXACT_UP_TO)
	{
		chi = Max(fabs(only_first - only_second) - 1.0, 0.0) / sqrt(all);
		return pyn_two_sided(chi);
	}
	/* 2 P(X <= fewer) of the binomial distribution with p = 1/2; 2^-1000 still is a normal number. */
	term = ldexp(1.0, -(int) all);
	for (double i = 0; i <= fewer; i++)
	{
		sum += term;
		term *= (all - i) / (i + 1.0);
	}
	return Min(1.0, 2.0 * sum);
}

/* ---------------------------------------------------------------- average precision */

/* One model's ranking of the rows that matter: highest first; ends[i] where the group of one score ends. */
typedef struct Order
{
	int		   *rows;
	bool	   *ends;
} Order;

/* Average precision where each row counts `times` times. */
static double
average_precision(const Order *order, const bool *positive, int count, const uint8 *times)
{
	double		positives = 0;
	double		rows = 0;
	double		group = 0;
	double		gain = 0;

	for (int i = 0; i < count; i++)
	{
		int			row = order->rows[i];

		rows += times[row];
		if (positive[row])
			group += times[row];
		if (!order->ends[i])
			continue;
		positives += group;
		if (group > 0)
			gain += group * (positives / rows);
		group = 0;
	}
	return positives > 0 ? gain / positives : NAN;
}

/* Rows that are below all positives under each model change no precision: which are left, in order. */
static int
keep_rows(const double *const *scores, int models, const bool *positive, int rows, int *kept)
{
	double	   *lowest = pyn_new(double, models);
	int			count = 0;

	for (int model = 0; model < models; model++)
	{
		lowest[model] = INFINITY;
		for (int row = 0; row < rows; row++)
			if (positive[row])
				lowest[model] = Min(lowest[model], scores[model][row]);
	}
	for (int row = 0; row < rows; row++)
		for (int model = 0; model < models; model++)
			if (scores[model][row] >= lowest[model])
			{
				kept[count++] = row;
				break;
			}
	pfree(lowest);
	return count;
}

static void
make_order(const double *scores, const int *kept, int count, Placed *sorted, Order *order)
{
	order->rows = pyn_new(int, Max(count, 1));
	order->ends = pyn_new(bool, Max(count, 1));
	for (int i = 0; i < count; i++)
	{
		sorted[i].raw = -scores[kept[i]];
		sorted[i].row = kept[i];
	}
	sort_placed(sorted, count);
	for (int i = 0; i < count; i++)
	{
		order->rows[i] = sorted[i].row;
		order->ends[i] = i == count - 1 || sorted[i + 1].raw != sorted[i].raw;
	}
}

/* A Poisson number of mean 1 for each value of 16 bits; shares are right to 2^-17. */
static void
fill_poisson(uint8 *table)
{
	double		part = 0.36787944117144233;	/* 1/e */
	double		sum = part;
	int			number = 0;

	for (int i = 0; i < 1 << DRAW_BITS; i++)
	{
		while ((i + 0.5) / (1 << DRAW_BITS) > sum && number < 8)
		{
			part /= ++number;
			sum += part;
		}
		table[i] = (uint8) number;
	}
}

/*
 * pyn_paired_bootstrap gives the models' average precisions and those of replicates, replicated[model][replicate], of as
 * many replicates as are returned: fewer than wanted where rows are many.
 */
int
pyn_paired_bootstrap(const double *const *scores, int models, const bool *positive, int rows, int replicates, uint64 seed,
					 double *precisions, double **replicated)
{
	int		   *kept = pyn_new(int, Max(rows, 1));
	uint8	   *times = pyn_new(uint8, Max(rows, 1));
	uint8	   *table = pyn_new(uint8, 1 << DRAW_BITS);
	Placed	   *sorted = pyn_new(Placed, Max(rows, 1));
	Order	   *orders = pyn_new0(Order, models);
	PynRandom	random = {seed};
	int			count = keep_rows(scores, models, positive, rows, kept);
	int			made = 0;

	for (int row = 0; row < rows; row++)
		times[row] = 1;
	for (int model = 0; model < models; model++)
	{
		make_order(scores[model], kept, count, sorted, &orders[model]);
		precisions[model] = average_precision(&orders[model], positive, count, times);
	}
	fill_poisson(table);
	if ((double) count * (models + 1) * replicates > MOST_DRAWS)
		replicates = Max(Min(replicates, LEAST_REPLICATES), (int) (MOST_DRAWS / ((double) count * (models + 1))));
	for (int tries = 0; made < replicates && tries < 10 * replicates; tries++)
	{
		bool		defined = true;
		uint64		bits = 0;

		CHECK_FOR_INTERRUPTS();
		for (int i = 0; i < count; i++)
		{
			bits = i % 4 == 0 ? pyn_random_next(&random) : bits >> DRAW_BITS;
			times[kept[i]] = table[bits & ((1 << DRAW_BITS) - 1)];
		}
		for (int model = 0; model < models && defined; model++)
		{
			replicated[model][made] = average_precision(&orders[model], positive, count, times);
			defined = replicated[model][made] == replicated[model][made];
		}
		made += defined;
	}
	for (int model = 0; model < models; model++)
	{
		pfree(orders[model].rows);
		pfree(orders[model].ends);
	}
	pfree(orders);
	pfree(kept);
	pfree(times);
	pfree(table);
	pfree(sorted);
	return made;
}
