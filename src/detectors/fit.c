/*
 * fit.c
 *		pynomaly.fit and pynomaly.algorithms, and the options of all calls that fit.
 */
#include "kernel/port.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "pgtime.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

#include "detectors/model_type.h"
#include "detectors/plan.h"
#include "detectors/threshold_options.h"
#include "kernel/options.h"
#include "sketch/cell.h"
#include "sketch/sketch_type.h"

#define MOST_SEED 9007199254740991.0	/* the largest that a JSON number keeps exactly */
#define DEFAULT_CONTAMINATION 0.01

PG_FUNCTION_INFO_V1(pyn_fit);
PG_FUNCTION_INFO_V1(pyn_algorithms);

/* The options that every algorithm has, in this order before those of the algorithm. */
enum
{
	OPTION_SEED,
	OPTION_TIME_ZONE,
	OPTION_THRESHOLD,
	OPTION_THRESHOLD_METHOD,	/* the first of PYN_THRESHOLD_OPTIONS */
	OPTION_LAST_OF_THRESHOLD = OPTION_THRESHOLD_METHOD + PYN_THRESHOLD_OPTIONS - 1,
	OPTION_LABEL_COLUMN,
	OPTION_SUPPRESS,
	OPTION_CONTAMINATION,		/* of fit only */
	OPTION_EXPLAIN,				/* of detect only */
	OPTION_SAMPLE_TEXT,			/* of detect only */
	OPTION_COUNT
};

/*
 * pyn_check_contamination gives the value back, or raises the error that says its range.
 */
double
pyn_check_contamination(double contamination)
{
	if (!(contamination > 0 && contamination <= 0.5))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("contamination %g is outside (0, 0.5]", contamination),
				 errhint("It is the share of rows expected to be anomalies, such as 0.01.")));
	return contamination;
}

void
pyn_set_contamination(PynCallOptions *options, double contamination)
{
	pyn_refuse_contamination(&options->fit.rule);
	options->fit.contamination = pyn_check_contamination(contamination);
	options->fit.rule.contamination_given = true;
}

static PynExplain
explain_of(const char *text)
{
	return strcmp(text, "all") == 0 ? PYN_EXPLAIN_ALL : strcmp(text, "none") == 0 ? PYN_EXPLAIN_NONE : PYN_EXPLAIN_FLAGGED;
}

/* True when a model can hold the name of a time zone: short and of printable ASCII, as those of pg_timezone_names are. */
static bool
is_zone_name(const char *name)
{
	for (const char *p = name; *p != 0; p++)
		if ((uint8) *p < 0x20 || (uint8) *p > 0x7E)
			return false;
	return strlen(name) < PYN_ZONE_SIZE;
}

static void
set_zone(PynFitOptions *fit, const char *name)
{
	PynModel	probe = {0};

	if (!is_zone_name(name) || pg_tzset(name) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("time zone \"%s\" is not known", name),
				 errhint("See pg_timezone_names.")));
	strlcpy(probe.zone_name, name, PYN_ZONE_SIZE);
	pyn_set_zone(&probe);
	fit->zone_name = pstrdup(name);
	fit->zone_offset = probe.zone_offset;
	fit->zone = probe.zone;
}

