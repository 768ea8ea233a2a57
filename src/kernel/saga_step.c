/*
 * saga_step.c
 *		A step of a saga, as the domain that does it runs it.
 *
 * A step asks twice whether its saga still goes on: before its work, and after it with the saga's row locked until the
 * step's transaction ends.  So whoever cancels either finds the step's effects committed, which the engine will undo, or
 * the step finds the saga cancelled and leaves nothing.  While it works, cancelling interrupts it (doorbell.c).
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/typcache.h"
#include "utils/uuid.h"

#include "kernel/access.h"
#include "kernel/doorbell.h"
#include "kernel/event_log.h"
#include "kernel/handler.h"
#include "kernel/json_reader.h"
#include "kernel/saga.h"
#include "kernel/span.h"
#include "kernel/statement.h"

/* Bytes of a text of an error that are told: users' functions raise what they like. */
#define MOST_TOLD 1000

/*
 * pyn_event_fields takes a value of type pynomaly_kernel.event apart.
 */
void
pyn_event_fields(Datum event, PynEventFields *fields)
{
	static const int needed[] = {
		PYN_EVENT_ID, PYN_EVENT_TYPE, PYN_EVENT_TIME, PYN_EVENT_DATA, PYN_EVENT_CORRELATION_ID, PYN_EVENT_PUBLISHER
	};
	HeapTupleHeader header = DatumGetHeapTupleHeader(event);
	HeapTupleData tuple = {.t_len = HeapTupleHeaderGetDatumLength(header),.t_data = header};
	TupleDesc	type = lookup_rowtype_tupdesc(HeapTupleHeaderGetTypeId(header), HeapTupleHeaderGetTypMod(header));
	Datum		values[PYN_EVENT_COLUMNS];
	bool		nulls[PYN_EVENT_COLUMNS];

	if (type->natts != PYN_EVENT_COLUMNS)
		elog(ERROR, "an event has %d columns", type->natts);
	heap_deform_tuple(&tuple, type, values, nulls);
	ReleaseTupleDesc(type);
	for (int i = 0; i < lengthof(needed); i++)
		if (nulls[needed[i] - 1])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("column %d of an event is null", needed[i])));
	memset(fields, 0, sizeof(*fields));
	fields->id = DatumGetInt64(values[PYN_EVENT_ID - 1]);
	fields->type = TextDatumGetCString(values[PYN_EVENT_TYPE - 1]);
	if (!nulls[PYN_EVENT_SUBJECT - 1])
		fields->subject = TextDatumGetCString(values[PYN_EVENT_SUBJECT - 1]);
	fields->publisher = DatumGetObjectId(values[PYN_EVENT_PUBLISHER - 1]);
	fields->time = DatumGetTimestampTz(values[PYN_EVENT_TIME - 1]);
	fields->correlation_id = *DatumGetUUIDP(values[PYN_EVENT_CORRELATION_ID - 1]);
	fields->data = DatumGetJsonbP(values[PYN_EVENT_DATA - 1]);
}

/* When the step that is being done began; 0: none is. */
static TimestampTz step_began;

/* The data with the seconds that the step has taken until now, storing included, if it tells any. */
static Jsonb *
with_seconds(Jsonb *data)
{
	PynJson		json = {0};

	if (step_began == 0 || pyn_json_get(data, "seconds") == NULL)
		return data;
	pyn_json_open_object(&json, NULL);
	pyn_json_members(&json, data);
	pyn_json_number(&json, "seconds", (GetCurrentTimestamp() - step_began) / (double) USECS_PER_SEC);
	pyn_json_close_object(&json);
	return pyn_json_finish(&json);
}

/*
 * pyn_saga_publish publishes a saga's event on behalf of the publisher of the event that caused it.
 */
void
pyn_saga_publish(const PynEventFields *event, const char *type, Jsonb *data)
{
	PynPublication publication = {
		.type = type,.subject = event->subject,.data = with_seconds(data),.publisher = event->publisher
	};

	pyn_publish(&publication);
}

/* True if the owner's saga goes on; with `lock` it cannot be cancelled until this transaction ends. */
static bool
goes_on(pg_uuid_t *id, Oid owner, bool lock)
{
	static PynStatement select_state = PYN_STATEMENT(
		"SELECT state FROM pynomaly_kernel.saga WHERE id = $1 AND owner = $2",
		UUIDOID, REGROLEOID);
	static PynStatement select_locked = PYN_STATEMENT(
		"SELECT state FROM pynomaly_kernel.saga WHERE id = $1 AND owner = $2 FOR SHARE",
		UUIDOID, REGROLEOID);
	Datum		values[] = {UUIDPGetDatum(id), ObjectIdGetDatum(owner)};
	PynAccess	access;
	bool		running;

	pyn_access_begin(&access, pyn_owner());
	SPI_connect();
	if (lock)
		pyn_execute(&select_locked, values, NULL, 1);
	else
		pyn_execute_latest(&select_state, values, NULL);
	running = SPI_processed == 1 && strcmp(pyn_text_field(0, 1), "running") == 0;
	SPI_finish();
	pyn_access_end(&access);
	return running;
}

