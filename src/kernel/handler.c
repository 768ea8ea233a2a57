/*
 * handler.c
 *		Runs a handler: a function of an event, or of nothing, as its owner, within its time.
 *
 * The worker is a superuser and so must be careful whose code it runs.  A handler is called as its owner, in a
 * security-restricted operation with its own settings and search_path (access.c), in a subtransaction that is rolled
 * back if it fails.  Nothing of it remains for the end of the transaction, when the worker is itself again: deferred
 * triggers cannot be queued, cursors cannot be held, and constraints are checked at each statement.
 *
 * Time is kept by a timer of our own, since in a session the user's statement_timeout must go on.  It cancels as
 * pg_cancel_backend does, and again each second, because PL/pgSQL can catch a cancellation; a worker whose handler goes
 * on nevertheless ends, and the attempt that was counted before is not forgotten (retry.c).
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "parser/parse_func.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/regproc.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timeout.h"

#include "kernel/access.h"
#include "kernel/handler.h"
#include "kernel/settings.h"

/* Cancellations that a handler may ignore before its worker ends. */
#define MAX_CANCELS 3

static volatile sig_atomic_t cancels;

static void
cancel_handler(void)
{
	cancels++;
	InterruptPending = true;
	QueryCancelPending = true;
	if (cancels > MAX_CANCELS && MyBackendType == B_BG_WORKER)
		ProcDiePending = true;
	SetLatch(MyLatch);
}

static TimeoutId
handler_timeout(void)
{
	static TimeoutId id = USER_TIMEOUT;
	static bool registered = false;

	if (!registered)
	{
		id = RegisterTimeout(USER_TIMEOUT, cancel_handler);
		registered = true;
	}
	return id;
}

/* The function of this name that takes an event, or nothing; InvalidOid if there is none. */
static Oid
find_function(const char *name, bool takes_event)
{
	List	   *names = stringToQualifiedNameList(name);
	Oid			event_type = takes_event ? get_rel_type_id(pyn_relation("event")) : InvalidOid;

	return LookupFuncName(names, takes_event ? 1 : 0, &event_type, true);
}

/*
 * pyn_handler_name finds the function that a user names, as he sees it, and gives its name with schema and quotes.  An
 * error where there is none, or none that the user may execute.
 */
char *
pyn_handler_name(const char *text, bool takes_event)
{
	Oid			function = find_function(text, takes_event);
	HeapTuple	tuple;
	Form_pg_proc form;
	char	   *name;

	if (!OidIsValid(function))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("function %s(%s) does not exist", text, takes_event ? "pynomaly_kernel.event" : ""),
				 takes_event ?
				 errhint("A handler is a function of one argument of type pynomaly_kernel.event that returns void.") :
				 errhint("A schedule calls a function without arguments that returns void.")));
	if (pg_proc_aclcheck(function, GetUserId(), ACL_EXECUTE) != ACLCHECK_OK)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_FUNCTION, text);
	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", function);
	form = (Form_pg_proc) GETSTRUCT(tuple);
	if (form->prokind != PROKIND_FUNCTION || form->proretset || form->prorettype != VOIDOID)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
				 errmsg("%s must be a function that returns void", text)));
	if (isAnyTempNamespace(form->pronamespace))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("%s is a temporary function, which a worker cannot see", text)));
	name = quote_qualified_identifier(get_namespace_name(form->pronamespace), NameStr(form->proname));
	ReleaseSysCache(tuple);
	return name;
}

/*
 * pyn_handler_find prepares a handler for the current transaction.  It gives NULL, or says why its owner cannot run it
 * any more: what held when it was subscribed is looked at again for each batch.
 */
const char *
pyn_handler_find(PynHandler *handler, const char *name, bool takes_event, Oid role, bool builtin, int timeout)
{
	HeapTuple	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(role));
	bool		can_log_in;
	Oid			function;

	if (!HeapTupleIsValid(tuple))
		return "its owner was dropped";
	can_log_in = ((Form_pg_authid) GETSTRUCT(tuple))->rolcanlogin;
	ReleaseSysCache(tuple);
	if (!can_log_in && !builtin)
		return psprintf("its owner \"%s\" may not log in", GetUserNameFromId(role, true));
	function = find_function(name, takes_event);
	if (!OidIsValid(function))
		return psprintf("function %s(%s) does not exist", name, takes_event ? "pynomaly_kernel.event" : "");
	if (pg_proc_aclcheck(function, role, ACL_EXECUTE) != ACLCHECK_OK)
		return psprintf("its owner \"%s\" may not execute %s", GetUserNameFromId(role, true), name);
	fmgr_info(function, &handler->function);
	handler->role = role;
	handler->builtin = builtin;
	handler->timeout = timeout;
	return NULL;
}

