/*
 * column_checks.c
 *		What is checked of each column: missing values, values that are none, and the range of numbers and times.
 *
 * Bounds come from rules, else from history (expectation.c).  What history may show as surprising is widened by a
 * tolerance of each check's own, since a difference can be certain and still mean nothing:
 *
 * - A share of values (completeness, finite, not_empty) fails only by a loss of more than one percentage point and of
 *   more than three rows.
 * - The smallest and largest value of a heavy-tailed column differ much from load to load.  They fail only where they
 *   are as far out again from the column's usual median as they were before.
 * - A median fails only where it moved by more than the column's usual interquartile range.
 *
 * A key's values have no range to keep to, and booleans have none at all; the largest time is freshness.c's.
 */
#include "kernel/port.h"

#include <math.h>

#include "data_quality/data_quality.h"

#define LEAST_LOSS 0.01			/* of a share */
#define LEAST_LOSS_ROWS 3.0

/* Which bounds a check of a number has. */
typedef enum Side
{
	SIDE_LOW,
	SIDE_HIGH,
	SIDE_BOTH
} Side;

static bool
is_calendar(PynKind kind)
{
	return kind == PYN_KIND_DATE || kind == PYN_KIND_TIMESTAMP || kind == PYN_KIND_TIMESTAMPTZ;
}

/* Judges a share of `rows` rows by history; false when there is too little of it. */
static bool
judge_share_by_history(const PynQualityAnalysis *analysis, PynQualityCheck *check, int column, double rows,
					   const char *what)
{
	double		values[PYN_QUALITY_HISTORY];
	int			count = pyn_quality_history_values(analysis, check->name, column, values, NULL);
	PynExpectation expected;
	double		tolerance;

	if (!pyn_quality_expect(values, count, false, &expected))
		return false;
	tolerance = Max(expected.tolerance, Max(LEAST_LOSS, LEAST_LOSS_ROWS / rows));
	check->low = Max(expected.low - tolerance, 0);
	pyn_quality_judge(check, 0);
	pyn_quality_explain(check, "%.4g %% of column \"%s\" %s; %d earlier checks lead to expect at least %.4g %%",
						100 * check->value, analysis->names[column], what, count, 100 * check->low);
	return true;
}

static void
check_completeness(PynQualityAnalysis *analysis, int column)
{
	const PynColumn *counters = &analysis->sketch->columns[column];
	const char *name = analysis->names[column];
	double		rows = (double) analysis->sketch->rows;
	double		share = rows > 0 ? (rows - counters->nulls - counters->nans) / rows : pyn_nan();
	const PynQualityRule *rule = NULL;
	PynQualityCheck *check;
	int			rules = 0;

	while ((rule = pyn_quality_rule_next(analysis, PYN_RULE_COMPLETENESS, name, rule)) != NULL)
	{
		rules++;
		check = pyn_quality_add(analysis, PYN_COMPLETENESS, "completeness", column);
		check->severity = rule->severity;
		check->value = share;
		check->low = rule->low;
		pyn_quality_judge(check, 0);
		if (rows > 0)
			pyn_quality_explain(check, "%.4g %% of column \"%s\" is there; rule " INT64_FORMAT " asks for %.4g %%",
								100 * share, name, rule->id, 100 * rule->low);
		else
			pyn_quality_explain(check, "without rows nothing of column \"%s\" is missing", name);
	}
	if (rules > 0)
		return;
	check = pyn_quality_add(analysis, PYN_COMPLETENESS, "completeness", column);
	check->value = share;
	if (rows == 0)
		pyn_quality_explain(check, "without rows nothing of column \"%s\" is missing", name);
	else if (!judge_share_by_history(analysis, check, column, rows, "is there"))
	{
		/* Until something tells how many values are enough, the share itself is the measure. */
		check->low = 1 / rows;
		pyn_quality_judge(check, 0);
		check->measure = share;
		pyn_quality_explain(check, share > 0 ? "%.4g %% of column \"%s\" is there" :
							"%.4g %% of column \"%s\" is there: all its values are missing", 100 * share, name);
	}
}

