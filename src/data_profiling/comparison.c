/*
 * comparison.c
 *		How a profile differs from an earlier one.
 *
 * With many rows every difference is significant, so what counts is the size of the effect: each property has a measure
 * of it and a threshold, below which nothing is told.  Where the measure is not defined, a spread of zero say, any
 * difference is told without it.
 */
#include "kernel/port.h"

#include <math.h>

#include "utils/builtins.h"
#include "utils/numeric.h"

#include "data_profiling/data_profiling.h"
#include "sketch/cell.h"

/* Share of NULLs: one percentage point. */
#define NULL_SHARE_CHANGE 0.01

/* Different values: a tenth, beyond three standard errors (0.81 %) of what was estimated. */
#define DISTINCT_CHANGE 0.1
#define DISTINCT_ERROR (3 * 0.0081)

/* Mean and median: a tenth of the spread, below which two groups count as alike (Austin 2009). */
#define LOCATION_CHANGE 0.1

/* Standard deviation: a quarter more, or a fifth less. */
#define SPREAD_RATIO 1.25

/* What rounding leaves of a constant's moments, as a share of its mean. */
#define ROUNDING 1e-13

/* Interquartile range of a normal distribution in standard deviations. */
#define NORMAL_QUARTILE_RANGE 1.349

/* A value that newly is, or no longer is, frequent: 1 % of the values, and twice what it can be in the other profile. */
#define FREQUENT_SHARE 0.01
#define FREQUENT_RATIO 2

/* Two profiles of one column, and the list that the changes go to. */
typedef struct Comparison
{
	const PynStoredColumn *before;
	const PynStoredColumn *after;
	List	   *changes;
} Comparison;

static void
add_change(List **changes, const char *column, const char *property, char *before, char *after, double difference)
{
	PynChange  *change = palloc(sizeof(PynChange));

	change->column = column;
	change->property = property;
	change->before = before;
	change->after = after;
	change->difference = isfinite(difference) ? difference : NAN;
	*changes = lappend(*changes, change);
}

static void
changed(Comparison *comparison, const char *property, char *before, char *after, double difference)
{
	add_change(&comparison->changes, comparison->after->name, property, before, after, difference);
}

static char *
integer_text(int64 integer)
{
	return psprintf(INT64_FORMAT, integer);
}

/* Whole numbers as they are, others with 12 digits: what rounding left behind does not show. */
static char *
number_text(double number)
{
	return psprintf(number == rint(number) ? "%.17g" : "%.12g", number);
}

/* A value of the column's kind: a number, or a time in ISO 8601. */
static char *
value_text(PynKind kind, double number)
{
	JsonbValue	value;

	pyn_cell_to_jsonb_value(kind == PYN_KIND_BOOLEAN ? PYN_KIND_NUMBER : kind, number, &value);
	if (value.type == jbvString)
		return pnstrdup(value.val.string.val, value.val.string.len);
	return number_text(number);
}

static void
value_changed(Comparison *comparison, const char *property, double before, double after, double difference)
{
	changed(comparison, property, value_text(comparison->before->kind, before),
			value_text(comparison->after->kind, after), difference);
}

static void
compare_counts(Comparison *comparison)
{
	const PynStoredColumn *before = comparison->before;
	const PynStoredColumn *after = comparison->after;
	double		estimated = !before->distinct_is_exact + !after->distinct_is_exact;
	double		growth = after->distinct / before->distinct - 1;

	if (fabs(after->null_share - before->null_share) > NULL_SHARE_CHANGE)
		changed(comparison, "null_share", number_text(before->null_share), number_text(after->null_share),
				after->null_share - before->null_share);
	if (before->distinct > 0 && after->distinct > 0 &&
		fabs(growth) > DISTINCT_CHANGE + DISTINCT_ERROR * sqrt(estimated))
		changed(comparison, "distinct_values", integer_text((int64) before->distinct),
				integer_text((int64) after->distinct), growth);
}

