/*
 * saga.c
 *		The engine of sagas, in the gateway's worker: what has been done, and undoing it.
 *
 * The steps cause each other by events (saga_step.c); the engine hears the same events and keeps the record.  Exactly
 * one step is in progress as long as a saga is open: the one after the last completed.  Events of different types may
 * reach the engine in another order than they were published; each names its step, and of a later step it follows that
 * all before it were completed.  A saga that is to end early, since
 * somebody cancelled it or a step is overdue, is marked and then waits for this step to be completed, to fail, or to be
 * left; then, with nothing in progress, what was completed is undone in reverse order by the operations that the
 * definition names.  That is one transaction here, since all domains are; it is tried again like any handler.
 *
 *		running ──last step completed──► completed
 *		   │ └────a step's event says so──► stopped
 *		   ├─ cancel ─► cancelling ─┐
 *		   ├─ overdue ─► failing ───┼─ step in progress ended, steps undone ─► cancelled, failed
 *		   └─ step failed ──────────┘
 *
 * An open saga remembers the event that its step in progress handles.  In a restored or copied database, whose log is
 * another one, the engine undoes what had been done after it, publishes it again, and the saga goes on there.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "kernel/access.h"
#include "kernel/consumer.h"
#include "kernel/doorbell.h"
#include "kernel/json_reader.h"
#include "kernel/json_schema.h"
#include "kernel/saga.h"
#include "kernel/saga_engine.h"
#include "kernel/service.h"
#include "kernel/statement.h"

PG_FUNCTION_INFO_V1(pyn_register_saga);
PG_FUNCTION_INFO_V1(pyn_advance_saga);

static const char steps_schema[] =
"{\"type\": \"array\", \"items\": {\"type\": \"object\", \"additionalProperties\": false,"
" \"required\": [\"step\", \"domain\", \"completed_by\", \"failed_by\", \"timeout\"],"
" \"properties\": {\"step\": {\"type\": \"string\"}, \"domain\": {\"type\": \"string\"}, \"completed_by\": {\"type\": \"string\"},"
"  \"failed_by\": {\"type\": \"string\"}, \"timeout\": {\"type\": \"string\"}, \"compensation\": {\"type\": \"string\"},"
"  \"ends\": {\"type\": \"object\"}}}}";

/* A saga as the engine works on it, its row locked. */
typedef struct Saga
{
	Datum		id;				/* uuid */
	char	   *definition;
	Oid			owner;
	char	   *state;
	bool		is_open;
	int			step;			/* in progress, from 1 */
	Jsonb	   *steps;
	int			step_count;
} Saga;

/* ---------------------------------------------------------------- definitions */

/*
 * pynomaly_kernel.register_saga(name text, steps jsonb) → void
 */
Datum
pyn_register_saga(PG_FUNCTION_ARGS)
{
	static PynStatement insert_definition = PYN_STATEMENT(
		"INSERT INTO pynomaly_kernel.saga_definition (name, steps) VALUES ($1, $2)",
		TEXTOID, JSONBOID);
	static PynStatement subscribe = PYN_STATEMENT(
		"SELECT pynomaly_kernel.add_subscription($3, 'saga: ' || event.type, event.type, 'pynomaly_kernel.advance_saga', NULL, 100) "
		"FROM (SELECT value ->> 'completed_by' FROM jsonb_array_elements($1) "
		"UNION SELECT value ->> 'failed_by' FROM jsonb_array_elements($1)) AS event (type) "
		"WHERE NOT EXISTS (SELECT FROM pynomaly_kernel.subscription WHERE name = 'saga: ' || event.type) AND $2 <> ''",
		JSONBOID, TEXTOID, NAMEOID);
	char	   *name = pyn_name_argument(PG_GETARG_TEXT_PP(0), "saga");
	Jsonb	   *steps = PG_GETARG_JSONB_P(1);
	PynChecked	checked = {"definition of saga", name, NULL};
	Jsonb	   *schema = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(steps_schema)));
	NameData	host;
	Datum		values[3] = {PG_GETARG_DATUM(0), PG_GETARG_DATUM(1), (Datum) 0};
	PynAccess	access;

	pyn_check_writable("register_saga()");
	pyn_json_schema_check(pyn_json_schema_compile(schema), steps, &checked);
	namestrcpy(&host, PYN_HOST_DOMAIN);
	pyn_access_begin(&access, pyn_owner());
	SPI_connect();
	pyn_execute(&insert_definition, values, NULL, 0);
	values[0] = PG_GETARG_DATUM(1);
	values[1] = PG_GETARG_DATUM(0);
	values[2] = NameGetDatum(&host);
	pyn_execute(&subscribe, values, NULL, 0);
	SPI_finish();
	pyn_access_end(&access);
	PG_RETURN_VOID();
}

