/*
 * sketch_agg.c
 *		The aggregates sketch_agg(columns, key, VARIADIC "any") and merge(sketch).
 *
 * The state is the concrete type pynomaly.sketch, an expanded object in memory: PostgreSQL can run the aggregate in
 * parallel workers, which send their states flat, and so can an engine that pushes aggregates to other servers.
 */
#include "kernel/port.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "sketch/cell.h"
#include "sketch/sketch_type.h"

#define ROW_MEMORY (64 * 1024)	/* what reading values may take before it is freed */
#define FIRST_VALUE 3			/* arguments before the values: state, columns, key */

PG_FUNCTION_INFO_V1(pyn_sketch_accumulate);
PG_FUNCTION_INFO_V1(pyn_sketch_combine);

/* What one call site of the transition function needs from row to row. */
typedef struct AccumulateState
{
	ArrayType  *columns;		/* as given, or NULL */
	int			column_count;
	char	  **names;			/* UTF-8 */
	PynCellReader *readers;
	PynCell    *cells;
	PynText    *texts;
	MemoryContext row_context;

	/* When the one value is a row: */
	bool		is_row;
	uint64		row_type_id;	/* identifies the row type as it was when `positions` was made */
	Oid			row_type;
	int32		row_typmod;
	TupleDesc	row_descriptor;
	int		   *positions;		/* of each column in the row */
	Datum	   *row_values;
	bool	   *row_nulls;
} AccumulateState;

/* The names given in "columns"; NULL when the row type's own are to be used. */
static char **
given_names(FunctionCallInfo fcinfo, int *count)
{
	Datum	   *elements;
	bool	   *nulls;
	char	  **names;

	if (PG_ARGISNULL(1))
		return NULL;
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), NAMEOID, NAMEDATALEN, false, TYPALIGN_CHAR, &elements, &nulls, count);
	names = pyn_new0(char *, Max(*count, 1));
	for (int i = 0; i < *count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("columns has a NULL element")));
		names[i] = pstrdup(NameStr(*DatumGetName(elements[i])));
		for (int j = 0; j < i; j++)
			if (strcmp(names[i], names[j]) == 0)
				ereport(ERROR,
						(errcode(ERRCODE_DUPLICATE_COLUMN),
						 errmsg("column \"%s\" is named twice in columns", names[i])));
	}
	return names;
}

static void
set_reader(AccumulateState *state, int column, const char *name, Oid type)
{
	if (!pyn_cell_reader(type, true, &state->readers[column]))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" has type %s, which cannot take part", name, format_type_be(type)),
				 errhint("Numbers, booleans, dates, times, timestamps, text, uuid and enums can.")));
	state->names[column] = pyn_name_to_utf8(name);
}

static void
allocate_columns(AccumulateState *state, int count)
{
	if (count == 0 || count > PYN_MAX_COLUMNS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a sketch needs between 1 and %d columns, not %d", PYN_MAX_COLUMNS, count)));
	state->column_count = count;
	state->names = pyn_new0(char *, count);
	state->readers = pyn_new0(PynCellReader, count);
	state->cells = pyn_new0(PynCell, count);
	state->texts = pyn_new0(PynText, count);
}

/* Prepares for a row value; without names, every usable column takes part. */
static void
prepare_row(AccumulateState *state, HeapTupleHeader row, char **names, int name_count)
{
	TupleDesc	descriptor;
	int			count = 0;

	state->is_row = true;
	state->row_type = HeapTupleHeaderGetTypeId(row);
	state->row_typmod = HeapTupleHeaderGetTypMod(row);
	state->row_type_id = assign_record_type_identifier(state->row_type, state->row_typmod);
	descriptor = lookup_rowtype_tupdesc(state->row_type, state->row_typmod);
	state->row_descriptor = CreateTupleDescCopy(descriptor);
	ReleaseTupleDesc(descriptor);
	descriptor = state->row_descriptor;
	state->positions = pyn_new0(int, Max(descriptor->natts, 1));
	state->row_values = pyn_new0(Datum, Max(descriptor->natts, 1));
	state->row_nulls = pyn_new0(bool, Max(descriptor->natts, 1));

	if (names == NULL)
	{
		PynCellReader reader;

		for (int i = 0; i < descriptor->natts; i++)
			if (!TupleDescAttr(descriptor, i)->attisdropped &&
				pyn_cell_reader(TupleDescAttr(descriptor, i)->atttypid, true, &reader))
				state->positions[count++] = i;
	}
	else
	{
		for (; count < name_count && count < descriptor->natts; count++)
		{
			int			position = 0;

			while (position < descriptor->natts &&
				   (TupleDescAttr(descriptor, position)->attisdropped ||
					strcmp(NameStr(TupleDescAttr(descriptor, position)->attname), names[count]) != 0))
				position++;
			if (position == descriptor->natts)
				ereport(ERROR,
						(errcode(ERRCODE_UNDEFINED_COLUMN),
						 errmsg("the row has no column \"%s\"", names[count])));
			state->positions[count] = position;
		}
		if (count < name_count)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("the row has fewer columns than are named")));
	}
	allocate_columns(state, count);
	for (int i = 0; i < count; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(descriptor, state->positions[i]);

		set_reader(state, i, NameStr(attribute->attname), attribute->atttypid);
	}
}

