/*
 * sketch_of.c
 *		pynomaly.sketch_of: the sketch of a relation, any number of columns.
 */
#include "kernel/port.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "kernel/options.h"
#include "sketch/sketch_type.h"
#include "sketch/source.h"

#define ROW_MEMORY (64 * 1024)	/* what reading values may take before it is freed */

PG_FUNCTION_INFO_V1(pyn_sketch_of);
PG_FUNCTION_INFO_V1(pyn_row_key);

/* What the row function needs. */
typedef struct Collector
{
	PynSource  *source;
	PynSketch  *sketch;
	PynCell    *cells;
	PynText    *texts;
	MemoryContext sketch_context;
	MemoryContext row_context;
} Collector;

static void
collect_row(void *state, TupleTableSlot *slot)
{
	Collector  *collector = state;
	MemoryContext old;
	uint64		key;
	bool		has_key;

	if (MemoryContextMemAllocated(collector->row_context, false) > ROW_MEMORY)
		MemoryContextReset(collector->row_context);
	old = MemoryContextSwitchTo(collector->row_context);
	pyn_source_cells(collector->source, slot, collector->cells, collector->texts);
	if (collector->source->label != NULL)
		collector->cells[collector->source->column_count] = pyn_source_label(collector->source, slot);
	key = pyn_source_key(collector->source, slot, &has_key);
	MemoryContextSwitchTo(collector->sketch_context);
	pyn_sketch_add(collector->sketch, has_key ? &key : NULL, collector->cells, collector->texts);
	MemoryContextSwitchTo(old);
}

/*
 * pyn_sketch_source reads a source for the first time and gives its sketch, in the current memory context.
 */
PynSketch *
pyn_sketch_source(PynSource *source, uint64 seed, bool sample_text)
{
	Collector	collector = {.source = source, .sketch_context = CurrentMemoryContext};
	int			count = source->column_count + (source->label != NULL ? 1 : 0);
	PynSketch  *sketch = pyn_sketch_create(count, seed, sample_text);

	for (int i = 0; i < source->column_count; i++)
	{
		const PynSourceColumn *column = &source->columns[i];

		pyn_sketch_set_column(sketch, i, pyn_name_to_utf8(column->name), column->reader.kind, column->is_key);
	}
	if (source->label != NULL)
		pyn_sketch_set_column(sketch, count - 1, pyn_name_to_utf8(source->label->name), source->label->reader.kind, false);
	pyn_require_sketch_memory(sketch->column_count, sketch->text_count, sample_text);
	pyn_sketch_ready(sketch);

	collector.sketch = sketch;
	collector.cells = pyn_new(PynCell, count);
	collector.texts = pyn_new0(PynText, count);
	collector.row_context = AllocSetContextCreate(CurrentMemoryContext, "pynomaly row", ALLOCSET_DEFAULT_SIZES);
	pyn_source_scan(source, collect_row, &collector);
	MemoryContextDelete(collector.row_context);
	pyn_sketch_settle(sketch);
	return sketch;
}

/*
 * sketch_of(source regclass, columns name[], key name[], options jsonb) → sketch
 */
Datum
pyn_sketch_of(PG_FUNCTION_ARGS)
{
	PynOption	options[] = {
		{.name = "seed", .type = PYN_OPTION_INTEGER, .minimum = 0, .maximum = 9007199254740991.0, .number = PYN_DEFAULT_SEED},
		{.name = "sample_text", .type = PYN_OPTION_BOOLEAN, .number = 1},
	};
	PynSourceOptions source_options = {.keep_key = true};
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext old;
	PynSource  *source;
	PynSketch  *sketch;
	Datum		result;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	pyn_options_read(PG_ARGISNULL(3) ? NULL : PG_GETARG_JSONB_P(3), options, lengthof(options), "sketch_of");
	source_options.columns = PG_ARGISNULL(1) ? NULL : PG_GETARG_ARRAYTYPE_P(1);
	source_options.key = PG_ARGISNULL(2) ? NULL : PG_GETARG_ARRAYTYPE_P(2);

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	source = pyn_source_of_relation(PG_GETARG_OID(0), &source_options);
	source->rereads = true;		/* there is no second reading to keep rows for */
	sketch = pyn_sketch_source(source, (uint64) options[0].number, options[1].number != 0);
	old = MemoryContextSwitchTo(caller);
	result = pyn_sketch_to_datum(sketch);
	MemoryContextSwitchTo(old);
	SPI_finish();
	PG_RETURN_DATUM(result);
}

/*
 * row_key(VARIADIC "any") → bigint
 */
Datum
pyn_row_key(PG_FUNCTION_ARGS)
{
	uint64		hash = pyn_hash_key_start();

	for (int i = 0; i < PG_NARGS(); i++)
	{
		Oid			type = getBaseType(get_fn_expr_argtype(fcinfo->flinfo, i));

		/* A string literal arrives as "unknown", a C string. */
		if (type == UNKNOWNOID && !PG_ARGISNULL(i))
			hash = pyn_hash_key_next(hash, TEXTOID, CStringGetTextDatum(DatumGetCString(PG_GETARG_DATUM(i))), false);
		else
			hash = pyn_hash_key_next(hash, type, PG_ARGISNULL(i) ? (Datum) 0 : PG_GETARG_DATUM(i), PG_ARGISNULL(i));
	}
	PG_RETURN_INT64((int64) hash);
}