/* A step of the definition, from 1. */
static Jsonb *
step_of(const Saga *saga, int step)
{
	JsonbValue *element = getIthJsonbValueFromContainer(&saga->steps->root, step - 1);

	if (element == NULL)
		elog(ERROR, "saga \"%s\" has no step %d", saga->definition, step);
	return JsonbValueToJsonb(element);
}

/* ---------------------------------------------------------------- beginning and ending */

/*
 * pyn_saga_start begins a saga with the event that its first step handles, of which the id is the subject.
 */
void
pyn_saga_start(const char *definition, pg_uuid_t *id, const char *type, Jsonb *data)
{
	static PynStatement insert_saga = PYN_STATEMENT(
		"INSERT INTO pynomaly_kernel.saga (id, definition, owner, state, step, deadline, origin, event_type, event_data, created_at) "
		"SELECT $1, name, $3, 'running', 1, clock_timestamp() + (steps -> 0 ->> 'timeout')::interval, $4, $5, $6, clock_timestamp() "
		"FROM pynomaly_kernel.saga_definition WHERE name = $2",
		UUIDOID, TEXTOID, REGROLEOID, UUIDOID, TEXTOID, JSONBOID);
	PynPublication publication = {.type = type,.data = data,.publisher = GetUserId(),.correlation_id = id};
	pg_uuid_t	origin;
	Datum		values[6];
	PynAccess	access;

	pyn_access_begin(&access, pyn_owner());
	SPI_connect();
	origin = pyn_log_origin();
	values[0] = UUIDPGetDatum(id);
	values[1] = CStringGetTextDatum(definition);
	values[2] = ObjectIdGetDatum(publication.publisher);
	values[3] = UUIDPGetDatum(&origin);
	values[4] = CStringGetTextDatum(type);
	values[5] = JsonbPGetDatum(data);
	if (pyn_execute(&insert_saga, values, NULL, 0) != 1)
		elog(ERROR, "saga \"%s\" is not registered", definition);
	publication.subject = DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(id)));
	pyn_publish(&publication);
	SPI_finish();
	pyn_access_end(&access);
}

/*
 * pyn_saga_cancel asks for a saga's end; false if it has ended or ends already.  The step in progress is interrupted when
 * the transaction commits.
 */
bool
pyn_saga_cancel(pg_uuid_t *id, const char *reason)
{
	static PynStatement update_saga = PYN_STATEMENT(
		"UPDATE pynomaly_kernel.saga SET state = 'cancelling', sqlstate = '57014', message = $2 "
		"WHERE id = $1 AND state = 'running'",
		UUIDOID, TEXTOID);
	Datum		values[] = {UUIDPGetDatum(id), CStringGetTextDatum(reason)};
	PynAccess	access;
	bool		found;

	pyn_access_begin(&access, pyn_owner());
	SPI_connect();
	found = pyn_execute(&update_saga, values, NULL, 0) > 0;
	if (found)
		pyn_retry_now(DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(id))));
	SPI_finish();
	pyn_access_end(&access);
	if (found)
		pyn_doorbell_prepare_cancel(id);
	return found;
}

