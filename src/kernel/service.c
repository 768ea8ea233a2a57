/*
 * service.c
 *		The one door between domains: calls of the operations that contracts offer.
 *
 * A call looks the operation up in the registry, checks that the caller's contract names it and that the arguments match
 * its schema, runs its function within the deadline, and checks the result.  A call that changes something leaves a span
 * and an audit row.  Today each operation is a function of this database; where a domain lives is the registry's
 * knowledge, so that a caller need not change when it moves.
 *
 * Operations act for the current user.  The door checks no privilege of his on the operation: nobody but the extension
 * can call, and who reaches a call is decided by who may execute the public function in front of it.
 *
 * What a backend knows of an operation is kept until the registry changes.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "kernel/access.h"
#include "kernel/audit.h"
#include "kernel/cache.h"
#include "kernel/consumer.h"
#include "kernel/contract.h"
#include "kernel/deadline.h"
#include "kernel/json_reader.h"
#include "kernel/json_schema.h"
#include "kernel/service.h"
#include "kernel/span.h"
#include "kernel/statement.h"

#define OPERATION_LENGTH (2 * NAMEDATALEN)

typedef struct Operation
{
	char		name[OPERATION_LENGTH]; /* <domain>.<operation>, hash key */
	bool		is_stream;
	bool		changes_state;
	int			deadline;		/* ms; 0: none */
	PynJsonSchema *arguments;
	PynJsonSchema *result;
	int			caller_count;
	char	  **callers;		/* domains whose contracts name it */
} Operation;

static PynCache cache = {
	.name = "operations",.key_size = OPERATION_LENGTH,.entry_size = sizeof(Operation),.tables = {"operation"}
};

PG_FUNCTION_INFO_V1(pyn_call_sql);

/* ---------------------------------------------------------------- the registry */

/* Reads the domains whose contracts name the operation. */
static void
read_callers(Operation *operation)
{
	static PynStatement select_callers = PYN_STATEMENT(
		"SELECT domain::text FROM pynomaly_kernel.service WHERE contract -> 'calls' ? $1",
		TEXTOID);
	Datum		values[] = {CStringGetTextDatum(operation->name)};

	operation->caller_count = (int) pyn_execute(&select_callers, values, NULL, 0);
	operation->callers = MemoryContextAllocZero(cache.context, sizeof(char *) * (operation->caller_count + 1));
	for (int i = 0; i < operation->caller_count; i++)
		operation->callers[i] = MemoryContextStrdup(cache.context, pyn_text_field(i, 1));
}

/* Reads an operation from the registry; false if it has none. */
static bool
read_operation(const PynCall *call, Operation *operation)
{
	static PynStatement select_operation = PYN_STATEMENT(
		"SELECT kind = 'stream', changes_state, deadline, arguments, result FROM pynomaly_kernel.operation "
		"WHERE domain = $1 AND name = $2",
		NAMEOID, NAMEOID);
	NameData	domain;
	NameData	name;
	Datum		values[] = {NameGetDatum(&domain), NameGetDatum(&name)};
	MemoryContext caller;
	bool		is_null;
	Datum		interval;

	namestrcpy(&domain, call->domain);
	namestrcpy(&name, call->operation);
	if (pyn_execute(&select_operation, values, NULL, 1) == 0)
		return false;
	operation->is_stream = DatumGetBool(pyn_field(0, 1, NULL));
	operation->changes_state = DatumGetBool(pyn_field(0, 2, NULL));
	interval = pyn_field(0, 3, &is_null);
	operation->deadline = is_null ? 0 : pyn_interval_ms(DatumGetIntervalP(interval), "deadline of an operation");
	caller = MemoryContextSwitchTo(cache.context);
	operation->arguments = pyn_json_schema_compile(DatumGetJsonbP(pyn_field(0, 4, NULL)));
	operation->result = pyn_json_schema_compile(DatumGetJsonbP(pyn_field(0, 5, NULL)));
	MemoryContextSwitchTo(caller);
	read_callers(operation);
	return true;
}

