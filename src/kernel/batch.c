/*
 * batch.c
 *		Cuts batches of events between two snapshots.
 *
 * Ids are taken before transactions commit and so say nothing about the order of commits: who goes on from the highest id
 * seen loses what commits later with a lower one.  Here a subscription's position is a snapshot, and a batch is what
 * became visible between it and a later one: the events of transactions that the old snapshot lists as running, and of
 * those that it does not know yet, if they are visible in the new one (the rule of PgQ).  A transaction that stays open
 * for long delays its own events and no others.
 *
 * Within a batch events go by id.  If one transaction has waited for another one, for example for a lock on the row that
 * both events are about, its event comes later: by id if both are in one batch, or in a later batch.
 *
 * A batch may be large after a pause.  Its ids are kept in memory, the events are read piece by piece, and a batch of
 * more than WINDOW events is looked through once for each window.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "kernel/access.h"
#include "kernel/consumer.h"
#include "kernel/event_type.h"
#include "kernel/port.h"
#include "kernel/statement.h"

#define WINDOW 200000

/* Replaces a snapshot that the subscription keeps. */
static void
set_snapshot(PynSubscription *subscription, Datum *snapshot, Datum value)
{
	Datum		old = *snapshot;
	MemoryContext caller = MemoryContextSwitchTo(subscription->context);

	*snapshot = value == 0 ? 0 : datumCopy(value, false, -1);
	MemoryContextSwitchTo(caller);
	if (old != 0)
		pfree(DatumGetPointer(old));
}

static bool
same_snapshot(Datum a, Datum b)
{
	if (a == 0 || b == 0)
		return a == b;
	return datumIsEqual(a, b, false, -1);
}

static Datum
current_snapshot(void)
{
	static PynStatement select_snapshot = PYN_STATEMENT(
		"SELECT pg_current_snapshot()");

	pyn_execute(&select_snapshot, NULL, NULL, 1);
	return datumCopy(pyn_field(0, 1, NULL), false, -1);
}

/* Before any transaction. */
static Datum
empty_snapshot(void)
{
	static PynStatement select_empty = PYN_STATEMENT(
		"SELECT pg_snapshot '1:1:'");

	pyn_execute(&select_empty, NULL, NULL, 1);
	return datumCopy(pyn_field(0, 1, NULL), false, -1);
}

/*
 * Finds what became visible between two snapshots, after an id and published since a time (0: at any).  The first branch
 * is what the old snapshot does not know, the second what it knew as running.
 */
static uint64
scan(Datum done, Datum target, int64 after_id, TimestampTz since)
{
	static PynStatement select_batch = PYN_INDEX_STATEMENT(
		"SELECT id, priority, type FROM ("
		"SELECT id, priority, type, \"time\" FROM pynomaly_kernel.event "
		"WHERE xid >= pg_snapshot_xmax($1) AND xid < pg_snapshot_xmax($2) AND pg_visible_in_snapshot(xid, $2) "
		"UNION ALL "
		"SELECT id, priority, type, \"time\" FROM pynomaly_kernel.event "
		"WHERE xid = ANY (ARRAY(SELECT pg_snapshot_xip($1))) AND pg_visible_in_snapshot(xid, $2)) AS batch "
		"WHERE id > $3 AND ($4 IS NULL OR \"time\" >= $4) ORDER BY id LIMIT $5",
		PG_SNAPSHOTOID, PG_SNAPSHOTOID, INT8OID, TIMESTAMPTZOID, INT8OID);
	Datum		values[] = {done, target, Int64GetDatum(after_id), TimestampTzGetDatum(since), Int64GetDatum(WINDOW)};

	return pyn_execute(&select_batch, values, since != 0 ? NULL : "   n ", 0);
}

/* Takes those of the rows of the last scan that the subscription is about. */
static void
take(PynSubscription *subscription, uint64 rows)
{
	int			count = 0;

	if (subscription->waiting != NULL)
		pfree(subscription->waiting);
	subscription->waiting = NULL;
	subscription->next = subscription->count = 0;
	if (rows == 0)
		return;
	subscription->waiting = MemoryContextAllocHuge(subscription->context, rows * sizeof(PynWaiting));
	for (uint64 row = 0; row < rows; row++)
	{
		bool		is_null;
		HeapTuple	tuple = SPI_tuptable->vals[row];
		TupleDesc	descriptor = SPI_tuptable->tupdesc;

		if (strcmp(subscription->type, "*") != 0 &&
			!pyn_type_matches(subscription->type, TextDatumGetCString(SPI_getbinval(tuple, descriptor, 3, &is_null))))
			continue;
		subscription->waiting[count].id = DatumGetInt64(SPI_getbinval(tuple, descriptor, 1, &is_null));
		subscription->waiting[count].priority = DatumGetInt16(SPI_getbinval(tuple, descriptor, 2, &is_null));
		count++;
	}
	subscription->count = count;
}

