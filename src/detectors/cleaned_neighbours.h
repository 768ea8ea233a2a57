/*
 * cleaned_neighbours.h
 *		What each pass of cleaned_neighbours.c says of rows, for detectors that combine it with more.
 */
#ifndef PYN_CLEANED_NEIGHBOURS_H
#define PYN_CLEANED_NEIGHBOURS_H

#include "detectors/detector.h"

#define PYN_MAX_PASSES 8
#define PYN_LARGEST_WEIGHT 0.5	/* of the largest of all scores beside their mean */

/* States that pyn_cleaned_neighbours.open gave. */
extern int	pyn_cleaned_passes(const void *state, double *weights);	/* how many; weights[pass] */
extern void pyn_cleaned_row(const void *state, const double *row, double *scores);	/* scores[pass] */
extern void pyn_cleaned_block(const void *state, const double *values, int stride, int rows, double *scores);	/* scores[pass * rows + row] */

/* What is drawn from what, as text of fewer than `size` bytes; its length. */
extern int	pyn_cleaned_describe(const void *state, char *text, int size);

/*
 * Standardised scores as one: the weighted mean, which is steady, and half the largest, so that what one of them is sure of
 * is not averaged away.  scores[i * stride].
 */
static inline double
pyn_mean_and_largest(const double *scores, int stride, const double *weights, int count)
{
	double		largest = scores[0];
	double		sum = 0;
	double		total = 0;

	for (int i = 0; i < count; i++)
	{
		sum += weights[i] * scores[(Size) i * stride];
		total += weights[i];
		largest = Max(largest, scores[(Size) i * stride]);
	}
	return sum / total + PYN_LARGEST_WEIGHT * largest;
}

/*
 * Each score's part in that, not negative: parts[i].
 */
static inline void
pyn_mean_and_largest_parts(const double *scores, const double *weights, int count, double *parts)
{
	double		total = 0;
	int			largest = 0;

	for (int i = 0; i < count; i++)
	{
		total += weights[i];
		largest = scores[i] > scores[largest] ? i : largest;
	}
	for (int i = 0; i < count; i++)
		parts[i] = (weights[i] / total + (i == largest ? PYN_LARGEST_WEIGHT : 0.0)) * Max(scores[i], 0.0);
}

#endif							/* PYN_CLEANED_NEIGHBOURS_H */
