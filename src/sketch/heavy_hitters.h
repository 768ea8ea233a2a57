/*
 * heavy_hitters.h
 *		The most frequent values of a column with error bounds (Misra and Gries 1982, in the batched form of Anderson,
 *		Bevan, Lang, Liberty, Rhodes and Thaler 2017).
 */
#ifndef PYN_HEAVY_HITTERS_H
#define PYN_HEAVY_HITTERS_H

#include "kernel/bytes.h"

#define PYN_HEAVY_HITTERS_SIZE 192	/* counters kept after a purge at most; with fewer different values counts are exact */
#define PYN_HEAVY_HITTERS_SLOTS 512 /* open-addressing slots; purged when 256 are used */

typedef struct PynHeavyHitter
{
	uint64		hash;			/* of the value; 0 = empty slot */
	uint64		value;			/* the caller's: a float8's bits, or an offset into its own text store */
	int64		count;			/* at least; the true count is at most count + error */
} PynHeavyHitter;

typedef struct PynHeavyHitters
{
	PynHeavyHitter *slots;		/* NULL until the first value */
	int			used;
	int64		error;			/* what purges subtracted in all: every true count is within [count, count + error] */
} PynHeavyHitters;

extern void pyn_heavy_hitters_init(PynHeavyHitters *hitters);

/* Adds values of weight 1: hashes[i] belongs to values[i].  The fast path for columns of numbers. */
extern void pyn_heavy_hitters_add_many(PynHeavyHitters *hitters, const uint64 *hashes, const uint64 *values, int count);
extern void pyn_heavy_hitters_merge(PynHeavyHitters *into, const PynHeavyHitters *from);

/* The counters by falling count, ties by hash; the array is palloc'd. */
extern PynHeavyHitter *pyn_heavy_hitters_sorted(const PynHeavyHitters *hitters, int *count);
extern void pyn_heavy_hitters_write(const PynHeavyHitters *hitters, PynWriter *writer);
extern const char *pyn_heavy_hitters_read(PynHeavyHitters *hitters, PynReader *reader);

#endif							/* PYN_HEAVY_HITTERS_H */
