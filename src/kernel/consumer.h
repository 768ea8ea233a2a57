/*
 * consumer.h
 *		Handles the events of one domain: what a worker does, or a session in its place.
 */
#ifndef PYN_CONSUMER_H
#define PYN_CONSUMER_H

#include "postgres.h"
#include "nodes/pg_list.h"
#include "storage/itemptr.h"
#include "storage/lock.h"
#include "utils/hsearch.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "kernel/handler.h"

/* The domain whose worker also serves users: their subscriptions, schedules, listeners, and the log's upkeep. */
#define PYN_HOST_DOMAIN "gateway"

/* A piece of a batch is handled in one transaction.  More subtransactions than this would overflow the list that other
 * backends' snapshots take from shared memory (PGPROC_MAX_CACHED_SUBXIDS is 64). */
#define PYN_PIECE 60

/* An event that waits in an open batch. */
typedef struct PynWaiting
{
	int64		id;
	int16		priority;
	int16		member;			/* of the log */
} PynWaiting;

/* An event as the consumer needs it; all in memory of the current piece. */
typedef struct PynEvent
{
	int64		id;
	char	   *type;
	char	   *source;
	char	   *subject;		/* NULL: none */
	Oid			publisher;
	TimestampTz time;
	Datum		row;			/* of type pynomaly_kernel.event */
	PynCause	cause;			/* what it is to events that its handler publishes */
} PynEvent;

/* A subscription with its position, as the consumer that owns it keeps it in memory. */
typedef struct PynSubscription
{
	MemoryContext context;		/* of all that it points to */
	char	   *name;
	char	   *type;			/* or pattern */
	char	   *handler;		/* NULL: tells listeners */
	Oid			owner;
	bool		builtin;
	int			max_attempts;
	int			timeout;		/* ms */

	/* The position, see sql/30_subscription.sql. */
	ItemPointerData tid;		/* its row */
	Datum		began;			/* pg_snapshot */
	Datum		done;			/* pg_snapshot */
	Datum		target;			/* pg_snapshot, or 0: no batch is open */
	int64		after_id;
	TimestampTz since;			/* DT_NOEND: the open batch is no replay */
	TimestampTz replay_since;	/* DT_NOEND: none is asked for */
	bool		moved;			/* done is newer than in the table */
	TimestampTz written_at;

	/* What waits in the open batch, from next to count, by id; more may follow after the last if it was cut. */
	PynWaiting *waiting;
	int			count;
	int			next;
	bool		cut;

	/* Of the retry table. */
	HTAB	   *blocked;		/* subjects with events that wait or are parked; NULL: to be read */
	TimestampTz next_retry;		/* DT_NOEND: none waits */

	/* Of the present minute. */
	int64		handled;
	int64		failed;
	double		busy;			/* s */
	double		lag;			/* s */
} PynSubscription;

typedef struct PynConsumer
{
	MemoryContext context;
	char		domain[NAMEDATALEN];
	LOCKTAG		lock;			/* that its session must hold */
	bool		acquired;
	bool		in_worker;
	bool		cautious;		/* count attempts before they begin */
	bool		suspects_wait;	/* an earlier attempt may have ended a worker: others first, until a time */
	TimestampTz suspects_until;
	bool		valid;			/* subscriptions are as in the tables */
	bool		retries_valid;
	bool		gone;			/* the extension was dropped or updated */
	Oid			extension;
	char	   *version;		/* of the extension when the consumer began */
	NameData   *domains;		/* with active subscriptions, for the host's worker */
	int			domain_count;
	bool		new_domains;	/* they were read since the worker looked */
	List	   *subscriptions;	/* of PynSubscription */
	int64		budget;			/* events that may still be handled */
	TimestampTz next_upkeep;
	TimestampTz next_lag_check;
	TimestampTz next_schedule;
	TimestampTz minute;			/* that the subscriptions' counts are of */

	/* The present unit of work. */
	MemoryContext piece_context;
	bool		keep_piece;		/* its memory survives the next pyn_unit_begin */
	struct PynAccess *access;
} PynConsumer;

/* consumer.c */
extern PynConsumer *pyn_consumer_open(const char *domain, bool in_worker, bool cautious);
extern void pyn_consumer_close(PynConsumer *consumer);
extern bool pyn_consumer_cycle(PynConsumer *consumer);
extern TimestampTz pyn_consumer_next_due(const PynConsumer *consumer);
extern bool pyn_consumer_acquire(PynConsumer *consumer, bool wait);
extern void pyn_consumer_release(PynConsumer *consumer);
extern bool pyn_consumer_awaited(const PynConsumer *consumer);
extern void pyn_consumer_rest(PynConsumer *consumer);
extern bool pyn_consumer_handler(PynConsumer *consumer, PynSubscription *subscription, PynHandler *handler);
extern void pyn_consumer_count(PynSubscription *subscription, const PynEvent *event, TimestampTz begin, bool succeeded);

/* unit.c: a unit of work is a transaction as the extension's owner, connected to SPI. */
extern bool pyn_unit_begin(PynConsumer *consumer);
extern void pyn_unit_commit(PynConsumer *consumer);
extern void pyn_unit_keep(PynConsumer *consumer);

/* position.c */
extern void pyn_positions_load(PynConsumer *consumer);
extern void pyn_positions_renew(void);
extern bool pyn_position_lock(PynConsumer *consumer, PynSubscription *subscription);
extern void pyn_position_write(PynConsumer *consumer, PynSubscription *subscription, int64 handled);
extern void pyn_new_position(const char *name, const char *note);

/* subscription.c */
extern int	pyn_interval_ms(const Interval *interval, const char *what);
extern void pyn_check_login(Oid role);
extern char *pyn_name_argument(text *value, const char *what);
extern void pyn_retry_now(const char *subject);
extern void pyn_subscription_stop(const char *name, Oid owner, const char *status, const char *reason);

/* throughput.c */
extern void pyn_throughput_write(PynConsumer *consumer);

/* batch.c */
extern bool pyn_batches_open(PynConsumer *consumer);

/* retry.c */
extern void pyn_retries_load(PynConsumer *consumer);
extern bool pyn_retry_blocked(PynSubscription *subscription, const PynEvent *event);
extern void pyn_retry_add(PynSubscription *subscription, const PynEvent *event, const char *state, int attempts,
						  const PynFailure *failure);
extern bool pyn_retry_due(PynConsumer *consumer, PynSubscription *subscription);

/* listeners.c */
extern void pyn_tell_listeners(const PynEvent *events, int count);

/* schedule.c */
extern bool pyn_schedules_due(PynConsumer *consumer);

/* rotation.c */
extern bool pyn_upkeep(PynConsumer *consumer);

#endif							/* PYN_CONSUMER_H */
