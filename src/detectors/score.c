/*
 * score.c
 *		pynomaly.score, is_anomaly and explain: one row at a time, in any query.
 *
 * A call site parses its model once.  It knows the model again by its TOAST pointer, without reading it, else by its
 * length and the digest that its header carries, which input has verified; never by its address, which another value may
 * have later.  Arguments are read by a switch on their type that is decided once.
 */
#include "kernel/port.h"

#include "access/detoast.h"
#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "detectors/model_type.h"
#include "sketch/cell.h"

PG_FUNCTION_INFO_V1(pyn_score_value);
PG_FUNCTION_INFO_V1(pyn_score_name);
PG_FUNCTION_INFO_V1(pyn_is_anomaly_value);
PG_FUNCTION_INFO_V1(pyn_is_anomaly_name);
PG_FUNCTION_INFO_V1(pyn_explain_value);
PG_FUNCTION_INFO_V1(pyn_explain_name);
PG_FUNCTION_INFO_V1(pyn_counterfactual_value);
PG_FUNCTION_INFO_V1(pyn_counterfactual_name);

/* What a call site keeps from row to row. */
typedef struct ScoreSite
{
	MemoryContext context;		/* of the model, reset when another one comes */
	PynModel   *model;
	bool		has_toast;
	struct varatt_external toast;
	char	   *name;			/* the model's, when it is given by name */
	uint64		names;			/* pyn_model_names when it was resolved */
	Oid			user;			/* for whom */

	/* How the arguments fit the model's columns. */
	MemoryContext bind_context; /* below the model's */
	bool		is_bound;
	PynCellReader *readers;		/* per column of the model */
	int		   *positions;		/* of the column in the row value */
	PynCell    *cells;
	PynText    *texts;
	double	   *features;

	/* When the one argument is a row: */
	bool		is_row;
	Oid			row_type;
	int32		row_typmod;
	uint64		row_type_id;	/* identifies the row type as it was */
	TupleDesc	row_descriptor;
	Datum	   *row_values;
	bool	   *row_nulls;
} ScoreSite;

/* ---------------------------------------------------------------- the model */

static bool
same_toast(const ScoreSite *site, Datum value, struct varatt_external *toast)
{
	struct varlena *pointer = (struct varlena *) DatumGetPointer(value);

	VARATT_EXTERNAL_GET_POINTER(*toast, pointer);
	return site->has_toast && memcmp(toast, &site->toast, sizeof(*toast)) == 0;
}

static bool
same_digest(const ScoreSite *site, const struct varlena *flat)
{
	PynReader	reader;
	PynDigest	digest;

	if (site->model == NULL || site->model->length != VARSIZE_ANY_EXHDR(flat))
		return false;
	pyn_reader_init(&reader, VARDATA_ANY(flat) + PYN_MODEL_DIGEST, sizeof(PynDigest));
	digest.low = pyn_read_u64(&reader);
	digest.high = pyn_read_u64(&reader);
	return digest.low == site->model->digest.low && digest.high == site->model->digest.high;
}

static void
load_model(ScoreSite *site, struct varlena *flat)
{
	MemoryContext old;
	PynModel   *model;

	site->model = NULL;
	site->has_toast = false;
	site->is_bound = false;
	MemoryContextReset(site->context);	/* and deletes bind_context */
	old = MemoryContextSwitchTo(site->context);
	model = pyn_model_from_datum(PointerGetDatum(flat));
	site->cells = pyn_new0(PynCell, model->column_count);
	site->texts = pyn_new0(PynText, model->column_count);
	site->features = pyn_new(double, model->feature_count);
	site->bind_context = AllocSetContextCreate(site->context, "pynomaly score arguments", ALLOCSET_SMALL_SIZES);
	site->model = model;
	MemoryContextSwitchTo(old);
}

/* Makes the site's model that of the datum. */
static void
set_model(ScoreSite *site, Datum value)
{
	struct varlena *given = (struct varlena *) DatumGetPointer(value);
	struct varatt_external toast;
	bool		is_toast = VARATT_IS_EXTERNAL_ONDISK(given);

	if (is_toast && same_toast(site, value, &toast))
		return;
	given = PG_DETOAST_DATUM_PACKED(value);
	if (!same_digest(site, given))
		load_model(site, given);
	site->has_toast = is_toast;
	if (is_toast)
		site->toast = toast;
}

