/*
 * metrics.c
 *		How well scores rank labelled rows: ROC-AUC, average precision, precision at k, and what the flags are worth.
 *
 * ROC-AUC is the share of pairs of a positive and a negative that are in the right order, ties counting half (Hanley and
 * McNeil 1982); average precision is the sum over distinct scores of the recall gained times the precision there, without
 * interpolation.  Both are as scikit-learn defines them.  Rows of one score around place k count with the precision that a
 * random order of them has on average.
 *
 * Intervals are percentiles of a stratified bootstrap (Efron and Tibshirani 1993).  Rows that no measure tells apart are
 * drawn together, a bin at a time: those of one score, and negatives that lie between two scores of positives.  A replicate
 * thus costs as much as there are positives, not rows.
 */
#include "kernel/port.h"

#include <math.h>

#include "detectors/metrics.h"
#include "kernel/hash.h"
#include "numeric/math.h"

#define MANY 30.0				/* from here on a binomial number is a rounded normal one */

/* PostgreSQL's own sorts, with the comparison compiled into them: highest first, and smallest first. */
#define ST_SORT sort_labelled
#define ST_ELEMENT_TYPE PynLabelled
#define ST_COMPARE(a, b) (((a)->raw < (b)->raw) - ((a)->raw > (b)->raw))
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

#define ST_SORT sort_doubles
#define ST_ELEMENT_TYPE double
#define ST_COMPARE(a, b) ((*(a) > *(b)) - (*(a) < *(b)))
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

/*
 * pyn_make_bins sorts the rows, highest raw score first, and sums them up in bins, of which there is room for `count`.
 * Returns how many there are.
 */
int
pyn_make_bins(PynLabelled *rows, int count, PynBin *bins)
{
	int			made = 0;

	sort_labelled(rows, count);
	for (int start = 0; start < count;)
	{
		PynBin		bin = {0};
		int			end = start;

		for (; end < count && rows[end].raw == rows[start].raw; end++)
		{
			bin.positives += rows[end].positive;
			bin.negatives += !rows[end].positive;
			bin.flagged_positives += rows[end].positive && rows[end].flagged;
			bin.flagged_negatives += !rows[end].positive && rows[end].flagged;
		}
		/* Joined with the bin before, where both have negatives alone. */
		if (made > 0 && bin.positives == 0 && bins[made - 1].positives == 0)
		{
			bins[made - 1].negatives += bin.negatives;
			bins[made - 1].flagged_negatives += bin.flagged_negatives;
		}
		else
			bins[made++] = bin;
		start = end;
	}
	return made;
}

/*
 * pyn_rank measures the ranking that bins give, highest first.
 */
void
pyn_rank(const PynBin *bins, int count, double k, PynRanking *ranking)
{
	double		positives = 0;
	double		negatives = 0;
	double		pairs = 0;
	double		gain = 0;
	double		at_k = 0;
	double		left = k;
	double		all;

	ranking->true_positives = ranking->false_positives = 0;
	for (int i = 0; i < count; i++)
	{
		double		rows = bins[i].positives + bins[i].negatives;

		if (rows <= 0)
			continue;
		pairs += bins[i].negatives * (positives + 0.5 * bins[i].positives);
		positives += bins[i].positives;
		negatives += bins[i].negatives;
		gain += bins[i].positives * (positives / (positives + negatives));
		at_k += bins[i].positives * (Min(left, rows) / rows);
		left -= Min(left, rows);
		ranking->true_positives += bins[i].flagged_positives;
		ranking->false_positives += bins[i].flagged_negatives;
	}
	all = ranking->true_positives + ranking->false_positives;
	ranking->positives = positives;
	ranking->negatives = negatives;
	ranking->metrics[PYN_ROC_AUC] = positives > 0 && negatives > 0 ? pairs / positives / negatives : NAN;
	ranking->metrics[PYN_AVERAGE_PRECISION] = positives > 0 ? gain / positives : NAN;
	ranking->metrics[PYN_PRECISION_AT_K] = k - left > 0 ? at_k / (k - left) : NAN;
	ranking->metrics[PYN_PRECISION] = all > 0 ? ranking->true_positives / all : NAN;
	ranking->metrics[PYN_RECALL] = positives > 0 ? ranking->true_positives / positives : NAN;
	ranking->metrics[PYN_F1] = positives + all > 0 ? 2.0 * ranking->true_positives / (positives + all) : NAN;
}

/*
 * How many of `count` tries succeed with this probability: by inversion, and by a normal number with the first term of the
 * Cornish-Fisher expansion where both kinds are many.
 */
