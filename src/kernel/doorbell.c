/*
 * doorbell.c
 *		Wakes workers when a transaction that has published commits.
 *
 * The log is the truth, the doorbell only makes it quick: a publishing transaction notes which domains have subscribed,
 * and when it has committed it sets the latches of their workers, through one small shared structure.  Where there is no
 * worker its slot is marked and the launcher starts one.  A lost ring costs the poll interval, never an event.
 *
 * The structure is asked for when the library is preloaded; else it is taken from what the server keeps to spare, which
 * whoever comes first does for all.  Where there is none left, workers poll.
 *
 * Nothing here may fail at commit, so all that can is done while publishing.
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/procarray.h"
#include "storage/shmem.h"
#include "utils/builtins.h"

#include "kernel/doorbell.h"

#define SHARED_NAME "pynomaly doorbell"

static PynShared *shared_memory;
static bool no_shared_memory;

/* What this transaction rings for when it commits. */
static NameData pending[PYN_SLOTS];
static int	pending_count;
static enum {NOTHING, START, STOP, LOOK} pending_command;
static const char *pending_domain;

typedef struct Sagas
{
	int			count;
	pg_uuid_t	ids[PYN_SLOTS];
} Sagas;

static Sagas cancelled;			/* whose steps are to be interrupted */
static Sagas ended;				/* for whose end somebody may wait */

static shmem_request_hook_type previous_shmem_request_hook;
static shmem_startup_hook_type previous_shmem_startup_hook;

static void
attach(void)
{
	PynShared  *shared;
	bool		found;

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	shared = ShmemInitStruct(SHARED_NAME, sizeof(PynShared), &found);
	if (!found)
	{
		memset(shared, 0, sizeof(PynShared));
		LWLockInitialize(&shared->lock, LWLockNewTrancheId());
	}
	LWLockRelease(AddinShmemInitLock);
	LWLockRegisterTranche(shared->lock.tranche, "pynomaly");
	shared_memory = shared;
}

/*
 * pyn_shared gives the shared structure; NULL where the server has no memory to spare for it.
 */
PynShared *
pyn_shared(void)
{
	MemoryContext context = CurrentMemoryContext;

	if (shared_memory != NULL || no_shared_memory)
		return shared_memory;
	PG_TRY();
	{
		attach();
	}
	PG_CATCH();
	{
		if (LWLockHeldByMe(AddinShmemInitLock))
			LWLockRelease(AddinShmemInitLock);
		MemoryContextSwitchTo(context);
		FlushErrorState();
		no_shared_memory = true;
	}
	PG_END_TRY();
	return shared_memory;
}

/*
 * pyn_slot finds a database's slot for a domain; NULL if it has none.  The caller holds the lock.
 */
PynSlot *
pyn_slot(PynShared *shared, Oid database, const char *domain)
{
	for (int i = 0; i < PYN_SLOTS; i++)
	{
		PynSlot    *slot = &shared->slots[i];

		if (slot->database == database && strcmp(NameStr(slot->domain), domain) == 0)
			return slot;
	}
	return NULL;
}

/*
 * A free slot, else one whose worker rests: its database is looked at again by the launcher's next round, so that more
 * databases than slots take turns.
 */
static PynSlot *
spare_slot(PynShared *shared)
{
	PynSlot    *resting = NULL;

	for (int i = 0; i < PYN_SLOTS; i++)
	{
		PynSlot    *slot = &shared->slots[i];

		if (slot->database == InvalidOid)
			return slot;
		if (slot->pid == 0 && !slot->starting && !slot->wanted && resting == NULL)
			resting = slot;
	}
	return resting;
}

/*
 * pyn_slot_want makes sure that the database has a slot for the domain and that a worker comes if it is a new one; false
 * if all slots are in use.
 */
bool
pyn_slot_want(Oid database, const char *domain)
{
	PynShared  *shared = pyn_shared();
	PynSlot    *slot;

	if (shared == NULL)
		return false;
	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	slot = pyn_slot(shared, database, domain);
	if (slot == NULL && (slot = spare_slot(shared)) != NULL)
	{
		memset(slot, 0, sizeof(*slot));
		slot->database = database;
		namestrcpy(&slot->domain, domain);
		slot->wanted = true;
		if (shared->launcher_latch != NULL)
			SetLatch(shared->launcher_latch);
	}
	LWLockRelease(&shared->lock);
	return slot != NULL;
}

