/*
 * retry.c
 *		Events whose handler failed: later attempts, order behind them, and dead letters.
 *
 * A failed event is copied into the retry table, in the transaction that moves the position past it.  It is tried again
 * after a delay that doubles with each attempt; until it has succeeded or is dead, later events of its subject park
 * behind it.  A dead event releases them, and stays until redrive() or unsubscribe().
 *
 * An attempt at an event of this table is counted and committed before it begins, and a worker whose predecessor did not
 * end as it should begins with events of the log by putting them here.  So a handler that takes its worker or the whole
 * server down has at most one attempt more than one that raises an error.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "common/pg_prng.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "kernel/consumer.h"
#include "kernel/event_log.h"
#include "kernel/json_writer.h"
#include "kernel/settings.h"
#include "kernel/statement.h"

/* Subjects are kept by a hash; a collision parks an event that need not wait, and does no harm. */
typedef struct BlockedSubject
{
	uint64		subject;		/* hash key */
	int64		events;
} BlockedSubject;

/* Retries taken up in one cycle, between which the other subscriptions have their turn. */
#define RETRIES_PER_CYCLE 16

/* An event that somebody has locked is looked at again after this time, in ms. */
#define LOCKED_PAUSE 500

#define LONGEST_DELAY (3600 * INT64CONST(1000))	/* ms */

static uint64
subject_hash(const char *subject)
{
	return DatumGetUInt64(hash_any_extended((const unsigned char *) subject, strlen(subject), 0));
}

/* The time of the attempt after the nth: the delay doubles, and differs by a quarter so that retries spread. */
static TimestampTz
next_attempt(int attempts)
{
	double		delay = pyn_retry_delay * ldexp(1.0, Min(attempts - 1, 30));

	delay = Min(delay, (double) LONGEST_DELAY) * (0.75 + 0.5 * pg_prng_double(&pg_global_prng_state));
	return TimestampTzPlusMilliseconds(GetCurrentTimestamp(), (int64) delay);
}

static void
block(PynSubscription *subscription, const char *subject, int64 events)
{
	BlockedSubject *entry;
	uint64		key;
	bool		found;

	if (subject == NULL)
		return;
	key = subject_hash(subject);
	entry = hash_search(subscription->blocked, &key, HASH_ENTER, &found);
	entry->events = (found ? entry->events : 0) + events;
	if (entry->events <= 0)
		hash_search(subscription->blocked, &key, HASH_REMOVE, NULL);
}

/*
 * pyn_retries_load reads which subjects are blocked and when the next attempts are due.  An invalidation meanwhile makes the
 * consumer read them again.
 */
