/*
 * frequent_values.c
 *		A column's most frequent values, as far as the sketch is sure of them.
 *
 * The sketch counts candidates, each at least `count` and at most `count + error` times, and may have dropped values that
 * occur up to `error` times.  A candidate with a larger count is therefore more frequent than any value that was dropped.
 * The others are not told, nor is a value that was counted once: it says nothing about the column, and may be a secret.
 */
#include "kernel/port.h"

#include "data_profiling/data_profiling.h"
#include "sketch/cell.h"

/* Finds the beginnings of texts by their hashes, in one pass over the sample. */
static void
find_texts(const PynSketch *sketch, int index, PynFrequentValue *values, int count)
{
	Size		offset = sizeof(PynCell) * sketch->column_count;
	int			missing = count;

	if (!sketch->sample_text)
		return;
	for (int column = 0; column < index; column++)
		if (pyn_kind_is_text(sketch->columns[column].kind))
			offset += 1 + PYN_SAMPLE_TEXT;
	for (uint32 row = 0; row < sketch->sample.count && missing > 0; row++)
	{
		uint64		hash = pyn_sample_cell(&sketch->sample, row, index).hash;

		for (int i = 0; i < count; i++)
		{
			const uint8 *text;

			if (values[i].hash != hash || values[i].text != NULL)
				continue;
			text = pyn_sample_slot(&sketch->sample, row) + offset;
			values[i].text = pyn_utf8_to_server((const char *) text + 1, *text);
			missing--;
		}
	}
}

/*
 * pyn_frequent_values fills up to `limit` values by falling count and gives their number; texts are allocated in the
 * current memory context.
 */
int
pyn_frequent_values(const PynSketch *sketch, int index, PynFrequentValue *values, int limit)
{
	const PynColumn *column = &sketch->columns[index];
	int64		error = column->hitters.error;
	int			candidates;
	PynHeavyHitter *sorted = pyn_heavy_hitters_sorted(&column->hitters, &candidates);
	int			count = 0;

	for (; count < Min(candidates, limit) && sorted[count].count > Max(error, 1); count++)
	{
		PynCell		cell;

		cell.hash = sorted[count].value;
		values[count].hash = sorted[count].hash;
		values[count].number = cell.number;
		values[count].text = NULL;
		values[count].count = sorted[count].count;
		values[count].at_most = sorted[count].count + error;
	}
	pfree(sorted);
	if (pyn_kind_is_text(column->kind))
		find_texts(sketch, index, values, count);
	return count;
}
