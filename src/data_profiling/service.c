/*
 * service.c
 *		What data_profiling does for others: its operations, and its step of the detection journey.
 *
 * An operation acts for the current user, a step for the publisher of its event.  Both profile a sketch that this role
 * may read, and store the profile as its own.
 */
#include "kernel/port.h"

#include <math.h>

#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "portability/instr_time.h"
#include "utils/builtins.h"

#include "data_profiling/data_profiling.h"
#include "kernel/audit.h"
#include "kernel/event_log.h"
#include "kernel/json_reader.h"
#include "kernel/saga.h"
#include "kernel/service.h"
#include "sketch/sketch_store.h"

#define DOMAIN "data_profiling"

/* Column names that an event can hold of each kind; they are long at times and its data is small. */
#define NAMES_IN_EVENT 200

/* What came of profiling a sketch. */
typedef struct Outcome
{
	int64		profile;
	int64		previous;		/* 0: none */
	List	   *changes;
	double		seconds;
} Outcome;

PG_FUNCTION_INFO_V1(pyn_data_profiling_profile);
PG_FUNCTION_INFO_V1(pyn_data_profiling_compare);
PG_FUNCTION_INFO_V1(pyn_data_profiling_get_profile);
PG_FUNCTION_INFO_V1(pyn_data_profiling_discard_profile);
PG_FUNCTION_INFO_V1(pyn_data_profiling_on_quality_analyzed);

static void
refuse_missing(int64 profile)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("profile " INT64_FORMAT " does not exist", profile)));
}

/* The changes between two profiles; none if one of them has been discarded meanwhile, with the request that it was made for. */
static List *
compare_stored(int64 before, int64 after)
{
	PynStoredProfile first;
	PynStoredProfile second;

	if (!pyn_profile_load(before, &first) || !pyn_profile_load(after, &second))
		return NIL;
	return pyn_compare_profiles(&first, &second);
}

/*
 * Profiles the sketch, stores the profile and what has changed since the one before, and lets the oldest go.  The caller
 * is between pyn_profile_begin and pyn_profile_end.
 */
static void
profile_sketch(const PynProfileTask *task, Outcome *outcome)
{
	MemoryContext column_context = AllocSetContextCreate(CurrentMemoryContext, "pynomaly column profile",
														 ALLOCSET_DEFAULT_SIZES);
	PynColumnStatistics *statistics = palloc(sizeof(PynColumnStatistics));
	PynSketch  *sketch;
	instr_time	begin;
	instr_time	end;

	INSTR_TIME_SET_CURRENT(begin);
	sketch = pyn_sketch_load(task->sketch, task->owner);
	outcome->profile = pyn_profile_insert(task, sketch, &outcome->previous);
	for (int i = 0; i < sketch->column_count; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(column_context);

		CHECK_FOR_INTERRUPTS();
		pyn_column_statistics(sketch, i, statistics);
		pyn_profile_insert_column(outcome->profile, task->owner, statistics, i + 1);
		MemoryContextSwitchTo(old);
		MemoryContextReset(column_context);
	}
	outcome->changes = NIL;
	if (outcome->previous != 0)
		outcome->changes = compare_stored(outcome->previous, outcome->profile);
	pyn_profile_insert_changes(outcome->profile, task->owner, outcome->changes);
	pyn_profile_remove_old(task->owner, task->dataset);
	INSTR_TIME_SET_CURRENT(end);
	INSTR_TIME_SUBTRACT(end, begin);
	outcome->seconds = INSTR_TIME_GET_DOUBLE(end);
	pyn_profile_set_seconds(outcome->profile, outcome->seconds);
}

/* The data of profile_generated; outside a request without one. */
static Jsonb *
generated_data(const Outcome *outcome, const char *request, Jsonb *journey)
{
	PynJson		json = {0};

	pyn_json_open_object(&json, NULL);
	if (request != NULL)
		pyn_json_text(&json, "request", request);
	pyn_json_jsonb(&json, "journey", journey);
	pyn_json_integer(&json, "profile", outcome->profile);
	if (outcome->previous != 0)
		pyn_json_integer(&json, "previous", outcome->previous);
	else
		pyn_json_null(&json, "previous");
	pyn_json_integer(&json, "changes", list_length(outcome->changes));
	pyn_json_number(&json, "seconds", outcome->seconds);
	pyn_json_close_object(&json);
	return pyn_json_finish(&json);
}

/* Writes the names of the columns with one property, as many as an event can hold, and gives their number. */
static int
put_columns_changed(PynJson *json, const char *name, List *changes, const char *property)
{
	int			count = 0;
	ListCell   *cell;

	pyn_json_open_array(json, name);
	foreach(cell, changes)
	{
		const PynChange *change = lfirst(cell);

		if (strcmp(change->property, property) == 0 && ++count <= NAMES_IN_EVENT)
			pyn_json_text(json, NULL, change->column);
	}
	pyn_json_close_array(json);
	return count;
}