static void
ring(void)
{
	PynShared  *shared = shared_memory;

	if (shared == NULL)
		return;
	LWLockAcquire(&shared->lock, LW_SHARED);
	for (int i = 0; i < pending_count; i++)
	{
		PynSlot    *slot = pyn_slot(shared, MyDatabaseId, NameStr(pending[i]));

		if (slot == NULL)
			continue;
		slot->wanted = true;
		if (slot->latch != NULL)
			SetLatch(slot->latch);
		else if (shared->launcher_latch != NULL)
			SetLatch(shared->launcher_latch);
	}
	LWLockRelease(&shared->lock);
}

/* What start() and stop() of a transaction that has committed mean for the database's workers. */
static void
start_or_stop(bool start)
{
	PynShared  *shared = shared_memory;

	if (shared == NULL)
		return;
	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < PYN_SLOTS; i++)
	{
		PynSlot    *slot = &shared->slots[i];

		if (slot->database != MyDatabaseId)
			continue;
		slot->wanted = start;
		slot->not_before = 0;
		slot->leave = !start;
		if (slot->latch != NULL)
			SetLatch(slot->latch);
		else if (!start && !slot->starting)
			memset(slot, 0, sizeof(*slot));
	}
	if (start && shared->launcher_latch != NULL)
		SetLatch(shared->launcher_latch);
	LWLockRelease(&shared->lock);
	if (start)
		(void) pyn_slot_want(MyDatabaseId, pending_domain);
}

/* Those past the slots are not noted: a worker sees its cancellation at its next look, and who waits polls. */
static void
note_saga(Sagas *sagas, const pg_uuid_t *saga)
{
	if (sagas->count < PYN_SLOTS)
		sagas->ids[sagas->count++] = *saga;
}

static bool
is_among(const Sagas *sagas, const pg_uuid_t *saga)
{
	for (int i = 0; i < sagas->count; i++)
		if (memcmp(&sagas->ids[i], saga, sizeof(pg_uuid_t)) == 0)
			return true;
	return false;
}

/* Interrupts the workers that do a step of a saga which this transaction has cancelled. */
static void
interrupt_steps(void)
{
	PynShared  *shared = shared_memory;

	if (shared == NULL)
		return;
	LWLockAcquire(&shared->lock, LW_SHARED);
	for (int i = 0; i < PYN_SLOTS; i++)
	{
		const PynSlot *slot = &shared->slots[i];

		if (slot->database != MyDatabaseId || slot->pid == 0 || !slot->is_handling)
			continue;
		if (is_among(&cancelled, &slot->handling))
			(void) kill(slot->pid, SIGINT);
	}
	LWLockRelease(&shared->lock);
}

/*
 * pyn_handling says which saga's step this process does from now on, so that it can be interrupted; NULL: none.
 */
void
pyn_handling(const pg_uuid_t *saga)
{
	PynShared  *shared = pyn_shared();

	/* A session that does the workers' work is cancelled as any other. */
	if (shared == NULL || MyBackendType != B_BG_WORKER)
		return;
	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < PYN_SLOTS; i++)
	{
		PynSlot    *slot = &shared->slots[i];

		if (slot->pid != MyProcPid || slot->database != MyDatabaseId)
			continue;
		slot->is_handling = saga != NULL;
		if (saga != NULL)
			slot->handling = *saga;
	}
	LWLockRelease(&shared->lock);
	/* What came too late was not meant for what follows. */
	if (saga == NULL)
		QueryCancelPending = false;
}

/*
 * pyn_wait_for has this session's latch set when the saga's end is told; NULL: no longer.
 */
void
pyn_wait_for(const pg_uuid_t *saga)
{
	PynShared  *shared = pyn_shared();
	PynWaiter  *place = NULL;

	if (shared == NULL)
		return;
	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < PYN_SLOTS; i++)
	{
		PynWaiter  *waiter = &shared->waiters[i];

		if (waiter->pid == MyProcPid)
			waiter->pid = 0;
		/* A session that was ended has left its place behind. */
		if (waiter->pid == 0 || BackendPidGetProc(waiter->pid) == NULL)
			place = waiter;
	}
	if (saga != NULL && place != NULL)
	{
		place->pid = MyProcPid;
		place->latch = MyLatch;
		place->saga = *saga;
	}
	LWLockRelease(&shared->lock);
}

