/*
 * json_schema.c
 *		Compiles a subset of JSON Schema into a tree.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"

#include "kernel/json_schema_tree.h"

static PynJsonSchema *compile(const JsonbValue *source, const Place *place, int depth);
static void refuse(const Place *place, const char *format,...) pg_attribute_printf(2, 3) pg_attribute_noreturn();

static bool
is_container(const JsonbValue *value, Kind kind)
{
	return value->type == jbvBinary && kind_of(value) == kind;
}

static bool
is_text(const JsonbValue *value, const char *text)
{
	return value->type == jbvString &&
		compare_names(value->val.string.val, value->val.string.len, text, strlen(text)) == 0;
}

static void
add_kind(PynJsonSchema *schema, const JsonbValue *value, const Place *place)
{
	for (Kind kind = 0; kind < KIND_COUNT; kind++)
		if (is_text(value, pyn_json_kinds[kind].name))
		{
			if (schema->kinds & KIND_BIT(kind))
				refuse(place, "\"%s\" is named twice", pyn_json_kinds[kind].name);
			schema->kinds |= KIND_BIT(kind);
			return;
		}
	refuse(place, "not one of object, array, string, number, integer, boolean and null");
}

static void
read_type(PynJsonSchema *schema, const JsonbValue *value, const Place *place, int depth)
{
	Walk		walk;

	if (!is_container(value, KIND_ARRAY))
	{
		add_kind(schema, value, place);
		return;
	}
	for (start_walk(&walk, value->val.binary.data, place); next_child(&walk);)
		add_kind(schema, &walk.value, &walk.place);
	if (schema->kinds == 0)
		refuse(place, "not a type's name nor an array of at least one");
}

/* Makes room for more members and returns the first new one. */
static Member *
add_members(PynJsonSchema *schema, int count)
{
	Size		size = sizeof(Member) * ((Size) schema->member_count + count);

	schema->members = schema->members == NULL ? palloc(size) : repalloc(schema->members, size);
	schema->member_count += count;
	return schema->members + schema->member_count - count;
}

static void
read_properties(PynJsonSchema *schema, const JsonbValue *value, const Place *place, int depth)
{
	Walk		walk;
	Member	   *member;

	if (!is_container(value, KIND_OBJECT))
		refuse(place, "not an object");
	member = add_members(schema, JsonContainerSize(value->val.binary.data));
	for (start_walk(&walk, value->val.binary.data, place); next_child(&walk); member++)
		*member = (Member) {.name = walk.place.name, .length = walk.place.length,
							.schema = compile(&walk.value, &walk.place, depth + 1)};
}

static void
read_required(PynJsonSchema *schema, const JsonbValue *value, const Place *place, int depth)
{
	Walk		walk;
	Member	   *member;

	if (!is_container(value, KIND_ARRAY))
		refuse(place, "not an array");
	member = add_members(schema, JsonContainerSize(value->val.binary.data));
	for (start_walk(&walk, value->val.binary.data, place); next_child(&walk); member++)
	{
		if (walk.value.type != jbvString)
			refuse(&walk.place, "not a string");
		*member = (Member) {.name = walk.value.val.string.val, .length = walk.value.val.string.len, .required = true};
	}
}

static int
compare_members(const void *a, const void *b)
{
	const Member *left = a;
	const Member *right = b;

	return compare_names(left->name, left->length, right->name, right->length);
}

/* Sorts the members and makes one of those that both properties and required have named. */
static void
unite_members(PynJsonSchema *schema, const Place *place)
{
	Place		required = {place, "required", strlen("required"), 0};
	int			count = 0;

	if (schema->member_count == 0)
		return;
	qsort(schema->members, schema->member_count, sizeof(Member), compare_members);
	for (int i = 0; i < schema->member_count; i++)
	{
		Member	   *member = &schema->members[i];
		Member	   *last = count > 0 ? &schema->members[count - 1] : NULL;

		if (last == NULL || compare_members(last, member) != 0)
		{
			schema->members[count++] = *member;
			continue;
		}
		if (last->required && member->required)
			refuse(&required, "\"%s\" is named twice", pyn_clipped(member->name, member->length, SHOWN_NAME));
		last->required = true;
		if (member->schema != NULL)
			last->schema = member->schema;
	}
	schema->member_count = count;
}

static void
read_additional(PynJsonSchema *schema, const JsonbValue *value, const Place *place, int depth)
{
	if (value->type == jbvBool)
		schema->closed = !value->val.boolean;
	else if (is_container(value, KIND_OBJECT))
		schema->additional = compile(value, place, depth + 1);
	else
		refuse(place, "neither true nor false nor a schema");
}

