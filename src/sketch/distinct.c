/*
 * distinct.c
 *		How many different values a column has: exact while few, then HyperLogLog.
 *
 * The registers are those of Flajolet, Fusy, Gandouet and Meunier (2007) over 64-bit hashes; the estimate is Ertl's
 * improved raw estimator (2017, algorithm 6), which needs no tables and has no bias at either end.
 */
#include "kernel/port.h"
#include "sketch/distinct.h"

#define RANK_BITS (64 - PYN_DISTINCT_PRECISION)
#define FIRST_SLOTS 16

#define TAG_EXACT 0
#define TAG_REGISTERS 1

void
pyn_distinct_init(PynDistinct *distinct)
{
	memset(distinct, 0, sizeof(*distinct));
}

bool
pyn_distinct_is_exact(const PynDistinct *distinct)
{
	return distinct->registers == NULL;
}

static inline void
update_register(uint8 *registers, uint64 hash)
{
	uint32		index = (uint32) (hash >> RANK_BITS);
	uint64		rest = hash << PYN_DISTINCT_PRECISION | (UINT64CONST(1) << (PYN_DISTINCT_PRECISION - 1));
	uint8		rank = (uint8) (__builtin_clzll(rest) + 1);

	if (rank > registers[index])
		registers[index] = rank;
}

/* Puts a hash into a table that has room; false when it was there. */
static bool
insert_hash(uint64 *slots, uint32 slot_count, uint64 hash)
{
	uint32		place = (uint32) hash & (slot_count - 1);

	while (slots[place] != 0)
	{
		if (slots[place] == hash)
			return false;
		place = (place + 1) & (slot_count - 1);
	}
	slots[place] = hash;
	return true;
}

static void
grow(PynDistinct *distinct)
{
	uint32		slot_count = Max(FIRST_SLOTS, distinct->slot_count * 2);
	uint64	   *slots = pyn_new0(uint64, slot_count);

	for (uint32 i = 0; i < distinct->slot_count; i++)
		if (distinct->slots[i] != 0)
			insert_hash(slots, slot_count, distinct->slots[i]);
	if (distinct->slots != NULL)
		pfree(distinct->slots);
	distinct->slots = slots;
	distinct->slot_count = slot_count;
}

/* Gives up the exact set for registers. */
static void
use_registers(PynDistinct *distinct)
{
	distinct->registers = pyn_new0(uint8, PYN_DISTINCT_REGISTERS);
	for (uint32 i = 0; i < distinct->slot_count; i++)
		if (distinct->slots[i] != 0)
			update_register(distinct->registers, distinct->slots[i]);
	if (distinct->slots != NULL)
		pfree(distinct->slots);
	distinct->slots = NULL;
	distinct->slot_count = distinct->used = 0;
}

static void
add_exact(PynDistinct *distinct, uint64 hash)
{
	if (distinct->used * 2 >= distinct->slot_count)
		grow(distinct);
	if (!insert_hash(distinct->slots, distinct->slot_count, hash))
		return;
	if (++distinct->used > PYN_DISTINCT_EXACT)
		use_registers(distinct);
}

void
pyn_distinct_add(PynDistinct *distinct, const uint64 *hashes, int count)
{
	int			i = 0;

	for (; i < count && distinct->registers == NULL; i++)
		add_exact(distinct, hashes[i] | (hashes[i] == 0));
	for (; i < count; i++)
		update_register(distinct->registers, hashes[i] | (hashes[i] == 0));
}

void
pyn_distinct_merge(PynDistinct *into, const PynDistinct *from)
{
	if (from->registers == NULL)
	{
		for (uint32 i = 0; i < from->slot_count; i++)
			if (from->slots[i] != 0)
				pyn_distinct_add(into, &from->slots[i], 1);
		return;
	}
	if (into->registers == NULL)
		use_registers(into);
	for (int i = 0; i < PYN_DISTINCT_REGISTERS; i++)
		into->registers[i] = Max(into->registers[i], from->registers[i]);
}