/*
 * Makes the site's model that of the name.  It is resolved once for a call site, and again when names may mean other models:
 * a call site lives as long as a query, but in simple expressions of PL/pgSQL as long as a transaction.
 */
static void
set_model_by_name(ScoreSite *site, FunctionCallInfo fcinfo)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));

	if (site->name != NULL && strcmp(site->name, name) == 0 && site->names == pyn_model_names && site->user == GetUserId())
		return;
	if (site->name != NULL)
		pfree(site->name);
	site->name = NULL;			/* an error below may be caught and the site used again */
	site->names = pyn_model_names;
	site->user = GetUserId();
	set_model(site, pyn_resolve_model(name));
	site->name = MemoryContextStrdup(fcinfo->flinfo->fn_mcxt, name);
}

/* ---------------------------------------------------------------- the arguments */

static bool
is_number_kind(PynKind kind)
{
	return kind == PYN_KIND_INTEGER || kind == PYN_KIND_NUMBER;
}

/* Finds how values of `type` are read for a column of the model. */
static void
bind_column(ScoreSite *site, int column, Oid type)
{
	const PynModelColumn *target = &site->model->columns[column];
	PynCellReader *reader = &site->readers[column];

	if (pyn_cell_reader(type, false, reader) &&
		(reader->kind == target->kind || (is_number_kind(reader->kind) && is_number_kind(target->kind))))
		return;
	if (type == UNKNOWNOID)
	{
		/* A literal: NULL for any column, else a text.  Its value is a C string. */
		reader->type = UNKNOWNOID;
		reader->kind = target->kind;
		return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("column \"%s\" of the model is of kind %s, and %s is given",
					pyn_utf8_to_server(target->name, strlen(target->name)), pyn_kind_name(target->kind),
					format_type_be(type)),
			 type_is_enum(getBaseType(type)) ? errhint("Cast the enum to text: its labels can be renamed.") :
			 errhint("Give the columns in the order of (model::jsonb)->'columns', or one row value.")));
}

static char *
list_columns(const PynModel *model)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < model->column_count && i < 20; i++)
		appendStringInfo(&list, "%s%s", i > 0 ? ", " : "",
						 pyn_utf8_to_server(model->columns[i].name, strlen(model->columns[i].name)));
	if (model->column_count > 20)
		appendStringInfoString(&list, ", ...");
	return list.data;
}

static void
bind_values(ScoreSite *site, FunctionCallInfo fcinfo)
{
	if (PG_NARGS() - 1 != site->model->column_count)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the model has %d columns, and %d values are given", site->model->column_count, PG_NARGS() - 1),
				 errdetail("Columns: %s.", list_columns(site->model)),
				 errhint("Give one value for each, in this order, or one row value that has them by name.")));
	for (int i = 0; i < site->model->column_count; i++)
		bind_column(site, i, get_fn_expr_argtype(fcinfo->flinfo, i + 1));
}

/* Finds the model's columns in a row type by name. */
static void
bind_row(ScoreSite *site, HeapTupleHeader row)
{
	const PynModel *model = site->model;
	TupleDesc	descriptor;

	site->row_type = HeapTupleHeaderGetTypeId(row);
	site->row_typmod = HeapTupleHeaderGetTypMod(row);
	site->row_type_id = assign_record_type_identifier(site->row_type, site->row_typmod);
	descriptor = lookup_rowtype_tupdesc(site->row_type, site->row_typmod);
	site->row_descriptor = CreateTupleDescCopy(descriptor);
	ReleaseTupleDesc(descriptor);
	descriptor = site->row_descriptor;
	site->positions = pyn_new0(int, model->column_count);
	site->row_values = pyn_new0(Datum, descriptor->natts);
	site->row_nulls = pyn_new0(bool, descriptor->natts);
	for (int i = 0; i < model->column_count; i++)
	{
		char	   *name = pyn_utf8_to_server(model->columns[i].name, strlen(model->columns[i].name));
		int			position = 0;

		while (position < descriptor->natts &&
			   (TupleDescAttr(descriptor, position)->attisdropped ||
				strcmp(NameStr(TupleDescAttr(descriptor, position)->attname), name) != 0))
			position++;
		if (position == descriptor->natts)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("the row has no column \"%s\", which the model has", name),
					 errdetail("Columns of the model: %s.", list_columns(model))));
		site->positions[i] = position;
		bind_column(site, i, TupleDescAttr(descriptor, position)->atttypid);
	}
}

