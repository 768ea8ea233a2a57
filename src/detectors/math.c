/*
 * math.c
 *		Elementary functions that give the same bits on every CPU.
 *
 * Each reduces its argument to a small range exactly, or nearly so, and sums a series there in one fixed order.
 */
#include "detectors/math.h"

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
