/*
 * matrix.c
 *		Linear algebra of symmetric matrices: covariances, factors, eigenvectors.
 *
 * Loops run along rows, where numbers lie side by side, and several rows go through a matrix at a time, since what costs is
 * to bring it from memory, not to compute.  The order in which a number is summed up does not depend on that.
 *
 * Time for n rows and d features: the covariance n d², Cholesky's factor d³/3, eigenvectors about 9 d³ multiplications.
 */
#include "kernel/port.h"

#include <math.h>

#include "numeric/math.h"
#include "numeric/matrix.h"
#include "numeric/vector.h"

#define MOST_SWEEPS 60			/* QL steps for one eigenvalue; two or three are usual */
#define EPSILON 2.220446049250313e-16

/* ---------------------------------------------------------------- covariance */

/* Adds w x x' of four rows to the upper triangle. */
PYN_VECTORISED static void
add_products(double *restrict covariance, int features, const double *restrict a, const double *restrict b,
			 const double *restrict c, const double *restrict d, const double *w)
{
	for (int i = 0; i < features; i++)
	{
		double	   *restrict line = covariance + (Size) i * features;
		double		wa = w[0] * a[i];
		double		wb = w[1] * b[i];
		double		wc = w[2] * c[i];
		double		wd = w[3] * d[i];

		for (int j = i; j < features; j++)
			line[j] = (((line[j] + wa * a[j]) + wb * b[j]) + wc * c[j]) + wd * d[j];
	}
}

double
pyn_covariance(const double *rows, int count, int features, const double *weights, double *centre, double *covariance)
{
	double	   *batch = pyn_new0(double, 4 * (Size) features);	/* centred */
	double		batch_weights[4];
	double		total = 0;
	int			filled = 0;

	memset(centre, 0, sizeof(double) * features);
	memset(covariance, 0, sizeof(double) * features * features);
	for (int row = 0; row < count; row++)
	{
		if (weights[row] == 0)
			continue;
		total += weights[row];
		pyn_add_scaled(centre, rows + (Size) row * features, weights[row], features);
	}
	if (!(total > 0))
	{
		pfree(batch);
		return 0;
	}
	for (int i = 0; i < features; i++)
		centre[i] /= total;

	for (int row = 0; row < count; row++)
	{
		if (row % 64 == 0)
			CHECK_FOR_INTERRUPTS();
		if (weights[row] == 0)
			continue;
		for (int i = 0; i < features; i++)
			batch[(Size) filled * features + i] = rows[(Size) row * features + i] - centre[i];
		batch_weights[filled++] = weights[row];
		if (filled < 4)
			continue;
		add_products(covariance, features, batch, batch + features, batch + 2 * (Size) features, batch + 3 * (Size) features,
					 batch_weights);
		filled = 0;
	}
	if (filled > 0)
	{
		for (int i = filled; i < 4; i++)
			batch_weights[i] = 0;
		add_products(covariance, features, batch, batch + features, batch + 2 * (Size) features, batch + 3 * (Size) features,
					 batch_weights);
	}
	for (int i = 0; i < features; i++)
		for (int j = i; j < features; j++)
			covariance[(Size) j * features + i] = covariance[(Size) i * features + j] /= total;
	pfree(batch);
	return total;
}

static double
mean_diagonal(const double *matrix, int size)
{
	double		sum = 0;

	for (int i = 0; i < size; i++)
		sum += matrix[(Size) i * size + i];
	return sum / size;
}

double
pyn_ledoit_wolf(const double *rows, int count, int features, const double *weights, const double *centre,
				const double *covariance)
{
	double	   *centred = pyn_new(double, features);
	double		mean = mean_diagonal(covariance, features);
	double		squares = pyn_dot(covariance, covariance, features * features);
	double		total = 0;
	double		fourth = 0;
	double		distance;		/* of the covariance to the multiple of the identity, their d² */
	double		noise;			/* their b² */

	for (int row = 0; row < count; row++)
	{
		double		length;

		if (weights[row] == 0)
			continue;
		for (int i = 0; i < features; i++)
			centred[i] = rows[(Size) row * features + i] - centre[i];
		length = pyn_dot(centred, centred, features);
		fourth += weights[row] * length * length;
		total += weights[row];
	}
	pfree(centred);
	distance = squares / features - mean * mean;
	noise = (fourth / total - squares) / total / features;
	if (!(distance > 0))
		return noise > 0 || !(mean > 0) ? 1.0 : 0.0;
	return Max(0.0, Min(1.0, noise / distance));
}

void
pyn_shrink(double *matrix, int size, double shrinkage)
{
	double		mean = mean_diagonal(matrix, size);

	for (Size i = 0; i < (Size) size * size; i++)
		matrix[i] *= 1.0 - shrinkage;
	for (int i = 0; i < size; i++)
		matrix[(Size) i * size + i] += shrinkage * mean;
}

/* ---------------------------------------------------------------- Cholesky's factor */

