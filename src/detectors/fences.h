/*
 * fences.h
 *		Distances of values from what is ordinary in their feature, combined over features into a raw score.
 *
 * Inside its fences a value is 0 off; outside it is as far off as it lies from the nearer fence, in units of that side.
 */
#ifndef PYN_FENCES_H
#define PYN_FENCES_H

#include "detectors/detector.h"

/* Of one feature; with both factors 0 nothing is ever off. */
typedef struct PynFence
{
	double		low;
	double		high;
	double		below;			/* 1 / the unit of distances below low */
	double		above;			/* and above high */
} PynFence;

/* How the distances of a row's values make its score: stored, and the places of the choices. */
typedef enum PynCombination
{
	PYN_COMBINE_MAX,
	PYN_COMBINE_MEAN,			/* over all features; missing values lie in the middle */
	PYN_COMBINE_NORM,			/* Euclidean */
	PYN_COMBINE_LAST = PYN_COMBINE_NORM
} PynCombination;

#define PYN_COMBINE_PARAMETER {.name = "combine",.initial = PYN_COMBINE_MAX,.minimum = 0,.maximum = PYN_COMBINE_LAST, \
	.description = "how the columns' distances make one score",.kind = PYN_PARAMETER_CHOICE,.choices = "max, mean, norm"}

/* Written: the combination, then each feature's fence. */
extern void pyn_fences_begin(PynWriter *writer, PynCombination combination);
extern void pyn_fence_write(PynWriter *writer, const PynFence *fence);

/* Functions for a detector whose state they are. */
extern const char *pyn_fences_open(PynReader *reader, int features, void **state);
extern double pyn_fences_score_row(const void *state, const double *row);
extern void pyn_fences_score_block(const void *state, const double *values, int stride, int rows, double *scores);
extern void pyn_fences_contribute(const void *state, const double *row, double *contributions);

#endif							/* PYN_FENCES_H */
