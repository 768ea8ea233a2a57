/*
 * request.c
 *		Requests: detections in the background.
 *
 * To submit is to check all that can be checked at once, as the caller, to store the request, and to begin the saga whose
 * steps the domains do.  All of it is one transaction of the caller: where it is rolled back there was no request.
 */
#include "postgres.h"

#include <math.h>

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "pgtime.h"
#include "storage/latch.h"
#include "storage/lock.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "gateway/gateway.h"
#include "kernel/access.h"
#include "kernel/audit.h"
#include "kernel/consumer.h"
#include "kernel/doorbell.h"
#include "kernel/event_log.h"
#include "kernel/json_reader.h"
#include "kernel/process.h"
#include "kernel/saga_engine.h"
#include "kernel/service.h"
#include "kernel/statement.h"

/* How often to look at a request that is waited for: as often as the time has doubled, and then each second, in ms. */
#define SHORTEST_PAUSE 10
#define LONGEST_PAUSE 1000

/* A started database's workers may be away for so long, in ms: the launcher comes back after five seconds. */
#define ABSENCE 15000

PG_FUNCTION_INFO_V1(pyn_submit);
PG_FUNCTION_INFO_V1(pyn_wait);
PG_FUNCTION_INFO_V1(pyn_cancel);
PG_FUNCTION_INFO_V1(pyn_gateway_forget_requests);

enum
{
	ARGUMENT_SOURCE,
	ARGUMENT_COLUMNS,
	ARGUMENT_ALGORITHM,
	ARGUMENT_CONTAMINATION,
	ARGUMENT_KEY,
	ARGUMENT_MODEL,
	ARGUMENT_GATE,
	ARGUMENT_OPTIONS,
	ARGUMENT_IDEMPOTENCY_KEY
};

static void
no_such_request(pg_uuid_t *request)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("request %s does not exist", DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(request)))),
			 errhint("See pynomaly.requests.")));
}

/* ---------------------------------------------------------------- submit */

/* Members of the call to register_dataset and of the journey. */
static void
put_arguments(FunctionCallInfo fcinfo, PynJson *json)
{
	if (!PG_ARGISNULL(ARGUMENT_COLUMNS))
		pyn_json_names(json, "columns", PG_GETARG_ARRAYTYPE_P(ARGUMENT_COLUMNS));
	if (!PG_ARGISNULL(ARGUMENT_KEY))
		pyn_json_names(json, "key", PG_GETARG_ARRAYTYPE_P(ARGUMENT_KEY));
	if (!PG_ARGISNULL(ARGUMENT_CONTAMINATION))
		pyn_json_number(json, "contamination", PG_GETARG_FLOAT8(ARGUMENT_CONTAMINATION));
	pyn_json_text(json, "algorithm",
				  PG_ARGISNULL(ARGUMENT_ALGORITHM) ? "auto" : text_to_cstring(PG_GETARG_TEXT_PP(ARGUMENT_ALGORITHM)));
	if (!PG_ARGISNULL(ARGUMENT_OPTIONS))
		pyn_json_jsonb(json, "options", PG_GETARG_JSONB_P(ARGUMENT_OPTIONS));
}

/* Makes the relation known to the domain that will read it, which checks the caller's rights and what he asks for. */
static Jsonb *
register_dataset(FunctionCallInfo fcinfo)
{
	PynCall		call = {.caller = PYN_GATEWAY,.domain = "data_science",.operation = "register_dataset"};
	PynJson		json = {0};

	pyn_json_open_object(&json, NULL);
	put_arguments(fcinfo, &json);
	pyn_json_integer(&json, "relation", PG_GETARG_OID(ARGUMENT_SOURCE));
	pyn_json_close_object(&json);
	call.arguments = pyn_json_finish(&json);
	return pyn_call(&call);
}

/* A version that is named must be there; a name alone may be that of a model to come. */
static void
check_model(const char *model, const char *algorithm)
{
	PynCall		call = {.caller = PYN_GATEWAY,.domain = "mlops",.operation = "get_model"};
	PynJson		json = {0};

	if (model == NULL || strpbrk(model, "@/") == NULL)
		return;
	if (strcmp(algorithm, "auto") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("an algorithm cannot be chosen when a version of a model is given"),
				 errhint("It is the one that the version was fitted with.")));
	pyn_json_open_object(&json, NULL);
	pyn_json_text(&json, "name", model);
	pyn_json_close_object(&json);
	call.arguments = pyn_json_finish(&json);
	(void) pyn_call(&call);
}