/* Prepares for plain values, one for each name. */
static void
prepare_values(AccumulateState *state, FunctionCallInfo fcinfo, char **names, int name_count)
{
	if (names == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("columns is NULL, and the values have no names of their own"),
				 errhint("Name them, as in sketch_agg('{a,b}', NULL, t.a, t.b), or give one row value.")));
	if (name_count != PG_NARGS() - FIRST_VALUE)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%d columns are named and %d values given", name_count, PG_NARGS() - FIRST_VALUE)));
	allocate_columns(state, name_count);
	for (int i = 0; i < name_count; i++)
		set_reader(state, i, names[i], get_fn_expr_argtype(fcinfo->flinfo, FIRST_VALUE + i));
}

/*
 * Makes the call site's state, when the first row that is not NULL comes.  Returns NULL when it is a NULL row value.
 */
static AccumulateState *
prepare(FunctionCallInfo fcinfo)
{
	MemoryContext old = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);
	AccumulateState *state = NULL;
	Oid			type = get_fn_expr_argtype(fcinfo->flinfo, FIRST_VALUE);

	if (get_fn_expr_variadic(fcinfo->flinfo))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("sketch_agg does not take a VARIADIC array"),
				 errhint("Give the values as separate arguments, or one row value.")));
	if (PG_NARGS() != FIRST_VALUE + 1 || !type_is_rowtype(type) || !PG_ARGISNULL(FIRST_VALUE))
	{
		int			name_count = 0;
		char	  **names = given_names(fcinfo, &name_count);

		state = palloc0(sizeof(AccumulateState));
		state->columns = PG_ARGISNULL(1) ? NULL : PG_GETARG_ARRAYTYPE_P_COPY(1);
		if (PG_NARGS() == FIRST_VALUE + 1 && type_is_rowtype(type))
			prepare_row(state, PG_GETARG_HEAPTUPLEHEADER(FIRST_VALUE), names, name_count);
		else
			prepare_values(state, fcinfo, names, name_count);
		state->row_context = AllocSetContextCreate(fcinfo->flinfo->fn_mcxt, "pynomaly row", ALLOCSET_DEFAULT_SIZES);
		fcinfo->flinfo->fn_extra = state;
	}
	MemoryContextSwitchTo(old);
	return state;
}

/* All groups and rows share the call site's columns: other names in a later row would be taken for the first ones. */
static void
require_same_columns(FunctionCallInfo fcinfo, const AccumulateState *state)
{
	ArrayType  *columns = PG_ARGISNULL(1) ? NULL : PG_GETARG_ARRAYTYPE_P(1);

	if (columns == NULL ? state->columns != NULL : state->columns == NULL ||
		VARSIZE(columns) != VARSIZE(state->columns) || memcmp(columns, state->columns, VARSIZE(columns)) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("columns differs from row to row"),
				 errhint("Name the same columns for all rows and groups.")));
}

static PynExpandedSketch *
first_sketch(const AccumulateState *state, MemoryContext parent)
{
	PynExpandedSketch *expanded = pyn_expanded_sketch_create(parent);
	MemoryContext old = MemoryContextSwitchTo(expanded->header.eoh_context);
	PynSketch  *sketch = pyn_sketch_create(state->column_count, PYN_DEFAULT_SEED, true);

	for (int i = 0; i < state->column_count; i++)
		pyn_sketch_set_column(sketch, i, state->names[i], state->readers[i].kind, false);
	pyn_require_sketch_memory(sketch->column_count, sketch->text_count, true);
	pyn_sketch_ready(sketch);
	expanded->sketch = sketch;
	MemoryContextSwitchTo(old);
	return expanded;
}

