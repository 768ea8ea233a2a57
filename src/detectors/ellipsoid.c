/*
 * ellipsoid.c
 *		A centre and a covariance, and how far rows lie from the one in units of the other (Mahalanobis 1936, "On the
 *		generalised distance in statistics").
 *
 * The covariance is shrunk towards a multiple of the identity (Ledoit and Wolf 2004), never by less than LEAST_SHRINKAGE, so it
 * has an inverse also where columns depend on each other or outnumber the rows.  A feature that is constant among the rows
 * fitted to, as a rare flag may be among those that trimming keeps, counts as varying as it does in all: else a single such
 * flag would outweigh all other features.
 *
 * Up to PYN_MOST_DENSE features it is kept whole, as Cholesky's factor L: with L y = z, the squared distance is |y|².  Its lower
 * triangle is written, 1 MB at most.  Past that number the leading eigenvectors are kept and the variance across them is taken
 * to be the same in every direction, as in probabilistic principal components (Tipping and Bishop 1999): at most MOST_VECTORS of
 * them and 2 MB, found from at most MOST_NUMBERS values of evenly spaced rows, so that the widest table takes seconds.
 *
 * ellipsoid_score.c measures distances.
 */
#include "kernel/port.h"

#include <math.h>

#include "detectors/ellipsoid.h"
#include "numeric/matrix.h"
#include "numeric/subspace.h"

#define LEAST_SHRINKAGE 1e-9
#define LEAST_VARIANCE 1e-6		/* a feature that varies by less among the rows fitted to has that of all rows, 1 */
#define MOST_VECTORS 128
#define MOST_VECTOR_NUMBERS 262144	/* vectors × features */
#define MOST_NUMBERS 4194304	/* rows × features from which vectors are found */
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
	for (int i = 0; i < features; i++)
		if (covariance[(Size) i * features + i] < LEAST_VARIANCE)
		{
			covariance[(Size) i * features + i] += 1.0;
			ellipsoid->constant++;
		}
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

/* What is known of a covariance without its being formed. */
typedef struct Spread
{
	double		total;			/* weight of the rows */
	double		trace;
	double		squares;		/* sum of squared eigenvalues, estimated */
	double		fourth;			/* mean fourth power of the distance from the centre */
} Spread;

/* The leading directions, from evenly spaced rows where there are too many. */
static void
find_leading(PynEllipsoid *ellipsoid, const double *rows, int count, const double *weights, uint64 seed, Spread *spread)
{
	int			features = ellipsoid->features;
	int			step = (int) (((Size) count * features + MOST_NUMBERS - 1) / MOST_NUMBERS);
	int			used = (count + step - 1) / step;
	double	   *picked = pyn_new(double, (Size) used * features);
	double	   *picked_weights = pyn_new(double, used);
	double		total = 0;

	memset(spread, 0, sizeof(*spread));
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
		spread->trace += picked_weights[i] / total * length;
		spread->fourth += picked_weights[i] / total * length * length;
	}
	spread->total = total;
	ellipsoid->rank = Min(MOST_VECTORS, MOST_VECTOR_NUMBERS / features);
	ellipsoid->vectors = pyn_new(double, (Size) ellipsoid->rank * features);
	ellipsoid->values = pyn_new(double, ellipsoid->rank);
	pyn_leading_eigen(picked, used, features, picked_weights, ellipsoid->centre, ellipsoid->rank, seed, ellipsoid->vectors,
					  ellipsoid->values, &spread->squares);
	pfree(picked);
	pfree(picked_weights);
}

/* The mean variance in the directions across those kept. */
static double
variance_across(const PynEllipsoid *ellipsoid, double trace)
{
	for (int i = 0; i < ellipsoid->rank; i++)
		trace -= ellipsoid->values[i];
	return Max(trace, 0.0) / (ellipsoid->features - ellipsoid->rank);
}

static void
fit_leading(PynEllipsoid *ellipsoid, const double *rows, int count, const double *weights, double shrinkage, uint64 seed)
{
	int			features = ellipsoid->features;
	Spread		spread;
	double		mean;

	find_leading(ellipsoid, rows, count, weights, seed, &spread);
	mean = spread.trace / features;
	if (shrinkage < 0)
	{
		/* As pyn_ledoit_wolf, with the sum of squares estimated. */
		double		distance = spread.squares / features - mean * mean;
		double		noise = (spread.fourth - spread.squares) / spread.total / features;

		shrinkage = distance > 0 ? Max(0.0, Min(1.0, noise / distance)) : 1.0;
	}
	shrinkage = Max(shrinkage, LEAST_SHRINKAGE);
	ellipsoid->rest = (1.0 - shrinkage) * variance_across(ellipsoid, spread.trace) + shrinkage * (mean > 0 ? mean : 1.0);
	for (int i = 0; i < ellipsoid->rank; i++)
		ellipsoid->values[i] = Max((1.0 - shrinkage) * ellipsoid->values[i] + shrinkage * mean, ellipsoid->rest);
	pyn_ellipsoid_set_precision(ellipsoid);
}

