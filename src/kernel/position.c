/*
 * position.c
 *		How far each subscription has come.
 *
 * A position is written in the transaction that holds the handlers' effects, so that neither is there without the other.
 * It is a row that changes with each piece of work.  While somebody's snapshot is held open, none of its old versions can
 * be removed, and to find it by key, or to check that the key is unique, would mean to look at all of them.  So the table
 * has no index: the consumer remembers where the newest version is (ctid) and goes there.  Whoever else changes the row,
 * as replay() does, makes the consumer read it again.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "kernel/access.h"
#include "kernel/consumer.h"
#include "kernel/settings.h"
#include "kernel/statement.h"

/*
 * pyn_new_position sets a subscription's position to now: what commits from here on will be handled.
 */
void
pyn_new_position(const char *name, const char *note)
{
	static PynStatement update_position = PYN_STATEMENT(
		"UPDATE pynomaly_kernel.subscription_position SET origin = $2, began = pg_current_snapshot(), "
		"done = pg_current_snapshot(), target = NULL, "
		"after_id = 0, since = NULL, replay_since = NULL, note = $3, updated_at = clock_timestamp() WHERE subscription = $1",
		TEXTOID, UUIDOID, TEXTOID);
	static PynStatement insert_position = PYN_STATEMENT(
		"INSERT INTO pynomaly_kernel.subscription_position (subscription, origin, began, done, after_id, handled, note, updated_at) "
		"VALUES ($1, $2, pg_current_snapshot(), pg_current_snapshot(), 0, 0, $3, clock_timestamp())",
		TEXTOID, UUIDOID, TEXTOID);
	pg_uuid_t	origin = pyn_log_origin();
	char		nulls[] = "   ";
	Datum		values[] = {CStringGetTextDatum(name), UUIDPGetDatum(&origin), pyn_text_or_null(note, &nulls[2])};

	if (pyn_execute(&update_position, values, nulls, 0) == 0)
		pyn_execute(&insert_position, values, nulls, 0);
}

/*
 * Positions that nothing here can go on from: there is none after a restore; after a copy of the database it is of the
 * original; and a transaction of the future, of another cluster, would never come to pass.
 */
static void
renew_positions(const char *domain)
{
	static PynStatement select_lost = PYN_STATEMENT(
		"SELECT s.name, p.subscription IS NULL, p.origin <> $2 "
		"FROM pynomaly_kernel.subscription s LEFT JOIN pynomaly_kernel.subscription_position p ON p.subscription = s.name "
		"WHERE (s.domain = $1 OR $1 = '') AND s.status = 'active' AND (p.subscription IS NULL OR p.origin <> $2 "
		"OR pg_snapshot_xmax(p.done) > pg_snapshot_xmax(pg_current_snapshot()))",
		NAMEOID, UUIDOID);
	NameData	domain_name;
	pg_uuid_t	origin = pyn_log_origin();
	Datum		values[] = {NameGetDatum(&domain_name), UUIDPGetDatum(&origin)};
	SPITupleTable *lost;
	uint64		rows;

	namestrcpy(&domain_name, domain);
	rows = pyn_execute(&select_lost, values, NULL, 0);
	lost = SPI_tuptable;
	for (uint64 row = 0; row < rows; row++)
	{
		bool		is_null;
		char	   *name = SPI_getvalue(lost->vals[row], lost->tupdesc, 1);
		bool		missing = DatumGetBool(SPI_getbinval(lost->vals[row], lost->tupdesc, 2, &is_null));
		bool		foreign = !missing && DatumGetBool(SPI_getbinval(lost->vals[row], lost->tupdesc, 3, &is_null));

		pyn_new_position(name,
						 missing ? "began anew: it had no position, as after a restore" :
						 foreign ? "began anew: its position was of the database that this one is a copy of" :
						 "began anew: its position was of another server's future");
	}
}

/*
 * pyn_positions_renew begins anew, now, whatever has no position here to go on from, in all domains.
 */
void
pyn_positions_renew(void)
{
	renew_positions("");
}

static Datum
field_or_zero(uint64 row, int column)
{
	bool		is_null;
	Datum		value = pyn_field(row, column, &is_null);

	return is_null ? (Datum) 0 : value;
}

static TimestampTz
time_field(uint64 row, int column)
{
	bool		is_null;
	Datum		value = pyn_field(row, column, &is_null);

	return is_null ? DT_NOEND : DatumGetTimestampTz(value);
}

/* A snapshot in the current memory context. */
static Datum
copy_snapshot(Datum snapshot)
{
	return snapshot == 0 ? 0 : datumCopy(snapshot, false, -1);
}

