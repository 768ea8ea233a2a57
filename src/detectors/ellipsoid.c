/*
 * ellipsoid.c
 *		A centre and a covariance, and how far rows lie from the one in units of the other (Mahalanobis 1936, "On the
 *		generalised distance in statistics").
 *
 * The covariance is shrunk towards a multiple of the identity (Ledoit and Wolf 2004), never by less than LEAST_SHRINKAGE, so it
 * has an inverse also where columns depend on each other or outnumber the rows.
 *
 * Up to PYN_MOST_DENSE features it is kept whole, as Cholesky's factor L: with L y = z, the squared distance is |y|².  Its lower
 * triangle is written, 1 MB at most.  Past that number the leading eigenvectors are kept and the variance across them is taken
 * to be the same in every direction, as in probabilistic principal components (Tipping and Bishop 1999): at most MOST_VECTORS of
 * them and 2 MB, found from at most MOST_NUMBERS values of evenly spaced rows, so that the widest table takes seconds.
 *
 * Rows are whitened LANES at a time, a lane each, so that the compiler makes vectors of rows; what a row gives does not
 * depend on the other lanes, and the sums of pyn_squared_distance run in the same order.
 */
#include "kernel/port.h"

#include <math.h>

#include "detectors/ellipsoid.h"
#include "detectors/matrix.h"
#include "detectors/subspace.h"
#include "detectors/vector.h"

#define LEAST_SHRINKAGE 1e-9
#define MOST_VECTORS 128
#define MOST_VECTOR_NUMBERS 262144	/* vectors × features */
#define MOST_NUMBERS 4194304	/* rows × features from which vectors are found */
#define LANES 16
#define CANDIDATES 8			/* features among which a pair to blame is sought */
#define SECOND_FEATURE 20.0		/* what the second one must take from the squared distance */
#define MOST_DISTANCE 1e300
#define LARGEST 1.7976931348623157e308

/* ---------------------------------------------------------------- fit */

/* The diagonal of the inverse, from the columns of L's inverse. */
static void
invert_diagonal(PynEllipsoid *ellipsoid)
{
	int			features = ellipsoid->features;
	double	   *column = pyn_new(double, features);

	for (int i = 0; i < features; i++)
	{
		CHECK_FOR_INTERRUPTS();
		/* Above its i-th element the column is 0: solve what is below only. */
		memset(column, 0, sizeof(double) * features);
		column[i] = 1.0;
		for (int k = i; k < features; k++)
		{
			const double *line = ellipsoid->factor + (Size) k * features;

			column[k] *= line[k];
			pyn_add_scaled(column + k + 1, line + k + 1, -column[k], features - k - 1);
		}
		ellipsoid->precision[i] = pyn_dot(column + i, column + i, features - i);
	}
	pfree(column);
}

static void
fit_whole(PynEllipsoid *ellipsoid, const double *rows, int count, const double *weights, double shrinkage)
{
	int			features = ellipsoid->features;
	double	   *covariance = pyn_new(double, (Size) features * features);
	double		least = LEAST_SHRINKAGE;

	ellipsoid->rank = features;
	ellipsoid->factor = pyn_new(double, (Size) features * features);
	pyn_covariance(rows, count, features, weights, ellipsoid->centre, covariance);
	if (shrinkage < 0)
		shrinkage = pyn_ledoit_wolf(rows, count, features, weights, ellipsoid->centre, covariance);
	for (;;)
	{
		memcpy(ellipsoid->factor, covariance, sizeof(double) * features * features);
		pyn_shrink(ellipsoid->factor, features, Max(shrinkage, least));
		if (pyn_cholesky(ellipsoid->factor, features))
			break;
		least *= 100;
		if (least <= 1.0)
			continue;
		/* Nothing varies: every direction is alike. */
		memset(ellipsoid->factor, 0, sizeof(double) * features * features);
		for (int i = 0; i < features; i++)
			ellipsoid->factor[(Size) i * features + i] = 1.0;
		break;
	}
	pfree(covariance);
	invert_diagonal(ellipsoid);
}

