/*
 * rotation.c
 *		The log's upkeep: opens the next member, empties the oldest, and suspends who is too far behind.
 *
 * Rotation is two steps, as PgQ's.  First the open member is closed and the next, empty one takes its place; publishers
 * that still hold the old one may end what they began.  Much later, when retention is over and all active subscriptions
 * have passed the closed member, it is emptied.  Its exclusive lock is never waited for: a waiting TRUNCATE would hold up
 * all who come after it.  If a reader is there it is tried again at the next upkeep.
 *
 * There is no rotation without room: if the next member is not empty, the open one grows.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/timestamp.h"

#include "kernel/access.h"
#include "kernel/audit.h"
#include "kernel/consumer.h"
#include "kernel/event_log.h"
#include "kernel/saga_engine.h"
#include "kernel/settings.h"
#include "kernel/statement.h"

/* The time for which a member takes events: one is open, one is being passed, the others cover the retention. */
#define PERIOD_MS (pyn_retention * INT64CONST(1000) / (PYN_LOG_MEMBERS - 2))

/* How often to look for subscriptions that are too far behind, in ms; it looks at all positions. */
#define LAG_INTERVAL Min(60 * 1000, pyn_max_lag * INT64CONST(1000) / 2)

/* The statements on one member, whose name cannot be a parameter. */
#define FOR_EACH_MEMBER(statement) \
	{statement(0), statement(1), statement(2), statement(3), statement(4), statement(5), statement(6), statement(7)}

/* Closes the open member and opens the next if it is time, there is something in it, and the next is empty. */
static void
open_next(void)
{
	static PynStatement select_open = PYN_STATEMENT(
		"SELECT open.member FROM pynomaly_kernel.event_member open "
		"JOIN pynomaly_kernel.event_member next ON next.member = (open.member + 1) % 8 "
		"WHERE open.closed_at IS NULL AND next.opened_at IS NULL "
		"AND open.opened_at <= clock_timestamp() - $1 * interval '1 ms'",
		FLOAT8OID);
	static PynStatement close_open = PYN_STATEMENT(
		"UPDATE pynomaly_kernel.event_member SET "
		"opened_at = CASE member WHEN $1 THEN opened_at ELSE clock_timestamp() END, "
		"closed_at = CASE member WHEN $1 THEN clock_timestamp() END WHERE member IN ($1, ($1 + 1) % 8)",
		INT2OID);
#define ANY_EVENT(member) PYN_STATEMENT("SELECT FROM pynomaly_kernel.event_" #member " LIMIT 1")
	static PynStatement any_event[PYN_LOG_MEMBERS] = FOR_EACH_MEMBER(ANY_EVENT);
	Datum		period = Float8GetDatum((double) PERIOD_MS);
	Datum		member;

	if (pyn_execute(&select_open, &period, NULL, 1) == 0)
		return;
	member = pyn_field(0, 1, NULL);
	if (pyn_execute(&any_event[DatumGetInt16(member)], NULL, NULL, 1) == 0)
		return;
	pyn_execute(&close_open, &member, NULL, 0);
	CacheInvalidateRelcacheByRelid(pyn_relation("event_member"));
}

/* True if an active subscription has not passed all events of the member. */
static bool
is_needed(int member)
{
#define NOT_PASSED(member) \
	PYN_INDEX_STATEMENT("SELECT FROM pynomaly_kernel.subscription s " \
	"JOIN pynomaly_kernel.subscription_position p ON p.subscription = s.name " \
	"WHERE s.status = 'active' AND EXISTS (SELECT FROM pynomaly_kernel.event_" #member " " \
	"WHERE xid >= pg_snapshot_xmin(p.done) AND NOT pg_visible_in_snapshot(xid, p.done)) LIMIT 1")
	static PynStatement not_passed[PYN_LOG_MEMBERS] = FOR_EACH_MEMBER(NOT_PASSED);

	return pyn_execute(&not_passed[member], NULL, NULL, 1) > 0;
}

/* An event e that a subscription s with the position p has not handled, and will. */
#define IS_WAITING \
	"e.xid >= pg_snapshot_xmin(p.done) AND NOT pg_visible_in_snapshot(e.xid, p.done) " \
	"AND NOT (p.target IS NOT NULL AND pg_visible_in_snapshot(e.xid, p.target) AND e.id <= p.after_id) " \
	"AND (e.type = s.type OR right(s.type, 1) = '*' AND starts_with(e.type, rtrim(s.type, '*'))) "

/*
 * Takes the positions of the subscriptions that are not active, to note what they missed; false if one of them cannot be
 * had at once.  To wait for it with a member locked would make all wait.
 */
static bool
lock_stopped(void)
{
	static PynStatement count_stopped = PYN_STATEMENT(
		"SELECT FROM pynomaly_kernel.subscription s JOIN pynomaly_kernel.subscription_position p ON p.subscription = s.name "
		"WHERE s.status <> 'active'");
	static PynStatement lock_stopped = PYN_STATEMENT(
		"SELECT FROM pynomaly_kernel.subscription s JOIN pynomaly_kernel.subscription_position p ON p.subscription = s.name "
		"WHERE s.status <> 'active' FOR NO KEY UPDATE OF p SKIP LOCKED");

	return pyn_execute(&count_stopped, NULL, NULL, 0) == pyn_execute(&lock_stopped, NULL, NULL, 0);
}