/* The operation that is called; an error if the registry has none. */
static Operation *
find_operation(const PynCall *call)
{
	Operation	operation;
	Operation  *entry;
	bool		was_reading = pyn_reading;
	PynAccess	access;
	bool		found = true;

	snprintf(operation.name, OPERATION_LENGTH, "%s.%s", call->domain, call->operation);
	AcceptInvalidationMessages();
	pyn_cache_prepare(&cache);
	entry = hash_search(cache.entries, operation.name, HASH_FIND, NULL);
	if (entry != NULL)
		return entry;

	pyn_access_begin(&access, pyn_owner());
	SPI_connect();
	PG_TRY();
	{
		pyn_reading = true;
		/* An invalidation that arrives while it is read makes what was read too old. */
		do
		{
			pyn_cache_prepare(&cache);
			found = read_operation(call, &operation);
		} while (found && !cache.valid);
	}
	PG_FINALLY();
	{
		pyn_reading = was_reading;
	}
	PG_END_TRY();
	SPI_finish();
	pyn_access_end(&access);
	if (!found)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("no service offers the operation %s", operation.name),
				 errhint("See pynomaly.services().")));
	entry = hash_search(cache.entries, operation.name, HASH_ENTER, NULL);
	*entry = operation;
	return entry;
}

/* Refuses what the contracts do not foresee. */
static void
check_call(const PynCall *call, const Operation *operation, bool is_stream)
{
	PynChecked	checked = {"call of operation", operation->name, NULL};

	for (int i = 0; call->caller != NULL && i <= operation->caller_count; i++)
	{
		if (i == operation->caller_count)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("the contract of %s does not name %s among what it calls", call->caller, operation->name)));
		if (strcmp(operation->callers[i], call->caller) == 0)
			break;
	}
	if (operation->is_stream != is_stream)
		elog(ERROR, "operation %s is %s stream", operation->name, is_stream ? "no" : "a");
	pyn_json_schema_check(operation->arguments, call->arguments, &checked);
	if (!operation->changes_state)
		return;
	pyn_check_writable(operation->name);
	pyn_check_person(GetUserId());
	if (pyn_reading)
		elog(ERROR, "operation %s changes something and is called by one that does not", operation->name);
}

/* ---------------------------------------------------------------- calls */

/* What a call is about, for the audit trail: the first of these members that it has. */
static const char *
subject_of(Jsonb *arguments)
{
	static const char *const members[] = {"name", "model", "source", "request", "anomaly", "rule", "dataset", "relation"};

	for (int i = 0; i < lengthof(members); i++)
	{
		JsonbValue	value;

		if (getKeyJsonValueFromContainer(&arguments->root, members[i], strlen(members[i]), &value) == NULL)
			continue;
		if (value.type == jbvString)
			return pnstrdup(value.val.string.val, value.val.string.len);
		if (value.type == jbvNumeric)
			return psprintf("%s %s", members[i],
							DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value.val.numeric))));
	}
	return NULL;
}

/* Runs the operation's function; with a result set for a stream. */
static Datum
invoke(Oid function, Jsonb *arguments, ReturnSetInfo *result)
{
	LOCAL_FCINFO(fcinfo, 1);
	FmgrInfo	info;
	Datum		value;

	fmgr_info(function, &info);
	InitFunctionCallInfoData(*fcinfo, &info, 1, InvalidOid, NULL, (Node *) result);
	fcinfo->args[0].value = JsonbPGetDatum(arguments);
	fcinfo->args[0].isnull = false;
	value = FunctionCallInvoke(fcinfo);
	if (fcinfo->isnull && result == NULL)
		elog(ERROR, "function %u gave no result", function);
	return value;
}

/* The operation's function, as the extension's owner sees it: the caller needs no privilege on a domain's schema. */
static Oid
function_of(const PynCall *call, bool is_stream)
{
	PynAccess	access;
	Oid			function;

	pyn_access_begin(&access, pyn_owner());
	function = pyn_operation_function(call->domain, call->operation, is_stream);
	pyn_access_end(&access);
	return function;
}

/* What a function of some languages looks at: the row type that is expected of it. */
static void
expect_rows(Oid function, ReturnSetInfo *result)
{
	if (get_func_result_type(function, NULL, &result->expectedDesc) != TYPEFUNC_COMPOSITE)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
				 errmsg("a stream operation's function must return TABLE (...)")));
}

