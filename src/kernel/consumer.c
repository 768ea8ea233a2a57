/*
 * consumer.c
 *		Handles the events of one domain: what a worker does, or a session in its place.
 *
 * There is one consumer of a domain at a time, which the holder of a lock is.  It goes round its subscriptions and hands
 * each a piece of its batch: some events, in one transaction with the subscription's new position.  A piece ends early
 * when it takes long, so that a slow handler delays the others by one event.  All that the consumer keeps in memory is a
 * copy of what the tables say; whoever loses it begins again from there.
 */
#include "postgres.h"

#include "catalog/pg_extension.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/memutils.h"

#include "kernel/access.h"
#include "kernel/consumer.h"
#include "kernel/log_scan.h"
#include "kernel/settings.h"
#include "kernel/statement.h"

/* A piece takes no further event after this time, in ms. */
#define PIECE_TIME 100

/* A position that moved past events of no interest is written after this time, in ms. */
#define POSITION_DELAY 10000

/* Events whose last attempt a worker may not have survived let the others have turns for this time, in ms. */
#define SUSPECTS_WAIT 1000

/* How often to look whether the log is to be rotated or something is too far behind, in ms. */
#define UPKEEP_INTERVAL 5000

/* The part of an extension that a domain's lock is on; PostgreSQL locks extensions as a whole (0). */
#define DOMAIN_PART 1

/* What to read again after which table has changed. */
static PynConsumer *the_consumer;
static Oid	watched[3];

static void
forget_tables(Datum argument, Oid relation)
{
	if (the_consumer == NULL)
		return;
	if (relation == InvalidOid || relation == watched[0])
		the_consumer->valid = false;
	if (relation == InvalidOid || relation == watched[1])
		the_consumer->retries_valid = false;
	if (relation == InvalidOid || relation == watched[2])
		the_consumer->next_schedule = 0;
}

/*
 * A session lock on an object that does not exist, a part of an extension numbered by the domain's hash: unlike an
 * advisory lock, SQL cannot release it.
 */
static LOCKTAG
domain_lock(const char *domain)
{
	LOCKTAG		tag;

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, ExtensionRelationId,
					   DatumGetUInt32(hash_any((const unsigned char *) domain, strlen(domain))), DOMAIN_PART);
	return tag;
}

/*
 * pyn_consumer_acquire makes this session the domain's consumer; it waits until another one is not any more, or gives
 * false.  What it knew is out of date.
 */
bool
pyn_consumer_acquire(PynConsumer *consumer, bool wait)
{
	if (LockAcquire(&consumer->lock, ExclusiveLock, true, !wait) == LOCKACQUIRE_NOT_AVAIL)
		return false;
	consumer->acquired = true;
	consumer->valid = false;
	return true;
}

/*
 * pyn_consumer_release lets another session be the domain's consumer.
 */
void
pyn_consumer_release(PynConsumer *consumer)
{
	if (consumer->acquired)
		LockRelease(&consumer->lock, ExclusiveLock, true);
	consumer->acquired = false;
}

/*
 * pyn_consumer_awaited tells whether a session waits to be the consumer in our place.
 */
bool
pyn_consumer_awaited(const PynConsumer *consumer)
{
	return LockHasWaiters(&consumer->lock, ExclusiveLock, true);
}

/*
 * pyn_consumer_open makes a consumer.  A cautious one counts the attempts at its first events before it begins them, because
 * it may follow one that did not survive them.
 */