/* What all steps of the journey need to know. */
static Jsonb *
make_journey(FunctionCallInfo fcinfo, Jsonb *dataset, const char *gate)
{
	PynJson		json = {0};

	pyn_json_open_object(&json, NULL);
	put_arguments(fcinfo, &json);
	pyn_json_members(&json, dataset);
	if (!PG_ARGISNULL(ARGUMENT_MODEL))
		pyn_json_text(&json, "model", text_to_cstring(PG_GETARG_TEXT_PP(ARGUMENT_MODEL)));
	pyn_json_text(&json, "gate", gate);
	pyn_json_text(&json, "time_zone", pg_get_timezone_name(session_timezone));
	pyn_json_close_object(&json);
	return pyn_json_finish(&json);
}

/*
 * The request that was submitted with this key; an error where it was another one, by its arguments and the name of its
 * source: OIDs are others in a restored database.  Others with the key wait until this transaction ends.
 */
static bool
find_submitted(const char *key, Oid owner, Jsonb *journey, pg_uuid_t *request)
{
	static PynStatement select_request = PYN_STATEMENT(
		"SELECT id, arguments - '{time_zone,dataset}'::text[] = $3 - '{time_zone,dataset}'::text[] "
		"FROM pynomaly_gateway.request "
		"WHERE owner = $1 AND idempotency_key = $2",
		REGROLEOID, TEXTOID, JSONBOID);
	Datum		values[] = {ObjectIdGetDatum(owner), CStringGetTextDatum(key), JsonbPGetDatum(journey)};
	uint64		hash = hash_bytes_extended((const unsigned char *) key, strlen(key), owner);
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, (uint32) (hash >> 32), (uint32) hash, 5);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
	CommandCounterIncrement();
	if (pyn_execute_latest(&select_request, values, NULL) == 0)
		return false;
	if (!DatumGetBool(pyn_field(0, 2, NULL)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("idempotency key \"%s\" was used for another request", key),
				 errhint("A key belongs to one request with the same arguments.")));
	*request = *DatumGetUUIDP(pyn_field(0, 1, NULL));
	return true;
}

static void
insert_request(pg_uuid_t *request, Oid owner, const char *source, Jsonb *journey, const char *key)
{
	static PynStatement insert = PYN_STATEMENT(
		"INSERT INTO pynomaly_gateway.request (id, owner, source, arguments, idempotency_key, submitted_at) "
		"VALUES ($1, $2, $3, $4, $5, clock_timestamp())",
		UUIDOID, REGROLEOID, TEXTOID, JSONBOID, TEXTOID);
	char		nulls[] = "     ";
	Datum		values[] = {
		UUIDPGetDatum(request), ObjectIdGetDatum(owner), CStringGetTextDatum(source), JsonbPGetDatum(journey),
		pyn_text_or_null(key, &nulls[4])
	};

	pyn_execute(&insert, values, nulls, 0);
}

static void
begin_journey(pg_uuid_t *request, Jsonb *journey)
{
	PynJson		json = {0};

	pyn_json_open_object(&json, NULL);
	pyn_json_text(&json, "request", DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(request))));
	pyn_json_jsonb(&json, "journey", journey);
	pyn_json_close_object(&json);
	pyn_saga_start("detection", request, "gateway.detection_requested.v1", pyn_json_finish(&json));
}

static char *
gate_argument(FunctionCallInfo fcinfo)
{
	char	   *gate = PG_ARGISNULL(ARGUMENT_GATE) ? "warn" : text_to_cstring(PG_GETARG_TEXT_PP(ARGUMENT_GATE));

	if (strcmp(gate, "warn") != 0 && strcmp(gate, "stop") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" is no quality gate", gate),
				 errhint("It is one of: warn, stop.")));
	return gate;
}