/* Takes the products of a finished line of L' from the lines below. */
PYN_VECTORISED static void
eliminate(double *restrict below, int size, const double *restrict line, int first)
{
	for (int i = first; i < size; i++)
	{
		double	   *restrict other = below + (Size) (i - first) * size;
		double		factor = line[i];

		if (factor != 0)
			for (int j = i; j < size; j++)
				other[j] -= factor * line[j];
	}
}

bool
pyn_cholesky(double *matrix, int size)
{
	for (int k = 0; k < size; k++)
	{
		double	   *line = matrix + (Size) k * size;
		double		inverse;

		CHECK_FOR_INTERRUPTS();
		if (!(line[k] > 0) || !(line[k] <= 1.7976931348623157e308))
			return false;
		inverse = 1.0 / sqrt(line[k]);
		line[k] = inverse;
		for (int j = k + 1; j < size; j++)
			line[j] *= inverse;
		eliminate(line + size, size, line, k + 1);
	}
	return true;
}

PYN_VECTORISED void
pyn_solve_lower(const double *factor, int size, double *x)
{
	for (int k = 0; k < size; k++)
	{
		const double *line = factor + (Size) k * size;

		x[k] *= line[k];
		pyn_add_scaled(x + k + 1, line + k + 1, -x[k], size - k - 1);
	}
}

void
pyn_solve_upper(const double *factor, int size, double *x)
{
	for (int k = size - 1; k >= 0; k--)
	{
		const double *line = factor + (Size) k * size;

		x[k] = (x[k] - pyn_dot(line + k + 1, x + k + 1, size - k - 1)) * line[k];
	}
}

double
pyn_log_determinant(const double *factor, int size)
{
	double		sum = 0;

	for (int i = 0; i < size; i++)
		sum -= pyn_log(factor[(Size) i * size + i]);
	return 2.0 * sum;
}

/* ---------------------------------------------------------------- eigenvectors */

/* product += matrix × vector, for a symmetric matrix's last `size` lines and columns. */
PYN_VECTORISED static void
multiply(const double *matrix, int stride, int size, const double *restrict vector, double *restrict product)
{
	int			i = 0;

	for (; i + 4 <= size; i += 4)
	{
		const double *restrict a = matrix + (Size) i * stride;
		const double *restrict b = a + stride;
		const double *restrict c = b + stride;
		const double *restrict d = c + stride;

		for (int j = 0; j < size; j++)
			product[j] = (((product[j] + vector[i] * a[j]) + vector[i + 1] * b[j]) + vector[i + 2] * c[j]) + vector[i + 3] * d[j];
	}
	for (; i < size; i++)
		pyn_add_scaled(product, matrix + (Size) i * stride, vector[i], size);
}

/* matrix -= v w' + w v'. */
PYN_VECTORISED static void
subtract_pair(double *matrix, int stride, int size, const double *restrict v, const double *restrict w)
{
	for (int i = 0; i < size; i++)
	{
		double	   *restrict line = matrix + (Size) i * stride;
		double		vi = v[i];
		double		wi = w[i];

		for (int j = 0; j < size; j++)
			line[j] -= vi * w[j] + wi * v[j];
	}
}

/* lines -= (lines v) (factor v)': reflects each line. */
PYN_VECTORISED static void
reflect_lines(double *matrix, int stride, int size, const double *v, double factor)
{
	for (int i = 0; i < size; i++)
	{
		double	   *line = matrix + (Size) i * stride;

		pyn_add_scaled(line, v, -factor * pyn_dot(line, v, size), size);
	}
}

/*
 * Householder's reflections make the matrix Q T Q', T tridiagonal (Golub and Van Loan, "Matrix Computations", 8.3.1): `diagonal`
 * and `beside`, which has what stands between i and i + 1.  The matrix becomes Q'.
 */
static void
tridiagonalise(double *matrix, int size, double *diagonal, double *beside)
{
	double	   *reflections = pyn_new0(double, (Size) size * size);	/* a vector each */
	double	   *factors = pyn_new0(double, size);
	double	   *w = pyn_new(double, size);

	for (int k = 0; k < size; k++)
	{
		int			rest = size - k - 1;
		const double *x = matrix + (Size) k * size + k + 1;
		double	   *below = matrix + ((Size) k + 1) * size + k + 1;
		double	   *v = reflections + (Size) k * size;
		double		largest = 0;
		double		length;
		double		middle;

		CHECK_FOR_INTERRUPTS();
		diagonal[k] = matrix[(Size) k * size + k];
		beside[k] = rest > 0 ? x[0] : 0;
		for (int i = 1; i < rest; i++)
			largest = Max(largest, fabs(x[i]));
		if (rest < 2 || largest == 0)
			continue;			/* nothing to take away */
		largest = Max(largest, fabs(x[0]));
		for (int i = 0; i < rest; i++)
			v[i] = x[i] / largest;
		length = sqrt(pyn_dot(v, v, rest));
		beside[k] = (v[0] > 0 ? -length : length) * largest;
		v[0] += v[0] > 0 ? length : -length;
		factors[k] = 2.0 / pyn_dot(v, v, rest);

		memset(w, 0, sizeof(double) * rest);
		multiply(below, size, rest, v, w);
		for (int i = 0; i < rest; i++)
			w[i] *= factors[k];
		middle = 0.5 * factors[k] * pyn_dot(w, v, rest);
		pyn_add_scaled(w, v, -middle, rest);
		subtract_pair(below, size, rest, v, w);
	}

	/* Q' = H(n-2) ... H(1) H(0), each from the right. */
	memset(matrix, 0, sizeof(double) * size * size);
	for (int i = 0; i < size; i++)
		matrix[(Size) i * size + i] = 1.0;
	for (int k = size - 1; k >= 0; k--)
	{
		CHECK_FOR_INTERRUPTS();
		if (factors[k] != 0)
			reflect_lines(matrix + ((Size) k + 1) * size + k + 1, size, size - k - 1, reflections + (Size) k * size, factors[k]);
	}
	pfree(reflections);
	pfree(factors);
	pfree(w);
}

