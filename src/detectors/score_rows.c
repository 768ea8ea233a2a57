/*
 * score_rows.c
 *		Scores the rows of a source in blocks and gives them as a result set.
 *
 * Rows are copied into a block, scored together and written out; the block's memory is reset then, so memory does not
 * grow with the table.  Flagged rows that are wanted worst first go through PostgreSQL's own sort, which spills to disk; they
 * go as they were read, so that keys, reasons and the like, which cost far more than a score, are made for those only that the
 * limit leaves.
 */
#include "kernel/port.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/tuplesort.h"
#include "utils/typcache.h"

#include "detectors/feedback.h"
#include "detectors/row_values.h"
#include "detectors/score_rows.h"

#define ROW_MEMORY (64 * 1024)	/* what reading values may take before it is freed */
#define BLOCK_MEMORY (16 * 1024 * 1024) /* a block of wide rows is scored early */
#define BLOCK_KEPT (256 * 1024) /* what a block's memory keeps when it is freed */
#define RESULT_COLUMNS 7

enum
{
	RESULT_KEY,
	RESULT_SCORE,
	RESULT_P_VALUE,
	RESULT_IS_ANOMALY,
	RESULT_SEVERITY,
	RESULT_REASONS,
	RESULT_STATE,
	RESULT_ROW					/* or evidence; of flagged rows only */
};

/* A flagged row in the sort. */
enum
{
	SORTED_RAW,
	SORTED_TIE,
	SORTED_NUMBER,				/* of the row in the source */
	SORTED_ROW,					/* its minimal tuple, in a bytea */
	SORTED_COLUMNS
};

typedef struct Work
{
	const PynScoring *scoring;
	const PynModel *model;
	PynSource  *source;
	Tuplestorestate *result;
	TupleDesc	result_type;
	Tuplesortstate *sort;
	TupleTableSlot *sort_slot;
	int64		rows_done;		/* before the block */
	int64		flagged;
	int			rows;			/* in the block */
	MinimalTuple tuples[PYN_SCORE_BLOCK];
	PynCell    *cells;			/* column-major */
	PynCell    *row_cells;
	PynText    *row_texts;
	double	   *features;
	double	   *row_features;	/* of a row that rules may be for */
	double		raw[PYN_SCORE_BLOCK];
	TupleTableSlot *slot;		/* to read a tuple of the block */
	MemoryContext block_context;
	MemoryContext row_context;	/* for one row that is read or written */
	TupleDesc	row_type;		/* of the row itself, for jsonb */
	Datum		severities[PYN_SEVERITY_CRITICAL + 1];
	Datum		scored;
	Datum		missing;
	bool		needs_tuple;	/* the key cannot be told without the row */
} Work;

/* ---------------------------------------------------------------- keys */

static void
set_string(JsonbValue *value, char *text)
{
	value->type = jbvString;
	value->val.string.val = text;
	value->val.string.len = strlen(text);
}

/* A key's value in JSON: numbers and booleans as such, times as ISO 8601, all else as text. */
static void
key_value(Oid type, Datum datum, JsonbValue *value)
{
	Oid			output;
	bool		is_varlena;

	switch (type)
	{
		case INT2OID:
		case INT4OID:
		case INT8OID:
			value->type = jbvNumeric;
			value->val.numeric = int64_to_numeric(type == INT2OID ? DatumGetInt16(datum) :
												  type == INT4OID ? DatumGetInt32(datum) : DatumGetInt64(datum));
			break;
		case FLOAT4OID:
		case FLOAT8OID:
			pyn_double_to_jsonb_value(type == FLOAT4OID ? DatumGetFloat4(datum) : DatumGetFloat8(datum), value);
			break;
		case NUMERICOID:
			if (numeric_is_nan(DatumGetNumeric(datum)) || numeric_is_inf(DatumGetNumeric(datum)))
				set_string(value, DatumGetCString(DirectFunctionCall1(numeric_out, datum)));
			else
			{
				value->type = jbvNumeric;
				value->val.numeric = DatumGetNumeric(datum);
			}
			break;
		case BOOLOID:
			value->type = jbvBool;
			value->val.boolean = DatumGetBool(datum);
			break;
		case DATEOID:
		case TIMEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			set_string(value, JsonEncodeDateTime(palloc(MAXDATELEN + 1), datum, type, NULL));
			break;
		default:
			getTypeOutputInfo(type, &output, &is_varlena);
			set_string(value, OidOutputFunctionCall(output, datum));
			break;
	}
}