/* σ(x) = x + Σ x^(2^k) 2^(k-1), for 0 ≤ x < 1. */
static double
sigma(double x)
{
	double		y = 1;
	double		z = x;
	double		last;

	do
	{
		x *= x;
		last = z;
		z += x * y;
		y += y;
	} while (z != last);
	return z;
}

/* τ(x) = (1 - x - Σ (1 - x^(2^-k))² 2^-k) / 3. */
static double
tau(double x)
{
	double		y = 1;
	double		z = 1 - x;
	double		last;

	if (x == 0 || x == 1)
		return 0;
	do
	{
		x = __builtin_sqrt(x);
		last = z;
		y *= 0.5;
		z -= (1 - x) * (1 - x) * y;
	} while (z != last);
	return z / 3;
}

double
pyn_distinct_count(const PynDistinct *distinct)
{
	const double m = PYN_DISTINCT_REGISTERS;
	int			counts[RANK_BITS + 2] = {0};
	double		z;

	if (distinct->registers == NULL)
		return distinct->used;
	for (int i = 0; i < PYN_DISTINCT_REGISTERS; i++)
		counts[distinct->registers[i]]++;
	z = m * tau(1.0 - counts[RANK_BITS + 1] / m);
	for (int rank = RANK_BITS; rank >= 1; rank--)
		z = 0.5 * (z + counts[rank]);
	z += m * sigma(counts[0] / m);
	return m * m / (2 * 0.69314718055994530942 * z);
}

static int
compare_hashes(const void *a, const void *b)
{
	uint64		x = *(const uint64 *) a;
	uint64		y = *(const uint64 *) b;

	return (x > y) - (x < y);
}

void
pyn_distinct_write(const PynDistinct *distinct, PynWriter *writer)
{
	uint64		sorted[PYN_DISTINCT_EXACT];
	uint32		count = 0;

	if (distinct->registers != NULL)
	{
		pyn_write_u8(writer, TAG_REGISTERS);
		pyn_write_bytes(writer, distinct->registers, PYN_DISTINCT_REGISTERS);
		return;
	}
	for (uint32 i = 0; i < distinct->slot_count; i++)
		if (distinct->slots[i] != 0)
			sorted[count++] = distinct->slots[i];
	qsort(sorted, count, sizeof(uint64), compare_hashes);
	pyn_write_u8(writer, TAG_EXACT);
	pyn_write_u32(writer, count);
	for (uint32 i = 0; i < count; i++)
		pyn_write_u64(writer, sorted[i]);
}

const char *
pyn_distinct_read(PynDistinct *distinct, PynReader *reader)
{
	uint8		tag = pyn_read_u8(reader);
	uint32		count;
	uint64		last = 0;

	pyn_distinct_init(distinct);
	if (tag == TAG_REGISTERS)
	{
		const uint8 *registers = pyn_read_bytes(reader, PYN_DISTINCT_REGISTERS);

		if (registers == NULL)
			return "the distinct counter is cut off";
		for (int i = 0; i < PYN_DISTINCT_REGISTERS; i++)
			if (registers[i] > RANK_BITS + 1)
				return "the distinct counter has an impossible register";
		use_registers(distinct);
		memcpy(distinct->registers, registers, PYN_DISTINCT_REGISTERS);
		return NULL;
	}
	if (tag != TAG_EXACT)
		return "the distinct counter is of an unknown kind";
	count = pyn_read_u32(reader);
	if (count > PYN_DISTINCT_EXACT || !pyn_reader_has(reader, count, sizeof(uint64)))
		return "the distinct counter is cut off";
	for (uint32 i = 0; i < count; i++)
	{
		uint64		hash = pyn_read_u64(reader);

		if (hash <= last)
			return "the distinct counter is not in order";
		add_exact(distinct, hash);
		last = hash;
	}
	return NULL;
}