/* Reads and locks a saga; false if there is none. */
static bool
read_saga(pg_uuid_t *id, Saga *saga)
{
	static PynStatement select_saga = PYN_STATEMENT(
		"SELECT s.definition, s.owner, s.state, s.step, d.steps, s.ended_at IS NULL FROM pynomaly_kernel.saga s "
		"JOIN pynomaly_kernel.saga_definition d ON d.name = s.definition WHERE s.id = $1 FOR UPDATE OF s",
		UUIDOID);
	Datum		values[] = {UUIDPGetDatum(id)};

	if (pyn_execute(&select_saga, values, NULL, 1) == 0)
		return false;
	saga->id = UUIDPGetDatum(id);
	saga->definition = pyn_text_field(0, 1);
	saga->owner = DatumGetObjectId(pyn_field(0, 2, NULL));
	saga->state = pyn_text_field(0, 3);
	saga->step = DatumGetInt32(pyn_field(0, 4, NULL));
	saga->steps = DatumGetJsonbPCopy(pyn_field(0, 5, NULL));
	saga->is_open = DatumGetBool(pyn_field(0, 6, NULL));
	saga->step_count = JB_ROOT_COUNT(saga->steps);
	return true;
}

static bool
is_in(const Saga *saga, const char *state)
{
	return strcmp(saga->state, state) == 0;
}

/* Ends the saga and tells so. */
static void
end_saga(Saga *saga, const char *state)
{
	static PynStatement update_saga = PYN_STATEMENT(
		"UPDATE pynomaly_kernel.saga SET state = $2, ended_at = clock_timestamp() WHERE id = $1",
		UUIDOID, TEXTOID);
	Datum		values[] = {saga->id, CStringGetTextDatum(state)};
	PynPublication publication = {.type = "kernel.saga_ended.v1",.publisher = saga->owner};
	PynJson		json = {0};

	pyn_execute(&update_saga, values, NULL, 0);
	publication.subject = DatumGetCString(DirectFunctionCall1(uuid_out, saga->id));
	pyn_json_open_object(&json, NULL);
	pyn_json_text(&json, "request", publication.subject);
	pyn_json_text(&json, "definition", saga->definition);
	pyn_json_text(&json, "state", state);
	pyn_json_close_object(&json);
	publication.data = pyn_json_finish(&json);
	pyn_publish(&publication);
}

/* Notes why a saga that ran fails; one that was to end before ends for that reason. */
static void
note_failure(Saga *saga, Jsonb *reason)
{
	static PynStatement update_saga = PYN_STATEMENT(
		"UPDATE pynomaly_kernel.saga SET state = 'failing', sqlstate = coalesce($2, '57014'), "
		"message = coalesce($3, 'the step was left'), detail = $4, hint = $5 WHERE id = $1",
		UUIDOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID);
	static const char *const members[] = {"sqlstate", "message", "detail", "hint"};
	char		nulls[] = "     ";
	Datum		values[5] = {saga->id};

	if (!is_in(saga, "running"))
		return;
	for (int i = 0; i < lengthof(members); i++)
		values[i + 1] = pyn_text_or_null(pyn_json_get_text(reason, members[i]), &nulls[i + 1]);
	pyn_execute(&update_saga, values, nulls, 0);
	saga->state = "failing";
}

/* ---------------------------------------------------------------- steps */

/* The step of which a member of the definition is `value`; 0 if there is none. */
static int
find_step(const Saga *saga, const char *member, const char *value)
{
	for (int step = 1; value != NULL && step <= saga->step_count; step++)
	{
		char	   *text = pyn_json_get_text(step_of(saga, step), member);

		if (text != NULL && strcmp(text, value) == 0)
			return step;
	}
	return 0;
}