/* The relation a row lies in, qualified. */
static char *
relation_name(Oid relation)
{
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relation)), get_rel_name(relation));
}

static Datum
make_key(const Work *work, int64 row_number)
{
	const PynSource *source = work->source;
	PynJson		json = {0};
	JsonbValue	value;
	int			place = source->row_type->natts - 2;	/* of ctid and tableoid, where they are read */

	pyn_json_open_object(&json, NULL);
	switch (source->key_kind)
	{
		case PYN_KEY_COLUMNS:
			for (int i = 0; i < source->key_count; i++)
			{
				const PynKeyColumn *key = &source->keys[i];

				if (work->slot->tts_isnull[key->position])
				{
					pyn_json_null(&json, key->name);
					continue;
				}
				key_value(key->type, work->slot->tts_values[key->position], &value);
				pyn_json_value(&json, key->name, &value);
			}
			break;
		case PYN_KEY_PARTITION_CTID:
			pyn_json_text(&json, "tableoid", relation_name(DatumGetObjectId(work->slot->tts_values[place + 1])));
			/* FALLTHROUGH */
		case PYN_KEY_CTID:
			key_value(TIDOID, work->slot->tts_values[place], &value);
			pyn_json_value(&json, "ctid", &value);
			break;
		case PYN_KEY_ROW_NUMBER:
			pyn_json_integer(&json, "row", row_number);
			break;
	}
	pyn_json_close_object(&json);
	return JsonbPGetDatum(JsonbValueToJsonb(json.result));
}

/* The row itself, without ctid and tableoid. */
static Datum
make_row(const Work *work)
{
	HeapTuple	tuple = heap_form_tuple(work->row_type, work->slot->tts_values, work->slot->tts_isnull);
	Datum		json = DirectFunctionCall1(row_to_json, HeapTupleGetDatum(tuple));

	return DirectFunctionCall1(jsonb_in, CStringGetDatum(TextDatumGetCString(json)));
}

static TupleDesc
make_row_type(const PynSource *source)
{
	TupleDesc	type = CreateTemplateTupleDesc(source->row_columns);

	for (int i = 0; i < source->row_columns; i++)
		TupleDescCopyEntry(type, i + 1, source->row_type, i + 1);
	return BlessTupleDesc(type);
}

/* ---------------------------------------------------------------- rows out */

/*
 * What feedback needs of a flagged row, whose cells are read: its raw score, its members' where the model weighs them, and its
 * values, for models that are fitted later.
 */
static Datum
make_evidence(const Work *work, double raw)
{
	double		numbers[PYN_MAX_MEMBERS];
	int			members = pyn_weights(work->model, numbers);
	PynJson		json = {0};

	pyn_json_open_object(&json, NULL);
	pyn_json_number(&json, "raw", raw);
	if (members > 0)
	{
		pyn_encode_row(work->model, work->row_cells, work->row_features);
		pyn_member_scores(work->model, work->row_features, numbers);
		pyn_json_open_array(&json, "members");
		for (int i = 0; i < members; i++)
			pyn_json_number(&json, NULL, numbers[i]);
		pyn_json_close_array(&json);
	}
	pyn_put_row_values(&json, "row", work->model, work->row_cells);
	pyn_json_close_object(&json);
	return JsonbPGetDatum(JsonbValueToJsonb(json.result));
}

/* Rules of suppression are looked at where a row would be flagged. */
static PynVerdict
judge(const Work *work, int row)
{
	const PynModel *model = work->model;
	PynVerdict	verdict = pyn_judge(model, work->raw[row]);

	if (verdict.is_anomaly && model->rule_count > 0)
	{
		for (int i = 0; i < model->feature_count; i++)
			work->row_features[i] = work->features[(Size) i * PYN_SCORE_BLOCK + row];
		pyn_suppress(model, work->row_features, &verdict);
	}
	return verdict;
}