/* A column's standard deviation; none of a single value, and of a constant. */
static double
deviation(const PynStoredColumn *column)
{
	return column->standard_deviation > ROUNDING * fabs(column->mean) ? column->standard_deviation : 0;
}

/* The standard deviation that two groups share. */
static double
pooled_deviation(const PynStoredColumn *before, const PynStoredColumn *after)
{
	return hypot(deviation(before), deviation(after)) / M_SQRT2;
}

static void
compare_mean(Comparison *comparison)
{
	const PynStoredColumn *before = comparison->before;
	const PynStoredColumn *after = comparison->after;
	double		spread = pooled_deviation(before, after);
	double		shift = after->mean - before->mean;

	if (fabs(shift) > LOCATION_CHANGE * spread && fabs(shift) > ROUNDING * fabs(before->mean))
		value_changed(comparison, "mean", before->mean, after->mean, spread > 0 ? shift / spread : NAN);
}

static void
compare_spread(Comparison *comparison)
{
	double		before = deviation(comparison->before);
	double		after = deviation(comparison->after);

	if (after > before * SPREAD_RATIO || after < before / SPREAD_RATIO)
		changed(comparison, "standard_deviation", number_text(before), number_text(after), after / before);
}

static void
compare_range(Comparison *comparison)
{
	const PynStoredColumn *before = comparison->before;
	const PynStoredColumn *after = comparison->after;
	double		range = before->maximum - before->minimum;
	double		below = before->minimum - after->minimum;
	double		above = after->maximum - before->maximum;

	if (below > 0)
		value_changed(comparison, "minimum", before->minimum, after->minimum, below / range);
	if (above > 0)
		value_changed(comparison, "maximum", before->maximum, after->maximum, above / range);
}

static void
compare_median(Comparison *comparison)
{
	const PynStoredColumn *before = comparison->before;
	const PynStoredColumn *after = comparison->after;
	double		spread = (before->q75 - before->q25) / NORMAL_QUARTILE_RANGE;
	double		shift = after->median - before->median;

	if (!(spread > 0))
		spread = pooled_deviation(before, after);
	if (fabs(shift) > LOCATION_CHANGE * spread)
		value_changed(comparison, "median", before->median, after->median, spread > 0 ? shift / spread : NAN);
}

/* A profile's frequent values, and what share of the values one that is not listed may have. */
typedef struct FrequentList
{
	int			count;
	char	   *values[PYN_TOP_VALUES];	/* as JSON; NULL: not known */
	double		shares[PYN_TOP_VALUES];
	double		unlisted;
} FrequentList;

static double
member_number(JsonbContainer *object, const char *name)
{
	JsonbValue *value = getKeyJsonValueFromContainer(object, name, strlen(name), NULL);

	if (value == NULL || value->type != jbvNumeric)
		return 0;
	return DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow, NumericGetDatum(value->val.numeric)));
}

static void
read_frequent(const PynStoredColumn *column, FrequentList *list)
{
	double		present = (double) column->present;
	double		error = present / (PYN_HEAVY_HITTERS_SIZE + 1);
	double		at_most = 0;

	list->count = Min((int) JB_ROOT_COUNT(column->top_values), PYN_TOP_VALUES);
	for (int i = 0; i < list->count; i++)
	{
		JsonbContainer *object = getIthJsonbValueFromContainer(&column->top_values->root, i)->val.binary.data;
		JsonbValue *value = getKeyJsonValueFromContainer(object, "value", 5, NULL);
		double		count = member_number(object, "count");

		at_most = member_number(object, "at_most");
		error = at_most - count;
		list->shares[i] = count / present;
		list->values[i] = NULL;
		if (value != NULL && value->type != jbvNull)
		{
			Jsonb	   *single = JsonbValueToJsonb(value);

			list->values[i] = JsonbToCString(NULL, &single->root, VARSIZE(single));
		}
	}
	/* Not listed is what comes after the tenth, what the error hides, and what was seen once: frequent_values.c. */
	if (list->count < PYN_TOP_VALUES)
		at_most = Max(2 * error, 1);
	list->unlisted = at_most / present;
}

