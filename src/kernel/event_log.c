/*
 * event_log.c
 *		Publishes events.
 *
 * An event is a row that the publishing transaction inserts into the open member of the log: it exists when the
 * transaction commits and not otherwise, be it by savepoints or by two phases, and nothing else needs to be done for
 * that.  Rows carry the top-level transaction, by which consumers cut batches (batch.c).
 *
 * Which member is open is cached in each backend and told by relation-cache invalidation.  A backend locks the member
 * before it looks whether its knowledge is still right, and the lock is held until the transaction ends.  A member is
 * emptied only under an exclusive lock (rotation.c), so every row is either seen by who empties it, or goes elsewhere.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "common/hashfn.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "kernel/access.h"
#include "kernel/doorbell.h"
#include "kernel/event_log.h"
#include "kernel/event_type.h"
#include "kernel/span.h"
#include "kernel/statement.h"

/* Bytes of a text of somebody else's that an event tells; users' functions raise what they like. */
#define MOST_TOLD 1000

const PynCause *pyn_cause = NULL;
char	   *pyn_traceparent = NULL;

/* What a backend knows of the log. */
static struct
{
	bool		valid;
	bool		watched;		/* the callback is registered */
	pg_uuid_t	origin;
	int			open_member;
	Oid			members[PYN_LOG_MEMBERS];
	Oid			id_sequence;
	Oid			relations[2];	/* that it was read from */
} the_log;

PG_FUNCTION_INFO_V1(pyn_publish_sql);

static void
forget_log(Datum argument, Oid relation)
{
	if (relation == InvalidOid || relation == the_log.relations[0] || relation == the_log.relations[1])
		the_log.valid = false;
}

/*
 * The log of a database that was copied by CREATE DATABASE ... TEMPLATE still has the identity of the original.  What the
 * original is going to do must not be done here again: its waiting events become dead ones, which redrive can wake.
 * Subscriptions find that their position is of another origin and begin anew (subscription.c).
 */
static void
take_new_origin(void)
{
	static PynStatement update_log = PYN_STATEMENT(
		"UPDATE pynomaly_kernel.event_log SET origin = gen_random_uuid(), database = $1 WHERE database <> $1",
		OIDOID);
	static PynStatement bury_retries = PYN_STATEMENT(
		"UPDATE pynomaly_kernel.retry SET state = 'dead', "
		"message = coalesce(message, 'it waited when this database was copied from another one') WHERE state <> 'dead'");
	Datum		values[] = {ObjectIdGetDatum(MyDatabaseId)};

	if (pyn_execute(&update_log, values, NULL, 0) == 0)
		return;
	pyn_execute(&bury_retries, NULL, NULL, 0);
	CacheInvalidateRelcacheByRelid(pyn_relation("event_log"));
	CommandCounterIncrement();
}

/* Reads what a backend must know; the caller is the extension's owner and connected to SPI. */
static void
read_log(void)
{
	static PynStatement select_log = PYN_STATEMENT(
		"SELECT origin, database, (SELECT member FROM pynomaly_kernel.event_member "
		"WHERE opened_at IS NOT NULL AND closed_at IS NULL) FROM pynomaly_kernel.event_log");

	if (!the_log.watched)
	{
		CacheRegisterRelcacheCallback(forget_log, (Datum) 0);
		the_log.watched = true;
	}
	the_log.relations[0] = pyn_relation("event_log");
	the_log.relations[1] = pyn_relation("event_member");
	the_log.id_sequence = pyn_relation("event_id");
	for (int i = 0; i < PYN_LOG_MEMBERS; i++)
		the_log.members[i] = pyn_relation(psprintf("event_%d", i));

	for (;;)
	{
		the_log.valid = true;
		pyn_execute_latest(&select_log, NULL, NULL);
		if (SPI_processed != 1)
			elog(ERROR, "the event log has no identity");
		if (DatumGetObjectId(pyn_field(0, 2, NULL)) != MyDatabaseId)
		{
			take_new_origin();
			continue;
		}
		the_log.origin = *DatumGetUUIDP(pyn_field(0, 1, NULL));
		the_log.open_member = DatumGetInt16(pyn_field(0, 3, NULL));
		if (the_log.valid)
			return;
	}
}

/*
 * pyn_log_origin gives the identity of this database's log; the caller is the extension's owner and connected to SPI.
 */
pg_uuid_t
pyn_log_origin(void)
{
	AcceptInvalidationMessages();
	if (!the_log.valid)
		read_log();
	return the_log.origin;
}

/*
 * pyn_log_member gives the table of a member.
 */
Oid
pyn_log_member(int member)
{
	if (!the_log.valid)
		read_log();
	return the_log.members[member];
}

/* Locks the open member until the transaction ends, and gives its number. */
static int
lock_open_member(void)
{
	int			member;

	do
	{
		if (!the_log.valid)
			read_log();
		member = the_log.open_member;
		/* Accepts invalidations, of a member that was closed among them. */
		LockRelationOid(the_log.members[member], RowExclusiveLock);
	} while (!the_log.valid);
	return member;
}