static char *
key_argument(FunctionCallInfo fcinfo)
{
	char	   *key;

	if (PG_ARGISNULL(ARGUMENT_IDEMPOTENCY_KEY))
		return NULL;
	key = text_to_cstring(PG_GETARG_TEXT_PP(ARGUMENT_IDEMPOTENCY_KEY));
	if (key[0] == 0 || strlen(key) > PYN_MAX_EVENT_TEXT)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("an idempotency key must have 1 to %d bytes", PYN_MAX_EVENT_TEXT)));
	return key;
}

/*
 * pynomaly.submit(source regclass, columns, algorithm, contamination, key, model, gate, options, idempotency_key) → uuid
 */
Datum
pyn_submit(PG_FUNCTION_ARGS)
{
	Oid			owner = GetUserId();
	char	   *gate = gate_argument(fcinfo);
	char	   *key = key_argument(fcinfo);
	pg_uuid_t  *request = palloc(sizeof(pg_uuid_t));
	Jsonb	   *dataset;
	Jsonb	   *journey;
	PynAccess	access;
	bool		found = false;

	pyn_check_writable("submit()");
	if (!PG_ARGISNULL(ARGUMENT_CONTAMINATION) && !isfinite(PG_GETARG_FLOAT8(ARGUMENT_CONTAMINATION)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("contamination must be a finite number")));
	if (PG_ARGISNULL(ARGUMENT_SOURCE))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("source is NULL")));
	dataset = register_dataset(fcinfo);
	journey = make_journey(fcinfo, dataset, gate);
	check_model(pyn_json_get_text(journey, "model"), pyn_json_get_text(journey, "algorithm"));

	pyn_access_begin(&access, pyn_owner());
	SPI_connect();
	if (key != NULL)
		found = find_submitted(key, owner, journey, request);
	if (!found)
	{
		pyn_check_limits(owner);
		*request = pyn_new_uuid(GetCurrentTimestamp());
		insert_request(request, owner, pyn_json_get_text(dataset, "source"), journey, key);
	}
	SPI_finish();
	pyn_access_end(&access);
	if (!found)
	{
		begin_journey(request, journey);
		pyn_audit("gateway.submit", pyn_json_get_text(dataset, "source"), journey);
		if (!pyn_workers_run())
			ereport(NOTICE,
					(errmsg("no background worker serves this database, so the request waits"),
					 errhint("SELECT pynomaly.start(), or CALL pynomaly.process_events().")));
	}
	PG_RETURN_UUID_P(request);
}

/* ---------------------------------------------------------------- wait and cancel */

/*
 * pyn_request_status gives the status of a request as it is now, and whether it has ended and its report is there; an error
 * where the reader can see no such request.
 */
char *
pyn_request_status(pg_uuid_t *request, Oid reader, bool *ended)
{
	static PynStatement select_status = PYN_STATEMENT(
		"SELECT s.state, EXISTS (SELECT FROM pynomaly_gateway.report p WHERE p.request = r.id), r.owner FROM pynomaly_gateway.request r "
		"JOIN pynomaly_kernel.saga s ON s.id = r.id WHERE r.id = $1",
		UUIDOID);
	MemoryContext caller = CurrentMemoryContext;
	Datum		values[] = {UUIDPGetDatum(request)};
	char	   *status = NULL;
	PynAccess	access;

	pyn_access_begin(&access, pyn_owner());
	SPI_connect();
	if (pyn_execute_latest(&select_status, values, NULL) == 1 &&
		has_privs_of_role(reader, DatumGetObjectId(pyn_field(0, 3, NULL))))
	{
		MemoryContextSwitchTo(caller);
		status = pyn_text_field(0, 1);
		*ended = DatumGetBool(pyn_field(0, 2, NULL));
	}
	SPI_finish();
	pyn_access_end(&access);
	if (status == NULL)
		no_such_request(request);
	return status;
}

/* Refuses to wait for what cannot come to pass: a request of this transaction. */
static pg_noinline void
check_committed(pg_uuid_t *request)
{
	static PynStatement select_xmin = PYN_STATEMENT(
		"SELECT xmin FROM pynomaly_gateway.request WHERE id = $1",
		UUIDOID);
	Datum		values[] = {UUIDPGetDatum(request)};
	PynAccess	access;
	bool		own;

	pyn_access_begin(&access, pyn_owner());
	SPI_connect();
	own = pyn_execute_latest(&select_xmin, values, NULL) == 1 &&
		TransactionIdIsCurrentTransactionId(DatumGetTransactionId(pyn_field(0, 1, NULL)));
	SPI_finish();
	pyn_access_end(&access);
	if (own)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the request was submitted by this transaction, so nobody can see it yet"),
				 errhint("COMMIT first.")));
}

