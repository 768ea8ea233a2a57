/*
 * contract.c
 *		Registers services: what a domain offers to others, as data.
 *
 * A contract is checked three times: its own shape against a schema; against the version before it, so that a minor
 * version breaks no caller; and against the contracts of others (the view contract_problem).  Domains may come in any
 * order: what another domain may still bring is let pass, and check_contracts() asks for it at the end.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "fmgr.h"
#include "nodes/makefuncs.h"
#include "parser/parse_func.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "kernel/access.h"
#include "kernel/contract.h"
#include "kernel/json_schema.h"
#include "kernel/statement.h"

PG_FUNCTION_INFO_V1(pyn_register_service);
PG_FUNCTION_INFO_V1(pyn_unregister_service);

/* What a contract looks like. */
static const char contract_schema[] =
"{\"type\": \"object\", \"additionalProperties\": false, \"required\": [\"operations\", \"publishes\", \"consumes\", \"calls\"],"
" \"properties\": {"
"  \"operations\": {\"type\": \"object\", \"additionalProperties\":"
"   {\"type\": \"object\", \"additionalProperties\": false, \"required\": [\"kind\", \"changes_state\", \"arguments\"],"
"    \"properties\": {\"kind\": {\"enum\": [\"unary\", \"stream\"]}, \"changes_state\": {\"type\": \"boolean\"},"
"     \"idempotent\": {\"type\": \"boolean\"}, \"deadline\": {\"type\": \"string\"},"
"     \"arguments\": {\"type\": \"object\"}, \"result\": {\"type\": \"object\"}}}},"
"  \"publishes\": {\"type\": \"array\", \"items\": {\"type\": \"string\"}},"
"  \"consumes\": {\"type\": \"array\", \"items\": {\"type\": \"string\"}},"
"  \"calls\": {\"type\": \"array\", \"items\": {\"type\": \"string\"}}}}";

static void
check_shape(Jsonb *contract, const char *domain)
{
	PynChecked	checked = {"contract of domain", domain, NULL};
	Jsonb	   *schema = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(contract_schema)));

	pyn_json_schema_check(pyn_json_schema_compile(schema), contract, &checked);
}

/* A version as one number that orders them; 0 for what is none. */
static int64
version_number(const char *version)
{
	const char *minor = strchr(version, '.');
	Size		digits = strspn(version, "0123456789");

	if (minor != version + digits || digits == 0 || digits > 6)
		return 0;
	minor++;
	if (minor[0] == 0 || strlen(minor) > 6 || strspn(minor, "0123456789") != strlen(minor))
		return 0;
	return strtol(version, NULL, 10) * 1000000 + strtol(minor, NULL, 10) + 1;
}

/*
 * pyn_operation_function finds the SQL function of an operation; an error where there is none of this kind.
 */
Oid
pyn_operation_function(const char *domain, const char *operation, bool is_stream)
{
	Oid			argument = JSONBOID;
	List	   *name = list_make2(makeString(psprintf("pynomaly_%s", domain)), makeString(pstrdup(operation)));
	Oid			function = LookupFuncName(name, 1, &argument, true);
	HeapTuple	tuple;
	Form_pg_proc form;
	bool		fits;

	if (!OidIsValid(function))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("operation %s.%s has no function pynomaly_%s.%s(jsonb)", domain, operation, domain, operation)));
	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", function);
	form = (Form_pg_proc) GETSTRUCT(tuple);
	fits = form->prokind == PROKIND_FUNCTION && form->proretset == is_stream && (is_stream || form->prorettype == JSONBOID);
	ReleaseSysCache(tuple);
	if (!fits)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
				 errmsg("function pynomaly_%s.%s(jsonb) must return %s", domain, operation,
						is_stream ? "rows" : "jsonb")));
	return function;
}

