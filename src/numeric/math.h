/*
 * math.h
 *		Elementary functions that give the same bits on every CPU.
 *
 * glibc's log and exp change bits between the variants that it picks at run time (AVX2, FMA), so fit and score call
 * these instead.  They use only IEEE 754 addition, multiplication and division, in one fixed order, compiled with
 * -ffp-contract=off.
 */
#ifndef PYN_MATH_H
#define PYN_MATH_H

#include "kernel/port.h"

extern double pyn_log(double x);	/* natural logarithm; -inf for 0, NaN for x < 0 */
extern double pyn_log2(double x);
extern double pyn_exp(double x);	/* 0 below -745, inf above 709.8 */
extern double pyn_exp2(double x);
extern double pyn_asinh(double x);	/* odd, finite for every finite x */
extern double pyn_normal_tail(double z);	/* the share of the standard normal distribution above z */
extern double pyn_normal_quantile(double p);	/* of the standard normal distribution; -inf for 0, inf for 1 */
extern double pyn_chi_square_quantile(double p, int degrees);	/* 0 < p < 1 - 1e-15, degrees ≥ 1 */

/* sqrt is correctly rounded by IEEE 754 on every CPU: the library's may be used. */

#endif							/* PYN_MATH_H */
