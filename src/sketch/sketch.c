/*
 * sketch.c
 *		Collects rows into a sketch and merges sketches.
 *
 * Rows are gathered in blocks, column by column, so that each column's counters are updated by tight loops over 1,024
 * values while its registers and tables are in the cache.  The row sample alone is fed row by row: once it is full,
 * nearly every row is turned away by one comparison.
 */
#include "kernel/port.h"
#include "kernel/hash.h"
#include "sketch/sketch.h"

/*
 * pyn_sketch_create allocates an empty sketch; the caller then names its columns and calls pyn_sketch_ready.
 */
PynSketch *
pyn_sketch_create(int column_count, uint64 seed, bool sample_text)
{
	PynSketch  *sketch = palloc0(sizeof(PynSketch));

	Assert(column_count > 0 && column_count <= PYN_MAX_COLUMNS);
	sketch->seed = seed;
	sketch->sample_text = sample_text;
	sketch->column_count = column_count;
	sketch->columns = pyn_new0(PynColumn, column_count);
	return sketch;
}

void
pyn_sketch_set_column(PynSketch *sketch, int column, const char *name, PynKind kind, bool is_key)
{
	PynColumn  *target = &sketch->columns[column];
	Size		length = strlen(name);

	Assert(length < PYN_NAME_SIZE);
	memcpy(target->name, name, length + 1);
	target->kind = kind;
	target->is_key = is_key;
	pyn_column_init(target);
	if (pyn_kind_is_text(kind))
		sketch->text_count++;
}

void
pyn_sketch_ready(PynSketch *sketch)
{
	pyn_sample_init(&sketch->sample, sketch->column_count, sketch->text_count, sketch->sample_text);
}

/*
 * pyn_sketch_memory gives the most memory, in bytes, that a sketch of such columns can come to take.
 */
Size
pyn_sketch_memory(int column_count, int text_count, bool sample_text)
{
	Size		slot = pyn_sample_slot_bytes(column_count, text_count, sample_text) + sizeof(PynSampleRow) + sizeof(uint32);
	Size		capacity = pyn_sample_capacity(column_count, text_count, sample_text);
	Size		column = sizeof(PynColumn) + PYN_BLOCK_ROWS * (sizeof(PynCell) + sizeof(int32)) +
		PYN_DISTINCT_REGISTERS + PYN_HEAVY_HITTERS_SLOTS * sizeof(PynHeavyHitter) + 4 * PYN_EXTREMES * sizeof(double);

	return (capacity + capacity / 4) * slot + column_count * column;
}

/* Looks up a column by its name in UTF-8; -1 when there is none. */
int
pyn_sketch_find_column(const PynSketch *sketch, const char *name)
{
	for (int column = 0; column < sketch->column_count; column++)
		if (strcmp(sketch->columns[column].name, name) == 0)
			return column;
	return -1;
}

/* A sketch that is only read or merged needs no blocks, so they are allocated with the first row. */
static void
allocate_blocks(PynSketch *sketch)
{
	for (int i = 0; i < sketch->column_count; i++)
	{
		PynColumn  *column = &sketch->columns[i];

		column->block = pyn_new(PynCell, PYN_BLOCK_ROWS);
		if (pyn_kind_is_text(column->kind))
			column->lengths = pyn_new(int32, PYN_BLOCK_ROWS);
	}
	sketch->hash_scratch = pyn_new(uint64, PYN_BLOCK_ROWS);
	sketch->value_scratch = pyn_new(uint64, PYN_BLOCK_ROWS);
}

/* Counts the rows that wait in the blocks. */
static void
flush_block(PynSketch *sketch)
{
	if (sketch->block_rows == 0)
		return;
	CHECK_FOR_INTERRUPTS();
	for (int column = 0; column < sketch->column_count; column++)
		pyn_column_add_block(&sketch->columns[column], sketch->block_rows, sketch->hash_scratch, sketch->value_scratch);
	sketch->rows += sketch->block_rows;
	sketch->block_rows = 0;
}

/* The number of characters in UTF-8 bytes: those that do not continue one. */
static int32
character_count(const PynText *text)
{
	int32		characters = 0;

	for (int32 i = 0; i < text->length; i++)
		characters += ((uint8) text->data[i] & 0xC0) != 0x80;
	return characters;
}

/* Where a text of `length` bytes may be cut to fit a sample's cell without splitting a character. */
static int
cut_text(const PynText *text)
{
	int			length = text->length;

	if (length <= PYN_SAMPLE_TEXT)
		return length;
	length = PYN_SAMPLE_TEXT;
	while (length > 0 && ((uint8) text->data[length] & 0xC0) == 0x80)
		length--;
	return length;
}