/* Notes for those that do not hold the log back that events are gone which they had not handled. */
static void
note_missed(int member)
{
#define NOTE_MISSED(member) \
	PYN_STATEMENT("UPDATE pynomaly_kernel.subscription_position SET note = 'events up to ' || missed.\"time\" || " \
	"' were removed before it had handled them' FROM (" \
	"SELECT s.name, max(e.\"time\") AS \"time\" FROM pynomaly_kernel.subscription s " \
	"JOIN pynomaly_kernel.subscription_position p ON p.subscription = s.name, pynomaly_kernel.event_" #member " e " \
	"WHERE s.status <> 'active' AND " IS_WAITING "GROUP BY s.name) AS missed WHERE subscription = missed.name")
	static PynStatement note[PYN_LOG_MEMBERS] = FOR_EACH_MEMBER(NOTE_MISSED);

	pyn_execute(&note[member], NULL, NULL, 0);
}

/*
 * Empties a member if nobody is in it and nobody needs it.  Whether it is needed is asked before the lock, so that a
 * member that must stay does not make readers wait time and again, and with it, which is what counts.
 */
static bool
empty_member(int member)
{
#define TRUNCATE(member) PYN_STATEMENT("TRUNCATE ONLY pynomaly_kernel.event_" #member)
	static PynStatement truncate[PYN_LOG_MEMBERS] = FOR_EACH_MEMBER(TRUNCATE);
	static PynStatement update_member = PYN_STATEMENT(
		"UPDATE pynomaly_kernel.event_member SET opened_at = NULL, closed_at = NULL WHERE member = $1", INT2OID);
	Datum		value = Int16GetDatum((int16) member);

	if (is_needed(member) || !lock_stopped())
		return false;
	if (!ConditionalLockRelationOid(pyn_log_member(member), AccessExclusiveLock))
		return false;
	if (is_needed(member))
		return false;
	note_missed(member);
	pyn_execute(&truncate[member], NULL, NULL, 0);
	pyn_execute(&update_member, &value, NULL, 0);
	CacheInvalidateRelcacheByRelid(pyn_relation("event_member"));
	return true;
}

/* The member that was closed first, if its events need not be kept any more; -1 if there is none. */
static int
oldest_member(void)
{
	static PynStatement select_oldest = PYN_STATEMENT(
		"SELECT member FROM pynomaly_kernel.event_member WHERE closed_at <= clock_timestamp() - $1 * interval '1 s' "
		"ORDER BY closed_at LIMIT 1",
		FLOAT8OID);
	Datum		retention = Float8GetDatum((double) pyn_retention);

	if (pyn_execute(&select_oldest, &retention, NULL, 1) == 0)
		return -1;
	return DatumGetInt16(pyn_field(0, 1, NULL));
}

/* Suspends subscriptions whose oldest waiting event is too old. */
static void
suspend_laggards(void)
{
	static PynStatement select_laggards = PYN_INDEX_STATEMENT(
		"SELECT s.name, s.owner, oldest.\"time\" FROM pynomaly_kernel.subscription s "
		"JOIN pynomaly_kernel.subscription_position p ON p.subscription = s.name "
		"CROSS JOIN LATERAL (SELECT e.\"time\" FROM pynomaly_kernel.event e WHERE " IS_WAITING
		"ORDER BY e.xid LIMIT 1) AS oldest "
		"WHERE s.status = 'active' AND p.since IS NULL AND p.updated_at < clock_timestamp() - $1 * interval '1 s' "
		"AND oldest.\"time\" < clock_timestamp() - $1 * interval '1 s'",
		FLOAT8OID);
	Datum		lag = Float8GetDatum((double) pyn_max_lag);
	uint64		count = pyn_execute(&select_laggards, &lag, NULL, 0);
	SPITupleTable *laggards = SPI_tuptable;

	for (uint64 row = 0; row < count; row++)
	{
		bool		is_null;
		TimestampTz oldest = DatumGetTimestampTz(SPI_getbinval(laggards->vals[row], laggards->tupdesc, 3, &is_null));

		pyn_subscription_stop(SPI_getvalue(laggards->vals[row], laggards->tupdesc, 1),
							  DatumGetObjectId(SPI_getbinval(laggards->vals[row], laggards->tupdesc, 2, &is_null)),
							  "suspended",
							  psprintf("it waits for events since %s, longer than pynomaly.kernel_max_lag allows",
									   timestamptz_to_str(oldest)));
	}
}

/* Spans are kept as long as events. */
static void
forget_spans(void)
{
	static PynStatement delete_spans = PYN_INDEX_STATEMENT(
		"DELETE FROM pynomaly_kernel.span WHERE ended_at < clock_timestamp() - $1 * interval '1 s'",
		FLOAT8OID);
	Datum		retention = Float8GetDatum((double) pyn_retention);

	pyn_execute(&delete_spans, &retention, NULL, 0);
}

/*
 * pyn_upkeep does what is due, each step in a transaction of its own; true if that leads to more.
 */
bool
pyn_upkeep(PynConsumer *consumer)
{
	TimestampTz now = GetCurrentTimestamp();
	bool		emptied = true;
	bool		again = true;
	bool		worked = false;

	if (pyn_unit_begin(consumer))
	{
		if (consumer->next_lag_check <= now)
		{
			suspend_laggards();
			consumer->next_lag_check = TimestampTzPlusMilliseconds(now, LAG_INTERVAL);
		}
		open_next();
	}
	pyn_unit_commit(consumer);
	while (again && !consumer->gone)
	{
		again = pyn_unit_begin(consumer) && pyn_audit_seal();
		pyn_unit_commit(consumer);
	}
	if (!consumer->gone)
	{
		if (pyn_unit_begin(consumer))
		{
			worked = pyn_saga_upkeep();
			forget_spans();
		}
		pyn_unit_commit(consumer);
	}
	while (emptied && !consumer->gone)
	{
		emptied = false;
		if (pyn_unit_begin(consumer))
		{
			int			member = oldest_member();

			emptied = member >= 0 && empty_member(member);
		}
		pyn_unit_commit(consumer);
	}
	return worked;
}
