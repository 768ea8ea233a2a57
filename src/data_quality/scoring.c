/*
 * scoring.c
 *		From the outcomes of checks to scores of dimensions, the overall score, the grade and the verdict.
 *
 * A check that passed measures 1.  One that failed measures less: by its degree (how much of what was expected is
 * there, or how far beyond the bound the value is), and at most 0.9, 0.75 or 0.25 where it is of severity info, warn
 * or error, so that no failure is lost in rounding.  A dimension's score is the mean of its judged checks, which
 * weigh 1, 2 or 4 by severity.  The overall score is the mean of the judged dimensions times 100, weighted as in
 * `dimensions` below; what was not judged neither adds nor takes.
 *
 * Grades: A from 90, B from 80, C from 70, D from 60, else F; no better than D where a check of severity error failed,
 * since nine tenths of good data are no comfort when the tenth must not be.  The verdict does not come from the score:
 * it is "stop" when a check of severity error failed, else "warn" when one of severity warn did, else "pass".
 */
#include "kernel/port.h"

#include <math.h>

#include "lib/stringinfo.h"

#include "data_quality/data_quality.h"

static const struct
{
	const char *name;
	double		weight;
}			dimensions[PYN_DIMENSIONS] = {
	[PYN_COMPLETENESS] = {"completeness", 0.25},
	[PYN_UNIQUENESS] = {"uniqueness", 0.20},
	[PYN_VALIDITY] = {"validity", 0.25},
	[PYN_CONSISTENCY] = {"consistency", 0.15},
	[PYN_TIMELINESS] = {"timeliness", 0.15},
	[PYN_ACCURACY] = {"accuracy", 0},
};

static const struct
{
	const char *name;
	double		weight;
	double		most;			/* that a failed check may measure */
}			severities[] = {
	[PYN_CHECK_INFO] = {"info", 1, 0.9},
	[PYN_CHECK_WARN] = {"warn", 2, 0.75},
	[PYN_CHECK_ERROR] = {"error", 4, 0.25},
};

static const struct
{
	const char *grade;
	double		from;
	bool		despite_error;
}			grades[] = {{"A", 90, false}, {"B", 80, false}, {"C", 70, false}, {"D", 60, true}, {"F", 0, true}};

const char *
pyn_quality_dimension_name(PynQualityDimension dimension)
{
	return dimensions[dimension].name;
}

const char *
pyn_quality_severity_name(PynQualitySeverity severity)
{
	return severities[severity].name;
}

/*
 * pyn_quality_severity_of finds a severity by its name; false when there is none.
 */
bool
pyn_quality_severity_of(const char *name, PynQualitySeverity *severity)
{
	for (int i = 0; i < lengthof(severities); i++)
	{
		if (strcmp(severities[i].name, name) != 0)
			continue;
		*severity = i;
		return true;
	}
	return false;
}

/* How much of a pass a failed check is, from 0 to 1. */
static double
degree_of(const PynQualityCheck *check, double scale)
{
	bool		below = check->value < check->low;
	double		bound = below ? check->low : check->high;
	double		degree;

	if (scale > 0)
		degree = 1 / (1 + fabs(check->value - bound) / scale);
	else if (below)
		degree = bound > 0 ? check->value / bound : 0;
	else
		degree = check->value > 0 ? bound / check->value : 0;
	return degree > 0 ? Min(degree, 1) : 0; /* NaN, of infinities, is 0 */
}

/*
 * pyn_quality_judge compares the check's value with its bounds.  `scale` is the distance beyond a bound that is half
 * a pass; 0 takes the ratio to the bound instead, as fits shares and counts.  Without a value or a bound nothing is
 * judged.
 */
void
pyn_quality_judge(PynQualityCheck *check, double scale)
{
	if (isnan(check->value) || (isnan(check->low) && isnan(check->high)))
		return;
	check->outcome = check->value < check->low || check->value > check->high ? PYN_FAILED : PYN_PASSED;
	check->measure = 1;
	if (check->outcome == PYN_FAILED)
		check->measure = severities[check->severity].most * degree_of(check, scale);
}

/*
 * pyn_quality_explain sets the check's message.
 */
void
pyn_quality_explain(PynQualityCheck *check, const char *format,...)
{
	StringInfoData message;
	int			needed;

	initStringInfo(&message);
	do
	{
		va_list		arguments;

		va_start(arguments, format);
		needed = appendStringInfoVA(&message, format, arguments);
		va_end(arguments);
		if (needed > 0)
			enlargeStringInfo(&message, needed);
	} while (needed > 0);
	check->message = message.data;
}

/* The mean measure of a dimension's judged checks; NaN without any. */
static double
dimension_score(const PynQualityAnalysis *analysis, PynQualityDimension dimension)
{
	double		sum = 0;
	double		weight = 0;

	for (int i = 0; i < analysis->count; i++)
	{
		const PynQualityCheck *check = &analysis->checks[i];

		if (check->dimension != dimension || check->outcome == PYN_NOT_JUDGED)
			continue;
		sum += severities[check->severity].weight * check->measure;
		weight += severities[check->severity].weight;
	}
	return weight > 0 ? rint(sum / weight * 1e4) / 1e4 : pyn_nan();
}

/*
 * pyn_quality_score sums the checks up.
 */
void
pyn_quality_score(PynQualityAnalysis *analysis)
{
	PynQualitySeverity worst = PYN_CHECK_INFO;
	double		sum = 0;
	double		weight = 0;

	for (PynQualityDimension dimension = 0; dimension < PYN_DIMENSIONS; dimension++)
	{
		double		score = dimension_score(analysis, dimension);

		analysis->scores[dimension] = score;
		if (isnan(score))
			continue;
		sum += dimensions[dimension].weight * score;
		weight += dimensions[dimension].weight;
	}
	analysis->score = weight > 0 ? rint(sum / weight * 1e4) / 1e2 : 0;
	analysis->failed = 0;
	for (int i = 0; i < analysis->count; i++)
	{
		if (analysis->checks[i].outcome != PYN_FAILED)
			continue;
		analysis->failed++;
		worst = Max(worst, analysis->checks[i].severity);
	}
	analysis->verdict = worst == PYN_CHECK_ERROR ? "stop" : worst == PYN_CHECK_WARN ? "warn" : "pass";
	for (int i = lengthof(grades) - 1; i >= 0; i--)
		if (analysis->score >= grades[i].from && (worst != PYN_CHECK_ERROR || grades[i].despite_error))
			analysis->grade = grades[i].grade;
}
