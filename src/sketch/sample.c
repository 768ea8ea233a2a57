/*
 * sample.c
 *		The bottom-k row sample: the rows whose seeded key hashes are the smallest.
 *
 * Which rows belong depends on the set of rows alone, so any number of workers, in any order, keep the same sample, and
 * samples of parts merge to the sample of the whole (bottom-k sketches: Cohen and Kaplan 2007).  New rows are appended
 * past the sorted part; when the slack is used up, they are sorted and merged into it, equal ones join by weight, and
 * what is past the capacity gives its slot back.
 */
#include "kernel/port.h"
#include "sketch/sketch.h"

#define FIRST_ROOM 256

Size
pyn_sample_slot_bytes(int column_count, int text_count, bool sample_text)
{
	Size		bytes = sizeof(PynCell) * column_count;

	if (sample_text)
		bytes += (Size) (1 + PYN_SAMPLE_TEXT) * text_count;
	return (bytes + 7) & ~(Size) 7;
}

/*
 * pyn_sample_capacity gives the rows that a sample of such columns keeps; it depends on nothing else, so that the same
 * data always give the same sample.
 */
uint32
pyn_sample_capacity(int column_count, int text_count, bool sample_text)
{
	Size		width = pyn_sample_slot_bytes(column_count, text_count, sample_text) + sizeof(PynSampleRow);

	return (uint32) Min(PYN_SAMPLE_ROWS, PYN_SAMPLE_BYTES / width);
}

void
pyn_sample_init(PynSample *sample, int column_count, int text_count, bool sample_text)
{
	memset(sample, 0, sizeof(*sample));
	sample->capacity = pyn_sample_capacity(column_count, text_count, sample_text);
	sample->slot_bytes = pyn_sample_slot_bytes(column_count, text_count, sample_text);
	sample->limit = UINT64CONST(0xFFFFFFFFFFFFFFFF);
}

static inline int
compare_rows(const PynSampleRow *x, const PynSampleRow *y)
{
	if (x->hash != y->hash)
		return x->hash < y->hash ? -1 : 1;
	return (x->row_hash > y->row_hash) - (x->row_hash < y->row_hash);
}

#define ST_SORT sort_rows
#define ST_ELEMENT_TYPE PynSampleRow
#define ST_COMPARE(a, b) compare_rows((a), (b))
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

static void
release_slot(PynSample *sample, uint32 slot)
{
	sample->free_slots[sample->free_count++] = slot;
}

/*
 * pyn_sample_settle sorts the new rows into the sample and drops what no longer belongs.
 */
void
pyn_sample_settle(PynSample *sample)
{
	uint32		fresh = sample->count - sample->sorted;
	uint32		left = sample->sorted;
	uint32		right = 0;
	uint32		kept = 0;
	PynSampleRow *rows;
	PynSampleRow *tail = sample->rows + sample->sorted;

	if (fresh == 0)
		return;
	sort_rows(tail, fresh);

	/* Merge into a new array; where nothing was sorted before, the new rows can only move up. */
	rows = left > 0 ? pyn_new(PynSampleRow, sample->room) : sample->rows;
	for (uint32 i = 0; i < left || right < fresh;)
	{
		PynSampleRow *next;

		if (i < left && (right == fresh || compare_rows(&sample->rows[i], &tail[right]) <= 0))
			next = &sample->rows[i++];
		else
			next = &tail[right++];
		if (kept > 0 && compare_rows(&rows[kept - 1], next) == 0)
		{
			rows[kept - 1].weight += next->weight;
			release_slot(sample, next->slot);
		}
		else if (kept == sample->capacity)
			release_slot(sample, next->slot);
		else
			rows[kept++] = *next;
	}
	if (rows != sample->rows)
		pfree(sample->rows);
	sample->rows = rows;
	sample->count = sample->sorted = kept;
	if (kept == sample->capacity)
		sample->limit = rows[kept - 1].hash;
}

static void
make_room(PynSample *sample)
{
	uint32		most = sample->capacity + Max(sample->capacity / 4, 1);
	uint32		room;

	if (sample->count == most)
		pyn_sample_settle(sample);
	if (sample->count < sample->room)
		return;
	room = Min(most, Max(FIRST_ROOM, sample->room * 4));
	if (sample->rows == NULL)
	{
		sample->rows = pyn_new(PynSampleRow, room);
		sample->free_slots = pyn_new(uint32, room);
		sample->slots = pyn_palloc_huge((Size) room * sample->slot_bytes);
	}
	else
	{
		sample->rows = pyn_repalloc_huge(sample->rows, (Size) room * sizeof(PynSampleRow));
		sample->free_slots = pyn_repalloc_huge(sample->free_slots, (Size) room * sizeof(uint32));
		sample->slots = pyn_repalloc_huge(sample->slots, (Size) room * sample->slot_bytes);
	}
	sample->room = room;
}

/*
 * pyn_sample_reserve makes room for rows of which the number is known.
 */
void
pyn_sample_reserve(PynSample *sample, uint32 count)
{
	Assert(sample->rows == NULL && count <= sample->capacity);
	if (count == 0)
		return;
	sample->rows = pyn_new(PynSampleRow, count);
	sample->free_slots = pyn_new(uint32, count);
	sample->slots = pyn_palloc_huge((Size) count * sample->slot_bytes);
	sample->room = count;
}

/*
 * pyn_sample_add puts a row into the sample; the caller has seen that its hash is not past the limit.
 */
void
pyn_sample_add(PynSample *sample, uint64 hash, uint64 row_hash, int64 weight, const void *slot)
{
	PynSampleRow *row;

	make_room(sample);
	row = &sample->rows[sample->count++];
	row->hash = hash;
	row->row_hash = row_hash;
	row->weight = weight;
	row->slot = sample->free_count > 0 ? sample->free_slots[--sample->free_count] : sample->slots_used++;
	memcpy(sample->slots + (Size) row->slot * sample->slot_bytes, slot, sample->slot_bytes);
}