static void
bind(ScoreSite *site, FunctionCallInfo fcinfo)
{
	MemoryContext old;

	site->is_bound = false;
	MemoryContextReset(site->bind_context);
	old = MemoryContextSwitchTo(site->bind_context);
	site->readers = pyn_new0(PynCellReader, site->model->column_count);
	if (site->is_row)
		bind_row(site, PG_GETARG_HEAPTUPLEHEADER(1));
	else
		bind_values(site, fcinfo);
	MemoryContextSwitchTo(old);
	site->is_bound = true;		/* not before: an error above may be caught and the site used again */
}

static inline void
read_value(ScoreSite *site, int column, Datum value, bool is_null)
{
	const PynCellReader *reader = &site->readers[column];

	if (is_null)
		site->cells[column] = pyn_null_cell(reader->kind);
	else if (unlikely(reader->type == UNKNOWNOID))
	{
		PynCellReader text = {.type = TEXTOID, .kind = PYN_KIND_TEXT};

		if (!pyn_kind_is_text(reader->kind))
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("the literal '%s' is given for a column of kind %s", DatumGetCString(value),
							pyn_kind_name(reader->kind)),
					 errhint("Cast it to the column's type.")));
		site->cells[column] = pyn_read_cell(&text, CStringGetTextDatum(DatumGetCString(value)), &site->texts[column]);
	}
	else
		site->cells[column] = pyn_read_cell(reader, value, &site->texts[column]);
}

static void
read_row(ScoreSite *site, HeapTupleHeader row)
{
	HeapTupleData tuple;

	tuple.t_len = HeapTupleHeaderGetDatumLength(row);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	tuple.t_data = row;
	heap_deform_tuple(&tuple, site->row_descriptor, site->row_values, site->row_nulls);
	for (int i = 0; i < site->model->column_count; i++)
		read_value(site, i, site->row_values[site->positions[i]], site->row_nulls[site->positions[i]]);
}

static ScoreSite *
make_site(FunctionCallInfo fcinfo)
{
	ScoreSite  *site = MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt, sizeof(ScoreSite));

	if (get_fn_expr_variadic(fcinfo->flinfo))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a VARIADIC array cannot be scored"),
				 errhint("Give the values as separate arguments, or one row value.")));
	site->context = AllocSetContextCreate(fcinfo->flinfo->fn_mcxt, "pynomaly score", ALLOCSET_DEFAULT_SIZES);
	site->is_row = PG_NARGS() == 2 && type_is_rowtype(get_fn_expr_argtype(fcinfo->flinfo, 1));
	fcinfo->flinfo->fn_extra = site;
	return site;
}

/*
 * Brings the call's model and arguments into the site: afterwards its cells and features are the row's.  Returns NULL
 * where the answer is NULL: no model, no row, or no value in any column that the model uses.
 */
static ScoreSite *
prepare_call(FunctionCallInfo fcinfo, bool by_name)
{
	ScoreSite  *site = fcinfo->flinfo->fn_extra;

	if (PG_ARGISNULL(0))
		return NULL;
	if (site == NULL)
		site = make_site(fcinfo);
	if (by_name)
		set_model_by_name(site, fcinfo);
	else
		set_model(site, PG_GETARG_DATUM(0));
	if (site->is_row)
	{
		HeapTupleHeader row;

		if (PG_ARGISNULL(1))
			return NULL;
		row = PG_GETARG_HEAPTUPLEHEADER(1);
		if (!site->is_bound ||
			HeapTupleHeaderGetTypeId(row) != site->row_type || HeapTupleHeaderGetTypMod(row) != site->row_typmod ||
			assign_record_type_identifier(site->row_type, site->row_typmod) != site->row_type_id)
			bind(site, fcinfo);
		read_row(site, row);
	}
	else
	{
		if (unlikely(!site->is_bound))
			bind(site, fcinfo);
		for (int i = 0; i < site->model->column_count; i++)
			read_value(site, i, PG_GETARG_DATUM(i + 1), PG_ARGISNULL(i + 1));
	}
	if (pyn_all_missing(site->model, site->cells, 1))
		return NULL;
	pyn_encode_row(site->model, site->cells, site->features);
	return site;
}