static PynSubscription *
read_subscription(PynConsumer *consumer, uint64 row)
{
	MemoryContext context = AllocSetContextCreate(consumer->context, "pynomaly subscription", ALLOCSET_SMALL_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	PynSubscription *subscription = palloc0(sizeof(PynSubscription));

	subscription->context = context;
	subscription->name = pyn_text_field(row, 1);
	subscription->type = pyn_text_field(row, 2);
	subscription->handler = pyn_text_field(row, 3);
	subscription->owner = DatumGetObjectId(pyn_field(row, 4, NULL));
	subscription->builtin = DatumGetBool(pyn_field(row, 5, NULL));
	subscription->max_attempts = DatumGetInt32(field_or_zero(row, 6));
	subscription->timeout = DatumGetInt32(field_or_zero(row, 7));
	if (subscription->max_attempts == 0)
		subscription->max_attempts = pyn_max_attempts;
	if (subscription->timeout == 0)
		subscription->timeout = pyn_handler_timeout;
	subscription->tid = *(ItemPointer) DatumGetPointer(pyn_field(row, 8, NULL));
	subscription->done = copy_snapshot(pyn_field(row, 9, NULL));
	subscription->target = copy_snapshot(field_or_zero(row, 10));
	subscription->after_id = DatumGetInt64(pyn_field(row, 11, NULL));
	subscription->since = time_field(row, 12);
	subscription->replay_since = time_field(row, 13);
	subscription->began = copy_snapshot(pyn_field(row, 14, NULL));
	subscription->written_at = GetCurrentTimestamp();
	subscription->next_retry = DT_NOEND;
	/* A batch that was begun must be read again. */
	subscription->cut = subscription->target != 0;
	MemoryContextSwitchTo(caller);
	return subscription;
}

/*
 * pyn_positions_load reads the active subscriptions of the consumer's domain with their positions.
 */
void
pyn_positions_load(PynConsumer *consumer)
{
	static PynStatement select_subscriptions = PYN_STATEMENT(
		"SELECT s.name, s.type, s.handler, s.owner, s.builtin, s.max_attempts, "
		"(extract(epoch FROM s.timeout) * 1000)::int, p.ctid, p.done, p.target, p.after_id, p.since, p.replay_since, p.began "
		"FROM pynomaly_kernel.subscription s JOIN pynomaly_kernel.subscription_position p ON p.subscription = s.name "
		"WHERE (s.domain = $1 OR $1 = '') AND s.status = 'active' ORDER BY s.name",
		NAMEOID);
	NameData	domain;
	Datum		values[] = {NameGetDatum(&domain)};
	ListCell   *cell;
	uint64		rows;

	foreach(cell, consumer->subscriptions)
		MemoryContextDelete(((PynSubscription *) lfirst(cell))->context);
	list_free(consumer->subscriptions);
	consumer->subscriptions = NIL;

	renew_positions(consumer->domain);
	CommandCounterIncrement();
	namestrcpy(&domain, consumer->domain);
	rows = pyn_execute(&select_subscriptions, values, NULL, 0);
	for (uint64 row = 0; row < rows; row++)
	{
		PynSubscription *subscription = read_subscription(consumer, row);
		MemoryContext caller = MemoryContextSwitchTo(consumer->context);

		consumer->subscriptions = lappend(consumer->subscriptions, subscription);
		MemoryContextSwitchTo(caller);
	}
}

/*
 * pyn_position_lock takes the position's row for this transaction.  It gives false when it cannot be had now: somebody
 * is changing it, or has, and then the consumer reads its subscriptions again.
 */
bool
pyn_position_lock(PynConsumer *consumer, PynSubscription *subscription)
{
	static PynStatement lock_position = PYN_STATEMENT(
		"SELECT FROM pynomaly_kernel.subscription_position WHERE ctid = $1 AND subscription = $2 "
		"FOR NO KEY UPDATE SKIP LOCKED",
		TIDOID, TEXTOID);
	static PynStatement select_place = PYN_STATEMENT(
		"SELECT ctid = $1 FROM pynomaly_kernel.subscription_position WHERE subscription = $2",
		TIDOID, TEXTOID);
	Datum		values[] = {PointerGetDatum(&subscription->tid), CStringGetTextDatum(subscription->name)};

	if (pyn_execute(&lock_position, values, NULL, 1) == 1)
		return true;
	if (pyn_execute(&select_place, values, NULL, 1) == 0 || !DatumGetBool(pyn_field(0, 1, NULL)))
		consumer->valid = false;
	return false;
}

/*
 * pyn_position_write writes the position and the number of events handled since it was last written.
 */
void
pyn_position_write(PynConsumer *consumer, PynSubscription *subscription, int64 handled)
{
	static PynStatement update_position = PYN_STATEMENT(
		"UPDATE pynomaly_kernel.subscription_position SET done = $3, target = $4, after_id = $5, since = $6, "
		"replay_since = $7, handled = handled + $8, updated_at = clock_timestamp() "
		"WHERE ctid = $1 AND subscription = $2 RETURNING ctid",
		TIDOID, TEXTOID, PG_SNAPSHOTOID, PG_SNAPSHOTOID, INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID);
	Datum		values[] = {
		PointerGetDatum(&subscription->tid), CStringGetTextDatum(subscription->name), subscription->done,
		subscription->target, Int64GetDatum(subscription->after_id), TimestampTzGetDatum(subscription->since),
		TimestampTzGetDatum(subscription->replay_since), Int64GetDatum(handled)
	};
	char		nulls[] = "        ";

	if (subscription->target == 0)
		nulls[3] = 'n';
	if (subscription->since == DT_NOEND)
		nulls[5] = 'n';
	if (subscription->replay_since == DT_NOEND)
		nulls[6] = 'n';
	if (pyn_execute(&update_position, values, nulls, 0) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("the position of subscription \"%s\" was changed meanwhile", subscription->name)));
	subscription->tid = *(ItemPointer) DatumGetPointer(pyn_field(0, 1, NULL));
	subscription->moved = false;
	subscription->written_at = GetCurrentTimestamp();
}
