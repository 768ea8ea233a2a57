/*
 * plan.c
 *		From options to a plan: parameters as numbers, and members, each of which has options of its own.
 */
#include "kernel/port.h"

#include "lib/stringinfo.h"
#include "utils/builtins.h"

#include "detectors/plan.h"
#include "kernel/json_reader.h"

#define LEAST_WEIGHT 1e-6
#define MOST_WEIGHT 1e6

static void read_members(PynPlan *plan, Jsonb *list, int nesting);

const PynDetector *
pyn_require_detector(const char *algorithm)
{
	const PynDetector *detector = pyn_find_detector(algorithm);
	StringInfoData list;

	if (detector != NULL)
		return detector;
	initStringInfo(&list);
	for (int i = 0; i < pyn_detector_count; i++)
		appendStringInfo(&list, "%s%s", i > 0 ? ", " : "", pyn_detectors[i]->name);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown algorithm \"%s\"", algorithm),
			 errhint("Known algorithms: %s.", list.data)));
	return NULL;
}

/* A detector's parameter as an option. */
static PynOption
parameter_option(const PynParameter *parameter)
{
	PynOption	option = {
		.name = parameter->name,
		.type = parameter->kind == PYN_PARAMETER_INTEGER ? PYN_OPTION_INTEGER :
			parameter->kind == PYN_PARAMETER_NUMBER ? PYN_OPTION_NUMBER : PYN_OPTION_TEXT,
		.minimum = parameter->minimum,
		.maximum = parameter->maximum,
		.choices = parameter->choices,
		.number = parameter->initial,
	};

	return option;
}

/* The place of a name in "a, b, c". */
static int
place_of_choice(const char *choices, const char *name)
{
	Size		length = strlen(name);
	int			place = 0;

	for (const char *p = choices; strncmp(p, name, length) != 0 || (p[length] != ',' && p[length] != 0); place++)
		p = strstr(p, ", ") + 2;
	return place;
}

/* The value that the option's answer gives the parameter. */
static double
setting_of(const PynParameter *parameter, const PynOption *option)
{
	if (parameter->kind == PYN_PARAMETER_CHOICE && option->text != NULL)
		return place_of_choice(parameter->choices, option->text);
	return option->number;
}

int
pyn_plan_options(const PynDetector *detector, PynOption *known)
{
	int			count = detector->parameter_count;

	for (int i = 0; i < count; i++)
		known[i] = parameter_option(&detector->parameters[i]);
	if (detector->combines)
		known[count++] = (PynOption) {.name = "members",.type = PYN_OPTION_JSON};
	return count;
}

static void
set_plan(PynPlan *plan, const PynDetector *detector, const PynOption *known, int nesting)
{
	pyn_plan_defaults(plan, detector);
	for (int i = 0; i < detector->parameter_count; i++)
		plan->settings[i] = setting_of(&detector->parameters[i], &known[i]);
	if (detector->combines && known[detector->parameter_count].json != NULL)
		read_members(plan, known[detector->parameter_count].json, nesting);
	for (int i = 0; i < plan->member_count; i++)
		if (plan->members[i].weight != 1.0 && !detector->weighs(plan))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("member %d, \"%s\", has a weight, which only an average uses", i + 1, plan->members[i].detector->name),
					 errhint("Set \"combine\" to \"average\", or leave the weights out.")));
}

void
pyn_plan_set(PynPlan *plan, const PynDetector *detector, const PynOption *known)
{
	set_plan(plan, detector, known, PYN_MAX_NESTING);
}

