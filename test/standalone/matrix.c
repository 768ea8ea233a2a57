/* sources: src/numeric/matrix.c src/numeric/math.c */
/*
 * matrix.c
 *		The matrix module against identities that hold for any matrix, and against numpy and scikit-learn.
 *
 * test/fixtures/matrix.py wrote the numbers to compare with; the program reads them from the folder it is run in, the
 * project's.
 */
#include <math.h>

#include "kernel/port.h"
#include "kernel/hash.h"
#include "numeric/matrix.h"
#include "tap.h"

#define MOST 160
#define FIXTURE "test/fixtures/matrix.csv"

static double
normal(PynRandom *random)
{
	double		sum = -6;

	for (int i = 0; i < 12; i++)
		sum += pyn_random_double(random);
	return sum;
}

/* The kind-th symmetric matrix of a size. */
static void
make_matrix(int kind, int size, double *matrix, PynRandom *random)
{
	double	   *x = malloc(sizeof(double) * size * size);

	for (int i = 0; i < size * size; i++)
		x[i] = normal(random);
	for (int i = 0; i < size; i++)
		for (int j = 0; j < size; j++)
		{
			double		sum = 0;

			for (int k = 0; k < size; k++)
				sum += x[i * size + k] * x[j * size + k];
			switch (kind)
			{
				case 0:			/* positive definite */
					matrix[i * size + j] = sum / size + (i == j);
					break;
				case 1:			/* of both signs */
					matrix[i * size + j] = x[i * size + j] + x[j * size + i];
					break;
				case 2:			/* all eigenvalues but one alike */
					matrix[i * size + j] = (i == j) + 0.5;
					break;
				case 3:			/* of rank 1, and large */
					matrix[i * size + j] = 1e100 * x[i] * x[j];
					break;
				case 4:			/* diagonal, with zeros */
					matrix[i * size + j] = i == j ? i % 3 : 0;
					break;
				case 5:			/* tiny */
					matrix[i * size + j] = 1e-200 * (x[i * size + j] + x[j * size + i]);
					break;
				default:		/* graded: eigenvalues from 1 to 1e-12 */
					matrix[i * size + j] = (sum / size + (i == j)) * exp2(-20.0 * (i + j) / size);
			}
		}
	free(x);
}

static double
largest_of(const double *numbers, int count)
{
	double		largest = 0;

	for (int i = 0; i < count; i++)
		largest = Max(largest, fabs(numbers[i]));
	return largest;
}

static void
test_identities(void)
{
	static const int sizes[] = {1, 2, 3, 4, 5, 7, 16, 33, 64, MOST};
	PynRandom	random = {11};
	double	   *matrix = malloc(sizeof(double) * MOST * MOST);
	double	   *work = malloc(sizeof(double) * MOST * MOST);
	double		values[MOST];
	double		x[MOST];
	double		vector_error = 0;
	double		length_error = 0;
	double		factor_error = 0;
	double		solve_error = 0;
	int			unordered = 0;
	int			failed = 0;

	for (int kind = 0; kind <= 6; kind++)
		for (int s = 0; s < (int) lengthof(sizes); s++)
		{
			int			size = sizes[s];
			double		scale;

			make_matrix(kind, size, matrix, &random);
			scale = largest_of(matrix, size * size) * size;
			scale = scale > 0 ? scale : 1;
			memcpy(work, matrix, sizeof(double) * size * size);
			failed += !pyn_eigen(work, size, values);
			for (int v = 0; v < size; v++)
			{
				unordered += v > 0 && values[v] > values[v - 1];
				for (int i = 0; i < size; i++)
				{
					double		sum = -values[v] * work[v * size + i];

					for (int j = 0; j < size; j++)
						sum += matrix[i * size + j] * work[v * size + j];
					vector_error = Max(vector_error, fabs(sum) / scale);
				}
				for (int u = 0; u <= v; u++)
				{
					double		sum = -(u == v);

					for (int j = 0; j < size; j++)
						sum += work[u * size + j] * work[v * size + j];
					length_error = Max(length_error, fabs(sum));
				}
			}
			if (kind != 0)
				continue;
			memcpy(work, matrix, sizeof(double) * size * size);
			failed += !pyn_cholesky(work, size);
			for (int i = 0; i < size; i++)
				for (int j = i; j < size; j++)
				{
					double		sum = -matrix[i * size + j];

					for (int k = 0; k <= i; k++)
						sum += (k == i ? 1 / work[k * size + i] : work[k * size + i]) * (k == j ? 1 / work[k * size + j] : work[k * size + j]);
					factor_error = Max(factor_error, fabs(sum) / scale);
				}
			for (int i = 0; i < size; i++)
				x[i] = i - size / 3;
			pyn_solve_lower(work, size, x);
			pyn_solve_upper(work, size, x);
			for (int i = 0; i < size; i++)
			{
				double		sum = -(i - size / 3);

				for (int j = 0; j < size; j++)
					sum += matrix[i * size + j] * x[j];
				solve_error = Max(solve_error, fabs(sum) / size);
			}
		}
	printf("# A v - lambda v %.1g, V V' - I %.1g, L L' - A %.1g, A x - b %.1g\n", vector_error, length_error, factor_error, solve_error);
	ok(failed == 0, "every matrix has its eigenvectors, and each positive definite one its factor");
	ok(vector_error < 1e-14, "A v is lambda v");
	ok(length_error < 1e-13, "eigenvectors have length 1 and stand at right angles");
	ok(unordered == 0, "eigenvalues fall");
	ok(factor_error < 1e-15, "L L' is A");
	ok(solve_error < 1e-12, "A times the solution of A x = b is b");

	make_matrix(1, 9, matrix, &random);
	ok(!pyn_cholesky(matrix, 9), "a matrix with a negative eigenvalue has no factor");
	memset(matrix, 0, sizeof(double) * 9);
	ok(!pyn_cholesky(matrix, 3), "nor has a matrix of zeros");
	matrix[0] = NAN;
	ok(!pyn_cholesky(matrix, 1), "nor has one that is not a number");
	free(matrix);
	free(work);
}