PynConsumer *
pyn_consumer_open(const char *domain, bool in_worker, bool cautious)
{
	static bool registered = false;
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "pynomaly consumer", ALLOCSET_DEFAULT_SIZES);
	PynConsumer *consumer = MemoryContextAllocZero(context, sizeof(PynConsumer));

	if (!registered)
	{
		CacheRegisterRelcacheCallback(forget_tables, (Datum) 0);
		registered = true;
	}
	consumer->context = context;
	consumer->piece_context = AllocSetContextCreate(context, "pynomaly piece", ALLOCSET_DEFAULT_SIZES);
	strlcpy(consumer->domain, domain, NAMEDATALEN);
	consumer->lock = domain_lock(domain);
	consumer->in_worker = in_worker;
	consumer->cautious = cautious;
	consumer->suspects_wait = cautious;
	consumer->suspects_until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), SUSPECTS_WAIT);
	consumer->budget = PG_INT64_MAX;
	/* After a pause all are behind; their workers come, too, and shall have time.  A session serves them before this one. */
	if (in_worker)
		consumer->next_lag_check = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), 60000);
	the_consumer = consumer;
	return consumer;
}

/*
 * pyn_consumer_close ends it.
 */
void
pyn_consumer_close(PynConsumer *consumer)
{
	pyn_consumer_release(consumer);
	the_consumer = NULL;
	MemoryContextDelete(consumer->context);
}

static bool
serves_users(const PynConsumer *consumer)
{
	return strcmp(consumer->domain, PYN_HOST_DOMAIN) == 0;
}

/* Which domains have subscriptions, so that the host's worker can ask for theirs. */
static void
load_domains(PynConsumer *consumer)
{
	static PynStatement select_domains = PYN_STATEMENT(
		"SELECT DISTINCT domain FROM pynomaly_kernel.subscription WHERE status = 'active'");

	consumer->domain_count = (int) pyn_execute(&select_domains, NULL, NULL, 0);
	if (consumer->domains != NULL)
		pfree(consumer->domains);
	consumer->domains = MemoryContextAllocZero(consumer->context, (consumer->domain_count + 1) * sizeof(NameData));
	for (int i = 0; i < consumer->domain_count; i++)
		consumer->domains[i] = *DatumGetName(pyn_field(i, 1, NULL));
	consumer->new_domains = true;
}

/* Reads again what has changed.  An invalidation that comes while it is read is seen by the next unit. */
static void
refresh(PynConsumer *consumer)
{
	watched[0] = pyn_relation("subscription");
	watched[1] = pyn_relation("retry");
	watched[2] = pyn_relation("schedule");
	if (!consumer->valid)
	{
		pyn_throughput_write(consumer);
		consumer->valid = true;
		pyn_positions_load(consumer);
		if (serves_users(consumer))
			load_domains(consumer);
		consumer->retries_valid = false;
	}
	if (!consumer->retries_valid)
	{
		consumer->retries_valid = true;
		pyn_retries_load(consumer);
	}
}

/*
 * pyn_consumer_handler finds the subscription's handler; if its owner cannot run it any more the subscription is disabled
 * and false given.
 */
bool
pyn_consumer_handler(PynConsumer *consumer, PynSubscription *subscription, PynHandler *handler)
{
	const char *reason = pyn_handler_find(handler, subscription->handler, true, subscription->owner,
										  subscription->builtin, subscription->timeout);

	if (reason == NULL)
		return true;
	pyn_subscription_stop(subscription->name, subscription->owner, "disabled", reason);
	consumer->valid = false;
	return false;
}

/*
 * pyn_consumer_count counts an event whose handler has ended.
 */
void
pyn_consumer_count(PynSubscription *subscription, const PynEvent *event, TimestampTz begin, bool succeeded)
{
	TimestampTz now = GetCurrentTimestamp();

	if (succeeded)
		subscription->handled++;
	else
		subscription->failed++;
	subscription->busy += (now - begin) / (double) USECS_PER_SEC;
	subscription->lag = Max(subscription->lag, (now - event->time) / (double) USECS_PER_SEC);
}