/* Records how a step ended. */
static void
record_step(const Saga *saga, int number, const char *state, const PynEventFields *event)
{
	static PynStatement insert_step = PYN_STATEMENT(
		"INSERT INTO pynomaly_kernel.saga_step (saga, step, name, domain, state, event_id, ended_at, seconds) "
		"VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (saga, step) DO UPDATE SET (event_id, ended_at, seconds) = "
		"(excluded.event_id, excluded.ended_at, excluded.seconds)",
		UUIDOID, INT4OID, TEXTOID, NAMEOID, TEXTOID, INT8OID, TIMESTAMPTZOID, FLOAT8OID);
	Jsonb	   *step = step_of(saga, number);
	double		seconds = pyn_json_get_number(event->data, "seconds", -1);
	char		nulls[] = "        ";
	NameData	domain;
	Datum		values[] = {
		saga->id, Int32GetDatum(number), CStringGetTextDatum(pyn_json_get_text(step, "step")), NameGetDatum(&domain),
		CStringGetTextDatum(state), Int64GetDatum(event->id), TimestampTzGetDatum(event->time), Float8GetDatum(seconds)
	};

	namestrcpy(&domain, pyn_json_get_text(step, "domain"));
	nulls[7] = seconds < 0 ? 'n' : ' ';
	pyn_execute(&insert_step, values, nulls, 0);
}

/* The step is in progress from now on, and handles this event. */
static void
begin_step(Saga *saga, int step, const PynEventFields *event)
{
	static PynStatement update_saga = PYN_STATEMENT(
		"UPDATE pynomaly_kernel.saga SET step = $2, deadline = clock_timestamp() + $3::interval, event_type = $4, event_data = $5 "
		"WHERE id = $1",
		UUIDOID, INT4OID, TEXTOID, TEXTOID, JSONBOID);
	Datum		values[] = {
		saga->id, Int32GetDatum(step), CStringGetTextDatum(pyn_json_get_text(step_of(saga, step), "timeout")),
		CStringGetTextDatum(event->type), JsonbPGetDatum(event->data)
	};

	pyn_execute(&update_saga, values, NULL, 0);
	saga->step = step;
}

/*
 * Undoes one step by the operation that its definition names, as the saga's owner.  To undo what was not done does nothing.
 */
static void
compensate_step(const Saga *saga, int number)
{
	static PynStatement update_step = PYN_STATEMENT(
		"UPDATE pynomaly_kernel.saga_step SET state = 'compensated' WHERE saga = $1 AND step = $2",
		UUIDOID, INT4OID);
	Jsonb	   *step = step_of(saga, number);
	PynCall		call = {.operation = pyn_json_get_text(step, "compensation")};
	Datum		values[] = {saga->id, Int32GetDatum(number)};
	PynJson		json = {0};
	PynAccess	access;

	if (call.operation == NULL)
		return;
	pyn_json_open_object(&json, NULL);
	pyn_json_text(&json, "request", DatumGetCString(DirectFunctionCall1(uuid_out, saga->id)));
	pyn_json_close_object(&json);
	call.domain = pyn_json_get_text(step, "domain");
	call.arguments = pyn_json_finish(&json);
	pyn_access_begin(&access, saga->owner);
	(void) pyn_call(&call);
	pyn_access_end(&access);
	pyn_execute(&update_step, values, NULL, 0);
}

/* With nothing in progress: undoes the steps from the last completed one back to the first, and ends the saga. */
static void
compensate(Saga *saga, int last_completed)
{
	for (int step = last_completed; step > 0; step--)
		compensate_step(saga, step);
	end_saga(saga, is_in(saga, "cancelling") ? "cancelled" : "failed");
}

/* ---------------------------------------------------------------- events */

/* Notes why a step's event has stopped the saga: its "reasons", an array of texts. */
static void
note_reasons(const Saga *saga, Jsonb *data)
{
	static PynStatement update_saga = PYN_STATEMENT(
		"UPDATE pynomaly_kernel.saga SET message = (SELECT string_agg(reason, '; ') FROM jsonb_array_elements_text($2 -> 'reasons') AS reason) "
		"WHERE id = $1",
		UUIDOID, JSONBOID);
	Datum		values[] = {saga->id, JsonbPGetDatum(data)};

	if (pyn_json_get(data, "reasons") != NULL)
		pyn_execute(&update_saga, values, NULL, 0);
}

