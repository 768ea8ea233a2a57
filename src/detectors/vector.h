/*
 * vector.h
 *		How loops over many numbers are compiled.
 *
 * PYN_ANY_CPU is for functions that say their vectors themselves.  The server's -O2 does not vectorise loops whose length it
 * does not know.  A function marked PYN_VECTORISED is: twice, with
 * AVX2 and without, and the loader takes what the CPU can do.  Both give the same bits as long as lanes never mix: loops
 * that add to separate numbers (rows, features) may be marked freely; a sum into one number stays in its written
 * order, since the compiler may not reorder it, and AVX2 alone brings no fused multiply-add.
 */
#ifndef PYN_VECTOR_H
#define PYN_VECTOR_H

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

#endif							/* PYN_VECTOR_H */
