/*
 * suppression_options.c
 *		The option "suppress": an array of rules, each with a column and what its deviations must reach to alarm.
 */
#include "kernel/port.h"

#include "lib/stringinfo.h"

#include "detectors/model_type.h"
#include "kernel/options.h"
#include "sketch/cell.h"

#define MOST_MINIMUM 1e300
#define MOST_NAMED 20

static PynDirection
direction_of(const char *text)
{
	return strcmp(text, "up") == 0 ? PYN_DIRECTION_UP : strcmp(text, "down") == 0 ? PYN_DIRECTION_DOWN : PYN_DIRECTION_BOTH;
}

static void
read_rule(Jsonb *json, PynRule *rule)
{
	PynOption	known[] = {
		{"column", PYN_OPTION_TEXT, .choices = NULL},
		{"minimum_absolute", PYN_OPTION_NUMBER, .maximum = MOST_MINIMUM},
		{"minimum_relative", PYN_OPTION_NUMBER, .maximum = MOST_MINIMUM},
		{"direction", PYN_OPTION_TEXT, .choices = "up, down, both", .text = "both"},
	};
	char	   *name;

	pyn_options_read(json, known, lengthof(known), "a rule of \"suppress\"");
	if (known[0].text == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a rule of \"suppress\" names no column"),
				 errhint("Write it as in {\"column\": \"amount\", \"minimum_absolute\": 5}.")));
	name = pyn_name_to_utf8(known[0].text);
	if (strlen(name) >= PYN_NAME_SIZE)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("no column can have the name \"%s\" of a rule of \"suppress\"", known[0].text)));
	strcpy(rule->name, name);
	rule->minimum_absolute = known[1].number;
	rule->minimum_relative = known[2].number;
	rule->direction = direction_of(known[3].text);
	if (rule->minimum_absolute == 0 && rule->minimum_relative == 0 && rule->direction == PYN_DIRECTION_BOTH)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the rule of \"suppress\" for column \"%s\" has no condition", known[0].text),
				 errhint("Give minimum_absolute, minimum_relative, or direction \"up\" or \"down\".")));
}

/*
 * pyn_read_rules reads the option's value, which may be NULL; *rules is then empty.
 */
void
pyn_read_rules(Jsonb *json, PynRules *rules)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	item;

	memset(rules, 0, sizeof(*rules));
	if (json == NULL)
		return;
	rules->given = true;
	if (!JB_ROOT_IS_ARRAY(json) || JB_ROOT_IS_SCALAR(json))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"suppress\" must be an array of rules"),
				 errhint("Write it as in {\"suppress\": [{\"column\": \"amount\", \"minimum_absolute\": 5}]}.")));
	if (JB_ROOT_COUNT(json) > PYN_MAX_COLUMNS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"suppress\" has more rules than a relation can have columns")));
	rules->rules = pyn_new0(PynRule, Max(JB_ROOT_COUNT(json), 1));
	iterator = JsonbIteratorInit(&json->root);
	while ((token = JsonbIteratorNext(&iterator, &item, true)) != WJB_DONE)
		if (token == WJB_ELEM)
		{
			PynRule    *rule = &rules->rules[rules->count];

			read_rule(JsonbValueToJsonb(&item), rule);
			for (int i = 0; i < rules->count; i++)
				if (strcmp(rules->rules[i].name, rule->name) == 0)
					ereport(ERROR,
							(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							 errmsg("option \"suppress\" has two rules for column \"%s\"",
									pyn_utf8_to_server(rule->name, strlen(rule->name)))));
			rules->count++;
		}
}

/* The columns that rules may be for. */
static char *
list_quantities(const PynRuleColumn *columns, int count)
{
	StringInfoData list;
	int			named = 0;
	PynRule		probe = {.minimum_absolute = 1};

	initStringInfo(&list);
	for (int i = 0; i < count; i++)
		if (pyn_check_rule(&probe, columns[i].kind) == NULL)
		{
			if (++named > MOST_NAMED)
			{
				appendStringInfoString(&list, ", ...");
				break;
			}
			appendStringInfo(&list, "%s%s", named > 1 ? ", " : "", pyn_utf8_to_server(columns[i].name, strlen(columns[i].name)));
		}
	return named > 0 ? list.data : "none";
}

/*
 * pyn_require_rules raises an error unless each rule is for one of these columns and fits its kind.
 */
void
pyn_require_rules(const PynRules *rules, const PynRuleColumn *columns, int count)
{
	for (int i = 0; i < rules->count; i++)
	{
		const PynRule *rule = &rules->rules[i];
		char	   *name = pyn_utf8_to_server(rule->name, strlen(rule->name));
		const char *problem;
		int			column = 0;

		while (column < count && strcmp(columns[column].name, rule->name) != 0)
			column++;
		if (column == count)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("a rule of \"suppress\" is for column \"%s\", which the model does not have", name),
					 errhint("Columns that rules can be for: %s.", list_quantities(columns, count))));
		problem = pyn_check_rule(rule, columns[column].kind);
		if (problem != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("a rule of \"suppress\" does not fit column \"%s\" of kind %s: %s", name,
							pyn_kind_name(columns[column].kind), problem),
					 errhint("Columns that rules can be for: %s; minimum_relative is for numbers only.",
							 list_quantities(columns, count))));
	}
}

/*
 * pyn_replace_rules puts rules that were given in the place of the model's.
 */
void
pyn_replace_rules(PynModel *model, const PynRules *rules)
{
	PynRuleColumn *columns;

	if (!rules->given)
		return;
	columns = pyn_new(PynRuleColumn, model->column_count);
	for (int i = 0; i < model->column_count; i++)
	{
		columns[i].name = model->columns[i].name;
		columns[i].kind = model->columns[i].kind;
	}
	pyn_require_rules(rules, columns, model->column_count);
	pyn_set_rules(model, rules->rules, rules->count);
	pfree(columns);
}

void
pyn_put_rule(PynJson *json, const PynRule *rule)
{
	static const char *const directions[] = {
		[PYN_DIRECTION_BOTH] = "both",
		[PYN_DIRECTION_UP] = "up",
		[PYN_DIRECTION_DOWN] = "down",
	};

	pyn_json_text(json, "column", pyn_utf8_to_server(rule->name, strlen(rule->name)));
	if (rule->minimum_absolute > 0)
		pyn_json_number(json, "minimum_absolute", rule->minimum_absolute);
	if (rule->minimum_relative > 0)
		pyn_json_number(json, "minimum_relative", rule->minimum_relative);
	pyn_json_text(json, "direction", directions[rule->direction]);
}