/* The data of schema_changed; NULL where the columns are the same. */
static Jsonb *
schema_changed_data(const PynProfileTask *task, const Outcome *outcome)
{
	PynJson		json = {0};
	int			added;
	int			removed;
	int			changed;

	pyn_json_open_object(&json, NULL);
	if (task->request != NULL)
		pyn_json_text(&json, "request", task->request);
	pyn_json_integer(&json, "dataset", task->dataset);
	pyn_json_integer(&json, "profile", outcome->profile);
	pyn_json_text(&json, "source", task->source);
	added = put_columns_changed(&json, "added", outcome->changes, "column_added");
	removed = put_columns_changed(&json, "removed", outcome->changes, "column_removed");
	changed = put_columns_changed(&json, "changed", outcome->changes, "kind");
	pyn_json_boolean(&json, "complete", Max(added, Max(removed, changed)) <= NAMES_IN_EVENT);
	pyn_json_close_object(&json);
	return added + removed + changed > 0 ? pyn_json_finish(&json) : NULL;
}

/* Tells of a profile that is no step of a request. */
static void
publish_plainly(const PynProfileTask *task, const Outcome *outcome)
{
	PynPublication generated = {.type = "data_profiling.profile_generated.v1",.subject = task->source,
	.data = generated_data(outcome, NULL, NULL),.publisher = task->owner};
	PynPublication changed = {.type = "data_profiling.schema_changed.v1",.subject = task->source,
	.data = schema_changed_data(task, outcome),.publisher = task->owner};

	if (changed.data != NULL)
		pyn_publish(&changed);
	pyn_publish(&generated);
}

/* Has data_science read the relation, and gives what it says of it. */
static Jsonb *
process_dataset(Jsonb *arguments)
{
	static const char *const passed_on[] = {"relation", "source", "columns", "key", "options"};
	PynCall		call = {.caller = DOMAIN,.domain = "data_science",.operation = "process_dataset"};
	PynJson		json = {0};

	if (pyn_json_get(arguments, "relation") == NULL && pyn_json_get(arguments, "source") == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("nothing is named that could be profiled"),
				 errhint("Give a relation, the name of one as source, or a sketch with its dataset and source.")));
	pyn_json_open_object(&json, NULL);
	for (int i = 0; i < lengthof(passed_on); i++)
		pyn_json_jsonb(&json, passed_on[i], pyn_json_get(arguments, passed_on[i]));
	pyn_json_close_object(&json);
	call.arguments = pyn_json_finish(&json);
	return pyn_call(&call);
}

/* Checks what is given along with a sketch. */
static void
check_sketch_arguments(Jsonb *arguments)
{
	static const char *const needed[] = {"dataset", "source"};
	static const char *const refused[] = {"columns", "key"};

	for (int i = 0; i < lengthof(needed); i++)
		if (pyn_json_get(arguments, needed[i]) == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("a sketch is profiled with its dataset and source, but %s is missing", needed[i])));
	for (int i = 0; i < lengthof(refused); i++)
		if (pyn_json_get(arguments, refused[i]) != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("%s cannot be chosen for a sketch", refused[i]),
					 errhint("A sketch has the columns that it was made with.")));
}

/*
 * profile: reads a relation, unless a sketch is given, and gives a row for each column.
 */
Datum
pyn_data_profiling_profile(PG_FUNCTION_ARGS)
{
	Jsonb	   *given = PG_GETARG_JSONB_P(0);
	PynProfileTask task = {.owner = GetUserId()};
	PynAccess	access;
	Outcome		outcome;

	pyn_check_writable("profile()");
	InitMaterializedSRF(fcinfo, 0);
	if (pyn_json_get(given, "sketch") != NULL)
		check_sketch_arguments(given);
	else
		given = process_dataset(given);
	task.dataset = pyn_json_get_integer(given, "dataset", 0);
	task.source = pyn_json_get_text(given, "source");
	task.sketch = pyn_json_get_digest(given, "sketch");

	pyn_profile_begin(&access);
	profile_sketch(&task, &outcome);
	publish_plainly(&task, &outcome);
	pyn_profile_put_columns(outcome.profile, (ReturnSetInfo *) fcinfo->resultinfo);
	pyn_profile_end(&access);
	return (Datum) 0;
}

/*
 * compare: a row for each change from one stored profile to another.
 */
Datum
pyn_data_profiling_compare(PG_FUNCTION_ARGS)
{
	Jsonb	   *arguments = PG_GETARG_JSONB_P(0);
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	int64		after = pyn_json_get_integer(arguments, "profile", 0);
	int64		before = pyn_json_get_integer(arguments, "previous", 0);
	bool		chosen = pyn_json_get(arguments, "previous") != NULL;
	Oid			reader = GetUserId();
	PynAccess	access;
	ListCell   *cell;

	InitMaterializedSRF(fcinfo, 0);
	pyn_profile_begin(&access);
	if (!pyn_profile_visible(after, reader))
		refuse_missing(after);
	if (chosen && !pyn_profile_visible(before, reader))
		refuse_missing(before);
	if (!chosen)
		before = pyn_profile_before(after);
	if (!chosen && before == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("there is no profile before profile " INT64_FORMAT, after)));
	foreach(cell, compare_stored(before, after))
	{
		const PynChange *change = lfirst(cell);
		bool		nulls[] = {change->column == NULL, false, change->before == NULL, change->after == NULL,
		isnan(change->difference)};
		Datum		values[] = {
			change->column != NULL ? CStringGetTextDatum(change->column) : (Datum) 0,
			CStringGetTextDatum(change->property),
			change->before != NULL ? CStringGetTextDatum(change->before) : (Datum) 0,
			change->after != NULL ? CStringGetTextDatum(change->after) : (Datum) 0,
			Float8GetDatum(change->difference),
		};

		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	pyn_profile_end(&access);
	return (Datum) 0;
}