/* Ends a batch whose events have all been handled. */
static void
close_batch(PynSubscription *subscription)
{
	set_snapshot(subscription, &subscription->done, subscription->target);
	set_snapshot(subscription, &subscription->target, 0);
	subscription->after_id = 0;
	subscription->since = 0;
	subscription->moved = true;
}

/* Opens the next batch, up to `now`, or a replay of what was handled. */
static void
open_batch(PynSubscription *subscription, Datum now)
{
	if (subscription->replay_since != 0)
	{
		set_snapshot(subscription, &subscription->target, subscription->done);
		set_snapshot(subscription, &subscription->done, empty_snapshot());
		subscription->since = subscription->replay_since;
		subscription->replay_since = 0;
	}
	else
		set_snapshot(subscription, &subscription->target, now);
	subscription->after_id = 0;
}

/* Looks for events in the open batch of `first`, and for all later subscriptions in the list whose batch is the same. */
static void
scan_for_all(List *subscriptions, int first)
{
	PynSubscription *leader = list_nth(subscriptions, first);
	int64		last_id;
	uint64		rows = scan(leader->done, leader->target, leader->after_id, leader->since);
	SPITupleTable *table = SPI_tuptable;
	Datum		done = datumCopy(leader->done, false, -1);
	Datum		target = datumCopy(leader->target, false, -1);
	int64		after_id = leader->after_id;
	TimestampTz since = leader->since;

	last_id = rows > 0 ? DatumGetInt64(pyn_field(rows - 1, 1, NULL)) : 0;
	for (int i = first; i < list_length(subscriptions); i++)
	{
		PynSubscription *subscription = list_nth(subscriptions, i);

		if (subscription->next < subscription->count || !subscription->cut ||
			subscription->after_id != after_id || subscription->since != since ||
			!same_snapshot(subscription->done, done) || !same_snapshot(subscription->target, target))
			continue;
		SPI_tuptable = table;
		take(subscription, rows);
		subscription->cut = rows == WINDOW;
		if (subscription->count == 0 && subscription->cut)
			subscription->after_id = last_id;
		else if (subscription->count == 0)
			close_batch(subscription);
	}
	SPI_freetuptable(table);
}

/*
 * pyn_batches_open looks for new events for each subscription that has handled those that it knew of; true if any has
 * something to do.
 */
bool
pyn_batches_open(PynConsumer *consumer)
{
	Datum		now = current_snapshot();
	bool		any = false;

	for (int i = 0; i < list_length(consumer->subscriptions); i++)
	{
		PynSubscription *subscription = list_nth(consumer->subscriptions, i);

		if (subscription->next < subscription->count || subscription->cut)
			continue;
		if (subscription->target != 0)
			close_batch(subscription);
		if (subscription->replay_since == 0 && same_snapshot(subscription->done, now))
			continue;
		open_batch(subscription, now);
		subscription->cut = true;
	}
	for (int i = 0; i < list_length(consumer->subscriptions); i++)
	{
		PynSubscription *subscription = list_nth(consumer->subscriptions, i);

		if (subscription->next == subscription->count && subscription->cut)
			scan_for_all(consumer->subscriptions, i);
		any |= subscription->next < subscription->count || subscription->cut;
	}
	return any;
}

static PynEvent
read_event(uint64 row)
{
	PynEvent	event = {0};
	bool		is_null;

	event.row = datumCopy(pyn_field(row, 1, NULL), false, -1);
	event.id = DatumGetInt64(pyn_field(row, 2, NULL));
	event.type = pyn_text_field(row, 3);
	event.source = pyn_text_field(row, 4);
	event.subject = pyn_text_field(row, 5);
	event.publisher = DatumGetObjectId(pyn_field(row, 6, NULL));
	event.time = DatumGetTimestampTz(pyn_field(row, 7, NULL));
	event.cause.id = event.id;
	event.cause.correlation_id = *DatumGetUUIDP(pyn_field(row, 8, &is_null));
	event.cause.traceparent = pyn_text_field(row, 9);
	return event;
}

/*
 * pyn_batch_fetch reads the next `count` waiting events into the current memory context.
 */
PynEvent *
pyn_batch_fetch(PynSubscription *subscription, int count, int *found)
{
	static PynStatement select_events = PYN_INDEX_STATEMENT(
		"SELECT e, e.id, e.type, e.source, e.subject, e.publisher, e.\"time\", e.correlation_id, e.traceparent "
		"FROM pynomaly_kernel.event e WHERE e.id = ANY ($1) ORDER BY e.id",
		INT8ARRAYOID);
	Datum	   *ids = pyn_new(Datum, count);
	Datum		values[1];
	PynEvent   *events;

	for (int i = 0; i < count; i++)
		ids[i] = Int64GetDatum(subscription->waiting[subscription->next + i].id);
	values[0] = PointerGetDatum(construct_array(ids, count, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	*found = (int) pyn_execute(&select_events, values, NULL, 0);
	events = pyn_new(PynEvent, *found + 1);
	for (int i = 0; i < *found; i++)
		events[i] = read_event(i);
	SPI_freetuptable(SPI_tuptable);
	return events;
}