static void
fit_leading(PynEllipsoid *ellipsoid, const double *rows, int count, const double *weights, double shrinkage, uint64 seed)
{
	int			features = ellipsoid->features;
	int			step = (int) (((Size) count * features + MOST_NUMBERS - 1) / MOST_NUMBERS);
	int			used = (count + step - 1) / step;
	double	   *picked = pyn_new(double, (Size) used * features);
	double	   *picked_weights = pyn_new(double, used);
	double		total = 0;
	double		trace = 0;
	double		fourth = 0;
	double		kept = 0;
	double		squares;
	double		mean;

	memset(ellipsoid->centre, 0, sizeof(double) * features);
	for (int i = 0; i < used; i++)
	{
		memcpy(picked + (Size) i * features, rows + (Size) i * step * features, sizeof(double) * features);
		picked_weights[i] = weights[(Size) i * step];
		total += picked_weights[i];
		pyn_add_scaled(ellipsoid->centre, picked + (Size) i * features, picked_weights[i], features);
	}
	total = total > 0 ? total : 1.0;
	for (int i = 0; i < features; i++)
		ellipsoid->centre[i] /= total;
	for (int i = 0; i < used; i++)
	{
		double		length = 0;

		for (int j = 0; j < features; j++)
		{
			double		difference = picked[(Size) i * features + j] - ellipsoid->centre[j];

			length += difference * difference;
		}
		trace += picked_weights[i] / total * length;
		fourth += picked_weights[i] / total * length * length;
	}
	ellipsoid->rank = Min(MOST_VECTORS, MOST_VECTOR_NUMBERS / features);
	ellipsoid->vectors = pyn_new(double, (Size) ellipsoid->rank * features);
	ellipsoid->values = pyn_new(double, ellipsoid->rank);
	pyn_leading_eigen(picked, used, features, picked_weights, ellipsoid->centre, ellipsoid->rank, seed, ellipsoid->vectors,
					  ellipsoid->values, &squares);
	mean = trace / features;
	if (shrinkage < 0)
	{
		/* As pyn_ledoit_wolf, with the sum of squares estimated. */
		double		distance = squares / features - mean * mean;
		double		noise = (fourth - squares) / total / features;

		shrinkage = distance > 0 ? Max(0.0, Min(1.0, noise / distance)) : 1.0;
	}
	shrinkage = Max(shrinkage, LEAST_SHRINKAGE);
	mean = mean > 0 ? mean : 1.0;
	for (int i = 0; i < ellipsoid->rank; i++)
		kept += ellipsoid->values[i];
	ellipsoid->rest = (1.0 - shrinkage) * Max(trace - kept, 0.0) / (features - ellipsoid->rank) + shrinkage * mean;
	for (int i = 0; i < ellipsoid->rank; i++)
		ellipsoid->values[i] = Max((1.0 - shrinkage) * ellipsoid->values[i] + shrinkage * mean, ellipsoid->rest);
	for (int j = 0; j < features; j++)
	{
		double		precision = 1.0 / ellipsoid->rest;

		for (int i = 0; i < ellipsoid->rank; i++)
		{
			double		element = ellipsoid->vectors[(Size) i * features + j];

			precision -= element * element * (1.0 / ellipsoid->rest - 1.0 / ellipsoid->values[i]);
		}
		ellipsoid->precision[j] = Max(precision, 1e-6 / ellipsoid->rest);
	}
	pfree(picked);
	pfree(picked_weights);
}

void
pyn_ellipsoid_fit(PynEllipsoid *ellipsoid, const double *rows, int count, int features, const double *weights,
				  double shrinkage, uint64 seed)
{
	memset(ellipsoid, 0, sizeof(*ellipsoid));
	ellipsoid->features = features;
	ellipsoid->centre = pyn_new(double, features);
	ellipsoid->precision = pyn_new(double, features);
	if (features <= PYN_MOST_DENSE)
		fit_whole(ellipsoid, rows, count, weights, shrinkage);
	else
		fit_leading(ellipsoid, rows, count, weights, shrinkage, seed);
}

void
pyn_ellipsoid_free(PynEllipsoid *ellipsoid)
{
	double	   *parts[] = {ellipsoid->centre, ellipsoid->precision, ellipsoid->factor, ellipsoid->lower, ellipsoid->vectors, ellipsoid->values};

	for (int i = 0; i < (int) lengthof(parts); i++)
		if (parts[i] != NULL)
			pfree(parts[i]);
}

/* ---------------------------------------------------------------- bytes */

void
pyn_ellipsoid_write(const PynEllipsoid *ellipsoid, PynWriter *writer)
{
	int			features = ellipsoid->features;

	for (int i = 0; i < features; i++)
	{
		pyn_write_f64(writer, ellipsoid->centre[i]);
		pyn_write_f64(writer, ellipsoid->precision[i]);
	}
	if (ellipsoid->factor != NULL)
	{
		for (int i = 0; i < features; i++)
			for (int j = i; j < features; j++)
				pyn_write_f64(writer, ellipsoid->factor[(Size) i * features + j]);
		return;
	}
	pyn_write_f64(writer, ellipsoid->rest);
	for (int i = 0; i < ellipsoid->rank; i++)
	{
		pyn_write_f64(writer, ellipsoid->values[i]);
		for (int j = 0; j < features; j++)
			pyn_write_f64(writer, ellipsoid->vectors[(Size) i * features + j]);
	}
}