/* A step was completed. */
static void
step_completed(Saga *saga, int step, const PynEventFields *event)
{
	Jsonb	   *definition = step_of(saga, step);
	Jsonb	   *ends = pyn_json_get(definition, "ends");
	bool		undone = (is_in(saga, "cancelled") || is_in(saga, "failed")) &&
		pyn_json_get(definition, "compensation") != NULL;

	record_step(saga, step, undone ? "compensated" : "completed", event);
	if (!saga->is_open || step < saga->step)
		return;
	if (step < saga->step_count &&
		!(ends != NULL && DatumGetBool(DirectFunctionCall2(jsonb_contains, JsonbPGetDatum(event->data), JsonbPGetDatum(ends)))))
		begin_step(saga, step + 1, event);
	else if (!is_in(saga, "running"))
		compensate(saga, step);
	else if (step == saga->step_count)
		end_saga(saga, "completed");
	else
	{
		note_reasons(saga, event->data);
		end_saga(saga, "stopped");
	}
}

/* A step failed, or was left since the saga does not go on. */
static void
step_not_done(Saga *saga, int step, const char *state, const PynEventFields *event)
{
	if (!saga->is_open || step < saga->step)
		return;
	saga->step = step;
	record_step(saga, step, state, event);
	note_failure(saga, event->data);
	compensate(saga, step - 1);
}

/* The step whose handler has given up an event; 0 if it was another handler, or another event. */
static int
step_given_up(const Saga *saga, const PynEventFields *event)
{
	static PynStatement select_domain = PYN_STATEMENT(
		"SELECT domain::text FROM pynomaly_kernel.subscription WHERE name = $1 AND builtin",
		TEXTOID);
	Datum		values[] = {CStringGetTextDatum(pyn_json_get_text(event->data, "subscription"))};
	/* The first step handles the event that began the saga, each other one that of the step before. */
	int			step = find_step(saga, "completed_by", pyn_json_get_text(event->data, "event_type")) + 1;

	if (step > saga->step_count || pyn_execute(&select_domain, values, NULL, 1) == 0 ||
		strcmp(pyn_text_field(0, 1), pyn_json_get_text(step_of(saga, step), "domain")) != 0)
		return 0;
	return step;
}

/*
 * The saga goes on in another log than the one in which it began.  There its steps may have been further than the engine had
 * heard, so what they did after the event that is published again here is undone first.
 */
static void
resume(Saga *saga)
{
	static PynStatement select_event = PYN_STATEMENT(
		"UPDATE pynomaly_kernel.saga SET deadline = clock_timestamp() + $2::interval WHERE id = $1 RETURNING event_type, event_data",
		UUIDOID, TEXTOID);
	Datum		values[] = {
		saga->id, CStringGetTextDatum(pyn_json_get_text(step_of(saga, saga->step), "timeout"))
	};
	PynPublication publication = {.publisher = saga->owner,.correlation_id = DatumGetUUIDP(saga->id)};

	if (!saga->is_open)
		return;
	if (!is_in(saga, "running"))
	{
		compensate(saga, saga->step_count);
		return;
	}
	for (int step = saga->step_count; step >= saga->step; step--)
		compensate_step(saga, step);
	pyn_execute(&select_event, values, NULL, 0);
	publication.subject = DatumGetCString(DirectFunctionCall1(uuid_out, saga->id));
	publication.type = pyn_text_field(0, 1);
	publication.data = DatumGetJsonbPCopy(pyn_field(0, 2, NULL));
	pyn_publish(&publication);
}

static pg_uuid_t *
parse_id(const char *text)
{
	if (text == NULL || strlen(text) != 36 || strspn(text, "0123456789abcdef-") != 36)
		return NULL;
	return DatumGetUUIDP(DirectFunctionCall1(uuid_in, CStringGetDatum(text)));
}