/* The operations of the contract, in the registry's table. */
static void
insert_operations(const char *domain, Jsonb *contract)
{
	static PynStatement delete_operations = PYN_STATEMENT(
		"DELETE FROM pynomaly_kernel.operation WHERE domain = $1",
		NAMEOID);
	static PynStatement insert = PYN_STATEMENT(
		"INSERT INTO pynomaly_kernel.operation (domain, name, kind, changes_state, idempotent, deadline, arguments, result) "
		"SELECT $1, key, value ->> 'kind', (value ->> 'changes_state')::boolean, "
		"coalesce((value ->> 'idempotent')::boolean, NOT (value ->> 'changes_state')::boolean), (value ->> 'deadline')::interval, "
		"value -> 'arguments', coalesce(value -> 'result', '{}') FROM jsonb_each($2 -> 'operations') "
		"RETURNING name, kind, arguments, result",
		NAMEOID, JSONBOID);
	NameData	name;
	Datum		values[] = {NameGetDatum(&name), JsonbPGetDatum(contract)};
	uint64		count;

	namestrcpy(&name, domain);
	pyn_execute(&delete_operations, values, NULL, 0);
	count = pyn_execute(&insert, values, NULL, 0);
	for (uint64 row = 0; row < count; row++)
	{
		char	   *operation = NameStr(*DatumGetName(pyn_field(row, 1, NULL)));

		(void) pyn_json_schema_compile(DatumGetJsonbP(pyn_field(row, 3, NULL)));
		(void) pyn_json_schema_compile(DatumGetJsonbP(pyn_field(row, 4, NULL)));
		(void) pyn_operation_function(domain, operation, strcmp(pyn_text_field(row, 2), "stream") == 0);
	}
}

/*
 * What a caller of the registered version could miss in the new one: an operation, an argument that was accepted, a
 * member of a result that was promised, an event.  Schemas of members may not change at all; to widen one is a new member
 * or a new major version.
 */
static char *
first_break(const char *domain, Jsonb *contract)
{
	static PynStatement select_break = PYN_STATEMENT(
		"WITH old AS (SELECT name, kind, arguments, result, $2 -> 'operations' -> name::text AS new "
		"FROM pynomaly_kernel.operation WHERE domain = $1) "
		"SELECT * FROM ("
		"SELECT format('operation %s is gone', name) FROM old WHERE new IS NULL UNION ALL "
		"SELECT format('operation %s is %s no more', name, kind) FROM old WHERE new ->> 'kind' <> kind UNION ALL "
		"SELECT format('operation %s requires argument %s', name, required) "
		"FROM old, jsonb_array_elements_text(new -> 'arguments' -> 'required') AS required "
		"WHERE NOT coalesce(arguments -> 'required' ? required, false) UNION ALL "
		"SELECT format('operation %s takes argument %s no more or otherwise', name, key) "
		"FROM old, jsonb_each(arguments -> 'properties') "
		"WHERE new -> 'arguments' -> 'properties' -> key IS DISTINCT FROM value UNION ALL "
		"SELECT format('operation %s gives %s no more or otherwise', name, key) FROM old, jsonb_each(result -> 'properties') "
		"WHERE new -> 'result' -> 'properties' -> key IS DISTINCT FROM value "
		"OR (result -> 'required' ? key AND NOT coalesce(new -> 'result' -> 'required' ? key, false)) UNION ALL "
		"SELECT format('event %s is published no more', type) "
		"FROM pynomaly_kernel.service s, jsonb_array_elements_text(s.contract -> 'publishes') AS type "
		"WHERE s.domain = $1 AND NOT $2 -> 'publishes' ? type) AS break (what)",
		NAMEOID, JSONBOID);
	NameData	name;
	Datum		values[] = {NameGetDatum(&name), JsonbPGetDatum(contract)};

	namestrcpy(&name, domain);
	return pyn_execute(&select_break, values, NULL, 1) == 1 ? pyn_text_field(0, 1) : NULL;
}

/* Refuses what does not follow from the registered version; false if this very contract is registered already. */
static bool
is_next_version(const char *domain, const char *version, Jsonb *contract)
{
	static PynStatement select_service = PYN_STATEMENT(
		"SELECT version, contract = $2 FROM pynomaly_kernel.service WHERE domain = $1 FOR UPDATE",
		NAMEOID, JSONBOID);
	NameData	name;
	Datum		values[] = {NameGetDatum(&name), JsonbPGetDatum(contract)};
	char	   *registered;
	char	   *broken;
	int64		old_number;
	int64		new_number = version_number(version);

	if (new_number == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" is no version of a contract", version),
				 errhint("A version is <major>.<minor>, such as 1.0.")));
	namestrcpy(&name, domain);
	if (pyn_execute(&select_service, values, NULL, 0) == 0)
		return true;
	registered = pyn_text_field(0, 1);
	old_number = version_number(registered);
	if (old_number == new_number && DatumGetBool(pyn_field(0, 2, NULL)))
		return false;
	if (new_number <= old_number)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("domain \"%s\" is registered with version %s and %s contract", domain, registered,
						old_number == new_number ? "another" : "so with a newer"),
				 errhint("A contract that changes gets a higher version.")));
	if (old_number / 1000000 == new_number / 1000000 && (broken = first_break(domain, contract)) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("version %s of domain \"%s\" breaks callers of version %s: %s", version, domain, registered, broken),
				 errhint("Such a change needs a new major version.")));
	return true;
}