/* One member: the name of an algorithm, or an object with "algorithm", "weight" and the algorithm's own options. */
static void
read_member(PynPlan *plan, JsonbValue *item, int number, int nesting)
{
	enum
	{
		OPTION_ALGORITHM,
		OPTION_WEIGHT,
		OPTION_COUNT
	};
	PynOption	known[OPTION_COUNT + PYN_PLAN_OPTIONS] = {
		[OPTION_ALGORITHM] = {"algorithm", PYN_OPTION_TEXT},
		[OPTION_WEIGHT] = {"weight", PYN_OPTION_NUMBER, LEAST_WEIGHT, MOST_WEIGHT, .number = 1.0},
	};
	Jsonb	   *object = NULL;
	char	   *algorithm = NULL;
	const PynDetector *detector;
	int			count;

	if (item->type == jbvString)
		algorithm = pnstrdup(item->val.string.val, item->val.string.len);
	else if (item->type == jbvBinary && JsonContainerIsObject(item->val.binary.data))
	{
		object = JsonbValueToJsonb(item);
		algorithm = pyn_json_get_text(object, "algorithm");
	}
	if (algorithm == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("member %d does not name an algorithm", number),
				 errhint("A member is a name, or an object such as {\"algorithm\": \"isolation_forest\", \"trees\": 50, \"weight\": 2}.")));
	detector = pyn_require_detector(algorithm);
	if (detector->combines && nesting < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("ensembles are nested too deeply"),
				 errhint("An ensemble may have ensembles as members, whose members are none.")));
	count = OPTION_COUNT + pyn_plan_options(detector, known + OPTION_COUNT);
	pyn_options_read(object, known, count, psprintf("member %d, \"%s\"", number, algorithm));
	set_plan(plan, detector, known + OPTION_COUNT, nesting);
	plan->weight = known[OPTION_WEIGHT].number;
}

static void
read_members(PynPlan *plan, Jsonb *list, int nesting)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	item;

	if (!JB_ROOT_IS_ARRAY(list) || JB_ROOT_IS_SCALAR(list) || JB_ROOT_COUNT(list) < 1 ||
		JB_ROOT_COUNT(list) > PYN_MAX_MEMBERS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"members\" must be a list of 1 to %d algorithms", PYN_MAX_MEMBERS),
				 errhint("Give it as in '{\"members\": [\"isolation_forest\", {\"algorithm\": \"ecod\", \"weight\": 2}]}'.")));
	plan->members = pyn_new0(PynPlan, JB_ROOT_COUNT(list));
	iterator = JsonbIteratorInit(&list->root);
	while ((token = JsonbIteratorNext(&iterator, &item, true)) != WJB_DONE)
		if (token == WJB_ELEM)
		{
			read_member(&plan->members[plan->member_count], &item, plan->member_count + 1, nesting - 1);
			plan->member_count++;
		}
}

/* The name at a place in "a, b, c". */
static char *
choice_at(const char *choices, int place)
{
	while (place-- > 0)
		choices = strstr(choices, ", ") + 2;
	return pnstrdup(choices, strcspn(choices, ","));
}

Jsonb *
pyn_plan_describe(const PynDetector *detector)
{
	PynJson		json = {0};

	pyn_json_open_object(&json, NULL);
	for (int i = 0; i < detector->parameter_count; i++)
	{
		const PynParameter *parameter = &detector->parameters[i];

		pyn_json_open_object(&json, parameter->name);
		if (parameter->kind == PYN_PARAMETER_CHOICE)
		{
			pyn_json_text(&json, "default", choice_at(parameter->choices, (int) parameter->initial));
			pyn_json_text(&json, "choices", parameter->choices);
		}
		else
		{
			pyn_json_number(&json, "default", parameter->initial);
			pyn_json_number(&json, "minimum", parameter->minimum);
			pyn_json_number(&json, "maximum", parameter->maximum);
		}
		pyn_json_text(&json, "description", parameter->description);
		pyn_json_close_object(&json);
	}
	if (detector->combines)
	{
		pyn_json_open_object(&json, "members");
		pyn_json_text(&json, "description", "a list of algorithms by name, or of objects with \"algorithm\", \"weight\" and that algorithm's own options");
		pyn_json_close_object(&json);
	}
	pyn_json_close_object(&json);
	return JsonbValueToJsonb(json.result);
}
