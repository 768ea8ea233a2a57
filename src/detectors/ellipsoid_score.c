/*
 * ellipsoid_score.c
 *		How far rows lie from an ellipsoid's centre, and which features account for it.
 *
 * Rows are whitened LANES at a time, a lane each, so that the compiler makes vectors of rows; what a row gives does not
 * depend on the other lanes, and the sums of pyn_squared_distance run in the same order.
 */
#include "kernel/port.h"

#include <math.h>

#include "detectors/ellipsoid.h"
#include "numeric/matrix.h"
#include "numeric/vector.h"

#define LANES 16
#define HALF (LANES / 2)
#define CANDIDATES 8			/* features among which a pair to blame is sought */
#define SECOND_FEATURE 20.0		/* what the second one must take from the squared distance */
#define MOST_DISTANCE 1e300		/* of squared ones */

/* Overflow, and what hostile bytes can bring about, ends at the largest distance. */
static inline double
bounded(double square)
{
	return square >= 0 && square <= MOST_DISTANCE ? square : MOST_DISTANCE;
}

PYN_VECTORISED double
pyn_squared_distance(const PynEllipsoid *ellipsoid, const double *row, double *work)
{
	int			features = ellipsoid->features;
	double		sum = 0;
	double		along = 0;

	for (int i = 0; i < features; i++)
		work[i] = row[i] - ellipsoid->centre[i];
	if (ellipsoid->factor != NULL)
	{
		pyn_solve_lower(ellipsoid->factor, features, work);
		for (int i = 0; i < features; i++)
			sum += work[i] * work[i];
		return bounded(sum);
	}
	for (int k = 0; k < ellipsoid->rank; k += 4)
	{
		const double *vectors = ellipsoid->vectors + (Size) k * features;
		int			count = Min(4, ellipsoid->rank - k);
		double		projections[4];

		if (count == 4)
			pyn_four_dots(vectors, features, work, features, projections);
		else
			for (int i = 0; i < count; i++)
				projections[i] = pyn_dot(vectors + (Size) i * features, work, features);
		for (int i = 0; i < count; i++)
		{
			along += projections[i] * projections[i];
			sum += projections[i] * projections[i] / ellipsoid->values[k + i];
		}
	}
	return bounded(sum + Max(pyn_dot(work, work, features) - along, 0.0) / ellipsoid->rest);
}

/* y = L's inverse × z for LANES rows, in place, and the squares of y. */
PYN_VECTORISED static void
whiten(const double *restrict lower, int features, double *restrict z, double *restrict squares)
{
	double		sums[LANES] = {0};

	for (int j = 0; j < features; j++)
	{
		const double *line = lower + (Size) j * features;
		double		y[LANES];

		for (int lane = 0; lane < LANES; lane++)
			y[lane] = z[j * LANES + lane];
		for (int k = 0; k < j; k++)
			for (int lane = 0; lane < LANES; lane++)
				y[lane] += -z[k * LANES + lane] * line[k];
		for (int lane = 0; lane < LANES; lane++)
		{
			y[lane] *= line[j];
			z[j * LANES + lane] = y[lane];
			sums[lane] += y[lane] * y[lane];
		}
	}
	memcpy(squares, sums, sizeof(sums));
}

/* pyn_dot of each lane with a vector, in its order. */
static inline void
project(const double *restrict vector, int features, const double *restrict z, double *restrict products)
{
	double		sums[4][HALF] = {{0}};
	int			j = 0;

	for (; j + 4 <= features; j += 4)
		for (int part = 0; part < 4; part++)
			for (int lane = 0; lane < HALF; lane++)
				sums[part][lane] += z[(j + part) * LANES + lane] * vector[j + part];
	for (; j < features; j++)
		for (int lane = 0; lane < HALF; lane++)
			sums[0][lane] += z[j * LANES + lane] * vector[j];
	for (int lane = 0; lane < HALF; lane++)
		products[lane] = (sums[0][lane] + sums[1][lane]) + (sums[2][lane] + sums[3][lane]);
}

