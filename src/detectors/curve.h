/*
 * curve.h
 *		Functions of one feature's value, straight between knots, and raw scores that are sums of them.
 *
 * Detectors that judge each feature by a distribution of its own spend their time on finding where a value lies in it.
 * Here that takes as many identical steps for every value as its table has bits, without a branch, so that the rows of a
 * block go side by side and do not wait for each other; what is costly, as logarithms, was computed at the knots when the
 * model was opened.
 */
#ifndef PYN_CURVE_H
#define PYN_CURVE_H

#include "detectors/detector.h"

/* At a knot and from it on to the next one. */
typedef struct PynPiece
{
	double		value;			/* the knot */
	double		at;				/* what the function is there */
	double		start;			/* right of it */
	double		slope;			/* per half of the way: the whole of it may overflow */
} PynPiece;

typedef struct PynCurve
{
	uint32		half;			/* half of the power of two that is above the number of knots; 0: the function is 0 */
	double	   *keys;			/* 2 × half - 1: the knots, rising, filled up with infinity */
	PynPiece   *pieces;			/* 2 × half: before the first knot, from the first one on, … */
} PynCurve;

typedef struct PynCurves
{
	int			features;
	PynCurve   *curves;
} PynCurves;

/* A curve of so many knots, to be set one by one; memory is of the current context.  Without knots it is 0. */
extern void pyn_curve_init(PynCurve *curve, int knots);

/* Sets what the function is at knot i, right of it, and left of the next one, whose value is told, too. */
extern void pyn_curve_set(PynCurve *curve, int i, double value, double at, double start, double end, double next_value);

/* Sets it at the last knot and past that; the value before the first knot, when that is set. */
extern void pyn_curve_set_end(PynCurve *curve, int i, double value, double at, double beyond);
extern void pyn_curve_set_beginning(PynCurve *curve, double beyond);

/* The place among the pieces in which a value lies, of a curve that has knots. */
static inline uint32
pyn_curve_place(const PynCurve *curve, double value)
{
	uint32		place = 0;

	for (uint32 half = curve->half; half > 0; half >>= 1)
		place += curve->keys[place + half - 1] <= value ? half : 0;
	return place;
}

/* Adds to each row's score what the function is at its value; the curve has knots. */
extern void pyn_curve_add(const PynCurve *curve, const double *values, int rows, double *scores);

/* Functions for a detector whose state they are. */
extern PynCurves *pyn_curves_create(int features);
extern double pyn_curves_score_row(const void *state, const double *row);
extern void pyn_curves_score_block(const void *state, const double *values, int stride, int rows, double *scores);
extern void pyn_curves_contribute(const void *state, const double *row, double *contributions);

#endif							/* PYN_CURVE_H */