/* Reads a number that must lie in a range; the reader has failed where it does not. */
static double
read_between(PynReader *reader, double low, double high)
{
	double		number = pyn_read_f64(reader);

	if (!(number >= low && number <= high))
		reader->failed = true;
	return number;
}

const char *
pyn_ellipsoid_read(PynReader *reader, int features, PynEllipsoid *ellipsoid)
{
	bool		whole = features <= PYN_MOST_DENSE;
	int			rank = whole ? features : Min(MOST_VECTORS, MOST_VECTOR_NUMBERS / features);
	Size		numbers = whole ? (Size) features * (features + 1) / 2 : 1 + (Size) rank * (features + 1);

	if (!pyn_reader_has(reader, 2 * (Size) features + numbers, sizeof(double)))
		return "a covariance is cut off";
	memset(ellipsoid, 0, sizeof(*ellipsoid));
	ellipsoid->features = features;
	ellipsoid->rank = rank;
	ellipsoid->centre = pyn_new(double, features);
	ellipsoid->precision = pyn_new(double, features);
	for (int i = 0; i < features; i++)
	{
		ellipsoid->centre[i] = read_between(reader, -PYN_MOST_SCALED, PYN_MOST_SCALED);
		ellipsoid->precision[i] = read_between(reader, 1e-300, LARGEST);
	}
	if (whole)
	{
		ellipsoid->factor = pyn_new0(double, (Size) features * features);
		ellipsoid->lower = pyn_new0(double, (Size) features * features);
		for (int i = 0; i < features; i++)
			for (int j = i; j < features; j++)
				ellipsoid->factor[(Size) i * features + j] = ellipsoid->lower[(Size) j * features + i] =
					read_between(reader, i == j ? 1e-300 : -LARGEST, LARGEST);
	}
	else
	{
		ellipsoid->rest = read_between(reader, 1e-300, LARGEST);
		ellipsoid->values = pyn_new(double, rank);
		ellipsoid->vectors = pyn_new(double, (Size) rank * features);
		for (int i = 0; i < rank; i++)
		{
			ellipsoid->values[i] = read_between(reader, 1e-300, LARGEST);
			for (int j = 0; j < features; j++)
				ellipsoid->vectors[(Size) i * features + j] = read_between(reader, -2.0, 2.0);
		}
	}
	return reader->failed ? "a covariance is impossible" : NULL;
}

/* ---------------------------------------------------------------- distances */

/* Overflow, and what hostile bytes can bring about, ends at the largest distance. */
static inline double
bounded(double square)
{
	return square >= 0 && square <= MOST_DISTANCE ? square : MOST_DISTANCE;
}

double
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
	for (int k = 0; k < ellipsoid->rank; k++)
	{
		double		projection = pyn_dot(ellipsoid->vectors + (Size) k * features, work, features);

		along += projection * projection;
		sum += projection * projection / ellipsoid->values[k];
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

void
pyn_distances(const PynEllipsoid *ellipsoid, const PynScaling *scaling, const double *values, int stride, int rows,
			  double *distances)
{
	int			features = ellipsoid->features;
	double	   *z = pyn_new(double, (Size) LANES * features);
	double	   *row = pyn_new(double, 2 * (Size) features);

	Assert(scaling->kind != PYN_SCALE_TAILS);
	for (int start = 0; start < rows; start += LANES)
	{
		int			count = Min(LANES, rows - start);
		double		squares[LANES];

		if (start % (64 * LANES) == 0 && features > PYN_MOST_DENSE / 8)
			CHECK_FOR_INTERRUPTS();
		if (ellipsoid->lower == NULL)
		{
			for (int i = 0; i < count; i++)
			{
				for (int j = 0; j < features; j++)
					row[j] = pyn_scaled(scaling, j, values[(Size) j * stride + start + i]);
				distances[start + i] = sqrt(pyn_squared_distance(ellipsoid, row, row + features));
			}
			continue;
		}
		scale_lanes(ellipsoid, scaling, values + start, stride, count, z);
		whiten(ellipsoid->lower, features, z, squares);
		for (int i = 0; i < count; i++)
			distances[start + i] = sqrt(bounded(squares[i]));
	}
	pfree(z);
	pfree(row);
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
	int			candidates[CANDIDATES + 1];
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