/* The same for the square of each lane. */
static inline void
square(int features, const double *restrict z, double *restrict products)
{
	double		sums[4][HALF] = {{0}};
	int			j = 0;

	for (; j + 4 <= features; j += 4)
		for (int part = 0; part < 4; part++)
			for (int lane = 0; lane < HALF; lane++)
				sums[part][lane] += z[(j + part) * LANES + lane] * z[(j + part) * LANES + lane];
	for (; j < features; j++)
		for (int lane = 0; lane < HALF; lane++)
			sums[0][lane] += z[j * LANES + lane] * z[j * LANES + lane];
	for (int lane = 0; lane < HALF; lane++)
		products[lane] = (sums[0][lane] + sums[1][lane]) + (sums[2][lane] + sums[3][lane]);
}

/* Squared distances of LANES rows where only directions are kept, half of them at a time for want of registers. */
PYN_VECTORISED static void
measure_directions(const PynEllipsoid *ellipsoid, const double *z, double *squares)
{
	for (int half = 0; half < LANES; half += HALF)
	{
		double		sums[HALF] = {0};
		double		along[HALF] = {0};
		double		y[HALF];

		for (int k = 0; k < ellipsoid->rank; k++)
		{
			project(ellipsoid->vectors + (Size) k * ellipsoid->features, ellipsoid->features, z + half, y);
			for (int lane = 0; lane < HALF; lane++)
			{
				double		part = y[lane] * y[lane];

				along[lane] += part;
				sums[lane] += part / ellipsoid->values[k];
			}
		}
		square(ellipsoid->features, z + half, y);
		for (int lane = 0; lane < HALF; lane++)
			squares[half + lane] = sums[lane] + Max(y[lane] - along[lane], 0.0) / ellipsoid->rest;
	}
}

/* The scaled and centred values of up to LANES rows, a lane each; lanes without a row are 0. */
PYN_VECTORISED static void
scale_lanes(const PynEllipsoid *ellipsoid, const PynScaling *scaling, const double *restrict values, int stride, int rows, double *restrict z)
{
	for (int j = 0; j < ellipsoid->features; j++)
	{
		double		centre = scaling->centres[j];
		double		factor = scaling->factors[j];
		double		middle = ellipsoid->centre[j];
		const double *restrict column = values + (Size) j * stride;
		double	   *restrict lanes = z + j * LANES;

		/* pyn_scaled, without its kinds. */
		for (int lane = 0; lane < rows; lane++)
		{
			double		value = (column[lane] - centre) * factor;

			value = value > PYN_MOST_SCALED ? PYN_MOST_SCALED : value;
			value = value < -PYN_MOST_SCALED ? -PYN_MOST_SCALED : value;
			lanes[lane] = (value == value ? value : 0.0) - middle;
		}
		for (int lane = rows; lane < LANES; lane++)
			lanes[lane] = 0.0;
	}
}

/* The same for a scale with logarithmic tails, which costs a logarithm a value. */
static void
bend_lanes(const PynEllipsoid *ellipsoid, const PynScaling *scaling, const double *values, int stride, int rows, double *z)
{
	for (int j = 0; j < ellipsoid->features; j++)
		for (int lane = 0; lane < LANES; lane++)
			z[j * LANES + lane] = lane < rows ? pyn_scaled(scaling, j, values[(Size) j * stride + lane]) - ellipsoid->centre[j] : 0.0;
}

void
pyn_distances(const PynEllipsoid *ellipsoid, const PynScaling *scaling, const double *values, int stride, int rows,
			  double *distances)
{
	int			features = ellipsoid->features;
	double	   *z = pyn_new(double, (Size) LANES * features);

	for (int start = 0; start < rows; start += LANES)
	{
		int			count = Min(LANES, rows - start);
		double		squares[LANES];

		if (start % (64 * LANES) == 0 && features > PYN_MOST_DENSE / 8)
			CHECK_FOR_INTERRUPTS();
		if (scaling->kind == PYN_SCALE_TAILS)
			bend_lanes(ellipsoid, scaling, values + start, stride, count, z);
		else
			scale_lanes(ellipsoid, scaling, values + start, stride, count, z);
		if (ellipsoid->lower != NULL)
			whiten(ellipsoid->lower, features, z, squares);
		else
			measure_directions(ellipsoid, z, squares);
		for (int i = 0; i < count; i++)
			distances[start + i] = sqrt(bounded(squares[i]));
	}
	pfree(z);
}

