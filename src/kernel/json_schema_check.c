/*
 * json_schema_check.c
 *		Checks jsonb against a compiled schema.
 *
 * Event data is checked at each publish, so a check is one walk over the data that allocates no more than PostgreSQL's
 * iterators. jsonb keeps an object's keys sorted, by length and then by bytes; the tree keeps its members in the same
 * order, so an object is checked by merging two sorted lists.
 *
 * The walk descends only where the tree does, so the tree's limited depth bounds the recursion, however deep the data
 * is.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"

#include "kernel/json_schema_tree.h"

static void check_value(const PynJsonSchema *schema, const JsonbValue *value, const Place *place, const PynChecked *what);

static void
mismatch(const Place *place, const PynChecked *what, const char *expected, const char *found)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s \"%s\" does not match its schema", what->kind, what->name),
			 errdetail("Expected %s at %s, found %s.", expected, pyn_json_path(place), found),
			 what->hint != NULL ? errhint("%s", what->hint) : 0));
}

static void
wrong_kind(const PynJsonSchema *schema, const JsonbValue *value, const Place *place, const PynChecked *what)
{
	StringInfoData expected;
	Kind		kind = kind_of(value);
	uint32		rest = schema->kinds;

	initStringInfo(&expected);
	for (Kind i = 0; i < KIND_COUNT; i++)
	{
		if (!(rest & KIND_BIT(i)))
			continue;
		rest &= ~KIND_BIT(i);
		if (expected.len > 0)
			appendStringInfoString(&expected, rest == 0 ? " or " : ", ");
		appendStringInfoString(&expected, pyn_json_kinds[i].phrase);
	}
	if (kind == KIND_NUMBER && schema->kinds & KIND_BIT(KIND_INTEGER))
		mismatch(place, what, expected.data, "a number with a fraction");
	mismatch(place, what, expected.data, pyn_json_kinds[kind].phrase);
}

static bool
same_value(const JsonbValue *a, const JsonbValue *b)
{
	if (a->type != b->type)
		return false;
	switch (a->type)
	{
		case jbvNull:
			return true;
		case jbvString:
			return compare_names(a->val.string.val, a->val.string.len, b->val.string.val, b->val.string.len) == 0;
		case jbvNumeric:
			return DatumGetBool(DirectFunctionCall2(numeric_eq, NumericGetDatum(a->val.numeric),
													NumericGetDatum(b->val.numeric)));
		case jbvBool:
			return a->val.boolean == b->val.boolean;
		case jbvBinary:
			/* The headers hold kind and size; most different containers already differ there. */
			return a->val.binary.data->header == b->val.binary.data->header &&
				compareJsonbContainers(a->val.binary.data, b->val.binary.data) == 0;
		default:
			elog(ERROR, "unexpected jsonb value of type %d", (int) a->type);
	}
}

static void
check_choice(const PynJsonSchema *schema, const JsonbValue *value, const Place *place, const PynChecked *what)
{
	StringInfoData expected;
	char	   *list;

	for (int i = 0; i < schema->choice_count; i++)
		if (same_value(&schema->choices[i], value))
			return;
	list = JsonbToCString(NULL, schema->choice_list, 0);
	initStringInfo(&expected);
	appendStringInfoString(&expected, "one of ");
	pyn_append_clipped(&expected, list, strlen(list), SHOWN_CHOICES);
	mismatch(place, what, expected.data, psprintf("%s that is none of them", pyn_json_kinds[kind_of(value)].phrase));
}

static char *
shown_number(Numeric number)
{
	char	   *text = numeric_normalize(number);

	return pyn_clipped(text, strlen(text), SHOWN_NAME);
}

static void
check_number(const PynJsonSchema *schema, const JsonbValue *value, const Place *place, const PynChecked *what)
{
	Datum		number = NumericGetDatum(value->val.numeric);

	if (schema->minimum != NULL &&
		DatumGetBool(DirectFunctionCall2(numeric_lt, number, NumericGetDatum(schema->minimum))))
		mismatch(place, what, psprintf("a number of at least %s", shown_number(schema->minimum)), "a smaller one");
	if (schema->maximum != NULL &&
		DatumGetBool(DirectFunctionCall2(numeric_gt, number, NumericGetDatum(schema->maximum))))
		mismatch(place, what, psprintf("a number of at most %s", shown_number(schema->maximum)), "a greater one");
}

