/*
 * options.c
 *		Reads an options jsonb strictly.
 *
 * A misspelt option that is silently ignored is a wrong result, so every name and value is checked and the error lists
 * what is known.
 */
#include "postgres.h"

#include <math.h>

#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/numeric.h"

#include "kernel/options.h"

static void
refuse_name(const char *name, const PynOption *known, int count, const char *what)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < count; i++)
		appendStringInfo(&list, "%s%s", i > 0 ? ", " : "", known[i].name);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown option \"%s\" for %s", name, what),
			 errhint("Known options: %s.", list.data)));
}

static void
read_number(PynOption *option, const JsonbValue *value)
{
	double		number;

	if (value->type != jbvNumeric)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"%s\" must be a number", option->name)));
	number = DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow, NumericGetDatum(value->val.numeric)));
	if (option->type == PYN_OPTION_INTEGER && number != floor(number))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"%s\" must be a whole number", option->name)));
	if (!(number >= option->minimum && number <= option->maximum))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"%s\" is %s, outside %.16g to %.16g", option->name,
						DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric))),
						option->minimum, option->maximum)));
	option->number = number;
}

/* True when `text` is one of the names in "a, b, c". */
static bool
is_choice(const char *choices, const char *text)
{
	Size		length = strcspn(text, ",");

	if (text[length] != 0)
		return false;
	for (const char *p = choices; p != NULL; p = strstr(p, ", "), p = p ? p + 2 : NULL)
		if (strncmp(p, text, length) == 0 && (p[length] == ',' || p[length] == 0))
			return length > 0;
	return false;
}

static void
read_value(PynOption *option, const JsonbValue *value)
{
	if (value->type == jbvNull)
		return;
	option->given = true;
	switch (option->type)
	{
		case PYN_OPTION_INTEGER:
		case PYN_OPTION_NUMBER:
			read_number(option, value);
			break;
		case PYN_OPTION_BOOLEAN:
			if (value->type != jbvBool)
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("option \"%s\" must be true or false", option->name)));
			option->number = value->val.boolean ? 1 : 0;
			break;
		case PYN_OPTION_TEXT:
			if (value->type != jbvString)
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("option \"%s\" must be a string", option->name)));
			option->text = pnstrdup(value->val.string.val, value->val.string.len);
			if (option->choices != NULL && !is_choice(option->choices, option->text))
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("option \"%s\" cannot be \"%s\"", option->name, option->text),
						 errhint("It is one of: %s.", option->choices)));
			break;
		case PYN_OPTION_JSON:
			option->json = JsonbValueToJsonb((JsonbValue *) value);
			break;
	}
}

/*
 * pyn_options_read fills the known options from a jsonb object; NULL means no options.
 */
void
pyn_options_read(Jsonb *options, PynOption *known, int count, const char *what)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	item;
	PynOption  *option = NULL;

	if (options == NULL)
		return;
	if (!JB_ROOT_IS_OBJECT(options))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("options for %s are not a JSON object", what),
				 errhint("Give them as in '{\"seed\": 7}'.")));
	iterator = JsonbIteratorInit(&options->root);
	while ((token = JsonbIteratorNext(&iterator, &item, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
		{
			char	   *name = pnstrdup(item.val.string.val, item.val.string.len);

			option = NULL;
			for (int i = 0; i < count && option == NULL; i++)
				if (strcmp(known[i].name, name) == 0)
					option = &known[i];
			if (option == NULL)
				refuse_name(name, known, count, what);
		}
		else if (token == WJB_VALUE)
			read_value(option, &item);
	}
}
