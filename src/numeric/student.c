/*
 * student.c
 *		Student's t distribution, with the same bits on every CPU.
 *
 * The tail is half an incomplete beta function, P(T > t) = I_x(v/2, 1/2) / 2 with x = v / (v + t²) (Abramowitz and Stegun
 * 26.7.1), by its continued fraction (26.5.8) in Lentz's form.
 */
#include "kernel/port.h"

#include <math.h>

#include "numeric/math.h"
#include "numeric/student.h"

#define LOG_ROOT_PI 0.57236494292470008707	/* ln sqrt(pi) */
#define EPSILON 1e-16
#define TINY 1e-300
#define MOST_TERMS 20000		/* of the continued fraction, which takes about sqrt(v) */
#define MOST_STEPS 100

/* ln(Γ(x + ½) / Γ(x)) for x > 0: the asymptotic series, from 20 on, where its error is below 1e-14. */
static double
log_gamma_ratio(double x)
{
	double		shift = 1.0;
	double		square;

	for (; x < 20; x += 1.0)
		shift *= x / (x + 0.5);
	square = x * x;
	return 0.5 * pyn_log(x) + pyn_log(shift) -
		(1.0 / 8 - (1.0 / 192 - (1.0 / 640 - 17.0 / 14336 / square) / square) / square) / x;
}

static double
away_from_zero(double x)
{
	return fabs(x) < TINY ? TINY : x;
}

/* The continued fraction of the incomplete beta function I_x(a, b), which converges fast for x < (a + 1) / (a + b + 2). */
static double
beta_fraction(double x, double a, double b)
{
	double		c = 1.0;
	double		d = 1.0 / away_from_zero(1.0 - (a + b) * x / (a + 1.0));
	double		fraction = d;

	for (int m = 1; m <= MOST_TERMS; m++)
	{
		double		even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
		double		odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
		double		factor;

		d = 1.0 / away_from_zero(1.0 + even * d);
		c = away_from_zero(1.0 + even / c);
		fraction *= c * d;
		d = 1.0 / away_from_zero(1.0 + odd * d);
		c = away_from_zero(1.0 + odd / c);
		factor = c * d;
		fraction *= factor;
		if (fabs(factor - 1.0) < EPSILON)
			break;
	}
	return fraction;
}

/* ln of x^(v/2) (1 - x)^(1/2) / B(v/2, 1/2): t times the density at t, in logarithms. */
static double
log_power(double t, double freedom)
{
	double		share = t * t / freedom;

	/* Of a large t² / v only the logarithm of it matters, and 1 - x is 1. */
	return log_gamma_ratio(0.5 * freedom) - LOG_ROOT_PI - 0.5 * freedom * pyn_log(1.0 + share) +
		0.5 * pyn_log(share / (1.0 + share));
}

double
pyn_student_tail(double t, double freedom)
{
	double		share = t * t / freedom;
	double		x = 1.0 / (1.0 + share);
	double		a = 0.5 * freedom;

	if (!(t > 0))
		return 0.5;
	if (!(share < 1e300))
		return 0.0;
	if (x < (a + 1.0) / (a + 2.5))
		return 0.5 * pyn_exp(log_power(t, freedom)) * beta_fraction(x, a, 0.5) / a;
	return 0.5 - pyn_exp(log_power(t, freedom)) * beta_fraction(share / (1.0 + share), 0.5, a);
}

/*
 * pyn_student_quantile looks for the root of ln P(T > t) = ln tail in ln t by Newton's steps.  The function is concave and
 * falls, so that from the second step on they come nearer from one side.
 */
double
pyn_student_quantile(double tail, double freedom)
{
	double		t = -pyn_normal_quantile(tail);

	for (int i = 0; i < MOST_STEPS; i++)
	{
		double		reached = pyn_student_tail(t, freedom);
		double		step = (pyn_log(reached) - pyn_log(tail)) * reached / pyn_exp(log_power(t, freedom));

		t *= pyn_exp(step);
		if (fabs(step) < 1e-14)
			break;
	}
	return t;
}
