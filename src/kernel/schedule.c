/*
 * schedule.c
 *		Calls functions by the clock, as their owners.
 *
 * The next due time is moved on in the transaction of the run's effects, so that each due time has its effect once.  As
 * with events, an attempt is counted before it begins: one that takes the server down is made up for, but not for ever.
 * Due times that passed while nothing ran are made up for by one run.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/inval.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "kernel/access.h"
#include "kernel/consumer.h"
#include "kernel/doorbell.h"
#include "kernel/settings.h"
#include "kernel/statement.h"
#include "kernel/timing.h"

/* Missed due times are counted up to this. */
#define MAX_MISSED 10000

typedef struct DueSchedule
{
	char	   *name;
	PynTiming  *timing;
	char	   *handler;
	Oid			owner;
	int			timeout;		/* ms */
	bool		builtin;
	TimestampTz anchor;
	TimestampTz due;
	int			attempts;
} DueSchedule;

PG_FUNCTION_INFO_V1(pyn_schedule);
PG_FUNCTION_INFO_V1(pyn_unschedule);
PG_FUNCTION_INFO_V1(pyn_next_due);

static void
announce_change(void)
{
	NameData	host;

	namestrcpy(&host, PYN_HOST_DOMAIN);
	CacheInvalidateRelcacheByRelid(pyn_relation("schedule"));
	pyn_doorbell_prepare(&host, 1);
}

static void
insert_state(const char *name, TimestampTz due)
{
	static PynStatement insert = PYN_STATEMENT(
		"INSERT INTO pynomaly_kernel.schedule_state (schedule, due_at, attempts, runs, failures, missed) "
		"VALUES ($1, $2, 0, 0, 0, 0)",
		TEXTOID, TIMESTAMPTZOID);
	Datum		values[] = {CStringGetTextDatum(name), TimestampTzGetDatum(due)};

	pyn_execute(&insert, values, NULL, 0);
}

/*
 * pynomaly.schedule(name text, timing text, handler text, time_zone text = 'UTC', timeout interval = NULL) → timestamptz
 */
Datum
pyn_schedule(PG_FUNCTION_ARGS)
{
	static PynStatement insert_schedule = PYN_STATEMENT(
		"INSERT INTO pynomaly_kernel.schedule "
		"(name, timing, time_zone, handler, owner, timeout, status, builtin, created_at) "
		"VALUES ($1, $2, $3, $4, $5, $6, 'active', $7, now()) ON CONFLICT (name) DO NOTHING",
		TEXTOID, TEXTOID, TEXTOID, TEXTOID, REGROLEOID, INTERVALOID, BOOLOID);
	static const char *const arguments[] = {"name", "timing", "handler", "time zone"};
	Oid			owner = GetUserId();
	TimestampTz now = GetCurrentTransactionStartTimestamp();
	Datum		values[7];
	PynTiming  *timing;
	PynAccess	access;
	TimestampTz due;
	char	   *name;

	pyn_check_writable("schedule()");
	for (int i = 0; i < lengthof(arguments); i++)
	{
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("the %s of a schedule must not be null", arguments[i])));
		values[i] = PG_GETARG_DATUM(i);
	}
	name = pyn_name_argument(PG_GETARG_TEXT_PP(0), "schedule");
	timing = pyn_timing_parse(text_to_cstring(PG_GETARG_TEXT_PP(1)), text_to_cstring(PG_GETARG_TEXT_PP(3)));
	pyn_check_login(owner);
	values[2] = PG_GETARG_DATUM(3);
	values[3] = CStringGetTextDatum(pyn_handler_name(text_to_cstring(PG_GETARG_TEXT_PP(2)), false));
	if (!PG_ARGISNULL(4))
		(void) pyn_interval_ms(PG_GETARG_INTERVAL_P(4), "timeout of a schedule");
	values[4] = ObjectIdGetDatum(owner);
	values[5] = PG_GETARG_DATUM(4);
	values[6] = BoolGetDatum(creating_extension);
	due = pyn_timing_next(timing, now, now);

	pyn_access_begin(&access, pyn_owner());
	SPI_connect();
	if (pyn_execute(&insert_schedule, values, PG_ARGISNULL(4) ? "     n " : NULL, 0) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("schedule \"%s\" exists already", name),
				 errhint("Call pynomaly.unschedule first.")));
	insert_state(name, due);
	announce_change();
	SPI_finish();
	pyn_access_end(&access);
	PG_RETURN_TIMESTAMPTZ(due);
}

/*
 * pynomaly.unschedule(name text) → void
 */
