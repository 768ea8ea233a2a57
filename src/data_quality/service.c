/*
 * service.c
 *		The domain's application: the operation check, the step "analyze" of a journey, and the events of both.
 *
 * Both do the same: analyse a sketch for a role, store the run, tell of it.  They differ in where the sketch comes from
 * and in whether the event carries a request on.
 */
#include "postgres.h"

#include <math.h>

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"
#include "utils/uuid.h"

#include "data_quality/data_quality.h"
#include "kernel/access.h"
#include "kernel/event_log.h"
#include "kernel/json_reader.h"
#include "kernel/saga.h"
#include "kernel/service.h"

#define REASONS_TOLD 20			/* failed checks that an event names; the report has all */
#define CHECK_COLUMNS 9

PG_FUNCTION_INFO_V1(pyn_quality_check);
PG_FUNCTION_INFO_V1(pyn_quality_discard_check);
PG_FUNCTION_INFO_V1(pyn_quality_on_dataset_processed);

/* The event's data; with the request and the journey that it belongs to, if any. */
static Jsonb *
analyzed_json(const PynQualityAnalysis *analysis, const char *request, Jsonb *journey)
{
	PynQualityCheck **order = pyn_quality_in_order(analysis);
	PynJson		json = {0};

	pyn_json_open_object(&json, NULL);
	if (request != NULL)
		pyn_json_text(&json, "request", request);
	pyn_json_jsonb(&json, "journey", journey);
	pyn_json_integer(&json, "check", analysis->run);
	pyn_json_number(&json, "score", analysis->score);
	pyn_json_text(&json, "grade", analysis->grade);
	pyn_json_text(&json, "verdict", analysis->verdict);
	pyn_json_integer(&json, "failed", analysis->failed);
	pyn_json_open_array(&json, "reasons");
	for (int i = 0; i < Min(analysis->failed, REASONS_TOLD); i++)
		pyn_json_text(&json, NULL, order[i]->message);
	if (analysis->failed > REASONS_TOLD)
		pyn_json_text(&json, NULL, psprintf("%d more failed", analysis->failed - REASONS_TOLD));
	pyn_json_close_array(&json);
	pyn_json_number(&json, "seconds", analysis->seconds);
	pyn_json_close_object(&json);
	return pyn_json_finish(&json);
}

static void
publish(const PynQualityAnalysis *analysis, const char *type, Jsonb *data)
{
	PynPublication publication = {.type = type,.subject = analysis->source,.data = data,.publisher = analysis->owner};

	pyn_publish(&publication);
}

/* An event for each failed check of severity error, so that whoever listens need not read reports. */
static void
publish_issues(const PynQualityAnalysis *analysis)
{
	for (int i = 0; i < analysis->count; i++)
	{
		const PynQualityCheck *check = &analysis->checks[i];
		PynJson		json = {0};

		if (check->outcome != PYN_FAILED || check->severity != PYN_CHECK_ERROR)
			continue;
		CHECK_FOR_INTERRUPTS();
		pyn_json_open_object(&json, NULL);
		pyn_json_integer(&json, "dataset", analysis->dataset);
		pyn_json_integer(&json, "check", analysis->run);
		pyn_json_text(&json, "source", analysis->source);
		pyn_json_text(&json, "name", check->name);
		if (check->column != NULL)
			pyn_json_text(&json, "column", check->column);
		else
			pyn_json_null(&json, "column");
		pyn_json_text(&json, "dimension", pyn_quality_dimension_name(check->dimension));
		pyn_json_close_object(&json);
		publish(analysis, "data_quality.quality_issue_found.v1", pyn_json_finish(&json));
	}
}

/*
 * The sketch that the arguments name; or, asked of data_science as the caller, that of the relation which they name.
 */
static void
find_sketch(Jsonb *arguments, PynQualityAnalysis *analysis)
{
	static const char *const passed_on[] = {"source", "relation", "columns", "key", "options"};
	PynCall		call = {.caller = "data_quality",.domain = "data_science",.operation = "process_dataset"};
	bool		given = pyn_json_get(arguments, "sketch") != NULL;
	PynJson		json = {0};

	if (given && (pyn_json_get(arguments, "dataset") == NULL || pyn_json_get(arguments, "source") == NULL))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a sketch is checked with its dataset and its source"),
				 errhint("Give all three as data_science.get_sketch gives them.")));
	analysis->columns_chosen = pyn_json_get(arguments, "columns") != NULL;
	if (!given)
	{
		if (pyn_json_get(arguments, "dataset") != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("a dataset is checked with a sketch of it"),
					 errhint("Leave the dataset out to have the source read.")));
		pyn_json_open_object(&json, NULL);
		for (int i = 0; i < lengthof(passed_on); i++)
			pyn_json_jsonb(&json, passed_on[i], pyn_json_get(arguments, passed_on[i]));
		pyn_json_close_object(&json);
		call.arguments = pyn_json_finish(&json);
		arguments = pyn_call(&call);
	}
	analysis->dataset = pyn_json_get_integer(arguments, "dataset", 0);
	analysis->source = pyn_json_get_text(arguments, "source");
	analysis->digest = pyn_json_get_digest(arguments, "sketch");
}