/* NaN and infinities of numbers; infinities of dates and timestamps, where they can be meant. */
static void
check_finite(PynQualityAnalysis *analysis, int column)
{
	const PynColumn *counters = &analysis->sketch->columns[column];
	double		present = (double) (analysis->sketch->rows - counters->nulls);
	PynQualityCheck *check;

	if ((counters->kind != PYN_KIND_NUMBER && !is_calendar(counters->kind)) || present == 0)
		return;
	check = pyn_quality_add(analysis, PYN_VALIDITY, "finite", column);
	check->value = counters->count / present;
	if (judge_share_by_history(analysis, check, column, present, "is finite"))
		return;
	if (counters->kind == PYN_KIND_NUMBER)
	{
		check->low = 1;
		pyn_quality_judge(check, 0);
	}
	pyn_quality_explain(check, "column \"%s\" has " INT64_FORMAT " NaN and " INT64_FORMAT " infinite values",
						analysis->names[column], counters->nans,
						counters->positive_infinities + counters->negative_infinities);
}

static void
check_not_empty(PynQualityAnalysis *analysis, int column)
{
	const PynColumn *counters = &analysis->sketch->columns[column];
	double		present = (double) (analysis->sketch->rows - counters->nulls);
	PynQualityCheck *check;

	if (counters->kind != PYN_KIND_TEXT || present == 0)
		return;
	check = pyn_quality_add(analysis, PYN_VALIDITY, "not_empty", column);
	check->value = (present - counters->empties) / present;
	if (judge_share_by_history(analysis, check, column, present, "is not empty"))
		return;
	check->low = 1 / present;
	pyn_quality_judge(check, 0);
	pyn_quality_explain(check, check->outcome == PYN_FAILED ? "all texts of column \"%s\" are empty" :
						"column \"%s\" has texts that are not empty", analysis->names[column]);
}

/* What a statistic of the column may change without meaning anything. */
static double
least_change(const PynQualityAnalysis *analysis, const char *statistic, int column, double centre)
{
	PynKind		kind = analysis->sketch->columns[column].kind;
	double		medians[PYN_QUALITY_HISTORY];
	double		least = kind == PYN_KIND_INTEGER ? 1 : is_calendar(kind) ? SECS_PER_DAY : 1e-9 * fabs(centre);
	double		change = pyn_quality_history_spread(analysis, column);
	int			count;

	if (!is_calendar(kind) && strcmp(statistic, "median") != 0)
	{
		count = pyn_quality_history_values(analysis, "median", column, medians, NULL);
		if (count > 0)
			change = fabs(centre - pyn_quality_median(medians, count));
	}
	return Max(change, least);
}

/* Adds a statistic that is judged by what it was in earlier runs. */
static void
check_by_history(PynQualityAnalysis *analysis, const char *statistic, const char *phrase, int column, double value,
				 Side side)
{
	PynQualityCheck *check = pyn_quality_add(analysis, PYN_VALIDITY, statistic, column);
	const char *name = analysis->names[column];
	double		values[PYN_QUALITY_HISTORY];
	int			count = pyn_quality_history_values(analysis, statistic, column, values, NULL);
	PynExpectation expected;
	double		tolerance;

	check->value = value;
	if (!pyn_quality_expect(values, count, true, &expected))
	{
		pyn_quality_explain(check, "the %s of column \"%s\" is recorded; it is judged after %d checks", phrase, name,
							PYN_QUALITY_HISTORY_NEEDED);
		return;
	}
	tolerance = Max(expected.tolerance, least_change(analysis, statistic, column, expected.high));
	if (side != SIDE_HIGH)
		check->low = expected.low - tolerance;
	if (side != SIDE_LOW)
		check->high = expected.high + tolerance;
	pyn_quality_judge(check, tolerance);
	pyn_quality_explain(check, "the %s of column \"%s\" is %s %d earlier checks lead to expect%s", phrase, name,
						check->outcome != PYN_FAILED ? "what" : check->value < check->low ? "less than" : "more than",
						count, expected.has_trend ? ", with their trend" : "");
}