double
pyn_distance(const PynEllipsoid *ellipsoid, const PynScaling *scaling, const double *row)
{
	double		few[128];
	double	   *work = ellipsoid->features <= 64 ? few : pyn_new(double, 2 * (Size) ellipsoid->features);
	double		distance;

	for (int i = 0; i < ellipsoid->features; i++)
		work[i] = pyn_scaled(scaling, i, row[i]);
	distance = sqrt(pyn_squared_distance(ellipsoid, work, work + ellipsoid->features));
	if (work != few)
		pfree(work);
	return distance;
}

/* ---------------------------------------------------------------- parts */

/* out = the covariance's inverse × vector. */
static void
multiply_precision(const PynEllipsoid *ellipsoid, const double *vector, double *out)
{
	int			features = ellipsoid->features;

	if (ellipsoid->factor != NULL)
	{
		memcpy(out, vector, sizeof(double) * features);
		pyn_solve_lower(ellipsoid->factor, features, out);
		pyn_solve_upper(ellipsoid->factor, features, out);
		return;
	}
	for (int i = 0; i < features; i++)
		out[i] = vector[i] / ellipsoid->rest;
	for (int k = 0; k < ellipsoid->rank; k++)
	{
		const double *line = ellipsoid->vectors + (Size) k * features;
		double		weight = 1.0 / ellipsoid->values[k] - 1.0 / ellipsoid->rest;

		pyn_add_scaled(out, line, pyn_dot(line, vector, features) * weight, features);
	}
}

/* One or two features that explain a row, and what it takes to judge the others beside them. */
typedef struct Blame
{
	int			first;
	int			second;			/* -1: the first is enough */
	double		gain;			/* what the squared distance loses without both */
	const double *first_column; /* of the precision */
	const double *second_column;
} Blame;

/* The features that would take most from the distance one by one, best first; returns how many. */
static int
find_candidates(const double *drops, int features, int *candidates)
{
	int			count = 0;

	for (int i = 0; i < features; i++)
	{
		int			place = count;

		while (place > 0 && drops[i] > drops[candidates[place - 1]])
			place--;
		if (place == CANDIDATES)
			continue;
		count = Min(count + 1, CANDIDATES);
		memmove(candidates + place + 1, candidates + place, sizeof(int) * (count - 1 - place));
		candidates[place] = i;
	}
	return count;
}

/* Which pair of candidates takes most together; v is the precision times the row. */
static Blame
find_blame(const double *v, const double *drops, const int *candidates, int count, const double *columns, int features)
{
	Blame		blame = {.first = candidates[0], .second = -1, .gain = drops[candidates[0]], .first_column = columns};
	Blame		pair = blame;

	for (int a = 1; a < count; a++)
		for (int b = 0; b < a; b++)
		{
			int			i = candidates[b];
			int			j = candidates[a];
			const double *column = columns + (Size) b * features;
			double		across = column[j];
			double		pi = column[i];
			double		pj = columns[(Size) a * features + j];
			double		gain = (pj * v[i] * v[i] - 2.0 * across * v[i] * v[j] + pi * v[j] * v[j]) / (pi * pj - across * across);

			if (pi * pj - across * across > 0 && gain > pair.gain && gain <= MOST_DISTANCE)
				pair = (Blame) {i, j, gain, column, columns + (Size) a * features};
		}
	return pair.gain - blame.gain >= SECOND_FEATURE ? pair : blame;
}

