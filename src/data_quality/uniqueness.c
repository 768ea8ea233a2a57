/*
 * uniqueness.c
 *		Are the values of a column, or the rows of a key, all different?
 *
 * A sketch can tell in three ways, and the message says which it was:
 *
 * - Exactly, from the set of different values, which is kept up to 1,024 of them.
 * - Exactly, from the row sample, when all rows are in it (up to 65,536).  The sample holds the rows whose keys hash
 *   smallest, and always all rows of a key together, so even where it is a part of the rows a repeated key among the
 *   sampled ones is proof.  The sample is found by the hash of the whole key, so it judges compound keys as well, and
 *   keys with a column whose type takes no part in sketches.
 * - Within the error of HyperLogLog, for values of a column past both limits: its standard error is 0.81 %, so a
 *   difference counts only from three of these, 2.4 %.  A column that fails so has repeated values with 99.7 %
 *   confidence; one that passes may have up to that share of them.
 *
 * A repeated value that a counter of frequent values holds is proof, too.  Values are compared by 64-bit hashes: among
 * 65,536 different ones the chance that two are taken for the same is 1 in 8 billion.
 */
#include "kernel/port.h"

#include <math.h>

#include "data_quality/data_quality.h"

#define COUNTER_ERROR (3 * 1.04 / 128)	/* three standard errors of 2^14 registers */

/* What the sketch knows of how many different values a column has. */
typedef struct Evidence
{
	double		low;			/* they are between these; the same when known exactly */
	double		high;
	double		estimate;
	bool		repeated;		/* there is proof that a value comes twice */
} Evidence;

#define ST_SORT sort_hashes
#define ST_ELEMENT_TYPE uint64
#define ST_COMPARE(a, b) ((*(a) > *(b)) - (*(a) < *(b)))
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

/* The sum of the sampled rows' weights. */
static int64
sampled_rows(const PynSketch *sketch)
{
	int64		rows = 0;

	for (uint32 row = 0; row < sketch->sample.count; row++)
		rows += sketch->sample.rows[row].weight;
	return rows;
}

/* How many different values of the column are in the sample; *repeated: one of them is in two rows. */
static uint32
sampled_values(const PynSketch *sketch, int column, bool *repeated)
{
	const PynSample *sample = &sketch->sample;
	PynKind		kind = sketch->columns[column].kind;
	uint64	   *hashes = pyn_new(uint64, sample->count);
	uint32		count = 0;
	uint32		different = 0;

	*repeated = false;
	for (uint32 row = 0; row < sample->count; row++)
	{
		PynCell		cell = pyn_sample_cell(sample, row, column);

		if (pyn_cell_is_null(kind, cell))
			continue;
		hashes[count++] = cell.hash;
		*repeated |= sample->rows[row].weight > 1;
	}
	sort_hashes(hashes, count);
	for (uint32 i = 0; i < count; i++)
		different += i == 0 || hashes[i] != hashes[i - 1];
	*repeated |= different < count;
	pfree(hashes);
	return different;
}

static bool
has_frequent_value(const PynColumn *column)
{
	const PynHeavyHitters *hitters = &column->hitters;

	for (int i = 0; hitters->slots != NULL && i < PYN_HEAVY_HITTERS_SLOTS; i++)
		if (hitters->slots[i].hash != 0 && hitters->slots[i].count > 1)
			return true;
	return false;
}

static Evidence
gather(const PynSketch *sketch, int column)
{
	const PynColumn *counters = &sketch->columns[column];
	Evidence	evidence = {.estimate = pyn_distinct_count(&counters->distinct)};
	uint32		sampled = sampled_values(sketch, column, &evidence.repeated);

	evidence.repeated |= has_frequent_value(counters);
	evidence.low = evidence.high = evidence.estimate;
	if (pyn_distinct_is_exact(&counters->distinct))
		return evidence;
	if (sampled_rows(sketch) == sketch->rows)
	{
		evidence.low = evidence.high = evidence.estimate = sampled;
		return evidence;
	}
	evidence.low = Max(evidence.estimate * (1 - COUNTER_ERROR), sampled);
	evidence.high = evidence.estimate * (1 + COUNTER_ERROR);
	return evidence;
}

static void
answer_unique(PynQualityAnalysis *analysis, int column, const Evidence *evidence, const PynQualityRule *rule)
{
	PynQualityCheck *check = pyn_quality_add(analysis, PYN_UNIQUENESS, "unique", column);
	double		present = (double) (analysis->sketch->rows - analysis->sketch->columns[column].nulls);
	const char *name = analysis->names[column];
	bool		exact = evidence->low == evidence->high;

	check->severity = rule->severity;
	if (present == 0)
	{
		pyn_quality_explain(check, "column \"%s\" has no value that could be repeated", name);
		return;
	}
	check->value = Min(evidence->estimate / present, 1);
	check->low = 1;
	pyn_quality_judge(check, 0);
	if (exact)
		pyn_quality_explain(check, "column \"%s\" has %.0f different values in %.0f, known exactly", name,
							evidence->estimate, present);
	else if (evidence->repeated || evidence->high < present)
	{
		/* Where the estimate hides what is proved, the value must not hide the failure. */
		check->value = Min(check->value, (present - 1) / present);
		pyn_quality_judge(check, 0);
		pyn_quality_explain(check, "column \"%s\" has repeated values: about %.0f different ones in %.0f%s", name,
							evidence->estimate, present,
							evidence->repeated ? "" : ", by a counter that errs by at most 2.4 %");
	}
	else
	{
		check->value = 1;
		pyn_quality_judge(check, 0);
		pyn_quality_explain(check, "column \"%s\" has no repeated value as far as the sketch can tell: none in %u "
							"sampled rows, and a counter within 2.4 %% of %.0f", name,
							analysis->sketch->sample.count, present);
	}
}