/* Turns two lines in their plane. */
PYN_VECTORISED static void
rotate(double *restrict a, double *restrict b, double cosine, double sine, int count)
{
	for (int i = 0; i < count; i++)
	{
		double		x = a[i];
		double		y = b[i];

		a[i] = cosine * x - sine * y;
		b[i] = sine * x + cosine * y;
	}
}

/* The length of (a, b), without overflow. */
static double
length_of(double a, double b)
{
	double		largest = Max(fabs(a), fabs(b));
	double		ratio;

	if (largest == 0)
		return 0;
	ratio = Min(fabs(a), fabs(b)) / largest;
	return largest * sqrt(1.0 + ratio * ratio);
}

/*
 * One implicit QL step with Wilkinson's shift on the tridiagonal block from `first` to `last` (Golub and Van Loan, 8.3.3, from
 * the bottom up), which draws the element beside `first` towards nothing; the lines of `vectors` turn with it.
 */
static void
ql_step(double *diagonal, double *beside, int first, int last, double *vectors, int size)
{
	double		gap = (diagonal[first + 1] - diagonal[first]) / (2.0 * beside[first]);
	double		root = length_of(gap, 1.0);
	double		bulge = diagonal[last] - diagonal[first] + beside[first] / (gap + (gap >= 0 ? root : -root));
	double		cosine = 1.0;
	double		sine = 1.0;
	double		carried = 0.0;	/* what the steps so far have taken from the diagonal */

	for (int i = last - 1; i >= first; i--)
	{
		double		across = sine * beside[i];
		double		along = cosine * beside[i];
		double		turned;

		root = length_of(across, bulge);
		beside[i + 1] = root;
		if (root == 0)
		{
			/* It has fallen apart in two. */
			diagonal[i + 1] -= carried;
			beside[last] = 0;
			return;
		}
		sine = across / root;
		cosine = bulge / root;
		bulge = diagonal[i + 1] - carried;
		turned = (diagonal[i] - bulge) * sine + 2.0 * cosine * along;
		carried = sine * turned;
		diagonal[i + 1] = bulge + carried;
		bulge = cosine * turned - along;
		rotate(vectors + (Size) i * size, vectors + ((Size) i + 1) * size, cosine, sine, size);
	}
	diagonal[first] -= carried;
	beside[first] = bulge;
	beside[last] = 0;
}

/* Sorts by falling eigenvalue, by selection: n vectors move at most. */
static void
order_vectors(double *vectors, int size, double *values)
{
	double	   *kept = pyn_new(double, size);

	for (int i = 0; i < size; i++)
	{
		double	   *vector = vectors + (Size) i * size;
		double		value = values[i];
		int			best = i;
		int			largest = 0;

		for (int j = i + 1; j < size; j++)
			if (values[j] > values[best])
				best = j;
		if (best != i)
		{
			double	   *other = vectors + (Size) best * size;

			values[i] = values[best];
			values[best] = value;
			memcpy(kept, vector, sizeof(double) * size);
			memcpy(vector, other, sizeof(double) * size);
			memcpy(other, kept, sizeof(double) * size);
		}
		for (int j = 1; j < size; j++)
			if (fabs(vector[j]) > fabs(vector[largest]))
				largest = j;
		if (vector[largest] < 0)
			for (int j = 0; j < size; j++)
				vector[j] = -vector[j];
	}
	pfree(kept);
}

bool
pyn_eigen(double *matrix, int size, double *values)
{
	double	   *beside = pyn_new(double, size);
	double		scale = 0;

	tridiagonalise(matrix, size, values, beside);
	for (int i = 0; i < size; i++)
		scale = Max(scale, fabs(values[i]) + fabs(beside[i]));
	for (int first = 0; first < size; first++)
		for (int sweep = 0;; sweep++)
		{
			int			last = first;

			CHECK_FOR_INTERRUPTS();
			while (last < size - 1 &&
				   fabs(beside[last]) > EPSILON * (fabs(values[last]) + fabs(values[last + 1])) &&
				   fabs(beside[last]) > EPSILON * EPSILON * scale)
				last++;
			if (last == first)
				break;
			if (sweep == MOST_SWEEPS)
			{
				pfree(beside);
				return false;
			}
			ql_step(values, beside, first, last, matrix, size);
		}
	order_vectors(matrix, size, values);
	pfree(beside);
	return true;
}