static void
read_items(PynJsonSchema *schema, const JsonbValue *value, const Place *place, int depth)
{
	schema->items = compile(value, place, depth + 1);
}

static void
read_enum(PynJsonSchema *schema, const JsonbValue *value, const Place *place, int depth)
{
	Walk		walk;

	if (!is_container(value, KIND_ARRAY) || JsonContainerSize(value->val.binary.data) == 0)
		refuse(place, "not an array of at least one value");
	schema->choice_list = value->val.binary.data;
	schema->choices = palloc(sizeof(JsonbValue) * JsonContainerSize(schema->choice_list));
	for (start_walk(&walk, schema->choice_list, place); next_child(&walk);)
		schema->choices[schema->choice_count++] = walk.value;
}

static Numeric
read_number(const JsonbValue *value, const Place *place)
{
	if (value->type != jbvNumeric)
		refuse(place, "not a number");
	return value->val.numeric;
}

static void
read_minimum(PynJsonSchema *schema, const JsonbValue *value, const Place *place, int depth)
{
	schema->minimum = read_number(value, place);
}

static void
read_maximum(PynJsonSchema *schema, const JsonbValue *value, const Place *place, int depth)
{
	schema->maximum = read_number(value, place);
}

static void
read_format(PynJsonSchema *schema, const JsonbValue *value, const Place *place, int depth)
{
	for (int i = 0; i < PYN_JSON_FORMATS; i++)
		if (is_text(value, pyn_json_formats[i].name))
			schema->has_format = pyn_json_formats[i].has_format;
	if (schema->has_format == NULL)
		refuse(place, "neither \"uuid\" nor \"date-time\"");
}

static void
read_annotation(PynJsonSchema *schema, const JsonbValue *value, const Place *place, int depth)
{
	if (value->type != jbvString)
		refuse(place, "not a string");
}

static const struct
{
	const char *name;
	void		(*read) (PynJsonSchema *schema, const JsonbValue *value, const Place *place, int depth);
}			keywords[] =
{
	{"type", read_type},
	{"properties", read_properties},
	{"required", read_required},
	{"additionalProperties", read_additional},
	{"items", read_items},
	{"enum", read_enum},
	{"minimum", read_minimum},
	{"maximum", read_maximum},
	{"format", read_format},
	{"title", read_annotation},
	{"description", read_annotation},
};

static void
refuse(const Place *place, const char *format,...)
{
	StringInfoData list;
	char		why[256];		/* names in it are clipped */
	va_list		arguments;

	va_start(arguments, format);
	vsnprintf(why, sizeof(why), format, arguments);
	va_end(arguments);
	initStringInfo(&list);
	for (int i = 0; i < lengthof(keywords); i++)
		appendStringInfo(&list, "%s%s", i > 0 ? ", " : "", keywords[i].name);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("schema is not supported at %s: %s", pyn_json_path(place), why),
			 errhint("A schema is an object with keywords of this subset of JSON Schema: %s.", list.data)));
}

static void
read_keyword(PynJsonSchema *schema, const JsonbValue *value, const Place *place, int depth)
{
	for (int i = 0; i < lengthof(keywords); i++)
		if (compare_names(keywords[i].name, strlen(keywords[i].name), place->name, place->length) == 0)
		{
			keywords[i].read(schema, value, place, depth);
			return;
		}
	refuse(place, "unknown keyword \"%s\"", pyn_clipped(place->name, place->length, SHOWN_NAME));
}

static PynJsonSchema *
compile(const JsonbValue *source, const Place *place, int depth)
{
	PynJsonSchema *schema;
	Walk		walk;

	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	if (!is_container(source, KIND_OBJECT))
		refuse(place, "not an object");
	if (depth > PYN_JSON_SCHEMA_DEPTH)
		refuse(place, "schemas nest more than %d deep", PYN_JSON_SCHEMA_DEPTH);
	schema = palloc0(sizeof(PynJsonSchema));
	for (start_walk(&walk, source->val.binary.data, place); next_child(&walk);)
		read_keyword(schema, &walk.value, &walk.place, depth);
	unite_members(schema, place);
	return schema;
}

/*
 * pyn_json_schema_compile compiles a schema into the current memory context.
 */
PynJsonSchema *
pyn_json_schema_compile(Jsonb *schema)
{
	Jsonb	   *copy = palloc(VARSIZE(schema));
	JsonbValue	value;
	Place		root = {NULL, NULL, 0, 0};

	memcpy(copy, schema, VARSIZE(schema));
	pyn_json_root(copy, &value);
	return compile(&value, &root, 1);
}
