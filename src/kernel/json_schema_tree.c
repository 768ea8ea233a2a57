/*
 * json_schema_tree.c
 *		What compiling a schema and checking against it share: names, paths and clipped texts for messages.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/json.h"

#include "kernel/json_schema_tree.h"

const KindName pyn_json_kinds[KIND_COUNT] = {
	[KIND_OBJECT] = {"object", "an object"},
	[KIND_ARRAY] = {"array", "an array"},
	[KIND_STRING] = {"string", "a string"},
	[KIND_NUMBER] = {"number", "a number"},
	[KIND_INTEGER] = {"integer", "an integer"},
	[KIND_BOOLEAN] = {"boolean", "a boolean"},
	[KIND_NULL] = {"null", "null"},
};

/*
 * pyn_append_clipped appends a text of which no more than `limit` bytes are shown.
 */
void
pyn_append_clipped(StringInfo out, const char *text, int length, int limit)
{
	int			shown = length > limit ? pg_mbcliplen(text, length, limit) : length;

	appendBinaryStringInfo(out, text, shown);
	if (shown < length)
		appendStringInfoString(out, "...");
}

/*
 * pyn_clipped gives a text of which no more than `limit` bytes are shown.
 */
char *
pyn_clipped(const char *text, int length, int limit)
{
	StringInfoData out;

	initStringInfo(&out);
	pyn_append_clipped(&out, text, length, limit);
	return out.data;
}

/* A name that needs no quotes in a path. */
static bool
is_plain_name(const char *name, int length)
{
	for (int i = 0; i < length; i++)
		if (!(name[i] == '_' || (name[i] >= 'a' && name[i] <= 'z') || (name[i] >= 'A' && name[i] <= 'Z') ||
			  (i > 0 && name[i] >= '0' && name[i] <= '9')))
			return false;
	return length > 0 && length <= SHOWN_NAME;
}

static void
append_path(StringInfo path, const Place *place)
{
	if (place->parent == NULL)
	{
		appendStringInfoChar(path, '$');
		return;
	}
	append_path(path, place->parent);
	if (place->name == NULL)
		appendStringInfo(path, "[%d]", place->index);
	else if (is_plain_name(place->name, place->length))
	{
		appendStringInfoChar(path, '.');
		appendBinaryStringInfo(path, place->name, place->length);
	}
	else
	{
		appendStringInfoChar(path, '[');
		escape_json(path, pyn_clipped(place->name, place->length, SHOWN_NAME));
		appendStringInfoChar(path, ']');
	}
}

/*
 * pyn_json_path gives a place as text, such as $.rows[3].name.
 */
char *
pyn_json_path(const Place *place)
{
	StringInfoData path;

	initStringInfo(&path);
	append_path(&path, place);
	return path.data;
}

/*
 * pyn_json_root gives a document's value.  A scalar is stored as an array that must not be taken for one.
 */
void
pyn_json_root(Jsonb *document, JsonbValue *value)
{
	if (!JB_ROOT_IS_SCALAR(document))
		JsonbToJsonbValue(document, value);
	else if (!JsonbExtractScalar(&document->root, value))
		elog(ERROR, "invalid jsonb scalar");
}