/* The result's columns that all calls have.  Where a key or reasons need the row, it is in the slot; for reasons its cells are read. */
static void
fill_result(Work *work, const PynVerdict *verdict, int64 row_number, bool is_missing, bool explained, Datum *values, bool *nulls)
{
	values[RESULT_KEY] = make_key(work, row_number);
	values[RESULT_SCORE] = Float8GetDatum(verdict->score);
	values[RESULT_P_VALUE] = Float8GetDatum(verdict->p_value);
	nulls[RESULT_SCORE] = nulls[RESULT_P_VALUE] = is_missing;
	values[RESULT_IS_ANOMALY] = BoolGetDatum(verdict->is_anomaly);
	values[RESULT_SEVERITY] = work->severities[verdict->severity];
	nulls[RESULT_REASONS] = !explained;
	values[RESULT_REASONS] = (Datum) 0;
	if (explained)
		values[RESULT_REASONS] = JsonbPGetDatum(pyn_reasons(work->model, work->row_cells, work->row_texts,
																	verdict->is_suppressed));
	values[RESULT_STATE] = is_missing ? work->missing : work->scored;
}

static void
write_row(Work *work, int row, bool is_missing, const PynVerdict *verdict, int64 row_number)
{
	PynExplain	explain = work->scoring->explain;
	bool		explained = !is_missing &&
		(explain == PYN_EXPLAIN_ALL || (explain == PYN_EXPLAIN_FLAGGED && (verdict->is_anomaly || verdict->is_suppressed)));
	Datum		values[RESULT_COLUMNS];
	bool		nulls[RESULT_COLUMNS] = {false};

	if (explained || work->needs_tuple)
	{
		ExecStoreMinimalTuple(work->tuples[row], work->slot, false);
		slot_getallattrs(work->slot);
	}
	if (explained)
		pyn_source_cells(work->source, work->slot, work->row_cells, work->row_texts);
	fill_result(work, verdict, row_number, is_missing, explained, values, nulls);
	tuplestore_putvalues(work->result, work->result_type, values, nulls);
}

/* ---------------------------------------------------------------- worst first */

static void
begin_sort(Work *work)
{
	TupleDesc	type = CreateTemplateTupleDesc(SORTED_COLUMNS);
	AttrNumber	columns[] = {SORTED_RAW + 1, SORTED_TIE + 1};
	Oid			operators[lengthof(columns)];
	Oid			collations[] = {InvalidOid, InvalidOid};
	bool		nulls_first[] = {false, false};

	TupleDescInitEntry(type, SORTED_RAW + 1, "raw", FLOAT8OID, -1, 0);
	TupleDescInitEntry(type, SORTED_TIE + 1, "tie", INT8OID, -1, 0);
	TupleDescInitEntry(type, SORTED_NUMBER + 1, "number", INT8OID, -1, 0);
	TupleDescInitEntry(type, SORTED_ROW + 1, "row", BYTEAOID, -1, 0);
	operators[0] = lookup_type_cache(FLOAT8OID, TYPECACHE_GT_OPR)->gt_opr;
	operators[1] = lookup_type_cache(INT8OID, TYPECACHE_LT_OPR)->lt_opr;
	work->sort = tuplesort_begin_heap(type, lengthof(columns), columns, operators, collations, nulls_first, work_mem, NULL,
									  work->scoring->limit >= 0 ? TUPLESORT_ALLOWBOUNDED : TUPLESORT_NONE);
	if (work->scoring->limit > 0)
		tuplesort_set_bound(work->sort, work->scoring->limit);
	work->sort_slot = MakeSingleTupleTableSlot(type, &TTSOpsVirtual);
}

/* What orders rows of one raw score, the same in each call: a scan may begin anywhere, keys stay. */
static int64
tie_breaker(const Work *work, int64 row_number)
{
	bool		has_key;
	uint64		hash = pyn_source_key(work->source, work->slot, &has_key);

	return has_key ? (int64) hash : row_number;
}

/* Puts a flagged row of the block into the sort. */
static void
keep_row(Work *work, int row, int64 row_number)
{
	MinimalTuple tuple = work->tuples[row];
	bytea	   *bytes = palloc(VARHDRSZ + tuple->t_len);
	TupleTableSlot *slot = work->sort_slot;

	SET_VARSIZE(bytes, VARHDRSZ + tuple->t_len);
	memcpy(VARDATA(bytes), tuple, tuple->t_len);
	ExecStoreMinimalTuple(tuple, work->slot, false);
	slot_getallattrs(work->slot);
	ExecClearTuple(slot);
	memset(slot->tts_isnull, false, SORTED_COLUMNS);
	slot->tts_values[SORTED_RAW] = Float8GetDatum(work->raw[row]);
	slot->tts_values[SORTED_TIE] = Int64GetDatum(tie_breaker(work, row_number));
	slot->tts_values[SORTED_NUMBER] = Int64GetDatum(row_number);
	slot->tts_values[SORTED_ROW] = PointerGetDatum(bytes);
	ExecStoreVirtualTuple(slot);
	tuplesort_puttupleslot(work->sort, slot);
	ExecClearTuple(slot);
}

