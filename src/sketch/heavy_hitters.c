/*
 * heavy_hitters.c
 *		The most frequent values of a column with error bounds.
 *
 * Counters are kept in an open-addressing table.  When it holds PURGE_AT of them, the count of the one that ranks
 * (PYN_HEAVY_HITTERS_SIZE + 1)-th is subtracted from all, and what is not positive then is dropped: one pass in many
 * insertions.  Every purge by c drops the weight c from more than PYN_HEAVY_HITTERS_SIZE counters, so after n values the
 * error is at most n / (PYN_HEAVY_HITTERS_SIZE + 1).
 */
#include "kernel/port.h"
#include "sketch/heavy_hitters.h"

#define PURGE_AT 256
#define MASK (PYN_HEAVY_HITTERS_SLOTS - 1)
#define MOST_COUNT (INT64CONST(1) << 60)

void
pyn_heavy_hitters_init(PynHeavyHitters *hitters)
{
	memset(hitters, 0, sizeof(*hitters));
}

static inline PynHeavyHitter *
find_slot(PynHeavyHitter *slots, uint64 hash)
{
	uint32		place = (uint32) (hash >> 32) & MASK;

	while (slots[place].hash != 0 && slots[place].hash != hash)
		place = (place + 1) & MASK;
	return &slots[place];
}

/* The count that ranks `rank`-th from the top, 0 the largest: quickselect. */
static int64
select_count(int64 *counts, int count, int rank)
{
	int			low = 0;
	int			high = count - 1;

	while (low < high)
	{
		int64		pivot = counts[(low + high) / 2];
		int			i = low;
		int			j = high;

		while (i <= j)
		{
			while (counts[i] > pivot)
				i++;
			while (counts[j] < pivot)
				j--;
			if (i <= j)
			{
				int64		swap = counts[i];

				counts[i++] = counts[j];
				counts[j--] = swap;
			}
		}
		if (rank <= j)
			high = j;
		else if (rank >= i)
			low = i;
		else
			break;
	}
	return counts[rank];
}

static void
purge(PynHeavyHitters *hitters)
{
	PynHeavyHitter kept[PURGE_AT];
	int64		counts[PURGE_AT] = {0};
	int64		cut;
	int			count = 0;

	/* A counter that is not there counts 0. */
	for (int i = 0; i < PYN_HEAVY_HITTERS_SLOTS; i++)
		if (hitters->slots[i].hash != 0)
		{
			counts[count] = hitters->slots[i].count;
			kept[count++] = hitters->slots[i];
		}
	cut = select_count(counts, PURGE_AT, PYN_HEAVY_HITTERS_SIZE);
	memset(hitters->slots, 0, sizeof(PynHeavyHitter) * PYN_HEAVY_HITTERS_SLOTS);
	hitters->used = 0;
	hitters->error += cut;
	for (int i = 0; i < count; i++)
	{
		if (kept[i].count <= cut)
			continue;
		kept[i].count -= cut;
		*find_slot(hitters->slots, kept[i].hash) = kept[i];
		hitters->used++;
	}
}

static inline void
add_one(PynHeavyHitters *hitters, uint64 hash, uint64 value, int64 weight)
{
	PynHeavyHitter *slot = find_slot(hitters->slots, hash);

	if (slot->hash == 0)
	{
		if (unlikely(hitters->used == PURGE_AT))
		{
			purge(hitters);
			slot = find_slot(hitters->slots, hash);
		}
		slot->hash = hash;
		slot->value = value;
		hitters->used++;
	}
	slot->count += weight;
}

static void
allocate(PynHeavyHitters *hitters)
{
	if (hitters->slots == NULL)
		hitters->slots = pyn_new0(PynHeavyHitter, PYN_HEAVY_HITTERS_SLOTS);
}

void
pyn_heavy_hitters_add_many(PynHeavyHitters *hitters, const uint64 *hashes, const uint64 *values, int count)
{
	if (count > 0)
		allocate(hitters);
	for (int i = 0; i < count; i++)
		add_one(hitters, hashes[i], values[i], 1);
}

void
pyn_heavy_hitters_merge(PynHeavyHitters *into, const PynHeavyHitters *from)
{
	into->error += from->error;
	if (from->slots == NULL)
		return;
	allocate(into);
	for (int i = 0; i < PYN_HEAVY_HITTERS_SLOTS; i++)
		if (from->slots[i].hash != 0)
			add_one(into, from->slots[i].hash, from->slots[i].value, from->slots[i].count);
}

static int
compare_hitters(const void *a, const void *b)
{
	const PynHeavyHitter *x = a;
	const PynHeavyHitter *y = b;

	if (x->count != y->count)
		return x->count > y->count ? -1 : 1;
	return (x->hash > y->hash) - (x->hash < y->hash);
}

PynHeavyHitter *
pyn_heavy_hitters_sorted(const PynHeavyHitters *hitters, int *count)
{
	PynHeavyHitter *sorted = pyn_new(PynHeavyHitter, Max(hitters->used, 1));

	*count = 0;
	if (hitters->slots != NULL)
		for (int i = 0; i < PYN_HEAVY_HITTERS_SLOTS; i++)
			if (hitters->slots[i].hash != 0)
				sorted[(*count)++] = hitters->slots[i];
	qsort(sorted, *count, sizeof(PynHeavyHitter), compare_hitters);
	return sorted;
}

void
pyn_heavy_hitters_write(const PynHeavyHitters *hitters, PynWriter *writer)
{
	int			count;
	PynHeavyHitter *sorted = pyn_heavy_hitters_sorted(hitters, &count);

	pyn_write_u64(writer, hitters->error);
	pyn_write_u32(writer, count);
	for (int i = 0; i < count; i++)
	{
		pyn_write_u64(writer, sorted[i].hash);
		pyn_write_u64(writer, sorted[i].value);
		pyn_write_u64(writer, sorted[i].count);
	}
	pfree(sorted);
}

const char *
pyn_heavy_hitters_read(PynHeavyHitters *hitters, PynReader *reader)
{
	uint64		error = pyn_read_u64(reader);
	uint32		count = pyn_read_u32(reader);
	PynHeavyHitter last = {0};

	pyn_heavy_hitters_init(hitters);
	if (reader->failed || error > (uint64) MOST_COUNT || count > PURGE_AT ||
		!pyn_reader_has(reader, count, sizeof(PynHeavyHitter)))
		return "the frequent values are cut off";
	hitters->error = (int64) error;
	if (count > 0)
		allocate(hitters);
	for (uint32 i = 0; i < count; i++)
	{
		PynHeavyHitter next;
		PynHeavyHitter *slot;
		uint64		weight;

		next.hash = pyn_read_u64(reader);
		next.value = pyn_read_u64(reader);
		weight = pyn_read_u64(reader);
		next.count = (int64) weight;
		if (next.hash == 0 || weight == 0 || weight > (uint64) MOST_COUNT)
			return "a frequent value is impossible";
		if (i > 0 && compare_hitters(&last, &next) >= 0)
			return "the frequent values are not in order";
		slot = find_slot(hitters->slots, next.hash);
		if (slot->hash != 0)
			return "a frequent value stands twice";
		*slot = next;
		hitters->used++;
		last = next;
	}
	return NULL;
}
