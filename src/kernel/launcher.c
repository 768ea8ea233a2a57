/*
 * launcher.c
 *		The process that starts the workers.
 *
 * It belongs to no database, so that it is in nobody's way.  But PostgreSQL lets such a process read few catalogs, and
 * pg_db_role_setting with the databases' pynomaly.autostart is none of them: now and then the launcher sends a scout into
 * some database to read it (scout.c).  A database that is to be served has a slot of the gateway's worker, which reads
 * there what other domains need one (worker.c).
 *
 * Workers do not restart by themselves: a restarting worker of a dropped database would never end.  They come when they
 * are wanted, at most pynomaly.max_workers at once; when there are more, they take turns.
 *
 * The launcher is started with the server when the library is preloaded, else by pynomaly.start(), and then ends when
 * there is nothing to launch.
 */
#include "postgres.h"

#include <signal.h>

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "kernel/consumer.h"
#include "kernel/doorbell.h"
#include "kernel/launcher.h"
#include "kernel/settings.h"
#include "kernel/worker.h"

/* How often to look for databases that were started or stopped otherwise than by our functions, in ms. */
#define LOOK_INTERVAL (300 * 1000)

/* A scout that has not come back after this time is sent again, in ms. */
#define SCOUT_TIME 5000

/* How long a launcher without any database stays, if nobody will start it again, in ms. */
#define LONELY_TIME 60000

/* The longest sleep, in ms. */
#define NAP 60000

/* A worker that does not come within this time, in ms, has failed. */
#define START_TIME 30000

/* How long a worker may run while others wait for their turn, in ms. */
#define TURN 5000

#define LONGEST_BACK_OFF 60000	/* ms */

static bool
is_preloaded(void)
{
	return strcmp(MyBgworkerEntry->bgw_extra, "preloaded") == 0;
}

static void
describe_launcher(BackgroundWorker *worker, bool preloaded)
{
	memset(worker, 0, sizeof(*worker));
	snprintf(worker->bgw_name, BGW_MAXLEN, "pynomaly launcher");
	snprintf(worker->bgw_type, BGW_MAXLEN, "pynomaly launcher");
	snprintf(worker->bgw_library_name, BGW_MAXLEN, "pynomaly");
	snprintf(worker->bgw_function_name, BGW_MAXLEN, "pyn_launcher_main");
	snprintf(worker->bgw_extra, BGW_EXTRALEN, "%s", preloaded ? "preloaded" : "");
	worker->bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker->bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker->bgw_restart_time = 5;
}

/*
 * pyn_launcher_register makes the server start the launcher; for a preloaded library.
 */
void
pyn_launcher_register(void)
{
	BackgroundWorker worker;

	describe_launcher(&worker, true);
	RegisterBackgroundWorker(&worker);
}

/*
 * pyn_launcher_start starts one now; false if the server has no place for it.
 */
bool
pyn_launcher_start(void)
{
	BackgroundWorker worker;

	describe_launcher(&worker, false);
	return RegisterDynamicBackgroundWorker(&worker, NULL);
}

static void
leave(int code, Datum argument)
{
	PynShared  *shared = pyn_shared();

	if (shared == NULL)
		return;
	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	if (shared->launcher_pid == MyProcPid)
	{
		shared->launcher_pid = 0;
		shared->launcher_latch = NULL;
	}
	LWLockRelease(&shared->lock);
}

/* Makes this process the launcher; false if there is another one. */
static bool
enter(PynShared *shared)
{
	bool		entered = false;

	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	if (shared->launcher_pid == 0 || kill(shared->launcher_pid, 0) != 0)
	{
		shared->launcher_pid = MyProcPid;
		shared->launcher_latch = MyLatch;
		shared->look = true;
		entered = true;
	}
	LWLockRelease(&shared->lock);
	before_shmem_exit(leave, 0);
	return entered;
}

static void
describe_worker(BackgroundWorker *worker, const char *type, const char *function)
{
	memset(worker, 0, sizeof(*worker));
	snprintf(worker->bgw_type, BGW_MAXLEN, "%s", type);
	snprintf(worker->bgw_library_name, BGW_MAXLEN, "pynomaly");
	snprintf(worker->bgw_function_name, BGW_MAXLEN, "%s", function);
	worker->bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker->bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker->bgw_restart_time = BGW_NEVER_RESTART;
	worker->bgw_notify_pid = MyProcPid;
}

static bool
start_worker(const PynSlot *slot, int index)
{
	BackgroundWorker worker;

	describe_worker(&worker, "pynomaly worker", "pyn_worker_main");
	snprintf(worker.bgw_name, BGW_MAXLEN, "pynomaly worker %s of database %u", NameStr(slot->domain), slot->database);
	worker.bgw_main_arg = Int32GetDatum(index);
	return RegisterDynamicBackgroundWorker(&worker, NULL);
}

/* A database that a scout can go to: "postgres", which is made for such things, or else any that takes connections. */
static Oid
find_database(void)
{
	Relation	relation;
	TableScanDesc scan;
	HeapTuple	tuple;
	Oid			found = InvalidOid;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	relation = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(relation, 0, NULL);
	while (HeapTupleIsValid(tuple = heap_getnext(scan, ForwardScanDirection)))
	{
		Form_pg_database form = (Form_pg_database) GETSTRUCT(tuple);

		if (!form->datallowconn || form->datconnlimit == DATCONNLIMIT_INVALID_DB)
			continue;
		if (!OidIsValid(found) || strcmp(NameStr(form->datname), "postgres") == 0)
			found = form->oid;
	}
	table_endscan(scan);
	table_close(relation, AccessShareLock);
	CommitTransactionCommand();
	return found;
}

