/*
 * math.c
 *		Elementary functions that give the same bits on every CPU.
 *
 * Each reduces its argument to a small range exactly, or nearly so, and sums a series there in one fixed order.
 */
#include <math.h>

#include "numeric/math.h"

#define LN2_HIGH 6.93147180369123816490e-01	/* ln 2 with 32 zero bits at its end */
#define LN2_LOW 1.90821492927058770002e-10
#define LOG2_E 1.44269504088896338700e+00
#define SQRT2 1.41421356237309514547e+00

static inline uint64
bits_of(double x)
{
	uint64		bits;

	memcpy(&bits, &x, sizeof(bits));
	return bits;
}

static inline double
double_of(uint64 bits)
{
	double		x;

	memcpy(&x, &bits, sizeof(x));
	return x;
}

static inline double
infinity(void)
{
	return double_of(UINT64CONST(0x7FF0000000000000));
}

/*
 * Splits a positive finite x into 2^exponent × m with m in [√½, √2), and gives the series of ln m.
 */
static inline double
log_of_mantissa(double x, int *exponent)
{
	uint64		bits = bits_of(x);
	int			e = (int) (bits >> 52);
	double		m;
	double		f;
	double		s;
	double		z;
	double		series;

	if (e == 0)
	{
		/* Subnormal: scale it up, exactly. */
		bits = bits_of(x * 18014398509481984.0);
		e = (int) (bits >> 52) - 54;
	}
	e -= 1023;
	m = double_of((bits & UINT64CONST(0x000FFFFFFFFFFFFF)) | UINT64CONST(0x3FF0000000000000));
	if (m >= SQRT2)
	{
		m *= 0.5;
		e++;
	}
	*exponent = e;

	/* ln m = 2 artanh(s) with s = f/(2+f), f = m - 1: f - s (f - 2 s² (1/3 + s²/5 + ...)) keeps the leading term exact. */
	f = m - 1.0;
	s = f / (2.0 + f);
	z = s * s;
	series = 1.0 / 23;
	series = series * z + 1.0 / 21;
	series = series * z + 1.0 / 19;
	series = series * z + 1.0 / 17;
	series = series * z + 1.0 / 15;
	series = series * z + 1.0 / 13;
	series = series * z + 1.0 / 11;
	series = series * z + 1.0 / 9;
	series = series * z + 1.0 / 7;
	series = series * z + 1.0 / 5;
	series = series * z + 1.0 / 3;
	return f - s * (f - 2.0 * z * series);
}

double
pyn_log(double x)
{
	int			exponent;
	double		mantissa;

	if (!(x > 0))
		return x == 0 ? -infinity() : double_of(UINT64CONST(0x7FF8000000000000));
	if (x == infinity())
		return x;
	mantissa = log_of_mantissa(x, &exponent);
	return exponent * LN2_HIGH + (mantissa + exponent * LN2_LOW);
}

double
pyn_log2(double x)
{
	int			exponent;
	double		mantissa;

	if (!(x > 0))
		return x == 0 ? -infinity() : double_of(UINT64CONST(0x7FF8000000000000));
	if (x == infinity())
		return x;
	mantissa = log_of_mantissa(x, &exponent);
	return exponent + mantissa * LOG2_E;
}

/* e^r for |r| ≤ 0.35, by the Taylor series. */
static inline double
exp_series(double r)
{
	double		sum = 1.0 / 6227020800.0;

	sum = sum * r + 1.0 / 479001600.0;
	sum = sum * r + 1.0 / 39916800.0;
	sum = sum * r + 1.0 / 3628800.0;
	sum = sum * r + 1.0 / 362880.0;
	sum = sum * r + 1.0 / 40320.0;
	sum = sum * r + 1.0 / 5040.0;
	sum = sum * r + 1.0 / 720.0;
	sum = sum * r + 1.0 / 120.0;
	sum = sum * r + 1.0 / 24.0;
	sum = sum * r + 1.0 / 6.0;
	sum = sum * r + 0.5;
	return 1.0 + (r + r * r * sum);
}

/* x × 2^k, in two steps where one would overflow or lose bits. */
static inline double
scale(double x, int k)
{
	if (k > 1023)
		return x * double_of(UINT64CONST(0x7FE0000000000000)) * double_of((uint64) (k - 1023 + 1023) << 52);
	if (k < -1022)
		return x * double_of((uint64) (k + 1022 + 1023) << 52) * double_of(UINT64CONST(0x0010000000000000));
	return x * double_of((uint64) (k + 1023) << 52);
}

double
pyn_exp(double x)
{
	int			k;
	double		r;

	if (x != x)
		return x;
	if (x > 709.782712893384)
		return infinity();
	if (x < -745.2)
		return 0.0;
	k = (int) (x * LOG2_E + (x < 0 ? -0.5 : 0.5));
	r = (x - k * LN2_HIGH) - k * LN2_LOW;
	return scale(exp_series(r), k);
}

double
pyn_exp2(double x)
{
	int			k;
	double		r;

	if (x != x)
		return x;
	if (x >= 1024.0)
		return infinity();
	if (x < -1075.0)
		return 0.0;
	k = (int) (x + (x < 0 ? -0.5 : 0.5));
	r = x - k;
	return scale(exp_series(r * LN2_HIGH + r * LN2_LOW), k);
}

