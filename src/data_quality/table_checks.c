/*
 * table_checks.c
 *		What is checked of the dataset as a whole: how many rows it has, and which columns.
 */
#include "kernel/port.h"

#include <math.h>

#include "lib/stringinfo.h"

#include "data_quality/data_quality.h"
#include "sketch/cell.h"

#define NAMES_SHOWN 10			/* columns that a message names of each kind of change */

static void
row_count_by_rule(PynQualityAnalysis *analysis, const PynQualityRule *rule)
{
	PynQualityCheck *check = pyn_quality_add(analysis, PYN_COMPLETENESS, "row_count", -1);

	check->severity = rule->severity;
	check->value = (double) analysis->sketch->rows;
	check->low = rule->low;
	check->high = rule->high;
	pyn_quality_judge(check, 0);
	pyn_quality_explain(check, "the row count " INT64_FORMAT " is %s rule " INT64_FORMAT " allows",
						analysis->sketch->rows, check->outcome != PYN_FAILED ? "what" :
						check->value < check->low ? "less than" : "more than", rule->id);
}

/*
 * The number of rows against earlier ones.  Counts of independent arrivals vary by their square root, and nobody
 * minds a tenth, so neither of the two is a surprise even after runs that were all alike.  An empty dataset fails at
 * once unless history knows it so; where history expects rows it is an error.
 */
static void
check_row_count(PynQualityAnalysis *analysis)
{
	const PynQualityHistory *history = &analysis->history;
	double		counts[PYN_QUALITY_HISTORY];
	const PynQualityRule *rule = NULL;
	PynQualityCheck *check;
	PynExpectation expected;
	int			rules = 0;

	for (; (rule = pyn_quality_rule_next(analysis, PYN_RULE_ROW_COUNT, NULL, rule)) != NULL; rules++)
		row_count_by_rule(analysis, rule);
	if (rules > 0)
		return;
	check = pyn_quality_add(analysis, PYN_COMPLETENESS, "row_count", -1);
	check->value = (double) analysis->sketch->rows;
	for (int run = 0; run < history->run_count; run++)
		counts[run] = history->runs[run].rows;
	if (pyn_quality_expect(counts, history->run_count, true, &expected))
	{
		double		most = Max(expected.high, 0);
		double		tolerance = Max(expected.tolerance, Max(0.1 * most, Max(3 * sqrt(most), 1)));

		check->low = Max(ceil(expected.low - tolerance), 0);
		check->high = floor(most + tolerance);
		if (check->value == 0 && check->low > 0)
			check->severity = PYN_CHECK_ERROR;
		pyn_quality_judge(check, 0);
		pyn_quality_explain(check, "the row count is " INT64_FORMAT "; %d earlier checks lead to expect %.0f to %.0f%s",
							analysis->sketch->rows, history->run_count, check->low, check->high,
							expected.has_trend ? ", with their trend" : "");
	}
	else if (analysis->sketch->rows == 0)
	{
		check->low = 1;
		pyn_quality_judge(check, 0);
		pyn_quality_explain(check, "there are no rows");
	}
	else
		pyn_quality_explain(check, "the row count " INT64_FORMAT " is recorded; it is judged after %d checks",
							analysis->sketch->rows, PYN_QUALITY_HISTORY_NEEDED);
}

/* One kind of change: how many columns, and the names of the first. */
typedef struct Change
{
	const char *title;
	int			count;
	StringInfoData names;
} Change;

static void
add_change(Change *change, const char *text)
{
	if (change->count++ >= NAMES_SHOWN)
		return;
	appendStringInfo(&change->names, "%s%s", change->count > 1 ? ", " : "", text);
}

static const PynEarlierColumn *
find_earlier(const PynQualityHistory *history, const char *name, int likely)
{
	if (likely < history->column_count && strcmp(history->columns[likely].name, name) == 0)
		return &history->columns[likely];
	for (int i = 0; i < history->column_count; i++)
		if (strcmp(history->columns[i].name, name) == 0)
			return &history->columns[i];
	return NULL;
}

static bool
is_present(const PynQualityAnalysis *analysis, const char *name, int likely)
{
	if (likely < analysis->sketch->column_count && strcmp(analysis->names[likely], name) == 0)
		return true;
	for (int i = 0; i < analysis->sketch->column_count; i++)
		if (strcmp(analysis->names[i], name) == 0)
			return true;
	return false;
}

/* The columns and their kinds against those of the run before.  New columns break nobody, so they are only told. */
static void
check_schema(PynQualityAnalysis *analysis)
{
	PynQualityCheck *check = pyn_quality_add(analysis, PYN_CONSISTENCY, "schema", -1);
	const PynQualityHistory *history = &analysis->history;
	Change		added = {.title = "added"};
	Change		removed = {.title = "removed"};
	Change		changed = {.title = "of another kind"};
	Change	   *changes[] = {&removed, &changed, &added};
	StringInfoData text;

	if (history->run_count == 0)
	{
		pyn_quality_explain(check, "%d columns are recorded", analysis->sketch->column_count);
		return;
	}
	for (int i = 0; i < lengthof(changes); i++)
		initStringInfo(&changes[i]->names);
	for (int i = 0; i < analysis->sketch->column_count; i++)
	{
		const PynEarlierColumn *earlier = find_earlier(history, analysis->names[i], i);
		const char *kind = pyn_kind_name(analysis->sketch->columns[i].kind);

		if (earlier == NULL)
			add_change(&added, psprintf("\"%s\"", analysis->names[i]));
		else if (strcmp(earlier->kind, kind) != 0)
			add_change(&changed, psprintf("\"%s\" (%s to %s)", analysis->names[i], earlier->kind, kind));
	}
	for (int i = 0; i < history->column_count; i++)
		if (!is_present(analysis, history->columns[i].name, i))
			add_change(&removed, psprintf("\"%s\"", history->columns[i].name));

	check->value = added.count + removed.count + changed.count;
	check->high = 0;
	if (check->value > 0 && check->value == added.count)
		check->severity = PYN_CHECK_INFO;
	pyn_quality_judge(check, Max(history->column_count, 1));

	initStringInfo(&text);
	for (int i = 0; i < lengthof(changes); i++)
	{
		if (changes[i]->count == 0)
			continue;
		appendStringInfo(&text, "%s%s: %s", text.len > 0 ? "; " : "", changes[i]->title, changes[i]->names.data);
		if (changes[i]->count > NAMES_SHOWN)
			appendStringInfo(&text, " and %d more", changes[i]->count - NAMES_SHOWN);
	}
	pyn_quality_explain(check, text.len > 0 ? "columns since the last check: %s" :
						"the columns are those of the last check", text.data);
}

/* Rules on columns that the data do not have fail: what they ask for is certainly not there, unless nobody looked. */
static void
check_lost_rules(PynQualityAnalysis *analysis)
{
	for (int i = 0; i < analysis->rule_count; i++)
	{
		const PynQualityRule *rule = &analysis->rules[i];

		if (rule->column == NULL || is_present(analysis, rule->column, 0))
			continue;
		if (analysis->columns_chosen)
			pyn_quality_rule_not_asked(analysis, rule);
		else
			pyn_quality_rule_unanswered(analysis, rule, psprintf("there is no column \"%s\"", rule->column));
	}
}

/*
 * pyn_quality_check_table checks what belongs to no single column.
 */
void
pyn_quality_check_table(PynQualityAnalysis *analysis)
{
	check_row_count(analysis);
	check_schema(analysis);
	pyn_quality_check_key(analysis);
	check_lost_rules(analysis);
}