static void
advance(const PynEventFields *event)
{
	bool		given_up = strcmp(event->type, "kernel.event_failed.v1") == 0;
	pg_uuid_t  *id = parse_id(pyn_json_get_text(event->data, given_up ? "subject" : "request"));
	Saga		saga;
	int			step;

	/* All that tells of a saga is published on behalf of its owner. */
	if (id == NULL || !read_saga(id, &saga) || saga.owner != event->publisher)
		return;
	if (strcmp(event->type, "kernel.saga_resumed.v1") == 0)
		resume(&saga);
	else if ((step = find_step(&saga, "completed_by", event->type)) > 0)
		step_completed(&saga, step, event);
	else if (given_up)
	{
		if ((step = step_given_up(&saga, event)) > 0)
			step_not_done(&saga, step, "failed", event);
	}
	else if ((step = find_step(&saga, "step", pyn_json_get_text(event->data, "step"))) > 0)
		step_not_done(&saga, step, strcmp(event->type, "kernel.saga_step_left.v1") == 0 ? "left" : "failed", event);
}

/*
 * pynomaly_kernel.advance_saga(event) → void
 */
Datum
pyn_advance_saga(PG_FUNCTION_ARGS)
{
	PynEventFields event;
	PynAccess	access;

	pyn_event_fields(PG_GETARG_DATUM(0), &event);
	pyn_access_begin(&access, pyn_owner());
	SPI_connect();
	advance(&event);
	SPI_finish();
	pyn_access_end(&access);
	PG_RETURN_VOID();
}

/* ---------------------------------------------------------------- upkeep */

/* Steps that are long overdue fail; whoever does them finds that they are to be left. */
static bool
fail_overdue(void)
{
	static PynStatement update_overdue = PYN_STATEMENT(
		"UPDATE pynomaly_kernel.saga SET state = 'failing', sqlstate = '57014', "
		"message = format('step %s was not done within its time', step) "
		"WHERE id IN (SELECT id FROM pynomaly_kernel.saga WHERE ended_at IS NULL AND deadline < clock_timestamp() "
		"AND state = 'running' FOR UPDATE SKIP LOCKED) RETURNING id::text");
	uint64		count = pyn_execute(&update_overdue, NULL, NULL, 0);
	SPITupleTable *overdue = SPI_tuptable;

	for (uint64 row = 0; row < count; row++)
		pyn_retry_now(SPI_getvalue(overdue->vals[row], overdue->tupdesc, 1));
	return count > 0;
}

/* Sagas of another log: it was restored from a dump, or copied.  The engine is told to resume them here. */
static bool
resume_all(void)
{
	static PynStatement update_foreign = PYN_STATEMENT(
		"UPDATE pynomaly_kernel.saga SET origin = $1 WHERE id IN (SELECT id FROM pynomaly_kernel.saga "
		"WHERE ended_at IS NULL AND origin <> $1 FOR UPDATE SKIP LOCKED) RETURNING id, owner, "
		"jsonb_build_object('request', id)",
		UUIDOID);
	pg_uuid_t	origin = pyn_log_origin();
	Datum		values[] = {UUIDPGetDatum(&origin)};
	uint64		count = pyn_execute(&update_foreign, values, NULL, 0);
	SPITupleTable *foreign = SPI_tuptable;

	if (count == 0)
		return false;
	/* Whose position is of the other log begins now, and must not begin after what is published here. */
	pyn_positions_renew();
	for (uint64 row = 0; row < count; row++)
	{
		bool		is_null;
		PynPublication publication = {.type = "kernel.saga_resumed.v1"};

		publication.correlation_id = DatumGetUUIDP(SPI_getbinval(foreign->vals[row], foreign->tupdesc, 1, &is_null));
		publication.subject = SPI_getvalue(foreign->vals[row], foreign->tupdesc, 1);
		publication.publisher = DatumGetObjectId(SPI_getbinval(foreign->vals[row], foreign->tupdesc, 2, &is_null));
		publication.data = DatumGetJsonbP(SPI_getbinval(foreign->vals[row], foreign->tupdesc, 3, &is_null));
		pyn_publish(&publication);
	}
	return true;
}

/*
 * pyn_saga_upkeep does what no event tells of; true if that leads to more.  The caller is the extension's owner and
 * connected to SPI.
 */
bool
pyn_saga_upkeep(void)
{
	bool		failed = fail_overdue();

	return resume_all() || failed;
}