/*
 * get_profile: a stored profile with its columns and changes.
 */
Datum
pyn_data_profiling_get_profile(PG_FUNCTION_ARGS)
{
	Jsonb	   *arguments = PG_GETARG_JSONB_P(0);
	MemoryContext context = CurrentMemoryContext;
	bool		by_number = pyn_json_get(arguments, "profile") != NULL;
	int64		id = pyn_json_get_integer(arguments, "profile", 0);
	char	   *request = pyn_json_get_text(arguments, "request");
	Oid			reader = GetUserId();
	PynAccess	access;
	Jsonb	   *profile;

	if (by_number == (request != NULL))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("get_profile takes either a profile or a request")));
	pyn_profile_begin(&access);
	profile = pyn_profile_json(by_number ? &id : NULL, request, reader, context);
	pyn_profile_end(&access);
	if (profile == NULL && by_number)
		refuse_missing(id);
	if (profile == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("request %s has no profile", request)));
	PG_RETURN_JSONB_P(profile);
}

/*
 * discard_profile: undoes the step; the events tell of a profile that is no more.
 */
Datum
pyn_data_profiling_discard_profile(PG_FUNCTION_ARGS)
{
	char	   *request = pyn_json_get_text(PG_GETARG_JSONB_P(0), "request");
	Oid			owner = GetUserId();
	PynAccess	access;
	JsonbValue	nothing = {.type = jbvNull};

	pyn_profile_begin(&access);
	pyn_profile_discard(owner, request);
	pyn_profile_end(&access);
	PG_RETURN_JSONB_P(JsonbValueToJsonb(&nothing));
}

/* Whether the quality gate has ended the request. */
static bool
is_stopped(Jsonb *data, Jsonb *journey)
{
	char	   *verdict = pyn_json_get_text(data, "verdict");
	char	   *gate = pyn_json_get_text(journey, "gate");

	return verdict != NULL && gate != NULL && strcmp(verdict, "stop") == 0 && strcmp(gate, "stop") == 0;
}

/* The door has not seen what a step does; the trail names the request's owner. */
static void
audit_step(const PynProfileTask *task, const Outcome *outcome)
{
	PynJson		json = {0};
	PynAccess	access;

	pyn_json_open_object(&json, NULL);
	pyn_json_text(&json, "request", task->request);
	pyn_json_integer(&json, "profile", outcome->profile);
	pyn_json_close_object(&json);
	pyn_access_begin(&access, task->owner);
	pyn_audit("data_profiling.profile", task->source, pyn_json_finish(&json));
	pyn_access_end(&access);
}

/*
 * The step: profiles the sketch of the journey.  Event and profile are committed together, so where the request has a
 * profile the event was published, too.
 */
static void
profile_step(const PynEventFields *event)
{
	Jsonb	   *journey = pyn_json_get(event->data, "journey");
	PynProfileTask task = {.owner = event->publisher,.request = pyn_json_get_text(event->data, "request")};
	PynAccess	access;
	Outcome		outcome;
	Jsonb	   *changed;

	if (is_stopped(event->data, journey))
		return;
	task.dataset = pyn_json_get_integer(journey, "dataset", 0);
	task.source = pyn_json_get_text(journey, "source");
	task.sketch = pyn_json_get_digest(journey, "sketch");
	if (task.source == NULL || task.sketch == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the journey of request %s has no %s", task.request, task.source == NULL ? "source" : "sketch")));

	pyn_profile_begin(&access);
	if (!pyn_profile_of_request(task.owner, task.request))
	{
		profile_sketch(&task, &outcome);
		changed = schema_changed_data(&task, &outcome);
		if (changed != NULL)
			pyn_saga_publish(event, "data_profiling.schema_changed.v1", changed);
		pyn_saga_publish(event, "data_profiling.profile_generated.v1", generated_data(&outcome, task.request, journey));
		audit_step(&task, &outcome);
	}
	pyn_profile_end(&access);
}

/*
 * on_quality_analyzed(event pynomaly_kernel.event) → void
 */
Datum
pyn_data_profiling_on_quality_analyzed(PG_FUNCTION_ARGS)
{
	static const PynStep step = {"profile", "data_profiling.profiling_failed.v1", profile_step};

	pyn_saga_step(&step, PG_GETARG_DATUM(0));
	PG_RETURN_VOID();
}