/* Looks at the request until it has ended or the time is over, with a snapshot of its own each time; gives its status. */
static text *
look_until(pg_uuid_t *request, TimestampTz end)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext context = AllocSetContextCreate(caller, "pynomaly wait", ALLOCSET_SMALL_SIZES);
	TimestampTz begin = GetCurrentTimestamp();
	TimestampTz last_seen = begin;

	for (;;)
	{
		TimestampTz now = GetCurrentTimestamp();
		char	   *status;
		bool		ended;
		long		pause;

		ResetLatch(MyLatch);
		MemoryContextReset(context);
		MemoryContextSwitchTo(context);
		status = pyn_request_status(request, GetUserId(), &ended);
		MemoryContextSwitchTo(caller);
		if (ended || now >= end)
			return cstring_to_text(status);
		if (pyn_workers_run())
			last_seen = now;
		else if (!pyn_is_started() || TimestampDifferenceExceeds(last_seen, now, ABSENCE))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("no background worker serves this database, so the request does not go on"),
					 errhint("SELECT pynomaly.start(), or CALL pynomaly.process_events().")));
		pause = Min(TimestampDifferenceMilliseconds(begin, now), LONGEST_PAUSE);
		pause = Min(Max(pause, SHORTEST_PAUSE), TimestampDifferenceMilliseconds(now, end) + 1);
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, pause, PG_WAIT_EXTENSION);
		CHECK_FOR_INTERRUPTS();
	}
}

/*
 * pynomaly.wait(request uuid, timeout interval = '5 min') → text
 *
 * The worker that stores the report sets our latch; to look now and then helps where that is not to be had.
 */
Datum
pyn_wait(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *request = PG_GETARG_UUID_P(0);
	TimestampTz end = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
															  TimestampTzGetDatum(GetCurrentTimestamp()),
															  PG_GETARG_DATUM(1)));
	text	   *volatile status = NULL;

	check_committed(request);
	pyn_wait_for(request);
	PG_TRY();
	{
		status = look_until(request, end);
	}
	PG_FINALLY();
	{
		pyn_wait_for(NULL);
	}
	PG_END_TRY();
	PG_RETURN_TEXT_P(status);
}

/*
 * pynomaly.cancel(request uuid) → boolean
 */
Datum
pyn_cancel(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *request = PG_GETARG_UUID_P(0);
	bool		cancelled;
	bool		ended;

	pyn_check_writable("cancel()");
	(void) pyn_request_status(request, GetUserId(), &ended);
	cancelled = pyn_saga_cancel(request, psprintf("cancelled by role \"%s\"", GetUserNameFromId(GetUserId(), false)));
	if (cancelled)
		pyn_audit("gateway.cancel", DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(request))), NULL);
	PG_RETURN_BOOL(cancelled);
}

/*
 * pynomaly_gateway.forget_requests() → void
 */
Datum
pyn_gateway_forget_requests(PG_FUNCTION_ARGS)
{
	static PynStatement delete_sagas = PYN_STATEMENT(
		"DELETE FROM pynomaly_kernel.saga s USING pynomaly_gateway.request r WHERE r.id = s.id "
		"AND s.ended_at < now() - $1 * interval '1 s'",
		FLOAT8OID);
	static PynStatement delete_requests = PYN_STATEMENT(
		"DELETE FROM pynomaly_gateway.request r WHERE NOT EXISTS (SELECT FROM pynomaly_kernel.saga s WHERE s.id = r.id)");
	Datum		retention = Float8GetDatum((double) pyn_gateway_retention);
	PynAccess	access;

	pyn_access_begin(&access, pyn_owner());
	SPI_connect();
	pyn_execute(&delete_sagas, &retention, NULL, 0);
	pyn_execute(&delete_requests, NULL, NULL, 0);
	SPI_finish();
	pyn_access_end(&access);
	PG_RETURN_VOID();
}
