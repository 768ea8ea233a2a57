/*
 * worker.c
 *		A background worker, which handles the events of one domain of one database.
 *
 * It sleeps until the doorbell rings or the poll interval is over.  It leaves when it is told to, when nothing has
 * happened for a while, when the extension has gone, and when somebody wants the database for himself: DROP DATABASE and
 * its like lock the database and then wait some seconds for others to go.
 */
#include "postgres.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <signal.h>

#include "access/xact.h"
#include "catalog/pg_database.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lock.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "kernel/access.h"
#include "kernel/consumer.h"
#include "kernel/doorbell.h"
#include "kernel/launcher.h"
#include "kernel/scout.h"
#include "kernel/settings.h"
#include "kernel/statement.h"
#include "kernel/worker.h"

/* How often to look whether somebody wants the database, in ms. */
#define CONFLICT_INTERVAL 200
#define LONGEST_REST 1000

/* A session that takes the consumer's place is let in, and asked again after this time, in ms. */
#define YIELD_TIME 20

/* When to come back without being rung for, in ms: after a database command, without an extension, and for upkeep. */
#define CONFLICT_PAUSE 5000
#define CONNECT_PAUSE 10000
#define GONE_PAUSE 60000
#define UPKEEP_PAUSE (600 * 1000)

/* Free memory that a worker keeps, in bytes. */
#define KEPT_MEMORY (64 * 1024 * 1024)

/* A worker that has run for this long had no bad start, in ms. */
#define GOOD_RUN 60000

static PynSlot *my_slot;

/* The database is not served any more: the slot is given up. */
static bool stopped;

/* The database was there. */
static bool connected;

static void
detach(int code, Datum argument)
{
	PynShared  *shared = pyn_shared();

	/* PostgreSQL releases session locks of this kind only when a transaction aborts, and we may be in none. */
	LockReleaseAll(DEFAULT_LOCKMETHOD, true);

	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	if (stopped)
	{
		memset(my_slot, 0, sizeof(*my_slot));
		LWLockRelease(&shared->lock);
		return;
	}
	my_slot->pid = 0;
	my_slot->latch = NULL;
	my_slot->idle = false;
	my_slot->is_handling = false;
	my_slot->leave = false;
	if (my_slot->left_well || TimestampDifferenceExceeds(my_slot->started_at, GetCurrentTimestamp(), GOOD_RUN))
		my_slot->failures = 0;
	if (!my_slot->left_well)
		pyn_slot_failed(my_slot);
	/* It may have been dropped: a scout shall look first. */
	if (!connected)
	{
		shared->look = true;
		my_slot->not_before = Max(my_slot->not_before,
								  TimestampTzPlusMilliseconds(GetCurrentTimestamp(), CONNECT_PAUSE));
	}
	if (shared->launcher_latch != NULL)
		SetLatch(shared->launcher_latch);
	LWLockRelease(&shared->lock);
}

/* Takes the slot that the launcher has prepared; gives whether the one before us ended as it should. */
static bool
attach(int index, Oid *database, char *domain)
{
	PynShared  *shared = pyn_shared();
	PynSlot    *slot;
	bool		left_well;

	if (shared == NULL)
		proc_exit(1);
	slot = &shared->slots[index];
	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	if (!slot->starting)
	{
		LWLockRelease(&shared->lock);
		proc_exit(0);
	}
	slot->starting = false;
	slot->pid = MyProcPid;
	slot->latch = MyLatch;
	slot->idle = false;
	slot->started_at = GetCurrentTimestamp();
	left_well = slot->left_well;
	slot->left_well = false;
	*database = slot->database;
	strlcpy(domain, NameStr(slot->domain), NAMEDATALEN);
	LWLockRelease(&shared->lock);
	my_slot = slot;
	before_shmem_exit(detach, 0);
	return left_well;
}

/* Ends the worker, which comes back at `wake_at` (0: when it is rung for); returns if it was rung for meanwhile. */
static void
leave(TimestampTz wake_at, bool now)
{
	PynShared  *shared = pyn_shared();

	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	if (my_slot->wanted && !now)
	{
		LWLockRelease(&shared->lock);
		return;
	}
	my_slot->wake_at = wake_at;
	my_slot->left_well = true;
	LWLockRelease(&shared->lock);
	proc_exit(0);
}

/*
 * True if somebody holds or wants a lock on our database that conflicts with a connection to it.
 */
static bool
is_database_wanted(void)
{
	LOCKTAG		tag;

	SET_LOCKTAG_OBJECT(tag, InvalidOid, DatabaseRelationId, MyDatabaseId, 0);
	if (LockAcquire(&tag, RowExclusiveLock, true, true) == LOCKACQUIRE_NOT_AVAIL)
		return true;
	LockRelease(&tag, RowExclusiveLock, true);
	return false;
}

/* Nothing tells us when a prepared transaction is committed, so as long as there is one we stay and poll. */
static bool
is_transaction_prepared(PynConsumer *consumer)
{
	static PynStatement select_prepared = PYN_STATEMENT(
		"SELECT FROM pg_prepared_xacts WHERE database = current_database() LIMIT 1");
	bool		found = false;

	if (pyn_unit_begin(consumer))
		found = pyn_execute(&select_prepared, NULL, NULL, 1) > 0;
	pyn_unit_commit(consumer);
	return found;
}