static double
binomial(PynRandom *random, double count, double probability)
{
	double		u = pyn_random_double(random);
	double		mean = count * probability;
	double		part;
	double		sum;
	double		number = 0;

	if (count <= 0 || probability <= 0)
		return 0;
	if (probability >= 1)
		return count;
	if (probability > 0.5)
		return count - binomial(random, count, 1.0 - probability);
	if (mean >= MANY)
	{
		double		z = pyn_normal_quantile(u > 0 ? u : 1e-17);

		number = floor(mean + sqrt(mean * (1.0 - probability)) * z + (1.0 - 2.0 * probability) * (z * z - 1.0) / 6.0 + 0.5);
		return Max(0.0, Min(count, number));
	}
	part = sum = pyn_exp(count * pyn_log(1.0 - probability));
	while (u >= sum && number < count && part > 0)
	{
		number++;
		part *= (count - number + 1.0) / number * (probability / (1.0 - probability));
		sum += part;
	}
	return number;
}

/*
 * pyn_interval_of gives the percentiles that leave out (1 - confidence) / 2 on both sides; the values are sorted.
 */
PynInterval
pyn_interval_of(double *values, int count, double confidence)
{
	PynInterval interval = {NAN, NAN};
	double		left_out = (1.0 - confidence) / 2.0;

	if (count < 2)
		return interval;
	sort_doubles(values, count);
	interval.low = values[(int) (left_out * (count - 1))];
	interval.high = values[(int) ceil((1.0 - left_out) * (count - 1))];
	return interval;
}

/*
 * Draws as many rows as there are anew, positives among positives and negatives among negatives: bin by bin, of those that
 * are left (a multinomial number in parts).
 */
static void
draw(const PynBin *bins, int count, const PynRanking *all, PynRandom *random, PynBin *drawn)
{
	double		positives = all->positives;
	double		negatives = all->negatives;
	double		positives_left = positives;
	double		negatives_left = negatives;

	for (int i = 0; i < count; i++)
	{
		drawn[i].positives = bins[i].positives > 0 ? binomial(random, positives, bins[i].positives / positives_left) : 0;
		drawn[i].negatives = bins[i].negatives > 0 ? binomial(random, negatives, bins[i].negatives / negatives_left) : 0;
		drawn[i].flagged_positives = bins[i].flagged_positives > 0 ?
			binomial(random, drawn[i].positives, bins[i].flagged_positives / bins[i].positives) : 0;
		drawn[i].flagged_negatives = bins[i].flagged_negatives > 0 ?
			binomial(random, drawn[i].negatives, bins[i].flagged_negatives / bins[i].negatives) : 0;
		positives -= drawn[i].positives;
		negatives -= drawn[i].negatives;
		positives_left -= bins[i].positives;
		negatives_left -= bins[i].negatives;
	}
}

/*
 * pyn_bootstrap gives an interval for each metric; not known where there are fewer than two positives or negatives, or the
 * metric is not defined in a replicate.
 */
void
pyn_bootstrap(const PynBin *bins, int count, double k, int replicates, double confidence, uint64 seed,
			  PynInterval *intervals)
{
	PynRandom	random = {seed};
	PynRanking	all;
	PynBin	   *drawn = pyn_new(PynBin, Max(count, 1));
	double	   *values = pyn_new(double, (Size) PYN_METRIC_COUNT * Max(replicates, 1));
	int			made = 0;

	for (int metric = 0; metric < PYN_METRIC_COUNT; metric++)
		intervals[metric].low = intervals[metric].high = NAN;
	pyn_rank(bins, count, k, &all);
	if (all.positives >= 2 && all.negatives >= 2)
		for (; made < replicates; made++)
		{
			PynRanking	ranking;

			CHECK_FOR_INTERRUPTS();
			draw(bins, count, &all, &random, drawn);
			pyn_rank(drawn, count, k, &ranking);
			for (int metric = 0; metric < PYN_METRIC_COUNT; metric++)
				values[(Size) metric * replicates + made] = ranking.metrics[metric];
		}
	for (int metric = 0; metric < PYN_METRIC_COUNT; metric++)
	{
		double	   *of_metric = values + (Size) metric * replicates;
		int			defined = 0;

		for (int i = 0; i < made; i++)
			if (of_metric[i] == of_metric[i])
				of_metric[defined++] = of_metric[i];
		if (defined == made)
			intervals[metric] = pyn_interval_of(of_metric, made, confidence);
	}
	pfree(drawn);
	pfree(values);
}