/* Hands one event to its handler, or to the retry table; false if it is none of the subscription's business. */
static bool
handle_event(PynConsumer *consumer, PynSubscription *subscription, PynHandler *handler, PynEvent *event)
{
	PynFailure	failure;
	TimestampTz begin;

	/* Users hear of what they may see. */
	if (!has_privs_of_role(subscription->owner, event->publisher))
		return false;
	if (pyn_retry_blocked(subscription, event))
		pyn_retry_add(subscription, event, "parked", 0, NULL);
	else if (consumer->cautious)
		pyn_retry_add(subscription, event, "waiting", 0, NULL);
	else
	{
		bool		succeeded;

		begin = GetCurrentTimestamp();
		succeeded = pyn_handler_run(handler, event->row, &event->cause, &failure);
		pyn_consumer_count(subscription, event, begin, succeeded);
		if (!succeeded)
			pyn_retry_add(subscription, event, "waiting", 1, &failure);
	}
	return true;
}

/*
 * Hands the events of a piece to the handler, one by one until time is over; gives the number of those that were looked at,
 * and of those that its owner may see.
 */
static int
handle_events(PynConsumer *consumer, PynSubscription *subscription, PynHandler *handler, PynEvent *events, int count,
			  int *handled)
{
	TimestampTz end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), PIECE_TIME);
	MemoryContext event_context = AllocSetContextCreate(consumer->piece_context, "pynomaly event", ALLOCSET_SMALL_SIZES);
	int			done = 0;

	while (done < count && (done == 0 || GetCurrentTimestamp() < end))
	{
		MemoryContextSwitchTo(event_context);
		*handled += handle_event(consumer, subscription, handler, &events[done++]);
		MemoryContextSwitchTo(consumer->piece_context);
		MemoryContextReset(event_context);
	}
	return done;
}

/* Moves the position past the events up to and with this one; writes it. */
static void
advance(PynConsumer *consumer, PynSubscription *subscription, int64 last_id, int done, int handled)
{
	subscription->after_id = last_id;
	while (subscription->next < subscription->count && subscription->waiting[subscription->next].id <= last_id)
		subscription->next++;
	consumer->budget -= done;
	pyn_position_write(consumer, subscription, handled);
}

/* Handles the next piece of the subscription's batch; true if something was handled. */
static bool
handle_piece(PynConsumer *consumer, PynSubscription *subscription)
{
	int			left = subscription->count - subscription->next;
	PynHandler	handler;
	PynEvent   *events;
	int			count;
	int			done = -1;
	int			handled = 0;

	if (left == 0 || consumer->budget <= 0)
		return false;
	if (!pyn_unit_begin(consumer) || !consumer->valid || !pyn_position_lock(consumer, subscription))
	{
		pyn_unit_commit(consumer);
		return false;
	}
	left = (int) Min(Min(left, PYN_PIECE), consumer->budget);
	events = pyn_log_fetch(&subscription->waiting[subscription->next], left, &count);
	if (subscription->handler == NULL)
	{
		pyn_tell_listeners(events, count);
		subscription->handled += count;
		handled = done = count;
	}
	else if (pyn_consumer_handler(consumer, subscription, &handler))
		done = handle_events(consumer, subscription, &handler, events, count, &handled);
	/* An event that is not there any more, which only a superuser can bring about, is passed like any other. */
	if (done >= 0)
		advance(consumer, subscription,
				done < count ? events[done - 1].id : subscription->waiting[subscription->next + left - 1].id, done, handled);
	pyn_unit_commit(consumer);
	return done >= 0;
}

/* The subscription whose next event has the highest priority first, others in their order. */
static int
by_priority(const ListCell *a, const ListCell *b)
{
	const PynSubscription *first = lfirst(a);
	const PynSubscription *second = lfirst(b);
	int			first_priority = first->next < first->count ? first->waiting[first->next].priority : PG_INT16_MIN;
	int			second_priority = second->next < second->count ? second->waiting[second->next].priority : PG_INT16_MIN;

	if (first_priority != second_priority)
		return first_priority > second_priority ? -1 : 1;
	return strcmp(first->name, second->name);
}