/* Settings of the database or the server that would be in our way. */
static void
set_own_settings(void)
{
	static const char *const settings[][2] = {
		{"search_path", PYN_SEARCH_PATH},
		{"default_transaction_isolation", "read committed"},
		{"default_transaction_read_only", "off"},
		{"default_transaction_deferrable", "off"},
		{"statement_timeout", "0"},
		{"idle_in_transaction_session_timeout", "0"},
		{"row_security", "on"},

		/*
		 * Effects of handlers and position are lost together or not at all, and whoever builds on them flushes them with
		 * his own commit.
		 */
		{"synchronous_commit", "off"},
	};

	for (int i = 0; i < lengthof(settings); i++)
		SetConfigOption(settings[i][0], settings[i][1], PGC_SUSET, PGC_S_OVERRIDE);
}

/*
 * What one event needed the next one needs again: sketches are megabytes.  The C library would give them back to the
 * system each time, and take them anew page by page.
 */
static void
keep_memory(void)
{
#ifdef __GLIBC__
	/* More than this it does not take. */
	(void) mallopt(M_MMAP_THRESHOLD, 32 * 1024 * 1024);
	(void) mallopt(M_TRIM_THRESHOLD, KEPT_MEMORY);
#endif
}

/* Asks for workers of the other domains that have subscriptions. */
static void
want_domains(PynConsumer *consumer)
{
	if (!consumer->new_domains)
		return;
	for (int i = 0; i < consumer->domain_count; i++)
		(void) pyn_slot_want(MyDatabaseId, NameStr(consumer->domains[i]));
	consumer->new_domains = false;
}

/* True unless the database's setting pynomaly.autostart was reset. */
static bool
is_served(PynConsumer *consumer)
{
	bool		served;

	StartTransactionCommand();
	served = pyn_databases(MyDatabaseId) != NIL;
	CommitTransactionCommand();
	MemoryContextSwitchTo(consumer->context);
	return served;
}

/* Leaves if there is nothing to stay for. */
static void
leave_if_idle(PynConsumer *consumer)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz due;

	stopped = !is_served(consumer);
	if (!stopped && is_transaction_prepared(consumer))
		return;
	pyn_consumer_rest(consumer);
	due = Min(pyn_consumer_next_due(consumer), TimestampTzPlusMilliseconds(now, UPKEEP_PAUSE));
	leave(due, stopped);
}

/* What ends the worker's stay whether it is busy or not; and lets sessions take its place. */
static void
look_around(PynConsumer *consumer, TimestampTz *next_look)
{
	TimestampTz now = GetCurrentTimestamp();

	if (ProcDiePending)
	{
		/* Asked for by name it comes back, after a pause. */
		proc_exit(1);
	}
	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
		consumer->valid = false;
	}
	if (my_slot->leave)
	{
		if (consumer->acquired)
			pyn_consumer_rest(consumer);
		stopped = !is_served(consumer);
		my_slot->wanted = true;
		leave(0, true);
	}
	if (*next_look <= now)
	{
		if (is_database_wanted())
		{
			my_slot->not_before = TimestampTzPlusMilliseconds(now, CONFLICT_PAUSE);
			my_slot->wanted = true;
			leave(0, true);
		}
		*next_look = TimestampTzPlusMilliseconds(now, CONFLICT_INTERVAL);
	}
}

/* Waits until the doorbell rings or something is due. */
static void
rest(PynConsumer *consumer, TimestampTz *next_look)
{
	TimestampTz end = Min(TimestampTzPlusMilliseconds(GetCurrentTimestamp(), pyn_poll_interval),
						  pyn_consumer_next_due(consumer));
	int			events;

	my_slot->idle = true;
	pgstat_report_activity(STATE_IDLE, NULL);
	do
	{
		/* Who wants the database does not ring. */
		long		timeout = Min(TimestampDifferenceMilliseconds(GetCurrentTimestamp(), end), LONGEST_REST);

		events = WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, Max(timeout, 1), PG_WAIT_EXTENSION);
		if (!(events & WL_LATCH_SET))
			look_around(consumer, next_look);
	} while (!(events & WL_LATCH_SET) && GetCurrentTimestamp() < end);
	my_slot->idle = false;
}

/*
 * pyn_worker_main is a worker; its argument is the number of its slot.
 */
void
pyn_worker_main(Datum argument)
{
	char		domain[NAMEDATALEN];
	Oid			database;
	bool		cautious;
	PynConsumer *consumer;
	TimestampTz next_look = 0;
	TimestampTz last_work;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	cautious = !attach(DatumGetInt32(argument), &database, domain);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(database, InvalidOid, 0);
	connected = true;
	set_own_settings();
	keep_memory();
	consumer = pyn_consumer_open(domain, true, cautious);
	MemoryContextSwitchTo(consumer->context);
	last_work = GetCurrentTimestamp();

	for (;;)
	{
		bool		worked = false;

		ResetLatch(MyLatch);
		look_around(consumer, &next_look);
		my_slot->wanted = false;
		if (!consumer->acquired && !pyn_consumer_acquire(consumer, false))
		{
			(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 100, PG_WAIT_EXTENSION);
			continue;
		}
		pgstat_report_activity(STATE_RUNNING, "handling events");
		worked = pyn_consumer_cycle(consumer);
		if (consumer->gone)
			leave(TimestampTzPlusMilliseconds(GetCurrentTimestamp(), GONE_PAUSE), true);
		want_domains(consumer);
		if (pyn_consumer_awaited(consumer))
		{
			pyn_consumer_release(consumer);
			pg_usleep(YIELD_TIME * 1000L);
			continue;
		}
		if (worked)
		{
			last_work = GetCurrentTimestamp();
			continue;
		}
		if (TimestampDifferenceExceeds(last_work, GetCurrentTimestamp(), pyn_idle_exit * 1000))
			leave_if_idle(consumer);
		rest(consumer, &next_look);
	}
}
