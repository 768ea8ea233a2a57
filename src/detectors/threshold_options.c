/*
 * threshold_options.c
 *		The options that say how rows are flagged.
 *
 * Each method but the contamination has options of its own; one of those alone stands for its method.  Two methods at
 * once are an error, never a silent choice.
 */
#include "kernel/port.h"

#include <math.h>

#include "detectors/threshold_options.h"
#include "kernel/options.h"

#define METHODS "contamination, percentile, iqr, mad, largest_gap, tail, budget"
#define IQR_MULTIPLIER 1.5		/* Tukey */
#define MAD_MULTIPLIER 3.5		/* Iglewicz and Hoaglin */
#define LARGEST_SHARE 0.5		/* that may be flagged by design */

void
pyn_threshold_options(PynOption *options)
{
	static const PynOption known[PYN_THRESHOLD_OPTIONS] = {
		[PYN_OPTION_THRESHOLD_METHOD] = {"threshold_method", PYN_OPTION_TEXT, .choices = METHODS, .text = "contamination"},
		[PYN_OPTION_PERCENTILE] = {"percentile", PYN_OPTION_NUMBER, 50, 99.999999, .number = 99},
		[PYN_OPTION_THRESHOLD_MULTIPLIER] = {"threshold_multiplier", PYN_OPTION_NUMBER, 0, 1e6},
		[PYN_OPTION_TAIL_PROBABILITY] = {"tail_probability", PYN_OPTION_NUMBER, 1e-12, LARGEST_SHARE, .number = 1e-3},
		[PYN_OPTION_ALARMS_PER_DAY] = {"alarms_per_day", PYN_OPTION_NUMBER, 1e-6, 1e12, .number = NAN},
		[PYN_OPTION_ROWS_PER_DAY] = {"rows_per_day", PYN_OPTION_NUMBER, 1e-6, 1e15, .number = NAN},
	};

	memcpy(options, known, sizeof(known));
}

static PynThresholdMethod
method_named(const char *name)
{
	for (int i = 0; i <= PYN_THRESHOLD_LAST; i++)
		if (strcmp(pyn_threshold_name((PynThresholdMethod) i), name) == 0)
			return (PynThresholdMethod) i;
	return PYN_THRESHOLD_CONTAMINATION;
}

/* Whether an option says something to a method. */
static bool
belongs_to(int option, PynThresholdMethod method)
{
	switch (option)
	{
		case PYN_OPTION_PERCENTILE:
			return method == PYN_THRESHOLD_PERCENTILE;
		case PYN_OPTION_THRESHOLD_MULTIPLIER:
			return method == PYN_THRESHOLD_IQR || method == PYN_THRESHOLD_MAD;
		case PYN_OPTION_TAIL_PROBABILITY:
			return method == PYN_THRESHOLD_TAIL;
		default:
			return method == PYN_THRESHOLD_BUDGET;
	}
}

/* The method that is meant: the one named, else that of the first option given. */
static PynThresholdMethod
method_of(const PynOption *options)
{
	const PynOption *named = &options[PYN_OPTION_THRESHOLD_METHOD];

	if (named->given)
		return method_named(named->text);
	if (options[PYN_OPTION_PERCENTILE].given)
		return PYN_THRESHOLD_PERCENTILE;
	if (options[PYN_OPTION_TAIL_PROBABILITY].given)
		return PYN_THRESHOLD_TAIL;
	if (options[PYN_OPTION_ALARMS_PER_DAY].given || options[PYN_OPTION_ROWS_PER_DAY].given)
		return PYN_THRESHOLD_BUDGET;
	return PYN_THRESHOLD_CONTAMINATION;
}

static void
require_budget(const PynOption *options)
{
	const PynOption *alarms = &options[PYN_OPTION_ALARMS_PER_DAY];
	const PynOption *rows = &options[PYN_OPTION_ROWS_PER_DAY];

	if (!alarms->given || !rows->given)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"%s\" is missing", alarms->given ? rows->name : alarms->name),
				 errhint("A budget is alarms_per_day of rows_per_day.")));
	if (alarms->number > LARGEST_SHARE * rows->number)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a budget of %g alarms for %g rows a day flags more than half of them", alarms->number, rows->number),
				 errhint("Options alarms_per_day and rows_per_day are numbers of rows in one day.")));
}

PynThresholdRule
pyn_threshold_rule(const PynOption *options, const PynOption *threshold)
{
	PynThresholdRule rule = {.method = method_of(options)};

	for (int i = 0; i < PYN_THRESHOLD_OPTIONS; i++)
		if (threshold->given && options[i].given)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("options \"threshold\" and \"%s\" contradict each other", options[i].name),
					 errhint("Option threshold is a score from which on rows are flagged; a threshold_method finds one by itself.")));
	for (int i = PYN_OPTION_PERCENTILE; i < PYN_THRESHOLD_OPTIONS; i++)
		if (options[i].given && !belongs_to(i, rule.method))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("option \"%s\" does not go with threshold_method \"%s\"", options[i].name,
							pyn_threshold_name(rule.method)),
					 errhint("percentile goes with percentile, threshold_multiplier with iqr and mad, tail_probability with tail, "
							 "alarms_per_day and rows_per_day with budget.")));
	if (rule.method == PYN_THRESHOLD_BUDGET)
		require_budget(options);
	if (threshold->given)
		rule.method = PYN_THRESHOLD_SCORE;
	rule.percentile = options[PYN_OPTION_PERCENTILE].number;
	rule.multiplier = options[PYN_OPTION_THRESHOLD_MULTIPLIER].given ? options[PYN_OPTION_THRESHOLD_MULTIPLIER].number :
		rule.method == PYN_THRESHOLD_IQR ? IQR_MULTIPLIER : MAD_MULTIPLIER;
	rule.tail_probability = options[PYN_OPTION_TAIL_PROBABILITY].number;
	rule.alarms_per_day = options[PYN_OPTION_ALARMS_PER_DAY].number;
	rule.rows_per_day = options[PYN_OPTION_ROWS_PER_DAY].number;
	return rule;
}

void
pyn_refuse_threshold_options(const PynOption *options)
{
	for (int i = 0; i < PYN_THRESHOLD_OPTIONS; i++)
		if (options[i].given)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("option \"%s\" cannot be used when a model is given", options[i].name),
					 errhint("A model's threshold was found when it was fitted. Fit another model, or give contamination or the "
							 "option threshold.")));
}

void
pyn_refuse_contamination(const PynThresholdRule *rule)
{
	if (rule->method > PYN_THRESHOLD_SCORE)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("contamination and threshold_method \"%s\" contradict each other", pyn_threshold_name(rule->method)),
				 errhint("A contamination flags rows by their p-value; the other methods find a threshold by themselves.")));
}
