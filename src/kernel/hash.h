/*
 * hash.h
 *		The project's own hash and pseudo-random numbers: the same values on any CPU, for ever.
 *
 * Sketches, samples and models depend on these values, so they are part of the stored formats.  They are no
 * cryptographic hashes.
 */
#ifndef PYN_HASH_H
#define PYN_HASH_H

#include "kernel/port.h"

typedef struct PynDigest
{
	uint64		low;
	uint64		high;
} PynDigest;

extern uint64 pyn_hash_bytes(const void *data, Size length, uint64 seed);
extern PynDigest pyn_digest(const void *data, Size length);

/* Multiplies to 128 bits and folds: one step that spreads every input bit. */
static inline uint64
pyn_fold(uint64 a, uint64 b)
{
	unsigned __int128 product = (unsigned __int128) a * b;

	return (uint64) product ^ (uint64) (product >> 64);
}

/* Hash of one 64-bit value: a bijective finaliser (Stafford's variant 13 of the MurmurHash3 finaliser). */
static inline uint64
pyn_hash_u64(uint64 value, uint64 seed)
{
	uint64		h = value + seed * UINT64CONST(0x9E3779B97F4A7C15) + UINT64CONST(0x632BE59BD9B4E019);

	h = (h ^ (h >> 30)) * UINT64CONST(0xBF58476D1CE4E5B9);
	h = (h ^ (h >> 27)) * UINT64CONST(0x94D049BB133111EB);
	return h ^ (h >> 31);
}

static inline uint64
pyn_hash_combine(uint64 hash, uint64 next)
{
	return pyn_hash_u64(hash ^ (next * UINT64CONST(0xD6E8FEB86659FD93)), 1);
}

/* SplitMix64 (Steele, Lea and Flood 2014): one word of state, equidistributed, seeded by any value. */
typedef struct PynRandom
{
	uint64		state;
} PynRandom;

static inline uint64
pyn_random_next(PynRandom *random)
{
	uint64		z = (random->state += UINT64CONST(0x9E3779B97F4A7C15));

	z = (z ^ (z >> 30)) * UINT64CONST(0xBF58476D1CE4E5B9);
	z = (z ^ (z >> 27)) * UINT64CONST(0x94D049BB133111EB);
	return z ^ (z >> 31);
}

/* A double in [0, 1) with 53 random bits. */
static inline double
pyn_random_double(PynRandom *random)
{
	return (double) (pyn_random_next(random) >> 11) * (1.0 / 9007199254740992.0);
}

/* A whole number in [0, bound), bound > 0; the bias of the multiply-shift is below 2^-32 for the bounds used here. */
static inline uint32
pyn_random_below(PynRandom *random, uint32 bound)
{
	return (uint32) (((pyn_random_next(random) >> 32) * (uint64) bound) >> 32);
}

#endif							/* PYN_HASH_H */