/*
 * pyn_new_uuid gives a UUID of version 7 (RFC 9562): milliseconds since 1970 and random bits.  Random ones would touch a
 * page of the index
 * for each event.
 */
pg_uuid_t
pyn_new_uuid(TimestampTz now)
{
	pg_uuid_t	uuid;
	uint64		milliseconds = (uint64) (now / 1000 +
										 (int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY * 1000);
	uint64		bytes = pg_hton64(milliseconds << 16);

	if (!pg_strong_random(uuid.data, UUID_LEN))
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not generate random values")));
	memcpy(uuid.data, &bytes, 6);
	uuid.data[6] = (uuid.data[6] & 0x0f) | 0x70;
	uuid.data[8] = (uuid.data[8] & 0x3f) | 0x80;
	return uuid;
}

/*
 * Finds the event that this publisher has published with the key before; 0 if there is none.  Others with the same key
 * wait for this transaction, so that the answer stays right: the log has no unique index, since it is eight tables.
 */
static int64
find_published(const PynPublication *publication)
{
	static PynStatement select_published = PYN_INDEX_STATEMENT(
		"SELECT id, type, subject FROM pynomaly_kernel.event WHERE idempotency_key = $1 AND publisher = $2 LIMIT 1",
		TEXTOID, REGROLEOID);
	Datum		values[] = {CStringGetTextDatum(publication->idempotency_key),
	ObjectIdGetDatum(publication->publisher)};
	uint64		hash = hash_bytes_extended((const unsigned char *) publication->idempotency_key,
										   strlen(publication->idempotency_key), publication->publisher);
	LOCKTAG		tag;
	char	   *subject;

	/* SQL's advisory locks have 1 and 2 in the last field. */
	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, (uint32) (hash >> 32), (uint32) hash, 3);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);

	CommandCounterIncrement();
	if (pyn_execute_latest(&select_published, values, NULL) == 0)
		return 0;
	subject = pyn_text_field(0, 3);
	if (strcmp(pyn_text_field(0, 2), publication->type) != 0 ||
		(subject == NULL) != (publication->subject == NULL) ||
		(subject != NULL && strcmp(subject, publication->subject) != 0))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("idempotency key \"%s\" was used for another event", publication->idempotency_key),
				 errhint("A key belongs to one event of one type and subject.")));
	return DatumGetInt64(pyn_field(0, 1, NULL));
}

/*
 * Inserts a row as the executor would, without one: publishing is as cheap as an INSERT only if it does not run a second
 * statement inside the one that called it.  The caller has locked the table.
 */
static void
insert_row(Oid table, const Datum *values, const bool *nulls)
{
	Relation	relation = table_open(table, NoLock);
	EState	   *state = CreateExecutorState();
	ResultRelInfo *result = makeNode(ResultRelInfo);
	TupleTableSlot *slot = table_slot_create(relation, NULL);

	if (RelationGetDescr(relation)->natts != PYN_EVENT_COLUMNS)
		elog(ERROR, "table \"%s\" has %d columns", RelationGetRelationName(relation), RelationGetDescr(relation)->natts);
	InitResultRelInfo(result, relation, 0, NULL, 0);
	ExecOpenIndices(result, false);
	memcpy(slot->tts_values, values, PYN_EVENT_COLUMNS * sizeof(Datum));
	memcpy(slot->tts_isnull, nulls, PYN_EVENT_COLUMNS * sizeof(bool));
	ExecStoreVirtualTuple(slot);
	table_tuple_insert(relation, slot, GetCurrentCommandId(true), 0, NULL);
	(void) ExecInsertIndexTuples(result, slot, state, false, false, NULL, NIL);
	ExecCloseIndices(result);
	ExecDropSingleTupleTableSlot(slot);
	FreeExecutorState(state);
	table_close(relation, NoLock);
	CommandCounterIncrement();
}

