/*
 * process.c
 *		What users call of the workers: start and stop them, see them, or do their work.
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_db_role_setting.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/parsenodes.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "kernel/access.h"
#include "kernel/consumer.h"
#include "kernel/doorbell.h"
#include "kernel/launcher.h"
#include "kernel/process.h"
#include "kernel/scout.h"
#include "kernel/statement.h"

/* How long start() waits for the launcher to run, and how often it looks, in ms. */
#define LAUNCHER_TIME 5000
#define LAUNCHER_LOOK 10

PG_FUNCTION_INFO_V1(pyn_process_events);
PG_FUNCTION_INFO_V1(pyn_start);
PG_FUNCTION_INFO_V1(pyn_stop);
PG_FUNCTION_INFO_V1(pyn_workers);
PG_FUNCTION_INFO_V1(pyn_launcher_pid);

/* The domains that have subscriptions, and the host's: names in the current memory context. */
static List *
read_domains(void)
{
	static PynStatement select_domains = PYN_STATEMENT(
		"SELECT domain FROM pynomaly_kernel.subscription WHERE status = 'active' GROUP BY domain ORDER BY domain");
	MemoryContext caller = CurrentMemoryContext;
	List	   *domains = NIL;
	PynAccess	access;
	uint64		count;

	pyn_access_begin(&access, pyn_owner());
	SPI_connect();
	count = pyn_execute(&select_domains, NULL, NULL, 0);
	for (uint64 row = 0; row < count; row++)
	{
		char	   *domain = NameStr(*DatumGetName(pyn_field(row, 1, NULL)));
		MemoryContext work = MemoryContextSwitchTo(caller);

		if (strcmp(domain, PYN_HOST_DOMAIN) != 0)
			domains = lappend(domains, pstrdup(domain));
		MemoryContextSwitchTo(work);
	}
	SPI_finish();
	pyn_access_end(&access);
	/* Last, because its upkeep suspends who is behind. */
	return lappend(domains, pstrdup(PYN_HOST_DOMAIN));
}

/* Does all that is due for one domain, at most `budget` events, of which it takes away what it has handled. */
static bool
process_domain(const char *domain, int64 *budget)
{
	MemoryContext caller = CurrentMemoryContext;
	PynConsumer *consumer = pyn_consumer_open(domain, false, false);
	volatile bool worked = false;

	consumer->budget = *budget;
	PG_TRY();
	{
		pyn_consumer_acquire(consumer, true);
		while (consumer->budget > 0 && !consumer->gone && pyn_consumer_cycle(consumer))
			worked |= consumer->valid;
		if (!consumer->gone)
			pyn_consumer_rest(consumer);
		*budget = consumer->budget;
	}
	PG_FINALLY();
	{
		MemoryContextSwitchTo(caller);
		pyn_consumer_close(consumer);
	}
	PG_END_TRY();
	return worked;
}

/*
 * Handlers run as their owners, who may have given their functions a search_path; then temporary objects of this session
 * would come before what they mean.  Only a superuser needs no such way to their rights.
 */
static void
refuse_temporary_objects(void)
{
	Oid			namespace;
	Oid			toast_namespace;

	GetTempNamespaceState(&namespace, &toast_namespace);
	if (OidIsValid(namespace) && !superuser())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("process_events() cannot run in a session that has had temporary objects"),
				 errhint("CALL it in a new session.")));
}

/*
 * CALL pynomaly.process_events(max_events int = NULL)
 *
 * The events of one domain's handlers are another one's work, so it goes round until all have none.
 */
Datum
pyn_process_events(PG_FUNCTION_ARGS)
{
	int64		budget = PG_ARGISNULL(0) ? PG_INT64_MAX : PG_GETARG_INT32(0);
	MemoryContext context = AllocSetContextCreate(PortalContext, "pynomaly process_events", ALLOCSET_SMALL_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	bool		worked = true;

	if (!IsA(fcinfo->context, CallContext) || castNode(CallContext, fcinfo->context)->atomic)
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("process_events() cannot run inside a transaction block"),
				 errhint("It commits after each batch: CALL it by itself.")));
	pyn_check_writable("process_events()");
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("process_events() works in READ COMMITTED transactions only"),
				 errhint("SET default_transaction_isolation = 'read committed'.")));
	refuse_temporary_objects();
	if (budget <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_events is " INT64_FORMAT ", but must be at least 1", budget)));
	while (worked && budget > 0)
	{
		List	   *domains;
		ListCell   *cell;

		worked = false;
		MemoryContextReset(context);
		domains = read_domains();
		foreach(cell, domains)
			worked |= process_domain(lfirst(cell), &budget);
		MemoryContextSwitchTo(context);
	}
	MemoryContextSwitchTo(caller);
	PG_RETURN_VOID();
}