static void
store(const char *domain, const char *version, Jsonb *contract)
{
	static PynStatement insert_service = PYN_STATEMENT(
		"INSERT INTO pynomaly_kernel.service (domain, version, contract, builtin, registered_at) VALUES ($1, $2, $3, $4, now()) "
		"ON CONFLICT (domain) DO UPDATE SET (version, contract, registered_at) = "
		"(excluded.version, excluded.contract, excluded.registered_at)",
		NAMEOID, TEXTOID, JSONBOID, BOOLOID);
	static PynStatement select_problem = PYN_STATEMENT(
		"SELECT format('%s %s', domain, problem) FROM pynomaly_kernel.contract_problem WHERE NOT pending "
		"ORDER BY domain = $1 DESC, domain, problem",
		NAMEOID);
	NameData	name;
	Datum		values[] = {
		NameGetDatum(&name), CStringGetTextDatum(version), JsonbPGetDatum(contract), BoolGetDatum(creating_extension)
	};

	namestrcpy(&name, domain);
	pyn_execute(&insert_service, values, NULL, 0);
	insert_operations(domain, contract);
	CommandCounterIncrement();
	if (pyn_execute(&select_problem, values, NULL, 1) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("contracts do not fit: %s", pyn_text_field(0, 1))));
	CacheInvalidateRelcacheByRelid(pyn_relation("operation"));
}

/*
 * pynomaly_kernel.register_service(domain name, version text, contract jsonb) → void
 */
Datum
pyn_register_service(PG_FUNCTION_ARGS)
{
	char	   *domain = NameStr(*PG_GETARG_NAME(0));
	char	   *version = text_to_cstring(PG_GETARG_TEXT_PP(1));
	Jsonb	   *contract = PG_GETARG_JSONB_P(2);
	PynAccess	access;

	pyn_check_writable("register_service()");
	check_shape(contract, domain);
	pyn_access_begin(&access, pyn_owner());
	SPI_connect();
	if (is_next_version(domain, version, contract))
		store(domain, version, contract);
	SPI_finish();
	pyn_access_end(&access);
	PG_RETURN_VOID();
}

/*
 * pynomaly_kernel.unregister_service(domain name) → void
 */
Datum
pyn_unregister_service(PG_FUNCTION_ARGS)
{
	static PynStatement delete_service = PYN_STATEMENT(
		"DELETE FROM pynomaly_kernel.service WHERE domain = $1 RETURNING builtin",
		NAMEOID);
	static PynStatement select_users = PYN_STATEMENT(
		"SELECT format('%s %s', s.domain, used) FROM pynomaly_kernel.service s, "
		"LATERAL (SELECT 'calls ' || call FROM jsonb_array_elements_text(s.contract -> 'calls') AS named (call) UNION ALL "
		"SELECT 'consumes ' || type FROM jsonb_array_elements_text(s.contract -> 'consumes') AS named (type)) AS use (used) "
		"WHERE split_part(split_part(used, ' ', 2), '.', 1) = $1::text ORDER BY 1",
		NAMEOID);
	Datum		values[] = {PG_GETARG_DATUM(0)};
	char	   *domain = NameStr(*PG_GETARG_NAME(0));
	PynAccess	access;

	pyn_check_writable("unregister_service()");
	pyn_access_begin(&access, pyn_owner());
	SPI_connect();
	if (pyn_execute(&delete_service, values, NULL, 0) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("domain \"%s\" is not registered", domain),
				 errhint("See pynomaly.services().")));
	if (DatumGetBool(pyn_field(0, 1, NULL)))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("domain \"%s\" is a part of pynomaly", domain)));
	if (pyn_execute(&select_users, values, NULL, 1) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("domain \"%s\" is used by others: %s", domain, pyn_text_field(0, 1))));
	CacheInvalidateRelcacheByRelid(pyn_relation("operation"));
	SPI_finish();
	pyn_access_end(&access);
	PG_RETURN_VOID();
}