static void
check_string(const PynJsonSchema *schema, const JsonbValue *value, const Place *place, const PynChecked *what)
{
	if (schema->has_format == NULL || schema->has_format(value->val.string.val, value->val.string.len))
		return;
	for (int i = 0; i < PYN_JSON_FORMATS; i++)
		if (pyn_json_formats[i].has_format == schema->has_format)
			mismatch(place, what, pyn_json_formats[i].phrase, "another string");
}

/* Raises the error if the member, which the data has not, is required. */
static inline void
check_absent(const Member *member, const Place *parent, const PynChecked *what)
{
	if (member->required)
	{
		Place		place = {parent, member->name, member->length, 0};

		mismatch(&place, what, "a property", "nothing");
	}
}

static void
check_object(const PynJsonSchema *schema, JsonbContainer *object, const Place *place, const PynChecked *what)
{
	Walk		walk;
	int			next = 0;		/* the members before it are done */

	if (schema->member_count == 0 && !schema->closed && schema->additional == NULL)
		return;
	for (start_walk(&walk, object, place); next_child(&walk);)
	{
		const PynJsonSchema *rule = NULL;
		int			order = 1;

		for (; next < schema->member_count; next++)
		{
			const Member *member = &schema->members[next];

			order = compare_names(member->name, member->length, walk.place.name, walk.place.length);
			if (order >= 0)
				break;
			check_absent(member, place, what);
		}
		if (order == 0)
			rule = schema->members[next++].schema;
		if (rule == NULL)
		{
			if (schema->closed)
				mismatch(&walk.place, what, "no property of this name", pyn_json_kinds[kind_of(&walk.value)].phrase);
			rule = schema->additional;
		}
		if (rule != NULL)
			check_value(rule, &walk.value, &walk.place, what);
	}
	for (; next < schema->member_count; next++)
		check_absent(&schema->members[next], place, what);
}

static void
check_array(const PynJsonSchema *schema, JsonbContainer *array, const Place *place, const PynChecked *what)
{
	Walk		walk;

	if (schema->items == NULL)
		return;
	for (start_walk(&walk, array, place); next_child(&walk);)
		check_value(schema->items, &walk.value, &walk.place, what);
}

/* True for 1 and 1.0. */
static bool
is_integral(Numeric number)
{
	return DatumGetInt32(DirectFunctionCall1(numeric_min_scale, NumericGetDatum(number))) == 0;
}

static void
check_value(const PynJsonSchema *schema, const JsonbValue *value, const Place *place, const PynChecked *what)
{
	Kind		kind = kind_of(value);

	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	if (schema->kinds != 0 && !(schema->kinds & KIND_BIT(kind)) &&
		!(kind == KIND_NUMBER && schema->kinds & KIND_BIT(KIND_INTEGER) && is_integral(value->val.numeric)))
		wrong_kind(schema, value, place, what);
	if (schema->choices != NULL)
		check_choice(schema, value, place, what);
	switch (kind)
	{
		case KIND_OBJECT:
			check_object(schema, value->val.binary.data, place, what);
			break;
		case KIND_ARRAY:
			check_array(schema, value->val.binary.data, place, what);
			break;
		case KIND_STRING:
			check_string(schema, value, place, what);
			break;
		case KIND_NUMBER:
			check_number(schema, value, place, what);
			break;
		default:
			break;
	}
}

/*
 * pyn_json_schema_check raises an error if the data does not match the schema.
 */
void
pyn_json_schema_check(const PynJsonSchema *schema, Jsonb *data, const PynChecked *what)
{
	JsonbValue	value;
	Place		root = {NULL, NULL, 0, 0};

	pyn_json_root(data, &value);
	check_value(schema, &value, &root, what);
}