Datum
pyn_unschedule(PG_FUNCTION_ARGS)
{
	static PynStatement select_owner = PYN_STATEMENT(
		"SELECT owner, builtin FROM pynomaly_kernel.schedule WHERE name = $1",
		TEXTOID);
	static PynStatement delete_schedule = PYN_STATEMENT(
		"DELETE FROM pynomaly_kernel.schedule WHERE name = $1",
		TEXTOID);
	static PynStatement delete_state = PYN_STATEMENT(
		"DELETE FROM pynomaly_kernel.schedule_state WHERE schedule = $1",
		TEXTOID);
	Oid			user = GetUserId();
	Datum		values[] = {PG_GETARG_DATUM(0)};
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	PynAccess	access;

	pyn_check_writable("unschedule()");
	pyn_access_begin(&access, pyn_owner());
	SPI_connect();
	if (pyn_execute(&select_owner, values, NULL, 1) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("schedule \"%s\" does not exist", name),
				 errhint("The view pynomaly.schedules lists them.")));
	if (!has_privs_of_role(user, DatumGetObjectId(pyn_field(0, 1, NULL))))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of schedule \"%s\"", name)));
	if (DatumGetBool(pyn_field(0, 2, NULL)))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("schedule \"%s\" is a part of pynomaly", name)));
	pyn_execute(&delete_schedule, values, NULL, 0);
	pyn_execute(&delete_state, values, NULL, 0);
	announce_change();
	SPI_finish();
	pyn_access_end(&access);
	PG_RETURN_VOID();
}

/*
 * pynomaly.next_due(timing text, time_zone text = 'UTC', after timestamptz = now(), anchor timestamptz = now()) → timestamptz
 */
Datum
pyn_next_due(PG_FUNCTION_ARGS)
{
	PynTiming  *timing = pyn_timing_parse(text_to_cstring(PG_GETARG_TEXT_PP(0)), text_to_cstring(PG_GETARG_TEXT_PP(1)));

	PG_RETURN_TIMESTAMPTZ(pyn_timing_next(timing, PG_GETARG_TIMESTAMPTZ(3), PG_GETARG_TIMESTAMPTZ(2)));
}

/* After a restore schedules have no state; they go on with the next due time. */
static void
make_missing_states(void)
{
	static PynStatement select_missing = PYN_STATEMENT(
		"SELECT name, timing, time_zone, created_at FROM pynomaly_kernel.schedule s WHERE status = 'active' "
		"AND NOT EXISTS (SELECT FROM pynomaly_kernel.schedule_state WHERE schedule = s.name)");
	uint64		count = pyn_execute(&select_missing, NULL, NULL, 0);
	SPITupleTable *missing = SPI_tuptable;

	for (uint64 row = 0; row < count; row++)
	{
		HeapTuple	tuple = missing->vals[row];
		TupleDesc	descriptor = missing->tupdesc;
		bool		is_null;
		PynTiming  *timing = pyn_timing_parse(SPI_getvalue(tuple, descriptor, 2), SPI_getvalue(tuple, descriptor, 3));
		TimestampTz anchor = DatumGetTimestampTz(SPI_getbinval(tuple, descriptor, 4, &is_null));

		insert_state(SPI_getvalue(tuple, descriptor, 1), pyn_timing_next(timing, anchor, GetCurrentTimestamp()));
	}
	CommandCounterIncrement();
}

/* The next due time of all schedules; DT_NOEND: there is none. */
static TimestampTz
first_due(void)
{
	static PynStatement select_first = PYN_STATEMENT(
		"SELECT min(due_at) FROM pynomaly_kernel.schedule s JOIN pynomaly_kernel.schedule_state ON schedule = s.name "
		"WHERE status = 'active'");
	bool		is_null;
	Datum		due;

	pyn_execute(&select_first, NULL, NULL, 0);
	due = pyn_field(0, 1, &is_null);
	return is_null ? DT_NOEND : DatumGetTimestampTz(due);
}

/* Counts an attempt at the schedule that is due first and reads it; false if none is due. */
static bool
begin_run(DueSchedule *schedule)
{
	static PynStatement begin = PYN_STATEMENT(
		"UPDATE pynomaly_kernel.schedule_state SET attempts = attempts + 1 FROM pynomaly_kernel.schedule s "
		"WHERE schedule = s.name AND schedule = (SELECT schedule FROM pynomaly_kernel.schedule_state "
		"JOIN pynomaly_kernel.schedule ON name = schedule WHERE due_at <= clock_timestamp() AND status = 'active' "
		"ORDER BY due_at LIMIT 1) AND s.status = 'active' "
		"RETURNING s.name, timing, time_zone, handler, owner, (extract(epoch FROM timeout) * 1000)::int, builtin, "
		"created_at, due_at, attempts");
	bool		is_null;

	if (pyn_execute(&begin, NULL, NULL, 0) == 0)
		return false;
	schedule->name = pyn_text_field(0, 1);
	schedule->timing = pyn_timing_parse(pyn_text_field(0, 2), pyn_text_field(0, 3));
	schedule->handler = pyn_text_field(0, 4);
	schedule->owner = DatumGetObjectId(pyn_field(0, 5, NULL));
	schedule->timeout = DatumGetInt32(pyn_field(0, 6, &is_null));
	if (is_null)
		schedule->timeout = pyn_handler_timeout;
	schedule->builtin = DatumGetBool(pyn_field(0, 7, NULL));
	schedule->anchor = DatumGetTimestampTz(pyn_field(0, 8, NULL));
	schedule->due = DatumGetTimestampTz(pyn_field(0, 9, NULL));
	schedule->attempts = DatumGetInt32(pyn_field(0, 10, NULL));
	return true;
}