static void
put_rows(const PynQualityAnalysis *analysis, ReturnSetInfo *result)
{
	PynQualityCheck **order = pyn_quality_in_order(analysis);

	for (int i = 0; i < analysis->count; i++)
	{
		const PynQualityCheck *check = order[i];
		Datum		values[CHECK_COLUMNS] = {
			CStringGetTextDatum(pyn_quality_dimension_name(check->dimension)), CStringGetTextDatum(check->name),
			check->column != NULL ? CStringGetTextDatum(check->column) : (Datum) 0,
			Float8GetDatum(check->value), Float8GetDatum(check->low), Float8GetDatum(check->high),
			BoolGetDatum(check->outcome == PYN_PASSED), CStringGetTextDatum(pyn_quality_severity_name(check->severity)),
			CStringGetTextDatum(check->message)
		};
		bool		nulls[CHECK_COLUMNS] = {
			false, false, check->column == NULL, isnan(check->value), isnan(check->low), isnan(check->high),
			check->outcome == PYN_NOT_JUDGED, false, false
		};

		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
}

/*
 * pynomaly_data_quality.check(arguments jsonb) → rows, the failed checks first
 */
Datum
pyn_quality_check(PG_FUNCTION_ARGS)
{
	MemoryContext context;
	MemoryContext old;
	PynQualityAnalysis *analysis;

	pyn_check_writable("check()");
	InitMaterializedSRF(fcinfo, 0);
	context = AllocSetContextCreate(CurrentMemoryContext, "pynomaly quality analysis", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(context);
	analysis = palloc0(sizeof(PynQualityAnalysis));
	analysis->owner = GetUserId();
	find_sketch(PG_GETARG_JSONB_P(0), analysis);
	pyn_quality_analyze(analysis);
	pyn_quality_run_store(analysis);
	publish(analysis, "data_quality.quality_analyzed.v1", analyzed_json(analysis, NULL, NULL));
	publish_issues(analysis);
	put_rows(analysis, (ReturnSetInfo *) fcinfo->resultinfo);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	return (Datum) 0;
}

/*
 * pynomaly_data_quality.discard_check(arguments jsonb) → null
 */
Datum
pyn_quality_discard_check(PG_FUNCTION_ARGS)
{
	char	   *request = pyn_json_get_text(PG_GETARG_JSONB_P(0), "request");
	JsonbValue	nothing = {.type = jbvNull};

	pyn_quality_run_discard(GetUserId(), DatumGetUUIDP(DirectFunctionCall1(uuid_in, CStringGetDatum(request))));
	PG_RETURN_JSONB_P(JsonbValueToJsonb(&nothing));
}

/* The step "analyze". */
static void
analyze(const PynEventFields *event)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "pynomaly quality analysis",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	PynQualityAnalysis *analysis = palloc0(sizeof(PynQualityAnalysis));
	Jsonb	   *journey = pyn_json_get(event->data, "journey");
	char	   *request = pyn_json_get_text(event->data, "request");

	analysis->owner = event->publisher;
	analysis->dataset = pyn_json_get_integer(event->data, "dataset", 0);
	analysis->digest = pyn_json_get_digest(event->data, "sketch");
	analysis->source = pyn_json_get_text(journey, "source");
	analysis->time_zone = pyn_json_get_text(journey, "time_zone");
	analysis->columns_chosen = pyn_json_get(journey, "columns") != NULL;
	analysis->request = DatumGetUUIDP(DirectFunctionCall1(uuid_in, CStringGetDatum(request)));
	if (analysis->source == NULL || analysis->digest == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the journey of request %s names no source or no sketch", request)));
	/* A replayed event: what it caused was committed with the run. */
	if (!pyn_quality_run_exists(analysis->owner, analysis->request))
	{
		pyn_quality_analyze(analysis);
		pyn_quality_run_store(analysis);
		pyn_saga_publish(event, "data_quality.quality_analyzed.v1", analyzed_json(analysis, request, journey));
		publish_issues(analysis);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}

/*
 * pynomaly_data_quality.on_dataset_processed(event pynomaly_kernel.event) → void
 */
Datum
pyn_quality_on_dataset_processed(PG_FUNCTION_ARGS)
{
	static const PynStep step = {"analyze", "data_quality.analysis_failed.v1", analyze};

	pyn_saga_step(&step, PG_GETARG_DATUM(0));
	PG_RETURN_VOID();
}