/* Deferrable constraints must not wait for the end of the transaction, when the handler's owner is gone. */
static void
check_constraints_at_once(void)
{
	ConstraintsSetStmt *statement = makeNode(ConstraintsSetStmt);

	statement->constraints = NIL;
	statement->deferred = false;
	AfterTriggerSetState(statement);
}

/* Somebody's open transaction shall not hold up everybody's events: a domain's handler gives way and is tried again. */
static void
limit_lock_waits(void)
{
	if (LockTimeout == 0 || LockTimeout > pyn_lock_timeout)
		(void) set_config_option("lock_timeout", psprintf("%d", pyn_lock_timeout), PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
}

static void
call_handler(PynHandler *handler, Datum event)
{
	LOCAL_FCINFO(fcinfo, 1);
	PynAccess	access;

	pyn_access_begin(&access, handler->role);
	if (handler->builtin)
		limit_lock_waits();
	check_constraints_at_once();
	PushActiveSnapshot(GetTransactionSnapshot());
	InitFunctionCallInfoData(*fcinfo, &handler->function, handler->function.fn_nargs, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = event;
	fcinfo->args[0].isnull = false;
	(void) FunctionCallInvoke(fcinfo);
	PopActiveSnapshot();
	pyn_access_end(&access);
}

static void
stop_timer(void)
{
	disable_timeout(handler_timeout(), false);
	/* A cancellation of ours that came too late is nobody's business any more. */
	if (cancels > 0)
		QueryCancelPending = false;
}

/*
 * pyn_is_cancellation tells whether an error is a cancellation, and not one that a user's function has raised under its
 * SQLSTATE.
 */
bool
pyn_is_cancellation(const ErrorData *error)
{
	return error->sqlerrcode == ERRCODE_QUERY_CANCELED && error->funcname != NULL &&
		strcmp(error->funcname, "ProcessInterrupts") == 0;
}

/*
 * What the error says, in `context`.  A cancellation that is not ours was meant for the session, and ends what it does;
 * a worker's can only have been meant for the handler.
 */
static void
describe_failure(PynFailure *failure, const PynHandler *handler, MemoryContext context)
{
	ErrorData  *error;

	MemoryContextSwitchTo(context);
	error = CopyErrorData();
	if (pyn_is_cancellation(error) && cancels == 0 && MyBackendType != B_BG_WORKER)
		ReThrowError(error);
	FlushErrorState();
	strlcpy(failure->sqlstate, unpack_sql_state(error->sqlerrcode), sizeof(failure->sqlstate));
	failure->message = error->message;
	failure->detail = error->detail;
	failure->context = error->context;
	if (error->sqlerrcode == ERRCODE_QUERY_CANCELED && cancels > 0)
		failure->message = psprintf("the handler took longer than %d ms", handler->timeout);
}

/*
 * pyn_handler_run calls the handler in a subtransaction.  It gives true and keeps the effects, or gives false, has rolled
 * them back and says why.
 */
bool
pyn_handler_run(PynHandler *handler, Datum event, const PynCause *cause, PynFailure *failure)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	const PynCause *outer_cause = pyn_cause;
	volatile bool succeeded = false;

	memset(failure, 0, sizeof(*failure));
	CHECK_FOR_INTERRUPTS();
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		TimestampTz end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), handler->timeout);

		pyn_cause = cause;
		cancels = 0;
		enable_timeout_every(handler_timeout(), end, 1000);
		call_handler(handler, event);
		stop_timer();
		ReleaseCurrentSubTransaction();
		succeeded = true;
	}
	PG_CATCH();
	{
		pyn_cause = outer_cause;
		stop_timer();
		describe_failure(failure, handler, context);
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	pyn_cause = outer_cause;
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return succeeded;
}
