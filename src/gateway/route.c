/*
 * route.c
 *		Public calls that lead to one operation of a domain.
 *
 * The gateway knows no domain: a table says which operation a call leads to, and the call's own declaration says what its
 * arguments are.  They become the members of a JSON object, by name; a relation becomes its name and its OID.  What a set
 * of rows gives comes from a stream operation, anything else from the result of a unary one.
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/uuid.h"

#include "gateway/gateway.h"
#include "kernel/access.h"
#include "kernel/json_reader.h"
#include "kernel/service.h"
#include "kernel/statement.h"

PG_FUNCTION_INFO_V1(pyn_route);

/* Where a call leads, and what it returns. */
typedef struct Route
{
	char	   *call;
	char	   *domain;
	char	   *operation;
	char	   *member;			/* of the result; NULL: all of it */
	Oid			result_type;
	bool		is_set;
} Route;

static void
read_route(Route *route)
{
	static PynStatement select_route = PYN_STATEMENT(
		"SELECT domain::text, operation::text, member FROM pynomaly_gateway.route WHERE call = $1",
		NAMEOID);
	MemoryContext caller = CurrentMemoryContext;
	NameData	call;
	Datum		values[] = {NameGetDatum(&call)};
	PynAccess	access;

	namestrcpy(&call, route->call);
	pyn_access_begin(&access, pyn_owner());
	SPI_connect();
	if (pyn_execute(&select_route, values, NULL, 1) == 0)
		elog(ERROR, "function %s has no route", route->call);
	MemoryContextSwitchTo(caller);
	route->domain = pyn_text_field(0, 1);
	route->operation = pyn_text_field(0, 2);
	route->member = pyn_text_field(0, 3);
	SPI_finish();
	pyn_access_end(&access);
}

/* A relation as its name, for people and for domains that do not read it, and its OID. */
static void
put_relation(PynJson *json, const char *name, Oid relation)
{
	char	   *relation_name = get_rel_name(relation);

	if (relation_name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relation)));
	pyn_json_text(json, name, quote_qualified_identifier(get_namespace_name(get_rel_namespace(relation)), relation_name));
	pyn_json_integer(json, "relation", relation);
}

static void
put_argument(PynJson *json, const char *name, Oid type, Datum value)
{
	switch (type)
	{
		case REGCLASSOID:
			put_relation(json, name, DatumGetObjectId(value));
			break;
		case TEXTOID:
			pyn_json_text(json, name, TextDatumGetCString(value));
			break;
		case NAMEOID:
			pyn_json_text(json, name, NameStr(*DatumGetName(value)));
			break;
		case NAMEARRAYOID:
			pyn_json_names(json, name, DatumGetArrayTypeP(value));
			break;
		case INT4OID:
			pyn_json_integer(json, name, DatumGetInt32(value));
			break;
		case INT8OID:
			pyn_json_integer(json, name, DatumGetInt64(value));
			break;
		case FLOAT8OID:
			if (!isfinite(DatumGetFloat8(value)))
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("%s must be a finite number", name)));
			pyn_json_number(json, name, DatumGetFloat8(value));
			break;
		case BOOLOID:
			pyn_json_boolean(json, name, DatumGetBool(value));
			break;
		case UUIDOID:
			pyn_json_text(json, name, DatumGetCString(DirectFunctionCall1(uuid_out, value)));
			break;
		case JSONBOID:
			pyn_json_jsonb(json, name, DatumGetJsonbP(value));
			break;
		default:
			elog(ERROR, "argument %s has type %s, which cannot be passed on", name, format_type_be(type));
	}
}

/* The call's arguments as an object; those that are NULL are left out. */
static Jsonb *
read_arguments(FunctionCallInfo fcinfo, Route *route)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(fcinfo->flinfo->fn_oid));
	Form_pg_proc form;
	PynJson		json = {0};
	Oid		   *types;
	char	  **names;
	char	   *modes;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", fcinfo->flinfo->fn_oid);
	form = (Form_pg_proc) GETSTRUCT(tuple);
	route->call = pstrdup(NameStr(form->proname));
	route->result_type = form->prorettype;
	route->is_set = form->proretset;
	/* Those that go in come first. */
	(void) get_func_arg_info(tuple, &types, &names, &modes);
	ReleaseSysCache(tuple);

	pyn_json_open_object(&json, NULL);
	for (int i = 0; i < PG_NARGS(); i++)
		if (!PG_ARGISNULL(i))
			put_argument(&json, names[i], types[i], PG_GETARG_DATUM(i));
	pyn_json_close_object(&json);
	return pyn_json_finish(&json);
}

/* The call's result of a type that is not jsonb. */
static Datum
scalar_result(Jsonb *result, const Route *route)
{
	Jsonb	   *value = route->member != NULL ? pyn_json_get(result, route->member) : result;
	JsonbValue *scalar;

	if (value == NULL || !JB_ROOT_IS_SCALAR(value))
		elog(ERROR, "the result of %s.%s has no %s", route->domain, route->operation, route->member);
	scalar = getIthJsonbValueFromContainer(&value->root, 0);
	if (route->result_type == TEXTOID && scalar->type == jbvString)
		return PointerGetDatum(cstring_to_text_with_len(scalar->val.string.val, scalar->val.string.len));
	if (route->result_type == INT8OID && scalar->type == jbvNumeric)
		return DirectFunctionCall1(numeric_int8, NumericGetDatum(scalar->val.numeric));
	elog(ERROR, "the result of %s.%s is of another type", route->domain, route->operation);
	return (Datum) 0;
}

/*
 * pyn_route is every public call that has a row in pynomaly_gateway.route.
 */
Datum
pyn_route(PG_FUNCTION_ARGS)
{
	Route		route = {0};
	PynCall		call = {.caller = PYN_GATEWAY};
	Jsonb	   *result;

	call.arguments = read_arguments(fcinfo, &route);
	read_route(&route);
	call.domain = route.domain;
	call.operation = route.operation;
	if (route.is_set)
	{
		ReturnSetInfo *rows = (ReturnSetInfo *) fcinfo->resultinfo;

		if (rows == NULL || !IsA(rows, ReturnSetInfo) || !(rows->allowedModes & SFRM_Materialize))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("%s is called where no set of rows is accepted", route.call)));
		pyn_call_stream(&call, rows);
		return (Datum) 0;
	}
	result = pyn_call(&call);
	if (route.result_type == VOIDOID)
		PG_RETURN_VOID();
	if (route.result_type == JSONBOID)
		PG_RETURN_JSONB_P(result);
	return scalar_result(result, &route);
}
