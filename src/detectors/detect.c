/*
 * detect.c
 *		pynomaly.detect, anomalies and detect_query: rows in, judged rows out.
 *
 * The rows are read once into a sketch, a model is fitted from it, and the rows are read again and scored in blocks; with
 * a model given, the first reading falls away.  Nothing is written: the calls work on standbys and in read-only
 * transactions.
 */
#include "kernel/port.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"

#include "detectors/score_rows.h"
#include "sketch/sketch_type.h"

#define MOST_NAMED 20			/* columns named in a notice */

PG_FUNCTION_INFO_V1(pyn_detect);
PG_FUNCTION_INFO_V1(pyn_detect_query);
PG_FUNCTION_INFO_V1(pyn_anomalies);

/* The arguments that all three have, in this order. */
enum
{
	ARGUMENT_SOURCE,
	ARGUMENT_COLUMNS,
	ARGUMENT_ALGORITHM,
	ARGUMENT_CONTAMINATION,
	ARGUMENT_KEY,
	ARGUMENT_MODEL,
	ARGUMENT_OPTIONS,
	ARGUMENT_LIMIT				/* of anomalies only */
};

/* What is to be done, read from the arguments. */
typedef struct Request
{
	PynCallOptions options;
	PynSourceOptions source;
	bool		contamination_given;
	double		contamination;
	char	   *model_name;
} Request;

static void
read_request(FunctionCallInfo fcinfo, Request *request)
{
	char	   *algorithm = "auto";
	Jsonb	   *json = PG_ARGISNULL(ARGUMENT_OPTIONS) ? NULL : PG_GETARG_JSONB_P(ARGUMENT_OPTIONS);

	memset(request, 0, sizeof(*request));
	if (!PG_ARGISNULL(ARGUMENT_ALGORITHM))
		algorithm = text_to_cstring(PG_GETARG_TEXT_PP(ARGUMENT_ALGORITHM));
	if (!PG_ARGISNULL(ARGUMENT_COLUMNS))
		request->source.columns = PG_GETARG_ARRAYTYPE_P(ARGUMENT_COLUMNS);
	if (!PG_ARGISNULL(ARGUMENT_KEY))
		request->source.key = PG_GETARG_ARRAYTYPE_P(ARGUMENT_KEY);
	if (!PG_ARGISNULL(ARGUMENT_CONTAMINATION))
	{
		request->contamination_given = true;
		request->contamination = pyn_check_contamination(PG_GETARG_FLOAT8(ARGUMENT_CONTAMINATION));
	}
	if (PG_ARGISNULL(ARGUMENT_MODEL))
	{
		pyn_call_options(algorithm, json, true, &request->options);
		if (request->contamination_given)
			pyn_set_contamination(&request->options, request->contamination);
		request->options.fit.all_text = request->source.columns != NULL;
		request->source.except = request->options.label;
		request->source.label = pyn_plan_learns(&request->options.fit.plan) ? PYN_LABEL_READ : PYN_LABEL_IGNORED;
		return;
	}
	request->model_name = text_to_cstring(PG_GETARG_TEXT_PP(ARGUMENT_MODEL));
	if (strcmp(algorithm, "auto") != 0 || request->source.columns != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s cannot be chosen when a model is given",
						request->source.columns != NULL ? "columns" : "an algorithm"),
				 errhint("They are those that the model was fitted with.")));
	pyn_scoring_options(json, &request->options);
}

/* Says which columns play no part, when the user did not name the columns. */
static void
report_left_out(const PynSource *source, const PynModel *model)
{
	StringInfoData list;
	ListCell   *cell;
	int			count = 0;
	static const char *const why[] = {
		[PYN_USED] = "",
		[PYN_CONSTANT] = "constant",
		[PYN_ALL_MISSING] = "no value",
		[PYN_MANY_CATEGORIES] = "too many different texts",
	};

	initStringInfo(&list);
	foreach(cell, source->left_out)
		if (count++ < MOST_NAMED)
			appendStringInfo(&list, "%s%s", list.len > 0 ? ", " : "", (char *) lfirst(cell));
	for (int i = 0; i < model->column_count; i++)
	{
		const PynModelColumn *column = &model->columns[i];

		if (column->use != PYN_USED && count++ < MOST_NAMED)
			appendStringInfo(&list, "%s\"%s\" (%s)", list.len > 0 ? ", " : "",
							 pyn_utf8_to_server(column->name, strlen(column->name)), why[column->use]);
	}
	if (count > MOST_NAMED)
		appendStringInfo(&list, " and %d more", count - MOST_NAMED);
	if (count > 0)
		ereport(NOTICE,
				(errmsg("left out of %s: %s", source->description, list.data)));
}

