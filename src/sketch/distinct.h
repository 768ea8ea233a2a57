/*
 * distinct.h
 *		How many different values a column has: exact while few, then HyperLogLog.
 */
#ifndef PYN_DISTINCT_H
#define PYN_DISTINCT_H

#include "kernel/bytes.h"

#define PYN_DISTINCT_PRECISION 14	/* 2^14 registers: standard error 1.04/sqrt(16384) = 0.81 % */
#define PYN_DISTINCT_REGISTERS (1 << PYN_DISTINCT_PRECISION)
#define PYN_DISTINCT_EXACT 1024 /* up to so many different hashes are kept as they are */

/*
 * A set of 64-bit hashes.  While `registers` is NULL, `slots` is an open-addressing table (0 = empty, hash 0 is kept
 * as 1) with the exact set; past PYN_DISTINCT_EXACT members the table is freed and registers take over.  The result
 * depends only on the set of hashes added, not on their order, so merging is exact.
 */
typedef struct PynDistinct
{
	uint64	   *slots;
	uint32		slot_count;		/* a power of two, grows by doubling; 0 when nothing was added */
	uint32		used;
	uint8	   *registers;
} PynDistinct;

/* Memory comes from the current memory context at the time of the call (palloc); callers switch to the owner's. */
extern void pyn_distinct_init(PynDistinct *distinct);
extern void pyn_distinct_add(PynDistinct *distinct, const uint64 *hashes, int count);
extern void pyn_distinct_merge(PynDistinct *into, const PynDistinct *from);
extern double pyn_distinct_count(const PynDistinct *distinct);	/* exact or estimated */
extern bool pyn_distinct_is_exact(const PynDistinct *distinct);
extern void pyn_distinct_write(const PynDistinct *distinct, PynWriter *writer);

/* Returns NULL, or what is wrong with the bytes.  Canonical: exact sets are sorted, strictly increasing. */
extern const char *pyn_distinct_read(PynDistinct *distinct, PynReader *reader);

#endif							/* PYN_DISTINCT_H */
