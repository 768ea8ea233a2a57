/*
 * ocsvm_solver.c
 *		The quadratic program of the one-class support vector machine, by sequential minimal optimisation.
 *
 * Two weights at a time are moved against each other, so that their sum stays (Platt 1999; Schölkopf et al. 2001).  Which two:
 * the one whose growth helps most, and against it the one with which the objective falls most, as second derivatives say: Fan,
 * Chen and Lin, "Working set selection using second order information for training support vector machines", JMLR 6 (2005).
 *
 * The gradient is kept in float8 and the kernel's matrix is whole, so a step is two passes over two of its rows.  Nothing is
 * random: the same matrix gives the same weights.
 */
#include "kernel/port.h"

#include "detectors/ocsvm_solver.h"
#include "numeric/vector.h"

#define TOLERANCE 1e-3			/* between the gradients of weights that may grow and of those that may shrink */
#define LEAST_CURVATURE 1e-12	/* of rows that are equal or nearly so */
#define STEPS_PER_ROW 100		/* then it ends as it is; some five do for data that were seen */

/* Adds to gradients what two weights' changes bring. */
PYN_VECTORISED static void
move_gradient(double *restrict gradient, const float *restrict first, double first_change, const float *restrict second,
			  double second_change, int count)
{
	for (int i = 0; i < count; i++)
		gradient[i] += first_change * first[i] + second_change * second[i];
}

/* The first rows have full weights, as many as nu allows: no step is needed that only brings weights in. */
static void
start(const float *matrix, int stride, int count, double nu, double *weights, double *gradient)
{
	double		left = nu * count;

	memset(gradient, 0, sizeof(double) * count);
	for (int i = 0; i < count; i++)
	{
		weights[i] = Min(left, 1.0);
		left -= weights[i];
		if (i % 64 == 0)
			CHECK_FOR_INTERRUPTS();
		if (weights[i] > 0)
			move_gradient(gradient, matrix + (Size) i * stride, weights[i], matrix + (Size) i * stride, 0.0, count);
	}
}

/* Finds the two weights to move, the one to grow and the one to shrink; false when none are left that are worth it. */
static bool
choose_pair(const float *matrix, int stride, int count, const double *weights, const double *gradient, int *grow, int *shrink)
{
	const float *line;
	double		highest;
	double		best = 0;

	*grow = *shrink = -1;
	for (int i = 0; i < count; i++)
		if (weights[i] < 1.0 && (*grow < 0 || gradient[i] < gradient[*grow]))
			*grow = i;
	if (*grow < 0)
		return false;
	line = matrix + (Size) *grow * stride;
	highest = gradient[*grow];
	for (int i = 0; i < count; i++)
	{
		double		difference = gradient[i] - gradient[*grow];
		double		curvature;

		if (!(weights[i] > 0) || !(difference > 0))
			continue;
		highest = Max(highest, gradient[i]);
		curvature = Max(2.0 - 2.0 * line[i], LEAST_CURVATURE);
		if (difference * difference > best * curvature)
		{
			best = difference * difference / curvature;
			*shrink = i;
		}
	}
	return *shrink >= 0 && highest - gradient[*grow] >= TOLERANCE;
}

/*
 * rho: the gradient of weights strictly between the bounds, which are on the border; where there are none, the middle between the
 * largest gradient that it must not pass and the least that it must not fall below.
 */
static double
find_offset(int count, const double *weights, const double *gradient)
{
	double		sum = 0;
	int			between = 0;
	double		low = 0;
	double		high = 0;
	int			lows = 0;
	int			highs = 0;

	for (int i = 0; i < count; i++)
		if (weights[i] >= 1.0)
			low = lows++ > 0 ? Max(low, gradient[i]) : gradient[i];
		else if (!(weights[i] > 0))
			high = highs++ > 0 ? Min(high, gradient[i]) : gradient[i];
		else
		{
			sum += gradient[i];
			between++;
		}
	if (between > 0)
		return sum / between;
	return lows == 0 ? high : highs == 0 ? low : 0.5 * (low + high);
}

double
pyn_solve_one_class(const float *matrix, int stride, int count, double nu, double *weights)
{
	double	   *gradient = pyn_new(double, count);
	int64		steps = (int64) STEPS_PER_ROW * count;
	double		offset;
	int			grow;
	int			shrink;

	start(matrix, stride, count, nu, weights, gradient);
	for (int64 step = 0; step < steps && choose_pair(matrix, stride, count, weights, gradient, &grow, &shrink); step++)
	{
		const float *line = matrix + (Size) grow * stride;
		double		room = Min(1.0 - weights[grow], weights[shrink]);
		double		change = Min((gradient[shrink] - gradient[grow]) / Max(2.0 - 2.0 * line[shrink], LEAST_CURVATURE), room);

		if (step % 64 == 0)
			CHECK_FOR_INTERRUPTS();

		/* At a bound exactly, whatever rounding says. */
		weights[grow] = change == 1.0 - weights[grow] ? 1.0 : Min(weights[grow] + change, 1.0);
		weights[shrink] = Max(weights[shrink] - change, 0.0);
		move_gradient(gradient, line, change, matrix + (Size) shrink * stride, -change, count);
	}
	offset = find_offset(count, weights, gradient);
	pfree(gradient);
	return offset;
}
