/*
 * freshness.c
 *		Is the newest value of a column of times as new as it should be?
 *
 * The value is the age in seconds of the newest time when it is checked.  A rule bounds it from above.  Else history
 * does, but only for a column whose newest value has moved between earlier checks: of one that never did, such as
 * dates of birth, nothing can be expected.  Data that come once a day are up to a day old, however regular their ages
 * were when they were checked each night after loading; so the tolerance is at least half of what the newest value
 * usually moves between two checks.  A trend of the ages is not followed, since to become older with each check is
 * the failure itself.
 *
 * A newest time in the future is recorded, too.  It fails when it is more than a day ahead and earlier ones were not:
 * a mistyped year or a placeholder such as 9999-12-31.
 *
 * Times without a time zone and dates are compared with the wall clock of the request's time zone, else the
 * session's.
 */
#include "kernel/port.h"

#include <math.h>

#include "utils/datetime.h"

#include "data_quality/data_quality.h"

#define SHORTEST_TOLERANCE 60.0 /* seconds */

/* The median of the steps by which the newest value moved forward between checks; 0 when it never did. */
static double
usual_step(const double *ages, const double *times, int count)
{
	double		steps[PYN_QUALITY_HISTORY];
	int			n = 0;

	for (int i = 1; i < count; i++)
	{
		double		step = (times[i] - ages[i]) - (times[i - 1] - ages[i - 1]);

		/* Less is rounding. */
		if (step > 1e-3)
			steps[n++] = step;
	}
	return n > 0 ? pyn_quality_median(steps, n) : 0;
}

static void
judge_by_history(const PynQualityAnalysis *analysis, PynQualityCheck *check, int column)
{
	double		ages[PYN_QUALITY_HISTORY];
	double		times[PYN_QUALITY_HISTORY];
	int			count = pyn_quality_history_values(analysis, "freshness", column, ages, times);
	double		step = usual_step(ages, times, count);
	const char *name = analysis->names[column];
	PynExpectation expected;
	double		tolerance;

	if (!pyn_quality_expect(ages, count, false, &expected))
	{
		pyn_quality_explain(check, "the age of the newest value of column \"%s\" is recorded; it is judged after %d "
							"checks", name, PYN_QUALITY_HISTORY_NEEDED);
		return;
	}
	if (step == 0)
	{
		pyn_quality_explain(check, "the newest value of column \"%s\" did not move in %d checks, so no age is expected",
							name, count);
		return;
	}
	tolerance = Max(expected.tolerance, Max(0.5 * step, SHORTEST_TOLERANCE));
	check->high = expected.high + tolerance;
	check->low = Min(expected.low - tolerance, -(double) SECS_PER_DAY);
	pyn_quality_judge(check, tolerance);
	if (check->value > check->high)
		pyn_quality_explain(check, "the newest value of column \"%s\" is older than it was in %d earlier checks", name,
							count);
	else if (check->value < check->low)
		pyn_quality_explain(check, "the newest value of column \"%s\" lies farther in the future than in %d "
							"earlier checks", name, count);
	else
		pyn_quality_explain(check, "the newest value of column \"%s\" is as new as in %d earlier checks", name, count);
}

/*
 * pyn_quality_check_freshness judges a column by the age of its newest time.
 */
void
pyn_quality_check_freshness(PynQualityAnalysis *analysis, int column)
{
	const PynColumn *counters = &analysis->sketch->columns[column];
	const char *name = analysis->names[column];
	bool		has_times = counters->kind == PYN_KIND_DATE || counters->kind == PYN_KIND_TIMESTAMP ||
		counters->kind == PYN_KIND_TIMESTAMPTZ;
	double		now = counters->kind == PYN_KIND_TIMESTAMPTZ ? analysis->now : analysis->wall_clock;
	const PynQualityRule *rule = NULL;
	PynQualityCheck *check;
	int			rules = 0;

	while ((rule = pyn_quality_rule_next(analysis, PYN_RULE_FRESHNESS, name, rule)) != NULL)
	{
		rules++;
		if (!has_times || counters->count == 0)
		{
			pyn_quality_rule_unanswered(analysis, rule, psprintf(has_times ? "column \"%s\" has no finite time" :
														 "column \"%s\" is not of times", name));
			continue;
		}
		check = pyn_quality_add(analysis, PYN_TIMELINESS, "freshness", column);
		check->severity = rule->severity;
		check->value = now - counters->maximum;
		check->high = rule->high;
		pyn_quality_judge(check, 0);
		pyn_quality_explain(check, "the newest value of column \"%s\" is %s than rule " INT64_FORMAT " allows", name,
							check->outcome == PYN_FAILED ? "older" : "not older", rule->id);
	}
	if (rules > 0 || !has_times || counters->count == 0)
		return;
	check = pyn_quality_add(analysis, PYN_TIMELINESS, "freshness", column);
	check->value = now - counters->maximum;
	judge_by_history(analysis, check, column);
}
