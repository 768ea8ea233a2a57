/*
 * curve.c
 *		Functions of one feature's value, straight between knots, and raw scores that are sums of them.
 *
 * Each number is computed by the same operations in the same order for one row and for a block of rows.
 */
#include "kernel/port.h"

#include <math.h>

#include "detectors/curve.h"

#define LANES 8					/* rows looked up side by side */

#define LARGEST 1.7976931348623157e308

/* ---------------------------------------------------------------- make */

void
pyn_curve_init(PynCurve *curve, int knots)
{
	Size		size = 1;

	memset(curve, 0, sizeof(*curve));
	if (knots == 0)
		return;
	while (size <= (Size) knots)
		size *= 2;
	curve->half = (uint32) (size / 2);
	curve->keys = pyn_new(double, size - 1);
	curve->pieces = pyn_new0(PynPiece, size);
	for (Size i = 0; i < size - 1; i++)
		curve->keys[i] = 2 * LARGEST;	/* infinity */
}

void
pyn_curve_set(PynCurve *curve, int i, double value, double at, double start, double end, double next_value)
{
	PynPiece   *piece = &curve->pieces[i + 1];
	double		slope = (end - start) / (0.5 * next_value - 0.5 * value);

	curve->keys[i] = value;
	piece->value = value;
	piece->at = at;
	piece->start = start;
	/* Knots that are neighbours among the smallest numbers have nothing between them. */
	piece->slope = fabs(slope) <= LARGEST ? slope : 0.0;
}

void
pyn_curve_set_end(PynCurve *curve, int i, double value, double at, double beyond)
{
	curve->keys[i] = value;
	for (uint32 place = (uint32) i + 1; place < 2 * curve->half; place++)
	{
		curve->pieces[place].value = value;
		curve->pieces[place].at = at;
		curve->pieces[place].start = beyond;
	}
}

void
pyn_curve_set_beginning(PynCurve *curve, double beyond)
{
	curve->pieces[0].value = curve->keys[0];
	curve->pieces[0].at = curve->pieces[0].start = beyond;
}

PynCurves *
pyn_curves_create(int features)
{
	PynCurves  *curves = palloc0(sizeof(PynCurves));

	curves->features = features;
	curves->curves = pyn_new0(PynCurve, features);
	return curves;
}

/* ---------------------------------------------------------------- score */

/* What the function is at a value that lies at or after the piece's knot; a missing value adds nothing. */
static inline double
piece_part(const PynPiece *piece, double value)
{
	double		part = piece->start + piece->slope * (0.5 * value - 0.5 * piece->value);

	if (value == piece->value)
		part = piece->at;
	return value == value ? part : 0.0;
}

static inline double
curve_part(const PynCurve *curve, double value)
{
	if (curve->half == 0)
		return 0.0;
	return piece_part(&curve->pieces[pyn_curve_place(curve, value)], value);
}

double
pyn_curves_score_row(const void *state, const double *row)
{
	const PynCurves *curves = state;
	double		sum = 0;

	for (int feature = 0; feature < curves->features; feature++)
		sum += curve_part(&curves->curves[feature], row[feature]);
	return sum;
}

void
pyn_curve_add(const PynCurve *curve, const double *values, int rows, double *scores)
{
	const double *keys = curve->keys;
	int			row = 0;

	for (; row + LANES <= rows; row += LANES)
	{
		uint32		place[LANES] = {0};

		for (uint32 half = curve->half; half > 0; half >>= 1)
		{
#pragma GCC unroll 8
			for (int lane = 0; lane < LANES; lane++)
				place[lane] += half & -(uint32) (keys[place[lane] + half - 1] <= values[row + lane]);
		}
#pragma GCC unroll 8
		for (int lane = 0; lane < LANES; lane++)
			scores[row + lane] += piece_part(&curve->pieces[place[lane]], values[row + lane]);
	}
	for (; row < rows; row++)
		scores[row] += curve_part(curve, values[row]);
}

void
pyn_curves_score_block(const void *state, const double *values, int stride, int rows, double *scores)
{
	const PynCurves *curves = state;

	memset(scores, 0, sizeof(double) * rows);
	for (int feature = 0; feature < curves->features; feature++)
		if (curves->curves[feature].half > 0)
			pyn_curve_add(&curves->curves[feature], values + (Size) feature * stride, rows, scores);
}

void
pyn_curves_contribute(const void *state, const double *row, double *contributions)
{
	const PynCurves *curves = state;

	for (int feature = 0; feature < curves->features; feature++)
		contributions[feature] = curve_part(&curves->curves[feature], row[feature]);
}
