/* sources: src/kernel/hash.c src/kernel/bytes.c src/numeric/math.c src/detectors/metrics.c src/detectors/comparison.c */
/*
 * metrics.c
 *		Rankings, areas and tests of differences against their definitions, counted pair by pair.
 */
#include <math.h>

#include "kernel/hash.h"
#include "detectors/metrics.h"
#include "tap.h"

#define MOST 120
#define TRIALS 300

typedef struct Trial
{
	int			rows;
	double		first[MOST];
	double		second[MOST];
	bool		positive[MOST];
	bool		flagged[MOST];
} Trial;

/* Scores of few different values, so that many are equal, or of many; some rows of each kind. */
static void
make_trial(Trial *trial, PynRandom *random, int number)
{
	int			values = number % 3 == 0 ? 4 : number % 3 == 1 ? 40 : 1000000;

	trial->rows = 4 + (int) pyn_random_below(random, MOST - 4);
	for (int i = 0; i < trial->rows; i++)
	{
		trial->positive[i] = i < 2 || (i > 3 && pyn_random_below(random, 4) == 0);
		trial->first[i] = pyn_random_below(random, (uint32) values) + trial->positive[i] * values / 3.0;
		trial->second[i] = trial->first[i] + pyn_random_below(random, (uint32) values);
		trial->flagged[i] = trial->first[i] > values;
	}
}

static double
pair(double positive, double negative)
{
	return positive > negative ? 1.0 : positive == negative ? 0.5 : 0.0;
}

static double
area(const Trial *trial, const double *scores)
{
	double		sum = 0;
	double		pairs = 0;

	for (int i = 0; i < trial->rows; i++)
		for (int j = 0; j < trial->rows; j++)
			if (trial->positive[i] && !trial->positive[j])
			{
				sum += pair(scores[i], scores[j]);
				pairs++;
			}
	return sum / pairs;
}

/* The mean over the positives of the precision among all rows that score at least as high as the positive. */
static double
precision_of(const Trial *trial, const double *scores)
{
	double		sum = 0;
	int			positives = 0;

	for (int i = 0; i < trial->rows; i++)
	{
		double		right = 0;
		double		all = 0;

		if (!trial->positive[i])
			continue;
		for (int j = 0; j < trial->rows; j++)
			if (scores[j] >= scores[i])
			{
				right += trial->positive[j];
				all++;
			}
		sum += right / all;
		positives++;
	}
	return sum / positives;
}

/* A row's placement: the share of the other kind on the right side of it. */
static double
placement(const Trial *trial, const double *scores, int row)
{
	double		sum = 0;
	int			others = 0;

	for (int j = 0; j < trial->rows; j++)
		if (trial->positive[j] != trial->positive[row])
		{
			sum += trial->positive[row] ? pair(scores[row], scores[j]) : pair(scores[j], scores[row]);
			others++;
		}
	return sum / others;
}

static double
covariance(const Trial *trial, const double *a, const double *b)
{
	double		sums[2] = {0, 0};
	double		counts[2] = {0, 0};

	for (int i = 0; i < trial->rows; i++)
	{
		sums[trial->positive[i]] += (placement(trial, a, i) - area(trial, a)) * (placement(trial, b, i) - area(trial, b));
		counts[trial->positive[i]]++;
	}
	return sums[0] / (counts[0] - 1) / counts[0] + sums[1] / (counts[1] - 1) / counts[1];
}

static double
binomial_tail(int fewer, int all)
{
	double		sum = 0;

	for (int i = 0; i <= fewer; i++)
		sum += exp(lgamma(all + 1) - lgamma(i + 1) - lgamma(all - i + 1) - all * log(2.0));
	return fmin(1.0, 2 * sum);
}

int
main(void)
{
	PynRandom	random = {11};
	Trial		trial;
	double		wrong_area = 0;
	double		wrong_precision = 0;
	double		wrong_covariance = 0;
	double		wrong_flags = 0;
	double		wrong_mcnemar = 0;
	int			unordered = 0;
	int			wide = 0;

	for (int number = 0; number < TRIALS; number++)
	{
		PynLabelled rows[MOST];
		PynBin		bins[MOST];
		PynRanking	ranking;
		PynInterval intervals[PYN_METRIC_COUNT];
		const double *scores[2] = {trial.first, trial.second};
		double		areas[2];
		double		covariances[4];
		double		precisions[2];
		double		first[50];
		double		second[50];
		double	   *replicated[2] = {first, second};
		double		right = 0;
		int			count;

		make_trial(&trial, &random, number);
		for (int i = 0; i < trial.rows; i++)
		{
			rows[i].raw = trial.first[i];
			rows[i].positive = trial.positive[i];
			rows[i].flagged = trial.flagged[i];
			right += trial.positive[i] && trial.flagged[i];
		}
		count = pyn_make_bins(rows, trial.rows, bins);
		pyn_rank(bins, count, 5, &ranking);
		wrong_area = fmax(wrong_area, fabs(ranking.metrics[PYN_ROC_AUC] - area(&trial, trial.first)));
		wrong_precision = fmax(wrong_precision,
							   fabs(ranking.metrics[PYN_AVERAGE_PRECISION] - precision_of(&trial, trial.first)));
		wrong_flags = fmax(wrong_flags, fabs(ranking.true_positives - right));
		pyn_delong(scores, 2, trial.positive, trial.rows, areas, covariances);
		wrong_area = fmax(wrong_area, fabs(areas[1] - area(&trial, trial.second)));
		for (int i = 0; i < 4; i++)
			wrong_covariance = fmax(wrong_covariance,
									fabs(covariances[i] - covariance(&trial, scores[i / 2], scores[i % 2])));
		pyn_paired_bootstrap(scores, 2, trial.positive, trial.rows, 50, 3, precisions, replicated);
		wrong_precision = fmax(wrong_precision, fabs(precisions[1] - precision_of(&trial, trial.second)));
		pyn_bootstrap(bins, count, 5, 200, 0.9, 3, intervals);
		for (int metric = 0; metric < PYN_METRIC_COUNT; metric++)
			unordered += intervals[metric].low > intervals[metric].high;
		wide += ranking.metrics[PYN_ROC_AUC] >= intervals[PYN_ROC_AUC].low &&
			ranking.metrics[PYN_ROC_AUC] <= intervals[PYN_ROC_AUC].high;
	}
	for (int all = 0; all <= 1000; all += 13)
		for (int fewer = 0; 2 * fewer <= all; fewer += 7)
			wrong_mcnemar = fmax(wrong_mcnemar, fabs(pyn_mcnemar(fewer, all - fewer) - binomial_tail(fewer, all)));
	ok(wrong_area < 1e-12, "ROC-AUC is the share of pairs in the right order, ties counting half");
	ok(wrong_precision < 1e-12, "average precision is the mean of the precisions at the positives");
	ok(wrong_flags == 0, "flagged positives are counted");
	ok(wrong_covariance < 1e-12, "covariances of areas are those of the placements, one by one");
	ok(wrong_mcnemar < 1e-9, "McNemar's test is the two-sided binomial one");
	ok(unordered == 0, "no interval ends below its beginning");
	ok(wide >= TRIALS * 95 / 100, "intervals hold the value that was measured, nearly always");
	return done();
}
