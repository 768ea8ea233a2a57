/*
 * cache.h
 *		What a backend keeps of our tables until they change.
 */
#ifndef PYN_CACHE_H
#define PYN_CACHE_H

#include "postgres.h"
#include "utils/hsearch.h"

/* A hash table by text; static, with the first members set.  Entries begin with their key. */
typedef struct PynCache
{
	const char *name;
	Size		key_size;
	Size		entry_size;
	const char *tables[2];		/* of the kernel's schema, from which it is read; the second may be NULL */

	MemoryContext context;		/* of the table and all that entries point to */
	HTAB	   *entries;
	bool		valid;			/* cleared when a table has changed */
	Oid			relations[2];
	struct PynCache *next;
} PynCache;

/* Makes the cache, or an empty one in place of one that is out of date. */
extern void pyn_cache_prepare(PynCache *cache);

#endif							/* PYN_CACHE_H */