/* ---------------------------------------------------------------- numpy's numbers */

/* Reads the next numbers of a name; returns how many. */
static int
read_numbers(FILE *file, const char *name, double *numbers, int most)
{
	char		what[32];
	int			count;

	if (fscanf(file, "%31s %d", what, &count) != 2)
		return 0;
	if (strcmp(what, name) != 0 || count > most)
	{
		printf("Bail out! no %s where they are expected\n", name);
		exit(1);
	}
	for (int i = 0; i < count; i++)
		if (fscanf(file, "%lf", &numbers[i]) != 1)
			exit(1);
	return count;
}

static double
difference(const double *a, const double *b, int count)
{
	double		largest = 0;

	for (int i = 0; i < count; i++)
		largest = Max(largest, fabs(a[i] - b[i]) / Max(1.0, fabs(b[i])));
	return largest;
}

static void
test_fixture(void)
{
	static double rows[4096];
	static double weights[512];
	static double expected[4096];
	static double covariance[4096];
	static double shrunk[4096];
	static double eigenvectors[4096];
	FILE	   *file = fopen(FIXTURE, "r");
	int			count;
	int			tables = 0;
	double		centre[64];
	double		values[64];
	double		error[5] = {0};

	if (file == NULL)
	{
		printf("Bail out! no %s\n", FIXTURE);
		exit(1);
	}
	while ((count = read_numbers(file, "rows", rows, 4096)) > 0)
	{
		int			row_count = read_numbers(file, "weights", weights, 512);
		int			size = count / row_count;
		double		shrinkage;
		double		determinant;

		tables++;
		pyn_covariance(rows, row_count, size, weights, centre, covariance);
		read_numbers(file, "mean", expected, 64);
		error[0] = Max(error[0], difference(centre, expected, size));
		read_numbers(file, "covariance", expected, 4096);
		error[1] = Max(error[1], difference(covariance, expected, size * size));
		shrinkage = pyn_ledoit_wolf(rows, row_count, size, weights, centre, covariance);
		read_numbers(file, "shrinkage", expected, 1);
		if (size > 1)			/* of one number nothing is to be shrunk, whatever it is called */
			error[2] = Max(error[2], difference(&shrinkage, expected, 1));
		memcpy(eigenvectors, covariance, sizeof(double) * size * size);
		pyn_eigen(eigenvectors, size, values);
		read_numbers(file, "eigenvalues", expected, 64);
		error[3] = Max(error[3], difference(values, expected, size));
		memcpy(shrunk, covariance, sizeof(double) * size * size);
		pyn_shrink(shrunk, size, 0.1);
		pyn_cholesky(shrunk, size);
		determinant = pyn_log_determinant(shrunk, size);
		read_numbers(file, "determinant", expected, 1);
		error[4] = Max(error[4], difference(&determinant, expected, 1));
	}
	fclose(file);
	printf("# %d tables: mean %.1g, covariance %.1g, shrinkage %.1g, eigenvalues %.1g, determinant %.1g off\n", tables,
		   error[0], error[1], error[2], error[3], error[4]);
	ok(tables == 4, "numpy's tables are there");
	ok(error[0] < 1e-14, "weighted means are numpy's");
	ok(error[1] < 1e-13, "weighted covariances are numpy's");
	ok(error[2] < 1e-13, "Ledoit and Wolf's shrinkage is scikit-learn's");
	ok(error[3] < 1e-13, "eigenvalues are numpy's");
	ok(error[4] < 1e-12, "log determinants are numpy's");
}

int
main(void)
{
	test_identities();
	test_fixture();
	return done();
}