void
pyn_retries_load(PynConsumer *consumer)
{
	static PynStatement select_blocked = PYN_STATEMENT(
		"SELECT subject, count(*), min(due_at) FILTER (WHERE state = 'waiting') FROM pynomaly_kernel.retry "
		"WHERE subscription = $1 AND state <> 'dead' GROUP BY subject",
		TEXTOID);
	ListCell   *cell;

	foreach(cell, consumer->subscriptions)
	{
		PynSubscription *subscription = lfirst(cell);
		Datum		values[] = {CStringGetTextDatum(subscription->name)};
		HASHCTL		control = {0};
		uint64		rows;

		if (subscription->blocked != NULL)
			hash_destroy(subscription->blocked);
		control.keysize = sizeof(uint64);
		control.entrysize = sizeof(BlockedSubject);
		control.hcxt = subscription->context;
		subscription->blocked = hash_create("pynomaly blocked subjects", 32, &control,
											HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
		subscription->next_retry = DT_NOEND;
		rows = pyn_execute(&select_blocked, values, NULL, 0);
		for (uint64 row = 0; row < rows; row++)
		{
			bool		is_null;
			TimestampTz due = DatumGetTimestampTz(pyn_field(row, 3, &is_null));

			if (!is_null)
				subscription->next_retry = Min(subscription->next_retry, due);
			block(subscription, pyn_text_field(row, 1), DatumGetInt64(pyn_field(row, 2, NULL)));
		}
	}
}

/*
 * pyn_retry_blocked tells whether the event must wait behind another one of its subject.
 */
bool
pyn_retry_blocked(PynSubscription *subscription, const PynEvent *event)
{
	uint64		key;

	if (event->subject == NULL || hash_get_num_entries(subscription->blocked) == 0)
		return false;
	key = subject_hash(event->subject);
	return hash_search(subscription->blocked, &key, HASH_FIND, NULL) != NULL;
}

/*
 * Tells that an event is dead: whoever may see the subscription, or, of a domain's own, on whose behalf it was to be
 * handled; and the server's log.
 */
static void
announce_dead(const PynSubscription *subscription, const PynEvent *event, int attempts, const PynFailure *failure)
{
	PynPublication publication = {
		.type = "kernel.event_failed.v1",
		.publisher = subscription->builtin ? event->publisher : subscription->owner
	};
	PynJson		json = {0};

	pyn_json_open_object(&json, NULL);
	pyn_json_text(&json, "subscription", subscription->name);
	pyn_json_integer(&json, "event_id", event->id);
	pyn_json_text(&json, "event_type", event->type);
	if (event->subject != NULL)
		pyn_json_text(&json, "subject", event->subject);
	pyn_json_integer(&json, "attempts", attempts);
	pyn_json_text(&json, "sqlstate", failure->sqlstate);
	if (failure->message != NULL)
		pyn_json_text(&json, "message", pyn_clip(failure->message));
	pyn_json_close_object(&json);
	publication.data = JsonbValueToJsonb(json.result);
	publication.subject = subscription->name;
	/* What tells of dead events must not beget events of its own for ever. */
	if (strcmp(event->type, publication.type) != 0)
		pyn_publish(&publication);
	ereport(LOG,
			(errmsg("pynomaly: subscription \"%s\" gave up event " INT64_FORMAT " after %d attempts (SQLSTATE %s)",
					subscription->name, event->id, attempts, failure->sqlstate),
			 errhint("Call pynomaly.redrive to give it new attempts.")));
}

/*
 * pyn_retry_add keeps an event for later: 'waiting' after a failed attempt, or 'parked' behind one of its subject.
 */
void
pyn_retry_add(PynSubscription *subscription, const PynEvent *event, const char *state, int attempts,
			  const PynFailure *failure)
{
	static PynStatement insert_retry = PYN_INDEX_STATEMENT(
		"INSERT INTO pynomaly_kernel.retry AS retry "
		"(subscription, state, attempts, due_at, failed_at, sqlstate, message, detail, context, "
		"id, origin, type, source, subject, \"time\", data, correlation_id, causation_id, traceparent, priority, publisher, "
		"xid, idempotency_key) "
		"SELECT $1, $2, $3, $4, CASE WHEN $5 IS NOT NULL THEN clock_timestamp() END, $5, $6, $7, $8, (e).* "
		"FROM (SELECT e FROM pynomaly_kernel.event e WHERE e.id = $9) AS found "
		"ON CONFLICT (subscription, id, origin) DO UPDATE SET (state, attempts, due_at, failed_at, sqlstate, message, detail, "
		"context) = (excluded.state, excluded.attempts, excluded.due_at, excluded.failed_at, excluded.sqlstate, "
		"excluded.message, excluded.detail, excluded.context) WHERE retry.state = 'dead'",
		TEXTOID, TEXTOID, INT4OID, TIMESTAMPTZOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, INT8OID);
	bool		dead = attempts >= subscription->max_attempts;
	TimestampTz due = attempts > 0 ? next_attempt(attempts) : GetCurrentTimestamp();
	char		nulls[] = "         ";
	Datum		values[9];

	if (dead)
		state = "dead";
	values[0] = CStringGetTextDatum(subscription->name);
	values[1] = CStringGetTextDatum(state);
	values[2] = Int32GetDatum(attempts);
	values[3] = TimestampTzGetDatum(due);
	values[4] = pyn_text_or_null(failure ? failure->sqlstate : NULL, &nulls[4]);
	values[5] = pyn_text_or_null(failure ? failure->message : NULL, &nulls[5]);
	values[6] = pyn_text_or_null(failure ? failure->detail : NULL, &nulls[6]);
	values[7] = pyn_text_or_null(failure ? failure->context : NULL, &nulls[7]);
	values[8] = Int64GetDatum(event->id);
	if (pyn_execute(&insert_retry, values, nulls, 0) == 0)
		return;
	if (dead)
		announce_dead(subscription, event, attempts, failure);
	else
		block(subscription, event->subject, 1);
	if (strcmp(state, "waiting") == 0)
		subscription->next_retry = Min(subscription->next_retry, due);
}

/* An event that is due for another attempt. */
typedef struct DueEvent
{
	int64		place;
	int			attempts;
	PynEvent	event;
} DueEvent;

/*
 * Counts the next attempt at the first due event and reads it; false if none is due.  It is updated at once, since to read
 * first and write then would take a weaker lock first, and could meet a REINDEX in between.
 */
static bool
begin_attempt(PynSubscription *subscription, bool suspects_wait, DueEvent *due)
{
	static PynStatement begin = PYN_INDEX_STATEMENT(
		"UPDATE pynomaly_kernel.retry r SET attempts = attempts + 1, due_at = $2 "
		"WHERE place = (SELECT place FROM pynomaly_kernel.retry WHERE subscription = $1 AND state = 'waiting' "
		"AND due_at <= clock_timestamp() AND (attempts = 0 OR NOT $3) ORDER BY due_at, place LIMIT 1 FOR UPDATE SKIP LOCKED) "
		"AND state = 'waiting' "
		"RETURNING place, attempts, id, type, subject, publisher, \"time\", correlation_id, traceparent, "
		"ROW(id, origin, type, source, subject, \"time\", data, correlation_id, causation_id, traceparent, priority, "
		"publisher, xid, idempotency_key)::pynomaly_kernel.event",
		TEXTOID, TIMESTAMPTZOID, BOOLOID);
	static PynStatement set_due = PYN_STATEMENT(
		"UPDATE pynomaly_kernel.retry SET due_at = $2 WHERE place = $1",
		INT8OID, TIMESTAMPTZOID);
	Datum		values[] = {CStringGetTextDatum(subscription->name), TimestampTzGetDatum(next_attempt(1)),
	BoolGetDatum(suspects_wait)};
	Datum		again[2];

	if (pyn_execute(&begin, values, NULL, 0) == 0)
		return false;
	memset(due, 0, sizeof(*due));
	due->place = DatumGetInt64(pyn_field(0, 1, NULL));
	due->attempts = DatumGetInt32(pyn_field(0, 2, NULL));
	due->event.id = DatumGetInt64(pyn_field(0, 3, NULL));
	due->event.type = pyn_text_field(0, 4);
	due->event.subject = pyn_text_field(0, 5);
	due->event.publisher = DatumGetObjectId(pyn_field(0, 6, NULL));
	due->event.time = DatumGetTimestampTz(pyn_field(0, 7, NULL));
	due->event.cause.id = due->event.id;
	due->event.cause.correlation_id = *DatumGetUUIDP(pyn_field(0, 8, NULL));
	due->event.cause.traceparent = pyn_text_field(0, 9);
	due->event.row = PointerGetDatum(PG_DETOAST_DATUM_COPY(pyn_field(0, 10, NULL)));

	/* Where the attempt is not survived, the next one is due after the delay. */
	again[0] = Int64GetDatum(due->place);
	again[1] = TimestampTzGetDatum(next_attempt(due->attempts));
	pyn_execute(&set_due, again, NULL, 0);
	return true;
}

/* The next event of the subject, if one is parked, is no longer behind another one. */
static void
release_next(PynSubscription *subscription, const char *subject)
{
	static PynStatement release = PYN_INDEX_STATEMENT(
		"UPDATE pynomaly_kernel.retry SET state = 'waiting', due_at = clock_timestamp() WHERE place = "
		"(SELECT place FROM pynomaly_kernel.retry WHERE subscription = $1 AND subject = $2 AND state <> 'dead' "
		"ORDER BY place LIMIT 1) AND state = 'parked'",
		TEXTOID, TEXTOID);
	Datum		values[] = {CStringGetTextDatum(subscription->name), (Datum) 0};

	if (subject == NULL)
		return;
	block(subscription, subject, -1);
	values[1] = CStringGetTextDatum(subject);
	pyn_execute(&release, values, NULL, 0);
}

/*
 * Notes how an attempt went.  Whose open transaction has changed a failed event's row meanwhile, as one that cancels what it is
 * part of, must not hold up all others: then the row stays as begin_attempt left it, counted and due after the delay.  Of
 * an attempt that succeeded the row goes in any case.
 */
static void
end_attempt(PynSubscription *subscription, const DueEvent *due, const PynFailure *failure)
{
	static PynStatement delete_retry = PYN_STATEMENT(
		"DELETE FROM pynomaly_kernel.retry WHERE place = $1",
		INT8OID);
	static PynStatement update_retry = PYN_INDEX_STATEMENT(
		"UPDATE pynomaly_kernel.retry SET state = $2, failed_at = clock_timestamp(), sqlstate = $3, message = $4, "
		"detail = $5, context = $6, attempts = $7 "
		"WHERE place = (SELECT place FROM pynomaly_kernel.retry WHERE place = $1 FOR UPDATE SKIP LOCKED)",
		INT8OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, INT4OID);
	bool		dead = due->attempts >= subscription->max_attempts;
	Datum		values[7] = {Int64GetDatum(due->place)};
	char		nulls[] = "       ";

	if (failure == NULL)
		pyn_execute(&delete_retry, values, NULL, 0);
	else
	{
		values[1] = CStringGetTextDatum(dead ? "dead" : "waiting");
		values[2] = CStringGetTextDatum(failure->sqlstate);
		values[3] = pyn_text_or_null(failure->message, &nulls[3]);
		values[4] = pyn_text_or_null(failure->detail, &nulls[4]);
		values[5] = pyn_text_or_null(failure->context, &nulls[5]);
		values[6] = Int32GetDatum(due->attempts);
		if (pyn_execute(&update_retry, values, nulls, 0) == 0)
			return;
		if (dead)
			announce_dead(subscription, &due->event, due->attempts, failure);
	}
	if (failure == NULL || dead)
		release_next(subscription, due->event.subject);
}

/* When the next attempt of the subscription is due. */
static void
look_ahead(PynSubscription *subscription)
{
	static PynStatement select_next = PYN_INDEX_STATEMENT(
		"SELECT (SELECT due_at FROM pynomaly_kernel.retry WHERE subscription = $1 AND state = 'waiting' "
		"ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED), "
		"(SELECT due_at FROM pynomaly_kernel.retry WHERE subscription = $1 AND state = 'waiting' ORDER BY due_at LIMIT 1)",
		TEXTOID);
	Datum		values[] = {CStringGetTextDatum(subscription->name)};
	TimestampTz locked = DT_NOEND;
	Datum		due;
	bool		is_null;

	pyn_execute(&select_next, values, NULL, 1);
	due = pyn_field(0, 1, &is_null);
	subscription->next_retry = is_null ? DT_NOEND : DatumGetTimestampTz(due);
	/* Who has locked one may take his time: it is looked at again now and then. */
	due = pyn_field(0, 2, &is_null);
	if (!is_null)
		locked = Max(DatumGetTimestampTz(due), TimestampTzPlusMilliseconds(GetCurrentTimestamp(), LOCKED_PAUSE));
	subscription->next_retry = Min(subscription->next_retry, locked);
}

/* One attempt at the first event that is due; false if none is. */
static bool
retry_one(PynConsumer *consumer, PynSubscription *subscription)
{
	static const PynFailure lost = {
		"57P01", "the worker ended before the handler did", NULL, NULL
	};
	PynHandler	handler;
	PynFailure	failure;
	DueEvent	due;
	bool		succeeded;

	if (!pyn_unit_begin(consumer) || !begin_attempt(subscription, consumer->suspects_wait, &due))
	{
		if (!consumer->gone)
			look_ahead(subscription);
		pyn_unit_commit(consumer);
		return false;
	}
	/* The last attempt was counted, but nothing tells how it went: it took the worker with it. */
	if (due.attempts > subscription->max_attempts)
	{
		due.attempts--;
		end_attempt(subscription, &due, &lost);
		pyn_unit_commit(consumer);
		return true;
	}
	pyn_unit_keep(consumer);
	if (!pyn_unit_begin(consumer))
	{
		pyn_unit_commit(consumer);
		return false;
	}
	if (pyn_consumer_handler(consumer, subscription, &handler))
	{
		TimestampTz begin = GetCurrentTimestamp();

		succeeded = pyn_handler_run(&handler, due.event.row, &due.event.cause, &failure);
		pyn_consumer_count(subscription, &due.event, begin, succeeded);
		end_attempt(subscription, &due, succeeded ? NULL : &failure);
	}
	pyn_unit_commit(consumer);
	return true;
}

/*
 * pyn_retry_due makes the attempts that are due, at most some of them; true if there were any.
 */
bool
pyn_retry_due(PynConsumer *consumer, PynSubscription *subscription)
{
	int			tried = 0;

	if (subscription->next_retry > GetCurrentTimestamp())
		return false;
	while (tried < RETRIES_PER_CYCLE && consumer->budget > 0 && consumer->valid && retry_one(consumer, subscription))
	{
		tried++;
		consumer->budget--;
	}
	return tried > 0;
}
