/*
 * profile_json.c
 *		A column's statistics as an object with the members of the table column_profile, which they are stored by.
 */
#include "kernel/port.h"

#include <math.h>

#include "data_profiling/data_profiling.h"
#include "kernel/json_reader.h"
#include "sketch/cell.h"

static const char *const quantile_names[PYN_QUANTILES] = {
	[PYN_Q01] = "q01",
	[PYN_Q05] = "q05",
	[PYN_Q25] = "q25",
	[PYN_MEDIAN] = "median",
	[PYN_Q75] = "q75",
	[PYN_Q95] = "q95",
	[PYN_Q99] = "q99",
};

/* A member that is left out, and so NULL in the table, where it is not defined. */
static void
put_number(PynJson *json, const char *name, double number)
{
	if (isfinite(number))
		pyn_json_number(json, name, number);
}

/* A time in ISO 8601; nothing for other kinds. */
static void
put_time(PynJson *json, const char *name, PynKind kind, double seconds)
{
	JsonbValue	value;

	pyn_cell_to_jsonb_value(kind, seconds, &value);
	if (value.type == jbvString)
		pyn_json_value(json, name, &value);
}

static void
put_numbers(PynJson *json, const PynColumnStatistics *statistics)
{
	const PynColumn *column = statistics->column;
	bool		is_time = column->kind >= PYN_KIND_DATE && column->kind <= PYN_KIND_TIMESTAMPTZ;

	if (column->kind == PYN_KIND_INTEGER || column->kind == PYN_KIND_NUMBER)
	{
		pyn_json_integer(json, "zeros", column->zeros);
		pyn_json_integer(json, "negatives", column->negatives);
		pyn_json_integer(json, "nans", column->nans);
	}
	if (column->kind != PYN_KIND_BOOLEAN)
		pyn_json_integer(json, "infinities", column->positive_infinities + column->negative_infinities);
	if (column->count == 0)
		return;
	put_number(json, "minimum", column->minimum);
	put_number(json, "maximum", column->maximum);
	if (is_time)
	{
		put_time(json, "minimum_text", column->kind, column->minimum);
		put_time(json, "maximum_text", column->kind, column->maximum);
	}
	put_number(json, "mean", statistics->mean);
	put_number(json, "standard_deviation", statistics->standard_deviation);
	put_number(json, "skewness", statistics->skewness);
	put_number(json, "kurtosis", statistics->kurtosis);
	for (int i = 0; i < PYN_QUANTILES; i++)
		put_number(json, quantile_names[i], statistics->quantiles[i]);
	put_number(json, "median_absolute_deviation", statistics->median_absolute_deviation);
}

/* The column's numbers are lengths in characters. */
static void
put_lengths(PynJson *json, const PynColumn *column)
{
	pyn_json_integer(json, "empty_texts", column->empties);
	if (column->count == 0)
		return;
	put_number(json, "length_minimum", column->minimum);
	put_number(json, "length_maximum", column->maximum);
	put_number(json, "length_mean", column->mean);
}

static void
put_top_values(PynJson *json, const PynColumnStatistics *statistics)
{
	PynKind		kind = statistics->column->kind;

	pyn_json_open_array(json, "top_values");
	for (int i = 0; i < statistics->top_count; i++)
	{
		const PynFrequentValue *frequent = &statistics->top[i];

		pyn_json_open_object(json, NULL);
		if (!pyn_kind_is_text(kind))
		{
			JsonbValue	value;

			pyn_cell_to_jsonb_value(kind, frequent->number, &value);
			pyn_json_value(json, "value", &value);
		}
		else if (frequent->text != NULL)
			pyn_json_text(json, "value", frequent->text);
		else
			pyn_json_null(json, "value");
		pyn_json_integer(json, "count", frequent->count);
		pyn_json_integer(json, "at_most", frequent->at_most);
		pyn_json_close_object(json);
	}
	pyn_json_close_array(json);
}

static void
put_histogram(PynJson *json, const PynHistogram *histogram)
{
	if (histogram->bins == 0)
		return;
	pyn_json_open_object(json, "histogram");
	pyn_json_text(json, "rule", histogram->is_sturges ? "sturges" : "freedman_diaconis");
	pyn_json_boolean(json, "exact", histogram->is_exact);
	pyn_json_open_array(json, "edges");
	for (int i = 0; i <= histogram->bins; i++)
		pyn_json_number(json, NULL, histogram->edges[i]);
	pyn_json_close_array(json);
	pyn_json_open_array(json, "counts");
	for (int i = 0; i < histogram->bins; i++)
		pyn_json_integer(json, NULL, histogram->counts[i]);
	pyn_json_close_array(json);
	pyn_json_close_object(json);
}

/*
 * pyn_column_json gives a column's statistics under the names of the table's columns, without profile and owner.
 */
Jsonb *
pyn_column_json(const PynColumnStatistics *statistics, int position)
{
	const PynColumn *column = statistics->column;
	PynJson		json = {0};

	pyn_json_open_object(&json, NULL);
	pyn_json_integer(&json, "position", position);
	pyn_json_text(&json, "column_name", pyn_utf8_to_server(column->name, strlen(column->name)));
	pyn_json_text(&json, "kind", pyn_kind_name(column->kind));
	pyn_json_boolean(&json, "is_key", column->is_key);
	pyn_json_integer(&json, "rows", statistics->rows);
	pyn_json_integer(&json, "nulls", column->nulls);
	put_number(&json, "null_share", (double) column->nulls / (double) statistics->rows);
	pyn_json_integer(&json, "distinct_values", statistics->distinct);
	pyn_json_boolean(&json, "distinct_is_exact", statistics->distinct_is_exact);
	if (pyn_kind_is_text(column->kind))
		put_lengths(&json, column);
	else
		put_numbers(&json, statistics);
	put_top_values(&json, statistics);
	put_histogram(&json, &statistics->histogram);
	pyn_json_open_array(&json, "alerts");
	for (int i = 0; i < PYN_ALERTS; i++)
		if (statistics->alerts[i])
			pyn_json_text(&json, NULL, pyn_alert_name(i));
	pyn_json_close_array(&json);
	pyn_json_close_object(&json);
	return pyn_json_finish(&json);
}