void
pyn_call_options(const char *algorithm, Jsonb *json, bool detecting, PynCallOptions *options)
{
	const PynDetector *detector = pyn_require_detector(algorithm);
	PynOption	all[OPTION_COUNT] = {
		[OPTION_SEED] = {"seed", PYN_OPTION_INTEGER, 0, MOST_SEED, .number = PYN_DEFAULT_SEED},
		[OPTION_TIME_ZONE] = {"time_zone", PYN_OPTION_TEXT, .text = "UTC"},
		[OPTION_THRESHOLD] = {"threshold", PYN_OPTION_NUMBER, 0, 1, .number = NAN},
		[OPTION_LABEL_COLUMN] = {"label_column", PYN_OPTION_TEXT},
		[OPTION_SUPPRESS] = {"suppress", PYN_OPTION_JSON},
		[OPTION_CONTAMINATION] = {"contamination", PYN_OPTION_NUMBER, -INFINITY, INFINITY, .number = DEFAULT_CONTAMINATION},
		[OPTION_EXPLAIN] = {"explain", PYN_OPTION_TEXT, .choices = "flagged, all, none", .text = "flagged"},
		[OPTION_SAMPLE_TEXT] = {"sample_text", PYN_OPTION_BOOLEAN, .number = 1},
	};
	PynOption	known[OPTION_COUNT + PYN_PLAN_OPTIONS];
	PynOption  *place[OPTION_COUNT];
	int			count = 0;
	int			first_parameter;

	pyn_threshold_options(&all[OPTION_THRESHOLD_METHOD]);
	for (int i = 0; i < OPTION_COUNT; i++)
	{
		bool		excluded = detecting ? i == OPTION_CONTAMINATION : i == OPTION_EXPLAIN || i == OPTION_SAMPLE_TEXT;

		place[i] = excluded ? &all[i] : &known[count];
		if (!excluded)
			known[count++] = all[i];
	}
	first_parameter = count;
	count += pyn_plan_options(detector, known + count);
	pyn_options_read(json, known, count, psprintf("algorithm \"%s\"", algorithm));

	memset(options, 0, sizeof(*options));
	pyn_plan_set(&options->fit.plan, detector, known + first_parameter);
	options->fit.seed = (uint64) place[OPTION_SEED]->number;
	options->fit.contamination = pyn_check_contamination(place[OPTION_CONTAMINATION]->number);
	options->fit.threshold = place[OPTION_THRESHOLD]->number;
	options->fit.rule = pyn_threshold_rule(place[OPTION_THRESHOLD_METHOD], place[OPTION_THRESHOLD]);
	options->fit.rule.contamination_given = place[OPTION_CONTAMINATION]->given;
	if (place[OPTION_CONTAMINATION]->given)
		pyn_refuse_contamination(&options->fit.rule);
	set_zone(&options->fit, place[OPTION_TIME_ZONE]->text);
	options->label = place[OPTION_LABEL_COLUMN]->text;
	options->fit.label = options->label != NULL ? pyn_name_to_utf8(options->label) : NULL;
	pyn_read_rules(place[OPTION_SUPPRESS]->json, &options->suppress);
	options->fit.rules = options->suppress.rules;
	options->fit.rule_count = options->suppress.count;
	options->explain = explain_of(place[OPTION_EXPLAIN]->text);
	options->sample_text = place[OPTION_SAMPLE_TEXT]->number != 0;
}

void
pyn_scoring_options(Jsonb *json, PynCallOptions *options)
{
	PynOption	known[3 + PYN_THRESHOLD_OPTIONS] = {
		{"threshold", PYN_OPTION_NUMBER, 0, 1, .number = NAN},
		{"explain", PYN_OPTION_TEXT, .choices = "flagged, all, none", .text = "flagged"},
		{"suppress", PYN_OPTION_JSON, .json = NULL},
	};

	memset(options, 0, sizeof(*options));
	pyn_threshold_options(known + 3);
	pyn_options_read(json, known, lengthof(known), "scoring by a given model");
	pyn_refuse_threshold_options(known + 3);
	options->fit.threshold = known[0].number;
	options->explain = explain_of(known[1].text);
	pyn_read_rules(known[2].json, &options->suppress);
}

/* Which columns are of no use, and why, for the error's detail. */
static char *
list_unused(const PynModel *model)
{
	static const char *const why[] = {
		[PYN_USED] = "used",
		[PYN_CONSTANT] = "constant",
		[PYN_ALL_MISSING] = "no value but NULL, NaN or infinity",
		[PYN_MANY_CATEGORIES] = "too many different texts",
	};
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < model->column_count; i++)
	{
		const char *name = model->columns[i].name;

		if (i == 10)
		{
			appendStringInfoString(&list, ", ...");
			break;
		}
		appendStringInfo(&list, "%s\"%s\" (%s)", i > 0 ? ", " : "", pyn_utf8_to_server(name, strlen(name)),
						 why[model->columns[i].use]);
	}
	return list.data;
}

/* Rules must be for columns that the model will have. */
static void
require_rules(const PynSketch *sketch, const PynFitOptions *options)
{
	PynRules	rules = {true, (PynRule *) options->rules, options->rule_count};
	PynRuleColumn *columns = pyn_new(PynRuleColumn, sketch->column_count);
	int			count = 0;

	for (int i = 0; i < sketch->column_count; i++)
		if (!sketch->columns[i].is_key && (options->label == NULL || strcmp(sketch->columns[i].name, options->label) != 0))
		{
			columns[count].name = sketch->columns[i].name;
			columns[count++].kind = sketch->columns[i].kind;
		}
	pyn_require_rules(&rules, columns, count);
	pfree(columns);
}