double
pyn_asinh(double x)
{
	double		a = x < 0 ? -x : x;
	double		square = a * a;
	double		y;

	if (x != x)
		return x;
	if (a < 1e-5)
		y = a - a * square / 6.0;
	else if (a < 0.5)
	{
		/* ln(1 + t) with t small: t - (the rounding of 1 + t) would lose digits, so t is corrected by it. */
		double		t = a + square / (1.0 + sqrt(1.0 + square));
		double		u = 1.0 + t;

		y = pyn_log(u) * (t / (u - 1.0));
	}
	else if (a < 1e8)
		y = pyn_log(a + sqrt(square + 1.0));
	else
		y = pyn_log(a) + (LN2_HIGH + LN2_LOW);
	return x < 0 ? -y : y;
}

/*
 * Near 0 by the series of Φ about it (Marsaglia 2004), far out by the continued fraction of Mills' ratio, from its end.
 */
double
pyn_normal_tail(double z)
{
	double		a = z < 0 ? -z : z;
	double		density = 0.39894228040143267794 * pyn_exp(-0.5 * a * a);
	double		tail;

	if (z != z)
		return z;
	if (a < 2.5)
	{
		double		term = a;
		double		sum = a;

		for (int i = 3; term > 1e-17 * sum; i += 2)
		{
			term *= a * a / i;
			sum += term;
		}
		tail = 0.5 - density * sum;
	}
	else
	{
		double		fraction = a;

		for (int i = 120; i >= 1; i--)
			fraction = a + i / fraction;
		tail = density / fraction;
	}
	return z < 0 ? 1.0 - tail : tail;
}

/* A polynomial, highest power first. */
static inline double
polynomial(const double *coefficients, int count, double x)
{
	double		sum = coefficients[0];

	for (int i = 1; i < count; i++)
		sum = sum * x + coefficients[i];
	return sum;
}

/*
 * Wichura, "Algorithm AS 241: The percentage points of the normal distribution", Applied Statistics 37 (1988): PPND16,
 * relative error about 1e-16.
 */
double
pyn_normal_quantile(double p)
{
	static const double a[] = {
		2509.0809287301226727, 33430.575583588128105, 67265.770927008700853, 45921.953931549871457,
		13731.693765509461125, 1971.5909503065514427, 133.14166789178437745, 3.387132872796366608
	};
	static const double b[] = {
		5226.495278852545925, 28729.085735721942674, 39307.89580009271061, 21213.794301586595867,
		5394.1960214247511077, 687.1870074920579083, 42.313330701600911252, 1.0
	};
	static const double c[] = {
		7.7454501427834140764e-4, 0.0227238449892691845833, 0.24178072517745061177, 1.27045825245236838258,
		3.64784832476320460504, 5.7694972214606914055, 4.6303378461565452959, 1.42343711074968357734
	};
	static const double d[] = {
		1.05075007164441684324e-9, 5.475938084995344946e-4, 0.0151986665636164571966, 0.14810397642748007459,
		0.68976733498510000455, 1.6763848301838038494, 2.05319162663775882187, 1.0
	};
	static const double e[] = {
		2.01033439929228813265e-7, 2.71155556874348757815e-5, 0.0012426609473880784386, 0.026532189526576123093,
		0.29656057182850489123, 1.7848265399172913358, 5.4637849111641143699, 6.6579046435011037772
	};
	static const double f[] = {
		2.04426310338993978564e-15, 1.4215117583164458887e-7, 1.8463183175100546818e-5, 7.868691311456132591e-4,
		0.0148753612908506148525, 0.13692988092273580531, 0.59983220655588793769, 1.0
	};
	double		q = p - 0.5;
	double		r;
	double		z;

	if (p != p || p < 0 || p > 1)
		return double_of(UINT64CONST(0x7FF8000000000000));
	if (q >= -0.425 && q <= 0.425)
	{
		r = 0.180625 - q * q;
		return q * polynomial(a, 8, r) / polynomial(b, 8, r);
	}
	r = q < 0 ? p : 1.0 - p;
	if (r == 0)
		return q < 0 ? -infinity() : infinity();
	r = sqrt(-pyn_log(r));
	if (r <= 5.0)
		z = polynomial(c, 8, r - 1.6) / polynomial(d, 8, r - 1.6);
	else
		z = polynomial(e, 8, r - 5.0) / polynomial(f, 8, r - 5.0);
	return q < 0 ? -z : z;
}

/* ln Γ(degrees / 2), by Γ(a + 1) = a Γ(a). */
static double
log_half_gamma(int degrees)
{
	double		sum = degrees % 2 == 1 ? 0.5723649429247001 : 0.0;	/* ln Γ(1/2) is ln √π */

	for (int twice = 2 - degrees % 2; twice < degrees; twice += 2)
		sum += pyn_log(twice / 2.0);
	return sum;
}

/*
 * Bisection on the lower incomplete gamma function's series x^a e^-x Σ x^n / Γ(a + n + 1), with a half the degrees and x half the
 * number sought.  All its terms are positive.
 */
double
pyn_chi_square_quantile(double p, int degrees)
{
	double		a = degrees / 2.0;
	double		log_gamma = log_half_gamma(degrees) + pyn_log(a);	/* of a + 1 */
	double		low = 0;
	double		high = a + 10.0 * sqrt(a) + 40.0;

	for (int step = 0; step < 100; step++)
	{
		double		x = 0.5 * (low + high);
		double		term = 1.0;
		double		sum = 1.0;

		for (double n = a + 1.0; term > 1e-17 * sum; n += 1.0)
			sum += term *= x / n;
		if (pyn_log(sum) + a * pyn_log(x) - x - log_gamma < pyn_log(p))
			low = x;
		else
			high = x;
	}
	return low + high;
}