static PynVerdict
judge(const ScoreSite *site)
{
	PynVerdict	verdict = pyn_judge(site->model, site->model->detector->score_row(site->model->state, site->features));

	pyn_suppress(site->model, site->features, &verdict);
	return verdict;
}

/* ---------------------------------------------------------------- the calls */

static Datum
score(FunctionCallInfo fcinfo, bool by_name)
{
	ScoreSite  *site = prepare_call(fcinfo, by_name);
	const PynModel *model;

	if (site == NULL)
		PG_RETURN_NULL();
	model = site->model;
	PG_RETURN_FLOAT8(pyn_score(&model->calibration, model->detector->score_row(model->state, site->features)));
}

static Datum
is_anomaly(FunctionCallInfo fcinfo, bool by_name)
{
	ScoreSite  *site = prepare_call(fcinfo, by_name);

	if (site == NULL)
		PG_RETURN_NULL();
	PG_RETURN_BOOL(judge(site).is_anomaly);
}

static Datum
explain(FunctionCallInfo fcinfo, bool by_name)
{
	ScoreSite  *site = prepare_call(fcinfo, by_name);
	PynVerdict	verdict;
	PynJson		json = {0};

	if (site == NULL)
		PG_RETURN_NULL();
	verdict = judge(site);
	pyn_json_open_object(&json, NULL);
	pyn_json_number(&json, "score", verdict.score);
	pyn_json_number(&json, "p_value", verdict.p_value);
	pyn_json_boolean(&json, "is_anomaly", verdict.is_anomaly);
	pyn_json_text(&json, "severity", pyn_severity_name(verdict.severity));
	pyn_put_reasons(&json, "reasons", site->model, site->cells, site->texts, verdict.is_suppressed);
	if (verdict.is_anomaly)
		pyn_put_normal_if(&json, site->model, site->cells);
	pyn_json_close_object(&json);
	PG_RETURN_POINTER(JsonbValueToJsonb(json.result));
}

static Datum
counterfactual(FunctionCallInfo fcinfo, bool by_name)
{
	ScoreSite  *site = prepare_call(fcinfo, by_name);

	if (site == NULL)
		PG_RETURN_NULL();
	PG_RETURN_POINTER(pyn_counterfactual(site->model, site->cells, site->texts));
}

/*
 * score(model, VARIADIC "any") → float8
 */
Datum
pyn_score_value(PG_FUNCTION_ARGS)
{
	return score(fcinfo, false);
}

/*
 * score(text, VARIADIC "any") → float8
 */
Datum
pyn_score_name(PG_FUNCTION_ARGS)
{
	return score(fcinfo, true);
}

/*
 * is_anomaly(model, VARIADIC "any") → boolean
 */
Datum
pyn_is_anomaly_value(PG_FUNCTION_ARGS)
{
	return is_anomaly(fcinfo, false);
}

/*
 * is_anomaly(text, VARIADIC "any") → boolean
 */
Datum
pyn_is_anomaly_name(PG_FUNCTION_ARGS)
{
	return is_anomaly(fcinfo, true);
}

/*
 * explain(model, VARIADIC "any") → jsonb
 */
Datum
pyn_explain_value(PG_FUNCTION_ARGS)
{
	return explain(fcinfo, false);
}

/*
 * explain(text, VARIADIC "any") → jsonb
 */
Datum
pyn_explain_name(PG_FUNCTION_ARGS)
{
	return explain(fcinfo, true);
}

/*
 * counterfactual(model, VARIADIC "any") → jsonb
 */
Datum
pyn_counterfactual_value(PG_FUNCTION_ARGS)
{
	return counterfactual(fcinfo, false);
}

/*
 * counterfactual(text, VARIADIC "any") → jsonb
 */
Datum
pyn_counterfactual_name(PG_FUNCTION_ARGS)
{
	return counterfactual(fcinfo, true);
}