/* Fits a model to the source's rows: the first reading. */
static PynModel *
fit_source(PynSource *source, const Request *request)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "pynomaly sketch", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	PynSketch  *sketch = pyn_sketch_source(source, request->options.fit.seed, request->options.sample_text);
	PynModel   *model;
	Datum		value;

	MemoryContextSwitchTo(old);
	value = pyn_fit_sketch(sketch, &request->options.fit, source->description);
	MemoryContextDelete(context);
	model = pyn_model_from_datum(value);
	pfree(DatumGetPointer(value));
	if (request->source.columns == NULL)
		report_left_out(source, model);
	return model;
}

/* The names of the model's columns, as an argument would give them. */
static ArrayType *
column_names(const PynModel *model)
{
	Datum	   *names = pyn_new(Datum, model->column_count);

	for (int i = 0; i < model->column_count; i++)
	{
		char	   *name = pyn_utf8_to_server(model->columns[i].name, strlen(model->columns[i].name));
		Name		padded = palloc0(NAMEDATALEN);

		namestrcpy(padded, name);
		names[i] = NameGetDatum(padded);
	}
	return construct_array(names, model->column_count, NAMEOID, NAMEDATALEN, false, TYPALIGN_CHAR);
}

static void
require_kinds(const PynSource *source, const PynModel *model)
{
	for (int i = 0; i < model->column_count; i++)
		if (!pyn_kinds_agree(source->columns[i].reader.kind, model->columns[i].kind))
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("column \"%s\" of %s is of kind %s, and of kind %s in the model", source->columns[i].name,
							source->description, pyn_kind_name(source->columns[i].reader.kind),
							pyn_kind_name(model->columns[i].kind))));
}

static PynSource *
open_source(FunctionCallInfo fcinfo, bool is_query, const PynSourceOptions *options)
{
	if (is_query)
		return pyn_source_of_query(text_to_cstring(PG_GETARG_TEXT_PP(ARGUMENT_SOURCE)), options);
	return pyn_source_of_relation(PG_GETARG_OID(ARGUMENT_SOURCE), options);
}

/*
 * pyn_detect_flagged judges a relation's rows by a model and puts the flagged ones, worst first, into the store.
 */
PynScored
pyn_detect_flagged(Oid relation, ArrayType *key, const PynModel *model, bool explained, int64 limit,
				   Tuplestorestate *store, TupleDesc type)
{
	PynSourceOptions options = {.columns = column_names(model),.key = key};
	PynScoring	scoring = {
		.source = pyn_source_of_relation(relation, &options),
		.model = model,
		.explain = explained ? PYN_EXPLAIN_FLAGGED : PYN_EXPLAIN_NONE,
		.flagged_only = true,
		.with_evidence = true,
		.limit = limit
	};

	require_kinds(scoring.source, model);
	scoring.source->rereads = true;
	return pyn_score_rows(&scoring, store, type);
}

static Datum
detect(FunctionCallInfo fcinfo, bool is_query, bool flagged_only)
{
	ReturnSetInfo *info = (ReturnSetInfo *) fcinfo->resultinfo;
	Request		request;
	PynScoring	scoring = {.flagged_only = flagged_only, .with_row = flagged_only, .limit = -1};
	PynModel   *model;

	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(ARGUMENT_SOURCE))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s is NULL", is_query ? "query" : "source")));
	if (flagged_only && !PG_ARGISNULL(ARGUMENT_LIMIT))
	{
		scoring.limit = PG_GETARG_INT32(ARGUMENT_LIMIT);
		if (scoring.limit < 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_ROW_COUNT_IN_LIMIT_CLAUSE),
					 errmsg("limit must not be negative")));
	}
	read_request(fcinfo, &request);
	request.source.whole_row = flagged_only;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (request.model_name != NULL)
	{
		model = pyn_model_from_datum(pyn_resolve_model(request.model_name));
		request.source.columns = column_names(model);
		scoring.source = open_source(fcinfo, is_query, &request.source);
		require_kinds(scoring.source, model);
		scoring.source->rereads = true;
		pyn_override_threshold(model, request.contamination_given ? request.contamination : pyn_nan(),
							   request.options.fit.threshold);
		pyn_replace_rules(model, &request.options.suppress);
	}
	else
	{
		scoring.source = open_source(fcinfo, is_query, &request.source);
		model = fit_source(scoring.source, &request);
	}
	scoring.model = model;
	scoring.explain = request.options.explain;
	(void) pyn_score_rows(&scoring, info->setResult, info->setDesc);
	SPI_finish();
	return (Datum) 0;
}

/*
 * detect(source regclass, columns, algorithm, contamination, key, model, options) → a row for each row
 */
Datum
pyn_detect(PG_FUNCTION_ARGS)
{
	return detect(fcinfo, false, false);
}

/*
 * detect_query(query text, columns, algorithm, contamination, key, model, options) → a row for each row
 */
Datum
pyn_detect_query(PG_FUNCTION_ARGS)
{
	return detect(fcinfo, true, false);
}

/*
 * anomalies(source regclass, columns, algorithm, contamination, key, model, options, "limit") → flagged rows, worst first
 */
Datum
pyn_anomalies(PG_FUNCTION_ARGS)
{
	return detect(fcinfo, false, true);
}
