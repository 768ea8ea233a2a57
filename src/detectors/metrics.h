/*
 * metrics.h
 *		How well scores rank labelled rows, and how sure that is.
 */
#ifndef PYN_METRICS_H
#define PYN_METRICS_H

#include "kernel/port.h"

/* A labelled row under one model. */
typedef struct PynLabelled
{
	double		raw;
	bool		positive;
	bool		flagged;
} PynLabelled;

/* Rows next to each other in the ranking that no measure tells apart: all of one score, or negatives alone.  How many of them are flagged counts beside that. */
typedef struct PynBin
{
	double		positives;
	double		negatives;
	double		flagged_positives;
	double		flagged_negatives;
} PynBin;

typedef enum PynMetric
{
	PYN_ROC_AUC,
	PYN_AVERAGE_PRECISION,
	PYN_PRECISION_AT_K,
	PYN_PRECISION,
	PYN_RECALL,
	PYN_F1,
	PYN_METRIC_COUNT
} PynMetric;

/* What measures need of a ranking; NaN where one is not defined. */
typedef struct PynRanking
{
	double		metrics[PYN_METRIC_COUNT];
	double		true_positives;
	double		false_positives;
	double		positives;
	double		negatives;
} PynRanking;

typedef struct PynInterval
{
	double		low;			/* NaN: not known */
	double		high;
} PynInterval;

extern int	pyn_make_bins(PynLabelled *rows, int count, PynBin *bins);
extern void pyn_rank(const PynBin *bins, int count, double k, PynRanking *ranking);
extern void pyn_bootstrap(const PynBin *bins, int count, double k, int replicates, double confidence, uint64 seed,
						  PynInterval *intervals);
extern PynInterval pyn_interval_of(double *values, int count, double confidence);

/* comparison.c: `scores` are those of each model, row by row; labels say which rows are positive. */
extern void pyn_delong(const double *const *scores, int models, const bool *positive, int rows, double *areas,
					   double *covariances);
extern double pyn_two_sided(double z);
extern double pyn_mcnemar(double only_first, double only_second);
extern int	pyn_paired_bootstrap(const double *const *scores, int models, const bool *positive, int rows, int replicates,
								 uint64 seed, double *precisions, double **replicated);

#endif							/* PYN_METRICS_H */