/* Adds the answer of one side of a range rule. */
static void
check_by_rule(PynQualityAnalysis *analysis, const char *statistic, const char *phrase, int column, double value,
			  Side side, const PynQualityRule *rule)
{
	PynQualityCheck *check = pyn_quality_add(analysis, PYN_VALIDITY, statistic, column);
	double		scale = rule->high - rule->low;

	check->severity = rule->severity;
	check->value = value;
	if (side == SIDE_LOW)
		check->low = rule->low;
	else
		check->high = rule->high;
	if (!(scale > 0))			/* one bound alone, or twice the same */
		scale = Max(fabs(isnan(rule->low) ? rule->high : rule->low), 1);
	pyn_quality_judge(check, scale);
	if (isnan(value))
		pyn_quality_explain(check, "column \"%s\" has no value outside the range of rule " INT64_FORMAT,
							analysis->names[column], rule->id);
	else
		pyn_quality_explain(check, "the %s of column \"%s\" is %s the range of rule " INT64_FORMAT, phrase,
							analysis->names[column], check->outcome == PYN_FAILED ? "outside" : "in", rule->id);
}

/* The smallest or largest value, infinities among them; NaN without any. */
static double
extreme_of(const PynColumn *counters, Side side)
{
	if (side == SIDE_LOW)
		return counters->negative_infinities > 0 ? -INFINITY : counters->count > 0 ? counters->minimum :
			counters->positive_infinities > 0 ? INFINITY : pyn_nan();
	return counters->positive_infinities > 0 ? INFINITY : counters->count > 0 ? counters->maximum :
		counters->negative_infinities > 0 ? -INFINITY : pyn_nan();
}

/* One end of the range: by the rules that bound it, else by history where that can tell. */
static void
check_end(PynQualityAnalysis *analysis, int column, Side side, bool by_history)
{
	const PynColumn *counters = &analysis->sketch->columns[column];
	const char *statistic = side == SIDE_LOW ? "minimum" : "maximum";
	const char *phrase = side == SIDE_LOW ? "smallest value" : "largest value";
	const PynQualityRule *rule = NULL;
	int			rules = 0;

	while ((rule = pyn_quality_rule_next(analysis, PYN_RULE_RANGE, analysis->names[column], rule)) != NULL)
	{
		if (isnan(side == SIDE_LOW ? rule->low : rule->high))
			continue;
		rules++;
		check_by_rule(analysis, statistic, phrase, column, extreme_of(counters, side), side, rule);
	}
	if (rules == 0 && by_history)
		check_by_history(analysis, statistic, phrase, column, side == SIDE_LOW ? counters->minimum : counters->maximum,
						 side);
}

static void
check_range(PynQualityAnalysis *analysis, int column)
{
	const PynColumn *counters = &analysis->sketch->columns[column];
	bool		by_history = counters->count > 0 && !counters->is_key && counters->kind != PYN_KIND_BOOLEAN;
	const PynQualityRule *rule = NULL;
	double		quartiles[3];

	if (pyn_kind_is_text(counters->kind))
	{
		while ((rule = pyn_quality_rule_next(analysis, PYN_RULE_RANGE, analysis->names[column], rule)) != NULL)
			pyn_quality_rule_unanswered(analysis, rule, psprintf("column \"%s\" is of texts, which have no range",
														 analysis->names[column]));
		return;
	}
	check_end(analysis, column, SIDE_LOW, by_history);
	if (by_history)
	{
		pyn_quality_quartiles(analysis->sketch, column, quartiles);
		analysis->spreads[column] = quartiles[2] - quartiles[0];
		if (!is_calendar(counters->kind))
			check_by_history(analysis, "median", "median", column, quartiles[1], SIDE_BOTH);
	}
	check_end(analysis, column, SIDE_HIGH, by_history && !is_calendar(counters->kind));
}

/*
 * pyn_quality_check_column checks one column.
 */
void
pyn_quality_check_column(PynQualityAnalysis *analysis, int column)
{
	CHECK_FOR_INTERRUPTS();
	check_completeness(analysis, column);
	pyn_quality_check_unique(analysis, column);
	check_finite(analysis, column);
	check_not_empty(analysis, column);
	check_range(analysis, column);
	pyn_quality_check_freshness(analysis, column);
}
