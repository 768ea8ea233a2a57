/*
 * student.h
 *		Student's t distribution, with the same bits on every CPU.
 */
#ifndef PYN_STUDENT_H
#define PYN_STUDENT_H

#include "kernel/port.h"

/* P(T > t) for t ≥ 0 and `freedom` ≥ 1 degrees of freedom. */
extern double pyn_student_tail(double t, double freedom);

/* The t > 0 past which lies `tail`, in (0, 0.25]. */
extern double pyn_student_quantile(double tail, double freedom);

#endif							/* PYN_STUDENT_H */