/*
 * With z the centred row, P the covariance's inverse and v = P z, v_j² / P_jj is what the squared distance loses when z_j is
 * what the other features let expect, its conditional mean.  It is never negative, unlike z_j v_j, which sums to the squared
 * distance but blames a right feature for standing beside a wrong one.  Where two features are wrong it can still
 * blame a third, which is far from what the two let expect; so the pair is sought whose replacement takes most, and it is
 * believed when it takes SECOND_FEATURE more than one feature does.  A pair shares its gain as Shapley's value does; every other
 * feature's part is what it would take in addition, and no more than it takes alone, so that those blamed come first.
 */
void
pyn_distance_parts(const PynEllipsoid *ellipsoid, const PynScaling *scaling, const double *row, double *parts)
{
	int			features = ellipsoid->features;
	double	   *z = pyn_new0(double, features);
	double	   *v = pyn_new(double, features);
	double	   *columns = pyn_new(double, CANDIDATES * (Size) features);
	int			candidates[CANDIDATES + 1] = {0};
	int			count;
	Blame		blame;
	double		alone;

	for (int i = 0; i < features; i++)
		z[i] = pyn_scaled(scaling, i, row[i]) - ellipsoid->centre[i];
	multiply_precision(ellipsoid, z, v);
	for (int i = 0; i < features; i++)
		parts[i] = bounded(v[i] * v[i] / ellipsoid->precision[i]);
	count = find_candidates(parts, features, candidates);
	memset(z, 0, sizeof(double) * features);
	for (int i = 0; i < count; i++)
	{
		z[candidates[i]] = 1.0;
		multiply_precision(ellipsoid, z, columns + (Size) i * features);
		z[candidates[i]] = 0.0;
	}
	blame = find_blame(v, parts, candidates, count, columns, features);
	alone = parts[blame.first];
	if (blame.second >= 0)
	{
		parts[blame.first] = 0.5 * (blame.gain + alone - parts[blame.second]);
		parts[blame.second] = blame.gain - parts[blame.first];
	}
	for (int i = 0; i < features; i++)
	{
		const double *a = blame.first_column;
		const double *b = blame.second_column;
		double		left = v[i] - a[i] / a[blame.first] * v[blame.first];
		double		precision = ellipsoid->precision[i] - a[i] * a[i] / a[blame.first];

		if (i == blame.first || i == blame.second)
			continue;
		if (b != NULL)
		{
			/* The same step again, for the second feature after the first. */
			double		across = b[i] - a[i] * a[blame.second] / a[blame.first];
			double		second = b[blame.second] - a[blame.second] * a[blame.second] / a[blame.first];

			left -= across / second * (v[blame.second] - a[blame.second] / a[blame.first] * v[blame.first]);
			precision -= across * across / second;
		}
		parts[i] = precision > 0 ? Min(bounded(left * left / precision), parts[i]) : 0.0;
	}
	pfree(z);
	pfree(v);
	pfree(columns);
}

/* ---------------------------------------------------------------- what detectors do with one */

const char *
pyn_scaled_ellipsoid_open(PynReader *reader, int features, void **state)
{
	PynScaledEllipsoid *scaled = palloc0(sizeof(PynScaledEllipsoid));
	const char *problem = pyn_scaling_read(reader, features, &scaled->scaling);

	if (problem == NULL)
		problem = pyn_ellipsoid_read(reader, features, &scaled->ellipsoid);
	*state = scaled;
	return problem;
}

double
pyn_scaled_ellipsoid_score_row(const void *state, const double *row)
{
	const PynScaledEllipsoid *scaled = state;

	return pyn_distance(&scaled->ellipsoid, &scaled->scaling, row);
}

void
pyn_scaled_ellipsoid_score_block(const void *state, const double *values, int stride, int rows, double *scores)
{
	const PynScaledEllipsoid *scaled = state;

	pyn_distances(&scaled->ellipsoid, &scaled->scaling, values, stride, rows, scores);
}

void
pyn_scaled_ellipsoid_contribute(const void *state, const double *row, double *contributions)
{
	const PynScaledEllipsoid *scaled = state;

	pyn_distance_parts(&scaled->ellipsoid, &scaled->scaling, row, contributions);
}
