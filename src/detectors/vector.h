/*
 * vector.h
 *		How loops over many numbers are compiled.
 *
 * The server's -O2 does not vectorise loops whose length it does not know.  A function marked PYN_VECTORISED is: twice, with
 * AVX2 and without, and the loader takes what the CPU can do.  Both give the same bits as long as lanes never mix: loops
 * that add to separate numbers (rows, features) may be marked freely; a sum into one number stays in its written
 * order, since the compiler may not reorder it, and AVX2 alone brings no fused multiply-add.
 */
#ifndef PYN_VECTOR_H
#define PYN_VECTOR_H

#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && defined(__linux__) && !defined(__SANITIZE_ADDRESS__)
#define PYN_VECTORISED __attribute__((optimize("O3,fp-contract=off"), target_clones("avx2", "default")))
#elif defined(__GNUC__) && !defined(__clang__)
#define PYN_VECTORISED __attribute__((optimize("O3,fp-contract=off")))
#else
#define PYN_VECTORISED
#endif

#endif							/* PYN_VECTOR_H */