static void
read_value(AccumulateState *state, int column, Datum value, bool is_null)
{
	if (is_null)
		state->cells[column] = pyn_null_cell(state->readers[column].kind);
	else
		state->cells[column] = pyn_read_cell(&state->readers[column], value, &state->texts[column]);
}

static void
read_row(AccumulateState *state, HeapTupleHeader row)
{
	HeapTupleData tuple;

	if (HeapTupleHeaderGetTypeId(row) != state->row_type || HeapTupleHeaderGetTypMod(row) != state->row_typmod ||
		assign_record_type_identifier(state->row_type, state->row_typmod) != state->row_type_id)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("the rows given to sketch_agg are of different types")));
	tuple.t_len = HeapTupleHeaderGetDatumLength(row);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	tuple.t_data = row;
	heap_deform_tuple(&tuple, state->row_descriptor, state->row_values, state->row_nulls);
	for (int i = 0; i < state->column_count; i++)
		read_value(state, i, state->row_values[state->positions[i]], state->row_nulls[state->positions[i]]);
}

/*
 * The transition function: (sketch, columns name[], key bigint, VARIADIC "any") → sketch.  A NULL row value is no row.
 */
Datum
pyn_sketch_accumulate(PG_FUNCTION_ARGS)
{
	AccumulateState *state = fcinfo->flinfo->fn_extra;
	PynExpandedSketch *expanded;
	MemoryContext aggregate;
	MemoryContext old;
	uint64		key;

	if (!AggCheckCallContext(fcinfo, &aggregate))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
				 errmsg("sketch_accumulate is called outside an aggregate"),
				 errhint("Use the aggregate pynomaly.sketch_agg.")));
	if (state == NULL)
		state = prepare(fcinfo);
	if (state == NULL || (state->is_row && PG_ARGISNULL(FIRST_VALUE)))
	{
		if (PG_ARGISNULL(0))
			PG_RETURN_NULL();
		PG_RETURN_DATUM(PG_GETARG_DATUM(0));
	}
	require_same_columns(fcinfo, state);

	if (PG_ARGISNULL(0))
		expanded = first_sketch(state, aggregate);
	else
		expanded = pyn_sketch_for_update(PG_GETARG_DATUM(0), aggregate);

	if (MemoryContextMemAllocated(state->row_context, false) > ROW_MEMORY)
		MemoryContextReset(state->row_context);
	old = MemoryContextSwitchTo(state->row_context);
	if (state->is_row)
		read_row(state, PG_GETARG_HEAPTUPLEHEADER(FIRST_VALUE));
	else
		for (int i = 0; i < state->column_count; i++)
			read_value(state, i, PG_GETARG_DATUM(FIRST_VALUE + i), PG_ARGISNULL(FIRST_VALUE + i));
	MemoryContextSwitchTo(expanded->header.eoh_context);
	key = PG_ARGISNULL(2) ? 0 : (uint64) PG_GETARG_INT64(2);
	pyn_sketch_add(expanded->sketch, PG_ARGISNULL(2) ? NULL : &key, state->cells, state->texts);
	MemoryContextSwitchTo(old);
	PG_RETURN_DATUM(EOHPGetRWDatum(&expanded->header));
}

/*
 * The combine function of both aggregates and the transition function of merge: (sketch, sketch) → sketch.
 */
Datum
pyn_sketch_combine(PG_FUNCTION_ARGS)
{
	PynExpandedSketch *into;
	PynSketch  *from;
	MemoryContext aggregate;
	MemoryContext scratch;
	MemoryContext old;
	const char *problem;

	if (!AggCheckCallContext(fcinfo, &aggregate))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
				 errmsg("sketch_combine is called outside an aggregate"),
				 errhint("Use the aggregate pynomaly.merge.")));
	into = pyn_sketch_for_update(PG_GETARG_DATUM(0), aggregate);
	scratch = AllocSetContextCreate(CurrentMemoryContext, "pynomaly combine", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(scratch);
	from = pyn_sketch_from_datum(PG_GETARG_DATUM(1));
	MemoryContextSwitchTo(into->header.eoh_context);
	problem = pyn_sketch_merge(into->sketch, from);
	MemoryContextSwitchTo(old);
	if (problem != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the sketches cannot be merged: %s", problem)));
	MemoryContextDelete(scratch);
	PG_RETURN_DATUM(EOHPGetRWDatum(&into->header));
}