/* ALTER DATABASE ... SET or RESET pynomaly.autostart, for this database. */
static void
set_autostart(bool on)
{
	VariableSetStmt *statement = makeNode(VariableSetStmt);
	A_Const    *value = makeNode(A_Const);
	PynAccess	access;

	value->val.sval.type = T_String;
	value->val.sval.sval = "on";
	statement->kind = on ? VAR_SET_VALUE : VAR_RESET;
	statement->name = "pynomaly.autostart";
	statement->args = on ? list_make1(value) : NIL;
	pyn_access_begin(&access, pyn_owner());
	AlterSetting(MyDatabaseId, InvalidOid, statement);
	pyn_access_end(&access);
	pyn_doorbell_prepare_start(on ? PYN_HOST_DOMAIN : NULL);
}

static bool
is_launcher_running(PynShared *shared)
{
	return shared->launcher_pid != 0 && kill(shared->launcher_pid, 0) == 0;
}

/* Until the launcher has told that it runs, submit() and wait() would say that nobody works. */
static void
await_launcher(PynShared *shared)
{
	for (int i = 0; i < LAUNCHER_TIME / LAUNCHER_LOOK && !is_launcher_running(shared); i++)
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, LAUNCHER_LOOK, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

/*
 * pynomaly.start() → void
 */
Datum
pyn_start(PG_FUNCTION_ARGS)
{
	PynShared  *shared = pyn_shared();

	pyn_check_writable("start()");
	if (shared == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("no shared memory is left for pynomaly's workers"),
				 errhint("Add pynomaly to shared_preload_libraries, or CALL pynomaly.process_events().")));
	set_autostart(true);
	if (!is_launcher_running(shared) && !pyn_launcher_start())
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("the server has no free background worker for pynomaly's launcher"),
				 errhint("Increase max_worker_processes, or CALL pynomaly.process_events().")));
	await_launcher(shared);
	PG_RETURN_VOID();
}

/*
 * pynomaly.stop() → void
 */
Datum
pyn_stop(PG_FUNCTION_ARGS)
{
	pyn_check_writable("stop()");
	set_autostart(false);
	PG_RETURN_VOID();
}

static const char *
slot_state(const PynSlot *slot, bool out_of_workers)
{
	if (slot->pid != 0)
		return "running";
	if (slot->starting)
		return "starting";
	if (slot->wanted && out_of_workers && slot->not_before <= GetCurrentTimestamp())
		return "without place";
	return slot->wanted ? "wanted" : "idle";
}

/*
 * pynomaly_kernel.workers() → TABLE(domain, pid, state, started_at, next_start, failures)
 */
Datum
pyn_workers(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	PynShared  *shared = pyn_shared();
	PynSlot		slots[PYN_SLOTS];
	bool		out_of_workers;

	InitMaterializedSRF(fcinfo, 0);
	if (shared == NULL)
		return (Datum) 0;
	LWLockAcquire(&shared->lock, LW_SHARED);
	memcpy(slots, shared->slots, sizeof(slots));
	out_of_workers = shared->out_of_workers;
	LWLockRelease(&shared->lock);
	for (int i = 0; i < PYN_SLOTS; i++)
	{
		const PynSlot *slot = &slots[i];
		TimestampTz next = slot->wanted ? slot->not_before : slot->wake_at;
		Datum		values[6] = {
			NameGetDatum(&slot->domain), Int32GetDatum(slot->pid), CStringGetTextDatum(slot_state(slot, out_of_workers)),
			TimestampTzGetDatum(slot->started_at), TimestampTzGetDatum(next), Int32GetDatum(slot->failures)
		};
		bool		nulls[6] = {false, slot->pid == 0, false, slot->started_at == 0, slot->pid != 0 || next == 0, false};

		if (slot->database == MyDatabaseId && OidIsValid(slot->database))
			tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/*
 * pyn_workers_run tells whether background workers serve this database, or will when there is work.
 */
bool
pyn_workers_run(void)
{
	PynShared  *shared = pyn_shared();
	bool		served;

	if (shared == NULL || !is_launcher_running(shared))
		return false;
	LWLockAcquire(&shared->lock, LW_SHARED);
	served = pyn_slot(shared, MyDatabaseId, PYN_HOST_DOMAIN) != NULL;
	LWLockRelease(&shared->lock);
	return served;
}

/*
 * pyn_is_started tells whether this database was started: its workers come back, though none may run now.
 */
bool
pyn_is_started(void)
{
	return pyn_databases(MyDatabaseId) != NIL;
}

/*
 * pynomaly_kernel.launcher_pid() → int
 */
Datum
pyn_launcher_pid(PG_FUNCTION_ARGS)
{
	PynShared  *shared = pyn_shared();

	if (shared == NULL || !is_launcher_running(shared))
		PG_RETURN_NULL();
	PG_RETURN_INT32(shared->launcher_pid);
}