/* Tells the engine that the step was not done, because the saga does not go on. */
static void
leave(const PynEventFields *event, const char *step)
{
	PynJson		json = {0};

	pyn_json_open_object(&json, NULL);
	pyn_json_text(&json, "request", event->subject);
	pyn_json_text(&json, "step", step);
	pyn_json_close_object(&json);
	pyn_saga_publish(event, "kernel.saga_step_left.v1", pyn_json_finish(&json));
}

static void
tell_failure(const PynEventFields *event, const PynStep *step, const ErrorData *error)
{
	PynJson		json = {0};

	pyn_json_open_object(&json, NULL);
	pyn_json_text(&json, "request", event->subject);
	pyn_json_text(&json, "step", step->name);
	pyn_json_text(&json, "sqlstate", unpack_sql_state(error->sqlerrcode));
	pyn_json_text(&json, "message", error->message != NULL ? pyn_clip(error->message) : "");
	if (error->detail != NULL)
		pyn_json_text(&json, "detail", pyn_clip(error->detail));
	if (error->hint != NULL)
		pyn_json_text(&json, "hint", pyn_clip(error->hint));
	pyn_json_close_object(&json);
	pyn_saga_publish(event, step->failed, pyn_json_finish(&json));
}

/*
 * Errors that another attempt may not meet: conflicts, lost connections, lack of resources, and a server that is
 * stopped.  A handler that was cancelled because it took too long would take as long again.
 */
static bool
may_pass(const ErrorData *error)
{
	if (error->sqlerrcode == ERRCODE_QUERY_CANCELED)
		return pyn_is_cancellation(error) && MyBackendType != B_BG_WORKER;
	switch (ERRCODE_TO_CATEGORY(error->sqlerrcode))
	{
		case ERRCODE_CONNECTION_EXCEPTION:
		case ERRCODE_TRANSACTION_ROLLBACK:
		case ERRCODE_INSUFFICIENT_RESOURCES:
		case ERRCODE_OPERATOR_INTERVENTION:
		case ERRCODE_SYSTEM_ERROR:
		case ERRCODE_INTERNAL_ERROR:
			return true;
		default:
			return error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE || error->sqlerrcode == ERRCODE_OBJECT_IN_USE;
	}
}

/* Runs the step in a subtransaction; gives NULL, or the error with which it was rolled back. */
static ErrorData *
attempt(const PynStep *step, const PynEventFields *event, pg_uuid_t *id, bool *cancelled)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	const char *parent = pyn_cause != NULL ? pyn_cause->traceparent : NULL;
	ErrorData  *volatile error = NULL;
	PynSpan		span;

	*cancelled = false;
	pyn_span_begin(&span, step->name, parent);
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		if (GetUserNameFromId(event->publisher, true) == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("the role that asked for this was dropped")));
		pyn_handling(id);
		step_began = GetCurrentTimestamp();
		step->run(event);
		step_began = 0;
		pyn_handling(NULL);
		*cancelled = !goes_on(id, event->publisher, true);
		if (*cancelled)
		{
			pyn_span_drop(&span);
			RollbackAndReleaseCurrentSubTransaction();
		}
		else
		{
			pyn_span_end(&span, event->publisher);
			ReleaseCurrentSubTransaction();
		}
	}
	PG_CATCH();
	{
		step_began = 0;
		pyn_span_drop(&span);
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		pyn_handling(NULL);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return error;
}

/*
 * pyn_saga_step runs a step, if its saga goes on; see saga.h.
 */
void
pyn_saga_step(const PynStep *step, Datum event)
{
	PynEventFields fields;
	pg_uuid_t  *id;
	ErrorData  *error;
	bool		cancelled;

	pyn_event_fields(event, &fields);
	if (pyn_json_get(fields.data, "request") == NULL || fields.subject == NULL)
		return;
	id = DatumGetUUIDP(DirectFunctionCall1(uuid_in, CStringGetDatum(fields.subject)));
	if (!goes_on(id, fields.publisher, false))
	{
		leave(&fields, step->name);
		return;
	}
	error = attempt(step, &fields, id, &cancelled);
	if (cancelled || (error != NULL && error->sqlerrcode == ERRCODE_QUERY_CANCELED && !goes_on(id, fields.publisher, false)))
		leave(&fields, step->name);
	else if (error != NULL && may_pass(error))
		ReThrowError(error);
	else if (error != NULL)
		tell_failure(&fields, step, error);
}