/* Writes positions that moved without any event, so that the log can forget what they have passed. */
static void
write_positions(PynConsumer *consumer, int delay)
{
	TimestampTz now = GetCurrentTimestamp();
	bool		any = false;
	ListCell   *cell;

	foreach(cell, consumer->subscriptions)
	{
		PynSubscription *subscription = lfirst(cell);

		any |= subscription->moved && (delay == 0 || TimestampDifferenceExceeds(subscription->written_at, now, delay));
	}
	if (!any)
		return;
	if (pyn_unit_begin(consumer) && consumer->valid)
	{
		foreach(cell, consumer->subscriptions)
		{
			PynSubscription *subscription = lfirst(cell);

			if (subscription->moved && pyn_position_lock(consumer, subscription))
				pyn_position_write(consumer, subscription, 0);
		}
	}
	pyn_unit_commit(consumer);
}

/*
 * pyn_consumer_rest writes what is only in memory, before the consumer ends.
 */
void
pyn_consumer_rest(PynConsumer *consumer)
{
	if (pyn_unit_begin(consumer))
		pyn_throughput_write(consumer);
	pyn_unit_commit(consumer);
	if (!consumer->gone)
		write_positions(consumer, 0);
	/* A session will not come back for what has been done meanwhile. */
	if (!consumer->gone && serves_users(consumer) && !consumer->in_worker)
		(void) pyn_upkeep(consumer);
}

/* What the host's consumer does beyond its subscriptions; and all do to their counts. */
static bool
do_other_work(PynConsumer *consumer)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz minute = now - now % USECS_PER_MINUTE;
	bool		worked = false;

	if (serves_users(consumer) && consumer->next_schedule <= now)
		worked = pyn_schedules_due(consumer);
	if (!consumer->gone && consumer->minute != minute)
	{
		if (pyn_unit_begin(consumer))
			pyn_throughput_write(consumer);
		pyn_unit_commit(consumer);
		consumer->minute = minute;
	}
	if (!consumer->gone && consumer->next_upkeep <= now)
	{
		write_positions(consumer, POSITION_DELAY);
		if (serves_users(consumer) && !consumer->gone)
			worked |= pyn_upkeep(consumer);
		consumer->next_upkeep = TimestampTzPlusMilliseconds(now, Min(UPKEEP_INTERVAL, pyn_retention * 1000 / 10));
	}
	return worked;
}

/*
 * pyn_consumer_cycle gives each subscription a turn; true if there was something to do, so that there may be more.
 */
bool
pyn_consumer_cycle(PynConsumer *consumer)
{
	bool		worked = false;
	bool		waiting = false;

	if (pyn_unit_begin(consumer))
	{
		refresh(consumer);
		waiting = pyn_batches_open(consumer);
	}
	pyn_unit_commit(consumer);

	if (waiting)
		list_sort(consumer->subscriptions, by_priority);
	for (int i = 0; i < list_length(consumer->subscriptions) && consumer->valid && !consumer->gone; i++)
	{
		PynSubscription *subscription = list_nth(consumer->subscriptions, i);

		if (subscription->handler != NULL)
			worked |= pyn_retry_due(consumer, subscription);
		if (consumer->valid && !consumer->gone)
			worked |= handle_piece(consumer, subscription);
	}
	if (waiting)
		consumer->cautious = false;
	if (!consumer->gone)
		worked |= do_other_work(consumer);
	if (consumer->suspects_wait && (!worked || GetCurrentTimestamp() >= consumer->suspects_until))
	{
		consumer->suspects_wait = false;
		worked = true;
	}
	return worked || !consumer->valid;
}

/*
 * pyn_consumer_next_due tells when there will be something to do even if nothing is published; DT_NOEND: never.
 */
TimestampTz
pyn_consumer_next_due(const PynConsumer *consumer)
{
	TimestampTz due = DT_NOEND;
	ListCell   *cell;

	if (serves_users(consumer))
		due = consumer->next_schedule;
	foreach(cell, consumer->subscriptions)
		due = Min(due, ((PynSubscription *) lfirst(cell))->next_retry);
	return due;
}