static void
announce_failure(const DueSchedule *schedule, const PynFailure *failure)
{
	PynPublication publication = {.type = "kernel.schedule_failed.v1",.subject = schedule->name,
	.publisher = schedule->owner};
	StringInfoData data;
	char		due[MAXDATELEN + 1];
	int			utc = 0;

	JsonEncodeDateTime(due, TimestampTzGetDatum(schedule->due), TIMESTAMPTZOID, &utc);
	initStringInfo(&data);
	appendStringInfoString(&data, "{\"schedule\": ");
	escape_json(&data, schedule->name);
	appendStringInfo(&data, ", \"due_at\": \"%s\", \"sqlstate\": \"%s\"}", due, failure->sqlstate);
	publication.data = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(data.data)));
	pyn_publish(&publication);
	ereport(LOG,
			(errmsg("pynomaly: schedule \"%s\" failed (SQLSTATE %s)", schedule->name, failure->sqlstate)));
}

/* Moves on to the next due time after now, and writes how the run went; NULL: well. */
static void
end_run(const DueSchedule *schedule, const PynFailure *failure)
{
	static PynStatement update_state = PYN_STATEMENT(
		"UPDATE pynomaly_kernel.schedule_state SET due_at = $2, attempts = 0, runs = runs + 1, "
		"failures = failures + ($4 IS NOT NULL)::int, missed = missed + $3, last_run = clock_timestamp(), "
		"last_success = CASE WHEN $4 IS NULL THEN clock_timestamp() ELSE last_success END, "
		"sqlstate = $4, message = $5, detail = $6, context = $7 WHERE schedule = $1",
		TEXTOID, TIMESTAMPTZOID, INT8OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID);
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz due = schedule->due;
	int64		passed = 0;
	Datum		values[7];
	char		nulls[] = "       ";

	while (due <= now && passed < MAX_MISSED)
	{
		due = pyn_timing_next(schedule->timing, schedule->anchor, due);
		passed++;
	}
	values[0] = CStringGetTextDatum(schedule->name);
	values[1] = TimestampTzGetDatum(pyn_timing_next(schedule->timing, schedule->anchor, now));
	values[2] = Int64GetDatum(Max(passed - 1, 0));
	values[3] = pyn_text_or_null(failure ? failure->sqlstate : NULL, &nulls[3]);
	values[4] = pyn_text_or_null(failure ? failure->message : NULL, &nulls[4]);
	values[5] = pyn_text_or_null(failure ? failure->detail : NULL, &nulls[5]);
	values[6] = pyn_text_or_null(failure ? failure->context : NULL, &nulls[6]);
	pyn_execute(&update_state, values, nulls, 0);
	if (failure != NULL)
		announce_failure(schedule, failure);
}

static void
disable(const DueSchedule *schedule, const char *reason)
{
	static PynStatement update_schedule = PYN_STATEMENT(
		"UPDATE pynomaly_kernel.schedule SET status = 'disabled', reason = $2 WHERE name = $1",
		TEXTOID, TEXTOID);
	PynFailure	failure = {"0LP01", (char *) reason, NULL, NULL};
	Datum		values[] = {CStringGetTextDatum(schedule->name), CStringGetTextDatum(reason)};

	pyn_execute(&update_schedule, values, NULL, 0);
	end_run(schedule, &failure);
}

static void
run(const DueSchedule *schedule)
{
	static const PynFailure lost = {"57P01", "the worker ended before the function did", NULL, NULL};
	PynHandler	handler;
	PynFailure	failure;
	const char *reason;

	if (schedule->attempts > pyn_max_attempts)
	{
		end_run(schedule, &lost);
		return;
	}
	reason = pyn_handler_find(&handler, schedule->handler, false, schedule->owner, schedule->builtin, schedule->timeout);
	if (reason != NULL)
		disable(schedule, reason);
	else if (pyn_handler_run(&handler, (Datum) 0, NULL, &failure))
		end_run(schedule, NULL);
	else
		end_run(schedule, &failure);
}

/*
 * pyn_schedules_due calls the function that is due first; true if one was.
 */
bool
pyn_schedules_due(PynConsumer *consumer)
{
	DueSchedule schedule;
	bool		is_due = false;

	/* An invalidation from here on makes it 0 again. */
	consumer->next_schedule = DT_NOEND;
	if (pyn_unit_begin(consumer))
	{
		TimestampTz due;

		make_missing_states();
		is_due = begin_run(&schedule);
		due = first_due();
		consumer->next_schedule = Min(consumer->next_schedule, due);
	}
	pyn_unit_keep(consumer);
	if (!is_due)
		return false;
	if (pyn_unit_begin(consumer))
		run(&schedule);
	pyn_unit_commit(consumer);
	consumer->next_schedule = 0;
	return true;
}