static int64
insert_event(const PynPublication *publication, const PynEventType *type)
{
	TimestampTz now = GetCurrentTimestamp();
	int			member = lock_open_member();
	int64		id = nextval_internal(the_log.id_sequence, false);
	const char *span = pyn_span_traceparent();
	const char *traceparent = span != NULL ? span : pyn_cause != NULL ? pyn_cause->traceparent : pyn_traceparent;
	pg_uuid_t	correlation_id;
	Datum		values[PYN_EVENT_COLUMNS];
	bool		nulls[PYN_EVENT_COLUMNS];

	if (publication->correlation_id != NULL)
		correlation_id = *publication->correlation_id;
	else
		correlation_id = pyn_cause != NULL ? pyn_cause->correlation_id : pyn_new_uuid(now);
	memset(nulls, true, sizeof(nulls));
#define SET(column, value) (values[(column) - 1] = (value), nulls[(column) - 1] = false)
	SET(PYN_EVENT_ID, Int64GetDatum(id));
	SET(PYN_EVENT_ORIGIN, UUIDPGetDatum(&the_log.origin));
	SET(PYN_EVENT_TYPE, CStringGetTextDatum(publication->type));
	SET(PYN_EVENT_SOURCE, CStringGetTextDatum(type->source));
	if (publication->subject != NULL)
		SET(PYN_EVENT_SUBJECT, CStringGetTextDatum(publication->subject));
	SET(PYN_EVENT_TIME, TimestampTzGetDatum(now));
	SET(PYN_EVENT_DATA, JsonbPGetDatum(publication->data));
	SET(PYN_EVENT_CORRELATION_ID, UUIDPGetDatum(&correlation_id));
	if (pyn_cause != NULL)
		SET(PYN_EVENT_CAUSATION_ID, Int64GetDatum(pyn_cause->id));
	if (traceparent != NULL && traceparent[0] != 0)
		SET(PYN_EVENT_TRACEPARENT, CStringGetTextDatum(traceparent));
	SET(PYN_EVENT_PRIORITY, Int16GetDatum(type->priority));
	SET(PYN_EVENT_PUBLISHER, ObjectIdGetDatum(publication->publisher));
	SET(PYN_EVENT_XID, FullTransactionIdGetDatum(GetTopFullTransactionId()));
	if (publication->idempotency_key != NULL)
		SET(PYN_EVENT_IDEMPOTENCY_KEY, CStringGetTextDatum(publication->idempotency_key));
#undef SET
	insert_row(the_log.members[member], values, nulls);
	return id;
}

static void
check_text(const char *text, const char *what)
{
	if (text != NULL && (text[0] == 0 || strlen(text) > PYN_MAX_EVENT_TEXT))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the %s of an event has %zu bytes", what, strlen(text)),
				 errhint("It must have 1 to %d bytes, or be NULL.", PYN_MAX_EVENT_TEXT)));
}

/*
 * pyn_clip gives the beginning of somebody else's text, such as an error's, as much as an event has room for.
 */
const char *
pyn_clip(const char *text)
{
	return pnstrdup(text, pg_mbcliplen(text, strlen(text), MOST_TOLD));
}

/*
 * pyn_publish writes an event with the current transaction and gives its id; or the id of the event that was published
 * with the same idempotency key.  The data must match the type's schema.  When the transaction commits, the workers
 * that have subscribed to the type are woken.
 */
int64
pyn_publish(const PynPublication *publication)
{
	PynPublication own = *publication;
	PynChecked	checked = {
		"data of event type", publication->type, "Correct the data, or register a new version of the event type."
	};
	const PynEventType *type;
	PynAccess	access;
	int64		id = 0;

	pyn_check_writable("publish()");
	check_text(own.subject, "subject");
	check_text(own.idempotency_key, "idempotency key");
	if (VARSIZE(own.data) > PYN_MAX_EVENT_DATA)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the data of an event of type \"%s\" has %d bytes", own.type, (int) VARSIZE(own.data)),
				 errhint("It may have %d; store larger values with pynomaly_kernel.put_artifact and publish their digest.",
						 PYN_MAX_EVENT_DATA)));
	if (!OidIsValid(own.publisher))
		own.publisher = GetUserId();

	pyn_access_begin(&access, pyn_owner());
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "cannot connect to SPI");
	type = pyn_event_type(own.type);
	if (own.by_user && type->builtin && !has_privs_of_role(own.publisher, GetUserId()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("events of type \"%s\" are published by pynomaly alone", own.type),
				 errhint("Register a type of your own with pynomaly_kernel.register_event_type.")));
	pyn_json_schema_check(type->schema, own.data, &checked);
	if (own.idempotency_key != NULL)
		id = find_published(&own);
	if (id == 0)
	{
		pyn_doorbell_prepare(type->domains, type->domain_count);
		id = insert_event(&own, type);
	}
	SPI_finish();
	pyn_access_end(&access);
	return id;
}

/*
 * pynomaly_kernel.publish(type text, subject text, data jsonb, idempotency_key text = NULL) → bigint
 */
Datum
pyn_publish_sql(PG_FUNCTION_ARGS)
{
	PynPublication publication = {0};

	if (PG_ARGISNULL(0) || PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("the %s of an event must not be null", PG_ARGISNULL(0) ? "type" : "data")));
	publication.type = text_to_cstring(PG_GETARG_TEXT_PP(0));
	if (!PG_ARGISNULL(1))
		publication.subject = text_to_cstring(PG_GETARG_TEXT_PP(1));
	publication.data = PG_GETARG_JSONB_P(2);
	publication.by_user = true;
	if (!PG_ARGISNULL(3))
		publication.idempotency_key = text_to_cstring(PG_GETARG_TEXT_PP(3));
	PG_RETURN_INT64(pyn_publish(&publication));
}