/* Wakes who waits for the ends that this transaction has told. */
static void
wake_waiters(void)
{
	PynShared  *shared = shared_memory;

	if (shared == NULL)
		return;
	LWLockAcquire(&shared->lock, LW_SHARED);
	for (int i = 0; i < PYN_SLOTS; i++)
		if (shared->waiters[i].pid != 0 && is_among(&ended, &shared->waiters[i].saga))
			SetLatch(shared->waiters[i].latch);
	LWLockRelease(&shared->lock);
}

/* Makes the launcher send a scout to see which databases are to be served. */
static void
ask_for_scout(void)
{
	PynShared  *shared = shared_memory;

	if (shared == NULL)
		return;
	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	shared->look = true;
	if (shared->launcher_latch != NULL)
		SetLatch(shared->launcher_latch);
	LWLockRelease(&shared->lock);
}

/* What of start() and stop() remains when a savepoint is rolled back, the setting will tell. */
static void
at_end_of_subtransaction(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *argument)
{
	if (event == SUBXACT_EVENT_ABORT_SUB && pending_command != NOTHING)
		pending_command = LOOK;
}

/*
 * A prepared transaction rings, too: the worker that comes finds it and stays until it is committed, of which no callback
 * would tell.
 */
static void
at_end_of_transaction(XactEvent event, void *argument)
{
	if (event == XACT_EVENT_PRE_COMMIT || event == XACT_EVENT_PARALLEL_PRE_COMMIT || event == XACT_EVENT_PRE_PREPARE)
		return;
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_PREPARE)
	{
		if (pending_count > 0)
			ring();
		if (event == XACT_EVENT_COMMIT && pending_command == LOOK)
			ask_for_scout();
		else if (event == XACT_EVENT_COMMIT && pending_command != NOTHING)
			start_or_stop(pending_command == START);
		if (event == XACT_EVENT_COMMIT && cancelled.count > 0)
			interrupt_steps();
		if (event == XACT_EVENT_COMMIT && ended.count > 0)
			wake_waiters();
	}
	pending_count = 0;
	cancelled.count = 0;
	ended.count = 0;
	pending_command = NOTHING;
}

static void
prepare(void)
{
	static bool registered = false;

	(void) pyn_shared();
	if (!registered)
	{
		RegisterXactCallback(at_end_of_transaction, NULL);
		RegisterSubXactCallback(at_end_of_subtransaction, NULL);
		registered = true;
	}
}

/*
 * pyn_doorbell_prepare rings for the workers of these domains of this database when the transaction commits.
 */
void
pyn_doorbell_prepare(const NameData *domains, int count)
{
	prepare();
	for (int i = 0; i < count; i++)
	{
		int			known = 0;

		while (known < pending_count && strcmp(NameStr(pending[known]), NameStr(domains[i])) != 0)
			known++;
		if (known == pending_count && known < PYN_SLOTS)
			pending[pending_count++] = domains[i];
	}
}

/*
 * pyn_doorbell_prepare_start makes workers come to this database, first the domain's, when the transaction commits; NULL:
 * makes them leave.
 */
void
pyn_doorbell_prepare_start(const char *domain)
{
	prepare();
	pending_command = domain != NULL ? START : STOP;
	pending_domain = domain;
}

/*
 * pyn_doorbell_prepare_cancel interrupts the worker that does a step of the saga when the transaction commits.
 */
void
pyn_doorbell_prepare_cancel(const pg_uuid_t *saga)
{
	prepare();
	note_saga(&cancelled, saga);
}

/*
 * pyn_doorbell_prepare_wake wakes who waits for the saga's end when the transaction commits.
 */
void
pyn_doorbell_prepare_wake(const pg_uuid_t *saga)
{
	prepare();
	note_saga(&ended, saga);
}

static void
request_memory(void)
{
	if (previous_shmem_request_hook != NULL)
		previous_shmem_request_hook();
	RequestAddinShmemSpace(MAXALIGN(sizeof(PynShared)));
}

static void
startup_memory(void)
{
	if (previous_shmem_startup_hook != NULL)
		previous_shmem_startup_hook();
	shared_memory = NULL;
	attach();
}

/*
 * pyn_doorbell_init asks for the shared memory when the library is preloaded.
 */
void
pyn_doorbell_init(void)
{
	previous_shmem_request_hook = shmem_request_hook;
	shmem_request_hook = request_memory;
	previous_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = startup_memory;
}
