/* sources: src/numeric/math.c */
/*
 * elementary_functions.c
 *		The elementary functions against the C library's in long double, over their whole ranges.
 *
 * The error is counted in units in the last place of the exact result's double.
 */
#include <math.h>

#include "kernel/hash.h"
#include "kernel/port.h"
#include "numeric/math.h"
#include "tap.h"

#define ARGUMENTS 200000

static double
error_in_ulps(double given, long double exact)
{
	double		nearest = (double) exact;
	double		unit = nextafter(fabs(nearest), INFINITY) - fabs(nearest);

	if (given == nearest || (isinf(given) && fabsl(exact) >= 1.797693134862315e308L))
		return 0;
	return (double) (fabsl((long double) given - exact) / unit);
}

/* A positive number whose logarithm is uniform between those of 2^low and 2^high. */
static double
positive(PynRandom *random, double low, double high)
{
	return exp2(low + pyn_random_double(random) * (high - low));
}

static double
between(PynRandom *random, double low, double high)
{
	return low + pyn_random_double(random) * (high - low);
}

/* The share of a normal distribution up to z. */
static long double
normal_tail(double z)
{
	return 0.5L * erfcl(-(long double) z / sqrtl(2.0L));
}

int
main(void)
{
	PynRandom	random = {11};
	double		worst_log = 0;
	double		worst_log2 = 0;
	double		worst_near_one = 0;
	double		worst_exp = 0;
	double		worst_exp2 = 0;
	double		worst_asinh = 0;
	double		worst_normal = 0;
	double		worst_tail = 0;

	for (int i = 0; i < ARGUMENTS; i++)
	{
		double		x = positive(&random, -1074, 1023.9);

		worst_log = fmax(worst_log, error_in_ulps(pyn_log(x), logl(x)));
		worst_log2 = fmax(worst_log2, error_in_ulps(pyn_log2(x), log2l(x)));
		x = between(&random, 0.9, 1.1);
		worst_near_one = fmax(worst_near_one, error_in_ulps(pyn_log(x), logl(x)));
		x = between(&random, -708, 709);
		worst_exp = fmax(worst_exp, error_in_ulps(pyn_exp(x), expl(x)));
		x = between(&random, -1021, 1023);
		worst_exp2 = fmax(worst_exp2, error_in_ulps(pyn_exp2(x), exp2l(x)));
		x = (i & 1 ? -1 : 1) * positive(&random, -60, 1023);
		worst_asinh = fmax(worst_asinh, error_in_ulps(pyn_asinh(x), asinhl(x)));
		x = between(&random, -8, 37);
		worst_tail = fmax(worst_tail, (double) fabsl(pyn_normal_tail(x) / normal_tail(-x) - 1.0L));
		x = i & 1 ? positive(&random, -900, -1) : between(&random, 0.001, 0.9);
		worst_normal = fmax(worst_normal, (double) fabsl(normal_tail(pyn_normal_quantile(x)) / x - 1.0L));
	}
	printf("# worst errors in units in the last place: log %.2f, near one %.2f, log2 %.2f, exp %.2f, exp2 %.2f, asinh %.2f\n",
		   worst_log, worst_near_one, worst_log2, worst_exp, worst_exp2, worst_asinh);
	printf("# worst relative error of the normal distribution at a quantile: %g\n", worst_normal);
	ok(worst_log < 2 && worst_near_one < 2, "log is right to two units in the last place");
	ok(worst_log2 < 3, "log2 is right to three units");
	ok(worst_exp < 2 && worst_exp2 < 2, "exp and exp2 are right to two units");

	ok(isinf(pyn_log(0)) && pyn_log(0) < 0 && isnan(pyn_log(-1)) && isinf(pyn_log(INFINITY)) && isnan(pyn_log(NAN)) &&
	   pyn_log(1) == 0, "log at its borders");
	ok(pyn_exp(-INFINITY) == 0 && isinf(pyn_exp(INFINITY)) && isnan(pyn_exp(NAN)) && pyn_exp(0) == 1 &&
	   pyn_exp(-746) == 0 && isinf(pyn_exp(710)) && pyn_exp(-740) > 0, "exp at its borders");
	ok(pyn_exp2(10) == 1024 && pyn_exp2(-1074) > 0 && pyn_exp2(-1080) == 0 && isinf(pyn_exp2(1024)) && isnan(pyn_exp2(NAN)),
	   "exp2 at its borders");
	ok(worst_asinh < 4 && pyn_asinh(0) == 0 && isnan(pyn_asinh(NAN)) && isinf(pyn_asinh(-INFINITY)),
	   "asinh is right to four units, and at its borders");
	printf("# worst relative error of the normal distribution's tail: %g\n", worst_tail);
	ok(worst_tail < 1e-12 && pyn_normal_tail(0) == 0.5 && pyn_normal_tail(-40) == 1 && isnan(pyn_normal_tail(NAN)) &&
	   pyn_normal_tail(INFINITY) == 0, "the normal distribution's tail is that of the C library, and at its borders");
	ok(worst_normal < 1e-12, "the normal distribution up to the quantile of p is p");
	ok(pyn_normal_quantile(0.5) == 0 && isinf(pyn_normal_quantile(0)) && isinf(pyn_normal_quantile(1)) &&
	   isnan(pyn_normal_quantile(1.5)) && isnan(pyn_normal_quantile(NAN)), "the normal quantile at its borders");
	return done();
}
