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
 * A batch may be large after a pause.  Its ids are kept in memory, the events are read piece by piece (log_scan.c), and a
 * batch of more than WINDOW events is looked through once for each window.
 */
#include "postgres.h"

#include "utils/datum.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "kernel/consumer.h"
#include "kernel/event_type.h"
#include "kernel/log_scan.h"
#include "kernel/port.h"

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

/* Takes those of the events found that the subscription is about. */
static void
take(PynSubscription *subscription, const PynLogScan *found)
{
	bool	   *wanted = pyn_new(bool, found->type_count + 1);
	int			count = 0;

	if (subscription->waiting != NULL)
		pfree(subscription->waiting);
	subscription->waiting = NULL;
	subscription->next = subscription->count = 0;
	if (found->count == 0)
		return;
	for (int i = 0; i < found->type_count; i++)
		wanted[i] = pyn_type_matches(subscription->type, found->types[i]);
	subscription->waiting = MemoryContextAllocHuge(subscription->context, found->count * sizeof(PynWaiting));
	for (int i = 0; i < found->count; i++)
		if (wanted[found->found[i].type])
			subscription->waiting[count++] = found->found[i].waiting;
	subscription->count = count;
	pfree(wanted);
}

/* Ends a batch whose events have all been handled. */
static void
close_batch(PynSubscription *subscription)
{
	set_snapshot(subscription, &subscription->done, subscription->target);
	set_snapshot(subscription, &subscription->target, 0);
	subscription->after_id = 0;
	subscription->since = DT_NOEND;
	subscription->moved = true;
}

/* Opens the next batch, up to `now`, or a replay of what was handled. */
static void
open_batch(PynSubscription *subscription, Datum now)
{
	if (subscription->replay_since != DT_NOEND)
	{
		set_snapshot(subscription, &subscription->target, subscription->done);
		set_snapshot(subscription, &subscription->done, subscription->began);
		subscription->since = subscription->replay_since;
		subscription->replay_since = DT_NOEND;
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
	Datum		done = datumCopy(leader->done, false, -1);
	Datum		target = datumCopy(leader->target, false, -1);
	int64		after_id = leader->after_id;
	TimestampTz since = leader->since;
	PynLogScan	found;

	pyn_log_scan(&found, done, target, after_id, since == DT_NOEND ? DT_NOBEGIN : since, WINDOW);
	for (int i = first; i < list_length(subscriptions); i++)
	{
		PynSubscription *subscription = list_nth(subscriptions, i);

		if (subscription->next < subscription->count || !subscription->cut ||
			subscription->after_id != after_id || subscription->since != since ||
			!same_snapshot(subscription->done, done) || !same_snapshot(subscription->target, target))
			continue;
		take(subscription, &found);
		subscription->cut = found.cut;
		if (subscription->count == 0 && subscription->cut)
			subscription->after_id = found.found[found.count - 1].waiting.id;
		else if (subscription->count == 0)
			close_batch(subscription);
	}
	pfree(found.found);
}

/* Opens a batch for each subscription that has none open, up to `now`. */
static void
open_batches(List *subscriptions, Datum now)
{
	ListCell   *cell;

	foreach(cell, subscriptions)
	{
		PynSubscription *subscription = lfirst(cell);

		if (subscription->next < subscription->count || subscription->cut)
			continue;
		if (subscription->target != 0)
			close_batch(subscription);
		if (subscription->replay_since == DT_NOEND && same_snapshot(subscription->done, now))
			continue;
		open_batch(subscription, now);
		subscription->cut = true;
	}
}

/*
 * pyn_batches_open looks for new events for each subscription that has handled those that it knew of; true if any has
 * something to do.
 */
bool
pyn_batches_open(PynConsumer *consumer)
{
	Datum		now;
	bool		any = false;
	bool		again;

	/* The new snapshot, and the one that the log is read with, must be the same. */
	PushActiveSnapshot(GetTransactionSnapshot());
	now = DirectFunctionCall1(pg_current_snapshot, (Datum) 0);
	do
	{
		open_batches(consumer->subscriptions, now);
		any = again = false;
		for (int i = 0; i < list_length(consumer->subscriptions); i++)
		{
			PynSubscription *subscription = list_nth(consumer->subscriptions, i);

			if (subscription->next == subscription->count && subscription->cut)
				scan_for_all(consumer->subscriptions, i);
			any |= subscription->next < subscription->count || subscription->cut;
			/* Its batch, of an earlier consumer or a replay, had nothing left, and there is one behind it. */
			again |= subscription->target == 0 &&
				(subscription->replay_since != DT_NOEND || !same_snapshot(subscription->done, now));
		}
	} while (again);
	PopActiveSnapshot();
	return any;
}
