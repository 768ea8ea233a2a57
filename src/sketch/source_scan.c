/*
 * source_scan.c
 *		Reads the rows of a source, once or twice.
 *
 * The rows reach us through a DestReceiver of our own: nothing is materialised on the way, except where a second reading
 * might give other rows; then those of the first are kept.
 */
#include "kernel/port.h"

#include "catalog/pg_type.h"
#include "tcop/dest.h"

#include "sketch/source.h"

/* A receiver that hands each row to a function. */
typedef struct SourceReceiver
{
	DestReceiver receiver;
	PynRowFunction function;
	void	   *state;
	Tuplestorestate *store;
	uint32		rows;
} SourceReceiver;

static bool
receive_row(TupleTableSlot *slot, DestReceiver *self)
{
	SourceReceiver *receiver = (SourceReceiver *) self;

	if ((++receiver->rows & 1023) == 0)
		CHECK_FOR_INTERRUPTS();
	slot_getallattrs(slot);
	if (receiver->store != NULL)
		tuplestore_puttupleslot(receiver->store, slot);
	receiver->function(receiver->state, slot);
	return true;
}

static void
receive_startup(DestReceiver *self, int operation, TupleDesc row_type)
{
}

static void
receive_nothing(DestReceiver *self)
{
}

static void
execute(PynSource *source, PynRowFunction function, void *state)
{
	SourceReceiver receiver = {
		.receiver = {receive_row, receive_startup, receive_nothing, receive_nothing, DestNone},
		.function = function,
		.state = state,
		.store = source->store,
	};
	SPIExecuteOptions options = {.read_only = true, .dest = &receiver.receiver};
	int			result = SPI_execute_plan_extended(source->plan, &options);

	/* SPI says SPI_OK_UTILITY of a SELECT whose rows it does not keep. */
	if (result != SPI_OK_SELECT && result != SPI_OK_UTILITY)
		elog(ERROR, "reading %s failed: %s", source->description, SPI_result_code_string(result));
}

/*
 * pyn_source_scan reads all rows for the first time.
 */
void
pyn_source_scan(PynSource *source, PynRowFunction function, void *state)
{
	if (!source->rereads)
	{
		/* The caller may drop the memory of the first scan before the second. */
		MemoryContext old = MemoryContextSwitchTo(source->context);

		source->store = tuplestore_begin_heap(false, false, work_mem);
		MemoryContextSwitchTo(old);
	}
	execute(source, function, state);
}

/*
 * pyn_source_scan_again reads the same rows once more, in the same order as far as the key needs it.
 */
void
pyn_source_scan_again(PynSource *source, PynRowFunction function, void *state)
{
	TupleTableSlot *slot;
	uint32		rows = 0;

	if (source->store == NULL)
	{
		execute(source, function, state);
		return;
	}
	tuplestore_rescan(source->store);
	slot = MakeSingleTupleTableSlot(source->row_type, &TTSOpsMinimalTuple);
	while (tuplestore_gettupleslot(source->store, true, false, slot))
	{
		if ((++rows & 1023) == 0)
			CHECK_FOR_INTERRUPTS();
		slot_getallattrs(slot);
		function(state, slot);
	}
	ExecDropSingleTupleTableSlot(slot);
	tuplestore_end(source->store);
	source->store = NULL;
}

/*
 * pyn_source_key gives the hash of a row's key; *has_key is false where the row itself is its key.
 */
uint64
pyn_source_key(const PynSource *source, TupleTableSlot *slot, bool *has_key)
{
	uint64		hash = pyn_hash_key_start();

	*has_key = true;
	switch (source->key_kind)
	{
		case PYN_KEY_COLUMNS:
			for (int i = 0; i < source->key_count; i++)
			{
				int			position = source->keys[i].position;

				hash = pyn_hash_key_next(hash, source->keys[i].type, slot->tts_values[position],
										 slot->tts_isnull[position]);
			}
			return hash;
		case PYN_KEY_CTID:
		case PYN_KEY_PARTITION_CTID:
			{
				int			position = source->row_type->natts - 2;
				ItemPointer ctid = (ItemPointer) DatumGetPointer(slot->tts_values[position]);

				hash = pyn_hash_key_next(hash, OIDOID, slot->tts_values[position + 1], false);
				return pyn_hash_key_next(hash, INT8OID,
										 Int64GetDatum((int64) ItemPointerGetBlockNumber(ctid) << 16 |
													   ItemPointerGetOffsetNumber(ctid)), false);
			}
		case PYN_KEY_ROW_NUMBER:
			break;
	}
	*has_key = false;
	return 0;
}

void
pyn_source_cells(const PynSource *source, TupleTableSlot *slot, PynCell *cells, PynText *texts)
{
	PynText		ignored;

	for (int i = 0; i < source->column_count; i++)
	{
		const PynSourceColumn *column = &source->columns[i];

		if (slot->tts_isnull[column->position])
			cells[i] = pyn_null_cell(column->reader.kind);
		else
			cells[i] = pyn_read_cell(&column->reader, slot->tts_values[column->position],
									 texts != NULL ? &texts[i] : &ignored);
	}
}

PynCell
pyn_source_label(const PynSource *source, TupleTableSlot *slot)
{
	PynText		ignored;
	const PynSourceColumn *label = source->label;

	if (slot->tts_isnull[label->position])
		return pyn_null_cell(label->reader.kind);
	return pyn_read_cell(&label->reader, slot->tts_values[label->position], &ignored);
}
