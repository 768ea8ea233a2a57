/*
 * cache.c
 *		What a backend keeps of our tables until they change.
 *
 * Whoever writes such a table invalidates its relation-cache entry, which reaches all backends when he commits, and his own
 * when he is rolled back, too.  So nothing that was rolled back stays known.
 */
#include "postgres.h"

#include "utils/inval.h"
#include "utils/memutils.h"

#include "kernel/access.h"
#include "kernel/cache.h"

static PynCache *caches;

static void
forget(Datum argument, Oid relation)
{
	for (PynCache *cache = caches; cache != NULL; cache = cache->next)
		if (relation == InvalidOid || relation == cache->relations[0] || relation == cache->relations[1])
			cache->valid = false;
}

/*
 * pyn_cache_prepare makes the cache, or an empty one in place of one that is out of date.
 */
void
pyn_cache_prepare(PynCache *cache)
{
	static bool registered = false;
	HASHCTL		control = {0};

	if (!registered)
	{
		CacheRegisterRelcacheCallback(forget, (Datum) 0);
		registered = true;
	}
	if (cache->valid)
		return;
	if (cache->context == NULL)
	{
		cache->context = AllocSetContextCreate(TopMemoryContext, "pynomaly cache", ALLOCSET_DEFAULT_SIZES);
		MemoryContextSetIdentifier(cache->context, cache->name);
		cache->next = caches;
		caches = cache;
	}
	MemoryContextReset(cache->context);
	control.keysize = cache->key_size;
	control.entrysize = cache->entry_size;
	control.hcxt = cache->context;
	cache->entries = hash_create(cache->name, 32, &control, HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	for (int i = 0; i < lengthof(cache->tables); i++)
		cache->relations[i] = cache->tables[i] != NULL ? pyn_relation(cache->tables[i]) : InvalidOid;
	cache->valid = true;
}
