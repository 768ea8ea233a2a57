/*
 * json_reader.c
 *		Reads members of jsonb objects, and the few writers that json_writer.h lacks.
 *
 * What comes here has mostly been checked against a schema; the types are looked at nevertheless, since what a domain
 * reads may have been written by another version of another domain.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/numeric.h"

#include "kernel/json_reader.h"

#define DIGEST_LENGTH 32

/* Finds a member that is not null. */
static bool
find(Jsonb *object, const char *name, JsonbValue *value)
{
	if (object == NULL || !JB_ROOT_IS_OBJECT(object))
		return false;
	return getKeyJsonValueFromContainer(&object->root, name, strlen(name), value) != NULL && value->type != jbvNull;
}

static void
refuse_type(const char *name, const char *wanted)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("member \"%s\" must be %s", name, wanted)));
}

/*
 * pyn_json_get_text gives a string member.
 */
char *
pyn_json_get_text(Jsonb *object, const char *name)
{
	JsonbValue	value;

	if (!find(object, name, &value))
		return NULL;
	if (value.type != jbvString)
		refuse_type(name, "a string");
	return pnstrdup(value.val.string.val, value.val.string.len);
}

/*
 * pyn_json_get_integer gives a member that is a whole number; an error for others and for those out of bigint's range.
 */
int64
pyn_json_get_integer(Jsonb *object, const char *name, int64 missing)
{
	JsonbValue	value;
	Datum		number;

	if (!find(object, name, &value))
		return missing;
	if (value.type != jbvNumeric)
		refuse_type(name, "a whole number");
	number = DirectFunctionCall1(numeric_int8, NumericGetDatum(value.val.numeric));
	if (!DatumGetBool(DirectFunctionCall2(numeric_eq, NumericGetDatum(value.val.numeric),
										  NumericGetDatum(int64_to_numeric(DatumGetInt64(number))))))
		refuse_type(name, "a whole number");
	return DatumGetInt64(number);
}

/*
 * pyn_json_get_number gives a numeric member.
 */
double
pyn_json_get_number(Jsonb *object, const char *name, double missing)
{
	JsonbValue	value;

	if (!find(object, name, &value))
		return missing;
	if (value.type != jbvNumeric)
		refuse_type(name, "a number");
	return DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow, NumericGetDatum(value.val.numeric)));
}

/*
 * pyn_json_get_boolean gives a member that is true or false.
 */
bool
pyn_json_get_boolean(Jsonb *object, const char *name, bool missing)
{
	JsonbValue	value;

	if (!find(object, name, &value))
		return missing;
	if (value.type != jbvBool)
		refuse_type(name, "true or false");
	return value.val.boolean;
}

/*
 * pyn_json_get gives a member of any type as a jsonb of its own.
 */
Jsonb *
pyn_json_get(Jsonb *object, const char *name)
{
	JsonbValue	value;

	return find(object, name, &value) ? JsonbValueToJsonb(&value) : NULL;
}

/*
 * pyn_json_get_names gives an array of strings as a name[].
 */
ArrayType *
pyn_json_get_names(Jsonb *object, const char *name)
{
	Jsonb	   *array = pyn_json_get(object, name);
	uint32		count;
	Datum	   *names;

	if (array == NULL)
		return NULL;
	if (!JB_ROOT_IS_ARRAY(array) || JB_ROOT_IS_SCALAR(array))
		refuse_type(name, "an array of names");
	count = JB_ROOT_COUNT(array);
	names = palloc(sizeof(Datum) * Max(count, 1));
	for (uint32 i = 0; i < count; i++)
	{
		JsonbValue *element = getIthJsonbValueFromContainer(&array->root, i);
		Name		padded = palloc0(NAMEDATALEN);

		if (element->type != jbvString)
			refuse_type(name, "an array of names");
		if (element->val.string.len >= NAMEDATALEN)
			ereport(ERROR,
					(errcode(ERRCODE_NAME_TOO_LONG),
					 errmsg("member \"%s\" holds a name of %d bytes", name, element->val.string.len)));
		memcpy(NameStr(*padded), element->val.string.val, element->val.string.len);
		names[i] = NameGetDatum(padded);
	}
	return construct_array(names, count, NAMEOID, NAMEDATALEN, false, TYPALIGN_CHAR);
}

/*
 * pyn_json_get_digest gives the bytes of a SHA-256 in hexadecimal digits.
 */
bytea *
pyn_json_get_digest(Jsonb *object, const char *name)
{
	char	   *text = pyn_json_get_text(object, name);
	bytea	   *digest;

	if (text == NULL)
		return NULL;
	if (strlen(text) != 2 * DIGEST_LENGTH || strspn(text, "0123456789abcdef") != 2 * DIGEST_LENGTH)
		refuse_type(name, "a SHA-256 of 64 hexadecimal digits");
	digest = palloc(VARHDRSZ + DIGEST_LENGTH);
	SET_VARSIZE(digest, VARHDRSZ + DIGEST_LENGTH);
	hex_decode(text, 2 * DIGEST_LENGTH, VARDATA(digest));
	return digest;
}

/*
 * pyn_json_digest writes a digest in hexadecimal digits.
 */
void
pyn_json_digest(PynJson *json, const char *name, bytea *digest)
{
	Size		length = VARSIZE_ANY_EXHDR(digest);
	char	   *text = palloc(2 * length + 1);

	hex_encode(VARDATA_ANY(digest), length, text);
	text[2 * length] = 0;
	pyn_json_text(json, name, text);
}

/*
 * pyn_json_names writes a name[]; nothing for NULL.
 */
void
pyn_json_names(PynJson *json, const char *name, ArrayType *names)
{
	Datum	   *elements;
	bool	   *nulls;
	int			count;

	if (names == NULL)
		return;
	deconstruct_array(names, NAMEOID, NAMEDATALEN, false, TYPALIGN_CHAR, &elements, &nulls, &count);
	pyn_json_open_array(json, name);
	for (int i = 0; i < count; i++)
	{
		if (nulls[i])
			pyn_json_null(json, NULL);
		else
			pyn_json_text(json, NULL, NameStr(*DatumGetName(elements[i])));
	}
	pyn_json_close_array(json);
}

/*
 * pyn_json_jsonb writes a whole value; nothing for NULL.
 */
void
pyn_json_jsonb(PynJson *json, const char *name, Jsonb *value)
{
	JsonbValue	item;

	if (value == NULL)
		return;
	if (JB_ROOT_IS_SCALAR(value))
		item = *getIthJsonbValueFromContainer(&value->root, 0);
	else
	{
		item.type = jbvBinary;
		item.val.binary.data = &value->root;
		item.val.binary.len = VARSIZE(value) - VARHDRSZ;
	}
	pyn_json_value(json, name, &item);
}

/*
 * pyn_json_members writes all members of an object into the object that is open.
 */
void
pyn_json_members(PynJson *json, Jsonb *object)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	key;
	JsonbValue	value;

	if (object == NULL)
		return;
	iterator = JsonbIteratorInit(&object->root);
	while ((token = JsonbIteratorNext(&iterator, &key, true)) != WJB_DONE)
	{
		if (token != WJB_KEY)
			continue;
		(void) JsonbIteratorNext(&iterator, &value, true);
		pyn_json_value(json, pnstrdup(key.val.string.val, key.val.string.len), &value);
	}
}

/*
 * pyn_json_finish gives the value that was written.
 */
Jsonb *
pyn_json_finish(PynJson *json)
{
	return JsonbValueToJsonb(json->result);
}