static void
answer_distinct_count(PynQualityAnalysis *analysis, int column, const Evidence *evidence, const PynQualityRule *rule)
{
	PynQualityCheck *check = pyn_quality_add(analysis, PYN_UNIQUENESS, "distinct_count", column);
	double		value = rint(evidence->estimate);

	check->severity = rule->severity;
	check->low = rule->low;
	check->high = rule->high;
	/* Within the counter's error of a bound the rule has the benefit of the doubt. */
	check->value = value;
	if (evidence->low <= check->high && evidence->high >= check->low)
		check->value = Max(Min(value, check->high), check->low);
	else if (isnan(check->high) && evidence->high >= check->low)
		check->value = Max(value, check->low);
	else if (isnan(check->low) && evidence->low <= check->high)
		check->value = Min(value, check->high);
	pyn_quality_judge(check, 0);
	check->value = value;
	pyn_quality_explain(check, "column \"%s\" has %s%.0f different values", analysis->names[column],
						evidence->low == evidence->high ? "" : "about ", value);
}

/*
 * pyn_quality_check_unique answers the rules on the different values of a column.
 */
void
pyn_quality_check_unique(PynQualityAnalysis *analysis, int column)
{
	const char *name = analysis->names[column];
	const PynQualityRule *rule;
	Evidence	evidence;

	if (pyn_quality_rule_next(analysis, PYN_RULE_UNIQUE, name, NULL) == NULL &&
		pyn_quality_rule_next(analysis, PYN_RULE_DISTINCT_COUNT, name, NULL) == NULL)
		return;
	evidence = gather(analysis->sketch, column);
	for (rule = NULL; (rule = pyn_quality_rule_next(analysis, PYN_RULE_UNIQUE, name, rule)) != NULL;)
		answer_unique(analysis, column, &evidence, rule);
	for (rule = NULL; (rule = pyn_quality_rule_next(analysis, PYN_RULE_DISTINCT_COUNT, name, rule)) != NULL;)
		answer_distinct_count(analysis, column, &evidence, rule);
}

/*
 * pyn_quality_check_key judges the key that the rows were read by, if the sketch knows of one (not where columns were
 * chosen, nor without a primary key): its rows must be different and its columns have no missing values.
 */
void
pyn_quality_check_key(PynQualityAnalysis *analysis)
{
	const PynSketch *sketch = analysis->sketch;
	const PynSample *sample = &sketch->sample;
	PynQualityCheck *check;
	int64		rows = sampled_rows(sketch);
	int64		missing = 0;
	uint32		keys = 0;
	int			key_columns = 0;
	int			column = -1;
	bool		repeated;

	for (int i = 0; i < sketch->column_count; i++)
	{
		if (!sketch->columns[i].is_key)
			continue;
		column = i;
		key_columns++;
		missing += sketch->columns[i].nulls;
	}
	if (key_columns == 0)
	{
		check = pyn_quality_add(analysis, PYN_UNIQUENESS, "key", -1);
		check->severity = PYN_CHECK_ERROR;
		pyn_quality_explain(check, "the sketch has no column of a key, so none is judged");
		return;
	}
	for (uint32 row = 0; row < sample->count; row++)
		keys += row == 0 || sample->rows[row].hash != sample->rows[row - 1].hash;
	/* The column alone is the key only if it tells all keys apart; else another one has a type that takes no part. */
	if (key_columns > 1 || sampled_values(sketch, column, &repeated) < keys - (missing > 0))
		column = -1;

	check = pyn_quality_add(analysis, PYN_UNIQUENESS, "key", column);
	check->severity = PYN_CHECK_ERROR;
	if (rows == 0)
	{
		pyn_quality_explain(check, "there is no row whose key could be repeated");
		return;
	}
	check->low = 1;
	check->value = (double) keys / rows;
	if (keys == rows && missing > 0)
		check->value = (double) (sketch->rows - Min(missing, sketch->rows)) / sketch->rows;
	pyn_quality_judge(check, 0);
	if (keys < rows)
		pyn_quality_explain(check, "the key is repeated: %u different keys in " INT64_FORMAT " %srows", keys, rows,
							rows < sketch->rows ? "sampled " : "");
	else if (missing > 0)
		pyn_quality_explain(check, "values of the key are missing: " INT64_FORMAT, missing);
	else if (rows == sketch->rows)
		pyn_quality_explain(check, "the " INT64_FORMAT " keys are all different", rows);
	else
		pyn_quality_explain(check, "no key is repeated among " INT64_FORMAT " sampled ones: with 99 %% confidence "
							"fewer than %.2g %% are", rows, 100 * 4.61 / rows);
}