static void
make_ellipsoid(PynEllipsoid *ellipsoid, int features)
{
	memset(ellipsoid, 0, sizeof(*ellipsoid));
	ellipsoid->features = features;
	ellipsoid->centre = pyn_new(double, features);
	ellipsoid->precision = pyn_new(double, features);
}

double
pyn_ellipsoid_fit_directions(PynEllipsoid *ellipsoid, const double *rows, int count, int features, const double *weights,
							 uint64 seed)
{
	Spread		spread = {0};

	make_ellipsoid(ellipsoid, features);
	if (features > PYN_MOST_DENSE)
	{
		find_leading(ellipsoid, rows, count, weights, seed, &spread);
		ellipsoid->rest = variance_across(ellipsoid, spread.trace);
		return spread.trace;
	}
	ellipsoid->rank = features;
	ellipsoid->vectors = pyn_new(double, (Size) features * features);
	ellipsoid->values = pyn_new(double, features);
	pyn_covariance(rows, count, features, weights, ellipsoid->centre, ellipsoid->vectors);
	for (int i = 0; i < features; i++)
		spread.trace += ellipsoid->vectors[(Size) i * features + i];
	(void) pyn_eigen(ellipsoid->vectors, features, ellipsoid->values);
	return spread.trace;
}

void
pyn_ellipsoid_fit(PynEllipsoid *ellipsoid, const double *rows, int count, int features, const double *weights,
				  double shrinkage, uint64 seed)
{
	make_ellipsoid(ellipsoid, features);
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

/*
 * The diagonal of the inverse, where only leading directions are kept.
 */
void
pyn_ellipsoid_set_precision(PynEllipsoid *ellipsoid)
{
	for (int j = 0; j < ellipsoid->features; j++)
	{
		double		precision = 1.0 / ellipsoid->rest;

		for (int i = 0; i < ellipsoid->rank; i++)
		{
			double		element = ellipsoid->vectors[(Size) i * ellipsoid->features + j];

			precision += element * element * (1.0 / ellipsoid->values[i] - 1.0 / ellipsoid->rest);
		}
		ellipsoid->precision[j] = Max(precision, 1e-300);
	}
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
	pyn_write_u8(writer, ellipsoid->factor != NULL);
	if (ellipsoid->factor != NULL)
	{
		for (int i = 0; i < features; i++)
			for (int j = i; j < features; j++)
				pyn_write_f64(writer, ellipsoid->factor[(Size) i * features + j]);
		return;
	}
	pyn_write_u32(writer, (uint32) ellipsoid->rank);
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

static void
read_whole(PynReader *reader, PynEllipsoid *ellipsoid)
{
	int			features = ellipsoid->features;

	ellipsoid->rank = features;
	ellipsoid->factor = pyn_new0(double, (Size) features * features);
	ellipsoid->lower = pyn_new0(double, (Size) features * features);
	for (int i = 0; i < features; i++)
		for (int j = i; j < features; j++)
			ellipsoid->factor[(Size) i * features + j] = ellipsoid->lower[(Size) j * features + i] =
				read_between(reader, i == j ? 1e-300 : -LARGEST, LARGEST);
}

static void
read_leading(PynReader *reader, PynEllipsoid *ellipsoid)
{
	int			features = ellipsoid->features;

	ellipsoid->rest = read_between(reader, 1e-300, LARGEST);
	ellipsoid->values = pyn_new(double, ellipsoid->rank);
	ellipsoid->vectors = pyn_new(double, (Size) ellipsoid->rank * features);
	for (int i = 0; i < ellipsoid->rank; i++)
	{
		ellipsoid->values[i] = read_between(reader, 1e-300, LARGEST);
		for (int j = 0; j < features; j++)
			ellipsoid->vectors[(Size) i * features + j] = read_between(reader, -2.0, 2.0);
	}
}

const char *
pyn_ellipsoid_read(PynReader *reader, int features, PynEllipsoid *ellipsoid)
{
	uint8		whole;

	if (!pyn_reader_has(reader, 2 * (Size) features, sizeof(double)))
		return "a covariance is cut off";
	make_ellipsoid(ellipsoid, features);
	for (int i = 0; i < features; i++)
	{
		ellipsoid->centre[i] = read_between(reader, -PYN_MOST_SCALED, PYN_MOST_SCALED);
		ellipsoid->precision[i] = read_between(reader, 1e-300, LARGEST);
	}
	whole = pyn_read_u8(reader);
	if (whole > 1 || (whole == 1 && features > PYN_MOST_DENSE))
		return "a covariance is of no kind";
	if (whole == 1)
	{
		if (!pyn_reader_has(reader, (Size) features * (features + 1) / 2, sizeof(double)))
			return "a covariance is cut off";
		read_whole(reader, ellipsoid);
	}
	else
	{
		uint32		rank = pyn_read_u32(reader);

		if (rank > features || !pyn_reader_has(reader, 1 + (uint64) rank * (features + 1), sizeof(double)))
			return "a covariance is cut off";
		ellipsoid->rank = (int) rank;
		read_leading(reader, ellipsoid);
	}
	return reader->failed ? "a covariance is impossible" : NULL;
}
