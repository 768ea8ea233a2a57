/*
 * ocsvm_solver.h
 *		The quadratic program of the one-class support vector machine.
 */
#ifndef PYN_OCSVM_SOLVER_H
#define PYN_OCSVM_SOLVER_H

#include "kernel/port.h"

/*
 * Weights of `count` rows that minimise ½ Σ w_i w_j k_ij under 0 ≤ w_i ≤ 1 and Σ w_i = nu × count, to a tolerance of 1e-3 of the
 * gradient; returns rho.  matrix[i * stride + j] is k_ij, symmetric, with 1 on its diagonal.
 */
extern double pyn_solve_one_class(const float *matrix, int stride, int count, double nu, double *weights);

#endif							/* PYN_OCSVM_SOLVER_H */