/* Writes the result of a row that comes out of the sort. */
static void
write_flagged(Work *work, const Datum *sorted)
{
	const PynScoring *scoring = work->scoring;
	double		raw = DatumGetFloat8(sorted[SORTED_RAW]);
	bytea	   *bytes = DatumGetByteaP(sorted[SORTED_ROW]);
	MinimalTuple tuple = palloc(VARSIZE_ANY_EXHDR(bytes));
	PynVerdict	verdict = pyn_judge(work->model, raw);
	Datum		values[RESULT_COLUMNS + 1];
	bool		nulls[RESULT_COLUMNS + 1] = {false};

	memcpy(tuple, VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes));
	ExecStoreMinimalTuple(tuple, work->slot, false);
	slot_getallattrs(work->slot);
	pyn_source_cells(work->source, work->slot, work->row_cells, work->row_texts);
	fill_result(work, &verdict, DatumGetInt64(sorted[SORTED_NUMBER]), false, scoring->explain != PYN_EXPLAIN_NONE, values, nulls);
	nulls[RESULT_ROW] = !scoring->with_row && !scoring->with_evidence;
	values[RESULT_ROW] = (Datum) 0;
	if (scoring->with_row)
		values[RESULT_ROW] = make_row(work);
	else if (scoring->with_evidence)
		values[RESULT_ROW] = make_evidence(work, raw);
	tuplestore_putvalues(work->result, work->result_type, values, nulls);
	ExecClearTuple(work->slot);
}

static void
end_sort(Work *work)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(work->sort_slot->tts_tupleDescriptor, &TTSOpsMinimalTuple);
	int64		left = work->scoring->limit;
	MemoryContext old = CurrentMemoryContext;

	tuplesort_performsort(work->sort);
	while (left != 0 && tuplesort_gettupleslot(work->sort, true, false, slot, NULL))
	{
		CHECK_FOR_INTERRUPTS();
		slot_getallattrs(slot);
		MemoryContextSwitchTo(work->row_context);
		write_flagged(work, slot->tts_values);
		MemoryContextSwitchTo(old);
		MemoryContextReset(work->row_context);
		left--;
	}
	tuplesort_end(work->sort);
	ExecDropSingleTupleTableSlot(slot);
	ExecDropSingleTupleTableSlot(work->sort_slot);
}

/* ---------------------------------------------------------------- blocks */

static void
flush_block(Work *work)
{
	const PynModel *model = work->model;
	MemoryContext old;

	if (work->rows == 0)
		return;
	CHECK_FOR_INTERRUPTS();
	old = MemoryContextSwitchTo(work->block_context);
	pyn_encode_block(model, work->cells, PYN_SCORE_BLOCK, work->rows, work->features);
	model->detector->score_block(model->state, work->features, PYN_SCORE_BLOCK, work->rows, work->raw);
	MemoryContextSwitchTo(work->row_context);
	for (int row = 0; row < work->rows; row++)
	{
		bool		is_missing = pyn_all_missing(model, work->cells + row, PYN_SCORE_BLOCK);
		int64		row_number = work->rows_done + row + 1;
		PynVerdict	verdict = {0};

		if (!is_missing)
			verdict = judge(work, row);
		work->flagged += verdict.is_anomaly;
		if (!work->scoring->flagged_only)
			write_row(work, row, is_missing, &verdict, row_number);
		else if (verdict.is_anomaly && work->scoring->limit != 0)
			keep_row(work, row, row_number);
		ExecClearTuple(work->slot);
		MemoryContextReset(work->row_context);
	}
	MemoryContextSwitchTo(old);
	work->rows_done += work->rows;
	work->rows = 0;
	MemoryContextReset(work->block_context);
}