/* Lays a row out as the sample stores it. */
static void
fill_slot(const PynSketch *sketch, uint8 *slot, const PynCell *cells, const PynText *texts)
{
	uint8	   *place = slot + sizeof(PynCell) * sketch->column_count;

	memset(slot, 0, sketch->sample.slot_bytes);
	memcpy(slot, cells, sizeof(PynCell) * sketch->column_count);
	if (!sketch->sample_text || sketch->text_count == 0)
		return;
	for (int column = 0; column < sketch->column_count; column++)
	{
		if (!pyn_kind_is_text(sketch->columns[column].kind))
			continue;
		if (cells[column].hash != 0)
		{
			int			length = cut_text(&texts[column]);

			*place = (uint8) length;
			memcpy(place + 1, texts[column].data, length);
		}
		place += 1 + PYN_SAMPLE_TEXT;
	}
}

static uint64
hash_row(const PynSketch *sketch, const PynCell *cells)
{
	uint64		hash = 0;

	for (int column = 0; column < sketch->column_count; column++)
		hash = pyn_fold(hash ^ cells[column].hash ^ UINT64CONST(0xA0761D6478BD642F),
						UINT64CONST(0xE7037ED1A0B428DB) + 2 * (uint64) column);
	return pyn_hash_u64(hash, 7);
}

/*
 * pyn_sketch_add adds one row.  `key` is its key's hash, or NULL when the row itself is its key.  `texts` holds the text
 * of text columns, valid during the call.
 */
void
pyn_sketch_add(PynSketch *sketch, const uint64 *key, const PynCell *cells, const PynText *texts)
{
	int			place = sketch->block_rows;
	uint64		row_hash = 0;
	uint64		hash;

	if (unlikely(sketch->hash_scratch == NULL))
		allocate_blocks(sketch);
	for (int column = 0; column < sketch->column_count; column++)
	{
		PynColumn  *target = &sketch->columns[column];

		target->block[place] = cells[column];
		if (target->lengths != NULL)
			target->lengths[place] = cells[column].hash != 0 ? character_count(&texts[column]) : 0;
	}

	if (key != NULL)
		hash = pyn_hash_u64(*key, sketch->seed);
	else
	{
		row_hash = hash_row(sketch, cells);
		hash = pyn_hash_u64(row_hash, sketch->seed);
	}
	if (hash <= sketch->sample.limit)
	{
		uint8		small[2048];
		uint8	   *slot = sketch->sample.slot_bytes <= sizeof(small) ? small : palloc(sketch->sample.slot_bytes);

		if (key != NULL)
			row_hash = hash_row(sketch, cells);
		fill_slot(sketch, slot, cells, texts);
		pyn_sample_add(&sketch->sample, hash, row_hash, 1, slot);
		if (slot != small)
			pfree(slot);
	}

	if (++sketch->block_rows == PYN_BLOCK_ROWS)
		flush_block(sketch);
}

/*
 * pyn_sketch_settle counts what waits and orders the sample and the extremes; reading and writing need it.
 */
void
pyn_sketch_settle(PynSketch *sketch)
{
	flush_block(sketch);
	pyn_sample_settle(&sketch->sample);
	for (int column = 0; column < sketch->column_count; column++)
	{
		pyn_extremes_settle(&sketch->columns[column].lowest);
		pyn_extremes_settle(&sketch->columns[column].highest);
	}
}

/*
 * pyn_sketch_merge adds what `from` has seen to `into`.  Returns NULL, or why the two cannot be merged; nothing is
 * changed then.
 */
const char *
pyn_sketch_merge(PynSketch *into, PynSketch *from)
{
	if (into->column_count != from->column_count)
		return "they have different numbers of columns";
	if (into->seed != from->seed)
		return "they have different seeds";
	if (into->sample_text != from->sample_text)
		return "one keeps sampled text and the other does not";
	for (int column = 0; column < into->column_count; column++)
	{
		if (strcmp(into->columns[column].name, from->columns[column].name) != 0)
			return "their columns have different names";
		if (into->columns[column].kind != from->columns[column].kind)
			return "their columns are of different kinds";
	}
	if (into->rows > PYN_MAX_ROWS - from->rows)
		return "together they have too many rows";

	pyn_sketch_settle(into);
	pyn_sketch_settle(from);
	for (int column = 0; column < into->column_count; column++)
		pyn_column_merge(&into->columns[column], &from->columns[column]);
	for (uint32 row = 0; row < from->sample.count; row++)
	{
		PynSampleRow *sampled = &from->sample.rows[row];

		if (sampled->hash <= into->sample.limit)
			pyn_sample_add(&into->sample, sampled->hash, sampled->row_hash, sampled->weight,
						   pyn_sample_slot(&from->sample, row));
	}
	into->rows += from->rows;
	pyn_sketch_settle(into);
	return NULL;
}
