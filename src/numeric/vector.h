/*
 * vector.h
 *		How loops over many numbers are compiled.
 *
 * PYN_ANY_CPU is for functions that say their vectors themselves.  The server's -O2 does not vectorise loops whose length it
 * does not know; a function marked PYN_VECTORISED is.  Both are compiled twice, with AVX2 and without, and the loader takes
 * what the CPU can do.  Either gives the same bits as long as lanes never mix: loops that add to separate numbers
 * (rows, features) may be marked freely; a sum into one number stays in its written order, since the compiler may not reorder
 * it, and AVX2 alone brings no fused multiply-add.
 */
#ifndef PYN_VECTOR_H
#define PYN_VECTOR_H

#include "kernel/port.h"

/* Two variants of a function, where both the compiler and the C library can choose between them when it is loaded. */
#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && defined(__gnu_linux__) && \
	!defined(__SANITIZE_ADDRESS__) && !defined(PYN_ONE_VARIANT)
#define PYN_ANY_CPU __attribute__((target_clones("avx2", "default")))
#else
#define PYN_ANY_CPU
#endif

#if defined(__GNUC__) && !defined(__clang__)
#define PYN_VECTORISED __attribute__((optimize("O3,fp-contract=off"))) PYN_ANY_CPU
#else
#define PYN_VECTORISED
#endif

#define PYN_INLINE inline __attribute__((always_inline))

#define PYN_LANES 8
typedef float PynFloats __attribute__((vector_size(4 * PYN_LANES)));

#define PYN_DOUBLES 4
typedef double PynDoubles __attribute__((vector_size(8 * PYN_DOUBLES)));

/*
 * Squared distances of PYN_LANES rows, which lie side by side (rows[feature * stride + lane]), to four references that follow
 * each other, so that a row's number is loaded once for four.
 */
static PYN_INLINE void
pyn_four_distances(const float *references, int features, const float *rows, int stride, PynFloats *sums)
{
	const float *second = references + features;
	const float *third = second + features;
	const float *fourth = third + features;
	PynFloats		sum0 = {0};
	PynFloats		sum1 = {0};
	PynFloats		sum2 = {0};
	PynFloats		sum3 = {0};

	for (int feature = 0; feature < features; feature++)
	{
		PynFloats		row;
		PynFloats		difference;

		memcpy(&row, rows + (Size) feature * stride, sizeof(row));
		difference = row - references[feature];
		sum0 += difference * difference;
		difference = row - second[feature];
		sum1 += difference * difference;
		difference = row - third[feature];
		sum2 += difference * difference;
		difference = row - fourth[feature];
		sum3 += difference * difference;
	}
	sums[0] = sum0;
	sums[1] = sum1;
	sums[2] = sum2;
	sums[3] = sum3;
}

#endif							/* PYN_VECTOR_H */