/* Labels are to be learnt from: the column must be there, and hold nothing else. */
static void
check_labels(const PynSketch *sketch, const char *label, const char *what)
{
	int			place = pyn_sketch_find_column(sketch, label);
	const char *name = pyn_utf8_to_server(label, strlen(label));
	const PynColumn *column;

	if (place < 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("%s has no column \"%s\" to learn labels from", what, name),
				 errhint("Make the sketch with it among the columns; it is never a feature.")));
	column = &sketch->columns[place];
	for (uint32 row = 0; row < sketch->sample.count; row++)
	{
		PynCell		cell = pyn_sample_cell(&sketch->sample, row, place);

		if (column->kind == PYN_KIND_BOOLEAN || column->kind == PYN_KIND_INTEGER || column->kind == PYN_KIND_NUMBER)
			if (pyn_cell_is_null(column->kind, cell) || cell.number == 0.0 || cell.number == 1.0)
				continue;
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 pyn_kind_is_text(column->kind) ?
				 errmsg("label column \"%s\" of %s is of kind %s", name, what, pyn_kind_name(column->kind)) :
				 errmsg("label column \"%s\" of %s holds %g", name, what, cell.number),
				 errhint("A label is true or 1 for an anomaly, false or 0 for an ordinary row, and NULL where that is not known.")));
	}
}

/*
 * pyn_fit_sketch fits a model to a settled sketch; `what` names the data in messages, as in `relation "t"`.
 */
Datum
pyn_fit_sketch(const PynSketch *sketch, const PynFitOptions *options, const char *what)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext context = AllocSetContextCreate(caller, "pynomaly fit", ALLOCSET_DEFAULT_SIZES);
	PynModel   *model;
	PynWriter	writer;
	const char *problem;
	struct varlena *result;

	if (sketch->rows == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("%s has no rows to learn from", what),
				 errhint("Load data first, or score by a model that was fitted elsewhere.")));
	require_rules(sketch, options);
	if (options->label != NULL && pyn_plan_learns(&options->plan))
		check_labels(sketch, options->label, what);
	MemoryContextSwitchTo(context);
	pyn_writer_init(&writer, 65536);
	problem = pyn_model_fit(sketch, options, &model, &writer);
	if (problem != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot learn from %s: %s", what, problem),
				 errdetail("Columns: %s.", list_unused(model)),
				 errhint("Anomalies can be told only where some column varies from row to row.")));
	MemoryContextSwitchTo(caller);
	result = palloc(VARHDRSZ + writer.length);
	SET_VARSIZE(result, VARHDRSZ + writer.length);
	memcpy(VARDATA(result), writer.data, writer.length);
	MemoryContextDelete(context);
	return PointerGetDatum(result);
}

/*
 * fit(sketch, algorithm text, options jsonb) → model
 */
Datum
pyn_fit(PG_FUNCTION_ARGS)
{
	PynCallOptions options;
	PynSketch  *sketch;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	pyn_call_options(PG_ARGISNULL(1) ? "auto" : text_to_cstring(PG_GETARG_TEXT_PP(1)),
					 PG_ARGISNULL(2) ? NULL : PG_GETARG_JSONB_P(2), false, &options);
	sketch = pyn_sketch_from_datum(PG_GETARG_DATUM(0));
	PG_RETURN_DATUM(pyn_fit_sketch(sketch, &options.fit, "the sketch"));
}

/*
 * algorithms() → TABLE(algorithm text, description text, options jsonb, source text)
 */
Datum
pyn_algorithms(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *info = (ReturnSetInfo *) fcinfo->resultinfo;
	Datum		values[4];
	bool		nulls[4] = {false};

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < pyn_detector_count; i++)
	{
		values[0] = CStringGetTextDatum(pyn_detectors[i]->name);
		values[1] = CStringGetTextDatum(pyn_detectors[i]->description);
		values[2] = JsonbPGetDatum(pyn_plan_describe(pyn_detectors[i]));
		values[3] = CStringGetTextDatum(pyn_detectors[i]->source);
		tuplestore_putvalues(info->setResult, info->setDesc, values, nulls);
	}
	return (Datum) 0;
}