static void
send_scout(void)
{
	BackgroundWorker worker;
	Oid			database = find_database();

	if (!OidIsValid(database))
		return;
	describe_worker(&worker, "pynomaly scout", "pyn_scout_main");
	snprintf(worker.bgw_name, BGW_MAXLEN, "pynomaly scout");
	worker.bgw_main_arg = ObjectIdGetDatum(database);
	(void) RegisterDynamicBackgroundWorker(&worker, NULL);
}

/*
 * pyn_slot_failed puts the next start off.  The caller holds the lock exclusively.
 */
void
pyn_slot_failed(PynSlot *slot)
{
	long		delay = Min(1000L << Min(slot->failures, 6), LONGEST_BACK_OFF);

	slot->failures++;
	slot->wanted = true;
	slot->not_before = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), delay);
}

/* Asks the worker that has run longest to make room, if it has had its turn. */
static void
make_room(PynShared *shared, TimestampTz now)
{
	PynSlot    *longest = NULL;

	for (int i = 0; i < PYN_SLOTS; i++)
	{
		PynSlot    *slot = &shared->slots[i];

		if (slot->pid == 0)
			continue;
		if (slot->leave)
			return;
		if ((slot->idle || TimestampDifferenceExceeds(slot->started_at, now, TURN)) &&
			(longest == NULL || slot->started_at < longest->started_at))
			longest = slot;
	}
	if (longest == NULL)
		return;
	longest->leave = true;
	SetLatch(longest->latch);
}

/* True if the slot's worker is to be started now; else `*wake` is when to look again, at the latest. */
static bool
is_due(PynSlot *slot, TimestampTz now, TimestampTz *wake)
{
	if (!OidIsValid(slot->database) || slot->pid != 0 || slot->starting)
		return false;
	if (slot->wake_at != 0 && slot->wake_at <= now)
		slot->wanted = true;
	if (!slot->wanted)
	{
		if (slot->wake_at != 0)
			*wake = Min(*wake, slot->wake_at);
		return false;
	}
	if (slot->not_before > now)
	{
		*wake = Min(*wake, slot->not_before);
		return false;
	}
	return true;
}

/* Of the slots whose worker is to be started, the one whose last worker was started longest ago, so that all have a turn. */
static PynSlot *
next_due(PynShared *shared, TimestampTz now, TimestampTz *wake)
{
	PynSlot    *next = NULL;

	for (int i = 0; i < PYN_SLOTS; i++)
	{
		PynSlot    *slot = &shared->slots[i];

		if (is_due(slot, now, wake) && (next == NULL || slot->started_at < next->started_at))
			next = slot;
	}
	return next;
}

/* Starts the workers that are wanted, and gives when to look again. */
static TimestampTz
start_workers(PynShared *shared)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz wake = TimestampTzPlusMilliseconds(now, NAP);
	PynSlot    *slot;
	int			running = 0;

	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < PYN_SLOTS; i++)
	{
		slot = &shared->slots[i];
		if (slot->starting && TimestampDifferenceExceeds(slot->started_at, now, START_TIME))
		{
			slot->starting = false;
			pyn_slot_failed(slot);
		}
		running += slot->pid != 0 || slot->starting;
	}
	while ((slot = next_due(shared, now, &wake)) != NULL)
	{
		if (running >= pyn_max_workers)
		{
			make_room(shared, now);
			wake = Min(wake, TimestampTzPlusMilliseconds(now, TURN / 5));
			break;
		}
		if (!start_worker(slot, (int) (slot - shared->slots)))
		{
			if (!shared->out_of_workers)
				ereport(LOG,
						(errmsg("pynomaly: cannot start a worker: no background worker is free"),
						 errhint("You might need to increase max_worker_processes.")));
			shared->out_of_workers = true;
			wake = Min(wake, TimestampTzPlusMilliseconds(now, 5000));
			break;
		}
		shared->out_of_workers = false;
		slot->starting = true;
		slot->leave = false;
		slot->wanted = false;
		slot->wake_at = 0;
		slot->started_at = now;
		running++;
	}
	LWLockRelease(&shared->lock);
	return wake;
}

static bool
is_any_served(PynShared *shared)
{
	bool		any = false;

	LWLockAcquire(&shared->lock, LW_SHARED);
	for (int i = 0; i < PYN_SLOTS; i++)
		any |= OidIsValid(shared->slots[i].database);
	LWLockRelease(&shared->lock);
	return any;
}

/*
 * pyn_launcher_main is the launcher.
 */
void
pyn_launcher_main(Datum argument)
{
	PynShared  *shared;
	TimestampTz last_scout = 0;
	TimestampTz lonely_since = GetCurrentTimestamp();

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	shared = pyn_shared();
	if (shared == NULL)
		ereport(FATAL,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("pynomaly: no shared memory is left for the workers"),
				 errhint("Add pynomaly to shared_preload_libraries.")));
	if (!enter(shared))
		proc_exit(0);
	for (;;)
	{
		TimestampTz wake;
		TimestampTz now;

		ResetLatch(MyLatch);
		/* To end is no failure to speak of. */
		if (ProcDiePending)
			proc_exit(1);
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		now = GetCurrentTimestamp();
		if (TimestampDifferenceExceeds(last_scout, now, shared->look ? SCOUT_TIME : LOOK_INTERVAL))
		{
			send_scout();
			last_scout = now;
		}
		if (is_any_served(shared))
			lonely_since = now;
		else if (!is_preloaded() && TimestampDifferenceExceeds(lonely_since, now, LONELY_TIME))
			proc_exit(0);
		wake = start_workers(shared);
		if (shared->look)
			wake = Min(wake, TimestampTzPlusMilliseconds(last_scout, SCOUT_TIME));
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 Max(TimestampDifferenceMilliseconds(GetCurrentTimestamp(), wake), 10), PG_WAIT_EXTENSION);
	}
}
