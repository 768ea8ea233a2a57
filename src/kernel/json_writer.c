/*
 * json_writer.c
 *		Writes jsonb objects and arrays, member by member, over PostgreSQL's own builder.
 */
#include "postgres.h"

#include <math.h>

#include "common/shortest_dec.h"
#include "utils/builtins.h"
#include "utils/numeric.h"

#include "kernel/json_writer.h"

static void
push_name(PynJson *json, const char *name)
{
	JsonbValue	key;

	if (name == NULL)
		return;
	key.type = jbvString;
	key.val.string.val = pstrdup(name);
	key.val.string.len = strlen(name);
	pushJsonbValue(&json->state, WJB_KEY, &key);
}

/* An element belongs to an array, a member to an object; the builder wants to be told which. */
static JsonbIteratorToken
value_token(const char *name)
{
	return name == NULL ? WJB_ELEM : WJB_VALUE;
}

void
pyn_json_open_object(PynJson *json, const char *name)
{
	push_name(json, name);
	pushJsonbValue(&json->state, WJB_BEGIN_OBJECT, NULL);
}

void
pyn_json_close_object(PynJson *json)
{
	json->result = pushJsonbValue(&json->state, WJB_END_OBJECT, NULL);
}

void
pyn_json_open_array(PynJson *json, const char *name)
{
	push_name(json, name);
	pushJsonbValue(&json->state, WJB_BEGIN_ARRAY, NULL);
}

void
pyn_json_close_array(PynJson *json)
{
	json->result = pushJsonbValue(&json->state, WJB_END_ARRAY, NULL);
}

void
pyn_json_value(PynJson *json, const char *name, JsonbValue *value)
{
	push_name(json, name);
	pushJsonbValue(&json->state, value_token(name), value);
}

void
pyn_json_null(PynJson *json, const char *name)
{
	JsonbValue	value = {.type = jbvNull};

	pyn_json_value(json, name, &value);
}

void
pyn_double_to_jsonb_value(double number, JsonbValue *value)
{
	if (isnan(number) || isinf(number))
	{
		value->type = jbvString;
		value->val.string.val = isnan(number) ? "NaN" : number > 0 ? "Infinity" : "-Infinity";
		value->val.string.len = strlen(value->val.string.val);
		return;
	}
	value->type = jbvNumeric;
	value->val.numeric = DatumGetNumeric(DirectFunctionCall3(numeric_in,
															 CStringGetDatum(double_to_shortest_decimal(number)),
															 ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
}

void
pyn_json_number(PynJson *json, const char *name, double number)
{
	JsonbValue	value;

	pyn_double_to_jsonb_value(number, &value);
	pyn_json_value(json, name, &value);
}

void
pyn_json_integer(PynJson *json, const char *name, int64 number)
{
	JsonbValue	value = {.type = jbvNumeric};

	value.val.numeric = int64_to_numeric(number);
	pyn_json_value(json, name, &value);
}

void
pyn_json_boolean(PynJson *json, const char *name, bool boolean)
{
	JsonbValue	value = {.type = jbvBool};

	value.val.boolean = boolean;
	pyn_json_value(json, name, &value);
}

void
pyn_json_text(PynJson *json, const char *name, const char *text)
{
	JsonbValue	value = {.type = jbvString};

	value.val.string.val = pstrdup(text);
	value.val.string.len = strlen(text);
	pyn_json_value(json, name, &value);
}