static Datum
perform(const PynCall *call, ReturnSetInfo *result)
{
	MemoryContext context = CurrentMemoryContext;
	const Operation *operation = find_operation(call);
	Oid			function = function_of(call, result != NULL);
	/* The registry may change while the operation runs. */
	bool		changes_state = operation->changes_state;
	char	   *name = pstrdup(operation->name);
	PynChecked	checked = {"result of operation", name, NULL};
	bool		was_reading = pyn_reading;
	PynDeadline deadline;
	PynSpan		span;
	Datum		value = 0;

	check_call(call, operation, result != NULL);
	if (result != NULL)
		expect_rows(function, result);
	pyn_deadline_set(&deadline, call->deadline > 0 ? call->deadline : operation->deadline);
	pyn_span_begin(&span, name, NULL);
	PG_TRY();
	{
		pyn_deadline_begin(&deadline);
		pyn_reading = !changes_state;
		value = invoke(function, call->arguments, result);
		pyn_reading = was_reading;
		pyn_deadline_end(&deadline);
	}
	PG_CATCH();
	{
		pyn_reading = was_reading;
		pyn_span_drop(&span);
		pyn_deadline_failed(&deadline, name, context);
		PG_RE_THROW();
	}
	PG_END_TRY();
	if (result == NULL)
	{
		/* What was read before may be gone. */
		operation = find_operation(call);
		pyn_json_schema_check(operation->result, DatumGetJsonbP(value), &checked);
	}
	if (!changes_state)
	{
		pyn_span_drop(&span);
		return value;
	}
	pyn_span_end(&span, GetUserId());
	pyn_audit(name, subject_of(call->arguments), call->arguments);
	return value;
}

/*
 * pyn_call calls a unary operation and gives its result, in the current memory context.
 */
Jsonb *
pyn_call(const PynCall *call)
{
	return DatumGetJsonbP(perform(call, NULL));
}

/*
 * pyn_call_stream calls a stream operation, whose rows become the caller's result set.
 */
void
pyn_call_stream(const PynCall *call, ReturnSetInfo *result)
{
	ReturnSetInfo stream = {.type = T_ReturnSetInfo};

	stream.econtext = result->econtext;
	stream.allowedModes = SFRM_Materialize | SFRM_Materialize_Random;
	stream.returnMode = SFRM_ValuePerCall;
	(void) perform(call, &stream);
	if (stream.returnMode != SFRM_Materialize || stream.setResult == NULL)
		elog(ERROR, "operation %s.%s gave no rows", call->domain, call->operation);
	result->returnMode = SFRM_Materialize;
	result->setResult = stream.setResult;
	result->setDesc = stream.setDesc;
}

/* ---------------------------------------------------------------- SQL */

static bool
is_stream(const PynCall *call)
{
	return find_operation(call)->is_stream;
}

/* A stream's rows as an array of objects. */
static Jsonb *
call_for_array(const PynCall *call)
{
	ReturnSetInfo rows = {.type = T_ReturnSetInfo};
	TupleTableSlot *slot;
	TupleDesc	type;
	PynJson		json = {0};

	rows.econtext = CreateStandaloneExprContext();
	pyn_call_stream(call, &rows);
	type = BlessTupleDesc(rows.setDesc);
	slot = MakeSingleTupleTableSlot(type, &TTSOpsMinimalTuple);
	pyn_json_open_array(&json, NULL);
	while (tuplestore_gettupleslot(rows.setResult, true, false, slot))
	{
		HeapTuple	tuple;
		Datum		object;

		slot_getallattrs(slot);
		tuple = heap_form_tuple(type, slot->tts_values, slot->tts_isnull);
		object = DirectFunctionCall1(row_to_json, HeapTupleGetDatum(tuple));
		pyn_json_jsonb(&json, NULL, DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(TextDatumGetCString(object)))));
	}
	pyn_json_close_array(&json);
	ExecDropSingleTupleTableSlot(slot);
	tuplestore_end(rows.setResult);
	return pyn_json_finish(&json);
}

/*
 * pynomaly_kernel.call(domain name, operation text, arguments jsonb = '{}', deadline interval = NULL) → jsonb
 */
Datum
pyn_call_sql(PG_FUNCTION_ARGS)
{
	PynCall		call = {0};

	for (int i = 0; i < 3; i++)
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("domain, operation and arguments of a call must not be null")));
	call.domain = NameStr(*PG_GETARG_NAME(0));
	call.operation = text_to_cstring(PG_GETARG_TEXT_PP(1));
	if (strlen(call.operation) >= NAMEDATALEN)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("no service offers such an operation"),
				 errhint("See pynomaly.services().")));
	call.arguments = PG_GETARG_JSONB_P(2);
	if (!PG_ARGISNULL(3))
		call.deadline = pyn_interval_ms(PG_GETARG_INTERVAL_P(3), "deadline of a call");
	if (is_stream(&call))
		PG_RETURN_JSONB_P(call_for_array(&call));
	PG_RETURN_JSONB_P(pyn_call(&call));
}
