/*
 * report.c
 *		Reports: what came of a request, from all domains.
 *
 * When a request's saga has ended each domain is asked through the door what it knows of the request, as the request's
 * owner, and the answers are stored together.  A domain that has done nothing for it, or has undone it, knows nothing.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "gateway/gateway.h"
#include "kernel/access.h"
#include "kernel/doorbell.h"
#include "kernel/json_reader.h"
#include "kernel/saga.h"
#include "kernel/service.h"
#include "kernel/statement.h"

PG_FUNCTION_INFO_V1(pyn_report);
PG_FUNCTION_INFO_V1(pyn_gateway_on_saga_ended);

/* The parts of a report, and who knows them. */
static const struct Part
{
	const char *name;
	const char *domain;
	const char *operation;
}			parts[] = {
	{"data", "data_science", "report"},
	{"quality", "data_quality", "report"},
	{"profile", "data_profiling", "get_profile"},
	{"model", "mlops", "report"},
};

/* Asks one domain; NULL if it knows nothing of the request. */
static Jsonb *
ask(const struct Part *part, const char *request)
{
	PynCall		call = {.caller = PYN_GATEWAY,.domain = part->domain,.operation = part->operation};
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	PynJson		json = {0};
	Jsonb	   *volatile answer = NULL;

	pyn_json_open_object(&json, NULL);
	pyn_json_text(&json, "request", request);
	pyn_json_close_object(&json);
	call.arguments = pyn_json_finish(&json);
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		answer = pyn_call(&call);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
		if (error->sqlerrcode != ERRCODE_UNDEFINED_OBJECT)
			ReThrowError(error);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return answer;
}

/* How the request ended, and what happened when. */
static void
put_request(PynJson *json, pg_uuid_t *request)
{
	static PynStatement select_request = PYN_STATEMENT(
		"SELECT jsonb_strip_nulls(jsonb_build_object('request', r.id, 'source', r.source, 'status', s.state, 'submitted_at', r.submitted_at, "
		"'ended_at', s.ended_at, 'arguments', r.arguments - '{source,relation,dataset}'::text[], "
		"'reason', CASE WHEN s.message IS NOT NULL THEN jsonb_build_object('sqlstate', s.sqlstate, 'message', s.message, "
		"'detail', s.detail, 'hint', s.hint) END, "
		"'steps', (SELECT jsonb_agg(jsonb_build_object('step', t.name, 'domain', t.domain, 'state', t.state, 'ended_at', t.ended_at, "
		"'seconds', t.seconds) ORDER BY t.step) FROM pynomaly_kernel.saga_step t WHERE t.saga = s.id))) "
		"FROM pynomaly_gateway.request r JOIN pynomaly_kernel.saga s ON s.id = r.id WHERE r.id = $1",
		UUIDOID);
	MemoryContext caller = CurrentMemoryContext;
	Datum		values[] = {UUIDPGetDatum(request)};
	Jsonb	   *found = NULL;

	SPI_connect();
	if (pyn_execute(&select_request, values, NULL, 1) == 1)
	{
		MemoryContextSwitchTo(caller);
		found = DatumGetJsonbPCopy(pyn_field(0, 1, NULL));
	}
	SPI_finish();
	pyn_json_members(json, found);
}

static void
store_report(pg_uuid_t *request, Oid owner, Jsonb *report)
{
	static PynStatement insert_report = PYN_STATEMENT(
		"INSERT INTO pynomaly_gateway.report (request, owner, report, created_at) VALUES ($1, $2, $3, clock_timestamp()) "
		"ON CONFLICT (request) DO UPDATE SET (report, created_at) = (excluded.report, excluded.created_at)",
		UUIDOID, REGROLEOID, JSONBOID);
	Datum		values[] = {UUIDPGetDatum(request), ObjectIdGetDatum(owner), JsonbPGetDatum(report)};

	SPI_connect();
	pyn_execute(&insert_report, values, NULL, 0);
	SPI_finish();
}

static void
announce(const PynEventFields *event)
{
	PynJson		json = {0};

	pyn_json_open_object(&json, NULL);
	pyn_json_text(&json, "request", event->subject);
	pyn_json_text(&json, "status", pyn_json_get_text(event->data, "state"));
	pyn_json_close_object(&json);
	pyn_saga_publish(event, "gateway.report_ready.v1", pyn_json_finish(&json));
}

/* True if the event tells of the end of one of its publisher's requests. */
static bool
is_request(pg_uuid_t *id, Oid owner)
{
	static PynStatement select_request = PYN_STATEMENT(
		"SELECT FROM pynomaly_gateway.request WHERE id = $1 AND owner = $2",
		UUIDOID, REGROLEOID);
	Datum		values[] = {UUIDPGetDatum(id), ObjectIdGetDatum(owner)};
	bool		found;

	SPI_connect();
	found = pyn_execute(&select_request, values, NULL, 1) == 1;
	SPI_finish();
	return found;
}

/*
 * pynomaly_gateway.on_saga_ended(event) → void
 */
Datum
pyn_gateway_on_saga_ended(PG_FUNCTION_ARGS)
{
	PynEventFields event;
	pg_uuid_t  *request;
	PynJson		json = {0};
	PynAccess	access;

	pyn_event_fields(PG_GETARG_DATUM(0), &event);
	request = DatumGetUUIDP(DirectFunctionCall1(uuid_in, CStringGetDatum(event.subject)));
	if (!is_request(request, event.publisher))
		PG_RETURN_VOID();
	pyn_json_open_object(&json, NULL);
	put_request(&json, request);
	for (int i = 0; i < lengthof(parts); i++)
	{
		Jsonb	   *answer;

		pyn_access_begin(&access, event.publisher);
		answer = ask(&parts[i], event.subject);
		pyn_access_end(&access);
		pyn_json_jsonb(&json, parts[i].name, answer);
	}
	pyn_json_close_object(&json);
	store_report(request, event.publisher, pyn_json_finish(&json));
	announce(&event);
	pyn_doorbell_prepare_wake(request);
	PG_RETURN_VOID();
}

/*
 * pynomaly.report(request uuid) → jsonb
 */
Datum
pyn_report(PG_FUNCTION_ARGS)
{
	static PynStatement select_report = PYN_STATEMENT(
		"SELECT report FROM pynomaly_gateway.report WHERE request = $1",
		UUIDOID);
	pg_uuid_t  *request = PG_GETARG_UUID_P(0);
	Datum		values[] = {PG_GETARG_DATUM(0)};
	MemoryContext caller = CurrentMemoryContext;
	Jsonb	   *report = NULL;
	PynJson		json = {0};
	PynAccess	access;
	bool		ended;

	(void) pyn_request_status(request, GetUserId(), &ended);
	pyn_access_begin(&access, pyn_owner());
	SPI_connect();
	if (pyn_execute(&select_report, values, NULL, 1) == 1)
	{
		MemoryContextSwitchTo(caller);
		report = DatumGetJsonbPCopy(pyn_field(0, 1, NULL));
	}
	SPI_finish();
	if (report == NULL)
	{
		pyn_json_open_object(&json, NULL);
		put_request(&json, request);
		pyn_json_close_object(&json);
		report = pyn_json_finish(&json);
	}
	pyn_access_end(&access);
	PG_RETURN_JSONB_P(report);
}