static void
collect_row(void *state, TupleTableSlot *slot)
{
	Work	   *work = state;
	MemoryContext old = MemoryContextSwitchTo(work->row_context);

	pyn_source_cells(work->source, slot, work->row_cells, NULL);
	if (MemoryContextMemAllocated(work->row_context, false) > ROW_MEMORY)
		MemoryContextReset(work->row_context);
	MemoryContextSwitchTo(work->block_context);
	for (int column = 0; column < work->source->column_count; column++)
		work->cells[(Size) column * PYN_SCORE_BLOCK + work->rows] = work->row_cells[column];
	work->tuples[work->rows] = ExecCopySlotMinimalTuple(slot);
	work->rows++;
	MemoryContextSwitchTo(old);
	if (work->rows == PYN_SCORE_BLOCK || MemoryContextMemAllocated(work->block_context, false) > BLOCK_MEMORY)
		flush_block(work);
}

/*
 * pyn_flagged_type gives the row type of flagged rows.
 */
TupleDesc
pyn_flagged_type(void)
{
	TupleDesc	type = CreateTemplateTupleDesc(RESULT_COLUMNS + 1);

	TupleDescInitEntry(type, RESULT_KEY + 1, "key", JSONBOID, -1, 0);
	TupleDescInitEntry(type, RESULT_SCORE + 1, "score", FLOAT8OID, -1, 0);
	TupleDescInitEntry(type, RESULT_P_VALUE + 1, "p_value", FLOAT8OID, -1, 0);
	TupleDescInitEntry(type, RESULT_IS_ANOMALY + 1, "is_anomaly", BOOLOID, -1, 0);
	TupleDescInitEntry(type, RESULT_SEVERITY + 1, "severity", TEXTOID, -1, 0);
	TupleDescInitEntry(type, RESULT_REASONS + 1, "reasons", JSONBOID, -1, 0);
	TupleDescInitEntry(type, RESULT_STATE + 1, "state", TEXTOID, -1, 0);
	TupleDescInitEntry(type, RESULT_ROW + 1, "evidence", JSONBOID, -1, 0);
	return type;
}

/*
 * pyn_score_rows reads the source's rows and puts the scored ones into the store.
 */
PynScored
pyn_score_rows(const PynScoring *scoring, Tuplestorestate *store, TupleDesc type)
{
	Work	   *work = palloc0(sizeof(Work));
	PynSource  *source = scoring->source;
	PynScored	scored;

	work->scoring = scoring;
	work->model = scoring->model;
	work->source = source;
	work->result = store;
	work->result_type = type;
	work->cells = pyn_new(PynCell, (Size) source->column_count * PYN_SCORE_BLOCK);
	work->row_cells = pyn_new(PynCell, source->column_count);
	work->row_texts = pyn_new0(PynText, source->column_count);
	work->features = pyn_new(double, (Size) work->model->feature_count * PYN_SCORE_BLOCK);
	work->row_features = pyn_new(double, work->model->feature_count);
	work->slot = MakeSingleTupleTableSlot(source->row_type, &TTSOpsMinimalTuple);
	/* What is kept need not be given back to the system and taken again with each block. */
	work->block_context = AllocSetContextCreate(CurrentMemoryContext, "pynomaly block", BLOCK_KEPT, BLOCK_KEPT,
												ALLOCSET_DEFAULT_MAXSIZE);
	work->row_context = AllocSetContextCreate(CurrentMemoryContext, "pynomaly result row", ALLOCSET_DEFAULT_SIZES);
	work->needs_tuple = source->key_kind != PYN_KEY_ROW_NUMBER;
	for (int severity = PYN_SEVERITY_NONE; severity <= PYN_SEVERITY_CRITICAL; severity++)
		work->severities[severity] = CStringGetTextDatum(pyn_severity_name(severity));
	work->scored = CStringGetTextDatum("scored");
	work->missing = CStringGetTextDatum("missing");
	if (scoring->with_row)
		work->row_type = make_row_type(source);
	if (scoring->flagged_only)
		begin_sort(work);
	pyn_source_scan_again(source, collect_row, work);
	flush_block(work);
	if (scoring->flagged_only)
		end_sort(work);
	ExecDropSingleTupleTableSlot(work->slot);
	MemoryContextDelete(work->block_context);
	MemoryContextDelete(work->row_context);
	scored.rows = work->rows_done;
	scored.flagged = work->flagged;
	return scored;
}