/* How many values of one list are frequent, and are or were not so in the other. */
static int
count_missing(const FrequentList *list, const FrequentList *other)
{
	int			missing = 0;

	for (int i = 0; i < list->count; i++)
	{
		bool		found = false;

		if (list->values[i] == NULL || list->shares[i] < Max(FREQUENT_SHARE, FREQUENT_RATIO * other->unlisted))
			continue;
		for (int j = 0; j < other->count && !found; j++)
			found = other->values[j] != NULL && strcmp(list->values[i], other->values[j]) == 0;
		missing += !found;
	}
	return missing;
}

static void
compare_frequent_values(Comparison *comparison)
{
	FrequentList before;
	FrequentList after;
	int			vanished;
	int			appeared;

	if (comparison->before->present == 0 || comparison->after->present == 0)
		return;
	read_frequent(comparison->before, &before);
	read_frequent(comparison->after, &after);
	vanished = count_missing(&before, &after);
	appeared = count_missing(&after, &before);
	if (vanished + appeared > 0)
		changed(comparison, "top_values", integer_text(vanished), integer_text(appeared), NAN);
}

static List *
compare_columns(const PynStoredColumn *before, const PynStoredColumn *after, List *changes)
{
	Comparison	comparison = {before, after, changes};

	if (before->kind != after->kind)
		changed(&comparison, "kind", pstrdup(pyn_kind_name(before->kind)), pstrdup(pyn_kind_name(after->kind)), NAN);
	compare_counts(&comparison);
	if (before->kind != after->kind)
		return comparison.changes;
	if (!pyn_kind_is_text(after->kind) && !isnan(before->mean) && !isnan(after->mean))
	{
		compare_mean(&comparison);
		/* The others say no more of two values. */
		if (after->kind != PYN_KIND_BOOLEAN)
		{
			compare_spread(&comparison);
			compare_range(&comparison);
			compare_median(&comparison);
		}
	}
	compare_frequent_values(&comparison);
	return comparison.changes;
}

/* Finds a column by name; most stand where they stood. */
static const PynStoredColumn *
find_column(const PynStoredProfile *profile, const char *name, int likely_place)
{
	if (likely_place < profile->column_count && strcmp(profile->columns[likely_place].name, name) == 0)
		return &profile->columns[likely_place];
	for (int i = 0; i < profile->column_count; i++)
		if (strcmp(profile->columns[i].name, name) == 0)
			return &profile->columns[i];
	return NULL;
}

/*
 * pyn_compare_profiles gives the changes from one profile to another, in the current memory context: those of the table,
 * then of the columns in their order, then the columns that are gone.
 */
List *
pyn_compare_profiles(const PynStoredProfile *before, const PynStoredProfile *after)
{
	List	   *changes = NIL;

	if (before->rows != after->rows)
		add_change(&changes, NULL, "rows", integer_text(before->rows), integer_text(after->rows),
				   (double) after->rows / (double) before->rows - 1);
	for (int i = 0; i < after->column_count; i++)
	{
		const PynStoredColumn *column = &after->columns[i];
		const PynStoredColumn *former = find_column(before, column->name, i);

		CHECK_FOR_INTERRUPTS();
		if (former == NULL)
			add_change(&changes, column->name, "column_added", NULL, pstrdup(pyn_kind_name(column->kind)), NAN);
		else
			changes = compare_columns(former, column, changes);
	}
	for (int i = 0; i < before->column_count; i++)
	{
		const PynStoredColumn *column = &before->columns[i];

		if (find_column(after, column->name, i) == NULL)
			add_change(&changes, column->name, "column_removed", pstrdup(pyn_kind_name(column->kind)), NULL, NAN);
	}
	return changes;
}
