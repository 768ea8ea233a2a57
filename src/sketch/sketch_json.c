/*
 * sketch_json.c
 *		What a sketch says, as jsonb: the cast pynomaly.sketch → jsonb.
 */
#include "kernel/port.h"

#include <math.h>

#include "fmgr.h"

#include "kernel/json_writer.h"
#include "sketch/cell.h"
#include "sketch/sketch_type.h"

#define TOP_VALUES 10

PG_FUNCTION_INFO_V1(pyn_sketch_to_jsonb);

/* A statistic in the column's own unit: a number, or a time as text. */
static void
put_in_kind(PynJson *json, const char *name, const PynColumn *column, double number)
{
	JsonbValue	value;
	PynKind		kind = pyn_kind_is_text(column->kind) || column->kind == PYN_KIND_BOOLEAN ? PYN_KIND_NUMBER : column->kind;

	if (isnan(number))
	{
		pyn_json_null(json, name);
		return;
	}
	pyn_cell_to_jsonb_value(kind, number, &value);
	pyn_json_value(json, name, &value);
}

static void
put_moments(PynJson *json, const PynColumn *column)
{
	double		n = (double) column->count;
	double		variance = column->count > 1 ? column->m2 / (n - 1) : NAN;
	double		spread = column->m2 / n;

	put_in_kind(json, "min", column, column->minimum);
	put_in_kind(json, "max", column, column->maximum);
	put_in_kind(json, "mean", column, column->mean);
	if (isfinite(variance))
		pyn_json_number(json, "sd", sqrt(variance));
	else
		pyn_json_null(json, "sd");
	if (isfinite(column->m3) && isfinite(column->m4) && spread > 0 && isfinite(spread))
	{
		pyn_json_number(json, "skewness", column->m3 / n / (spread * sqrt(spread)));
		pyn_json_number(json, "kurtosis", column->m4 / n / (spread * spread) - 3.0);
	}
	else
	{
		pyn_json_null(json, "skewness");
		pyn_json_null(json, "kurtosis");
	}
}

static void
put_quantiles(PynJson *json, const PynSketch *sketch, int index)
{
	static const struct
	{
		const char *name;
		double		share;
	}			points[] = {
		{"0.001", 0.001}, {"0.01", 0.01}, {"0.05", 0.05}, {"0.25", 0.25}, {"0.5", 0.5},
		{"0.75", 0.75}, {"0.95", 0.95}, {"0.99", 0.99}, {"0.999", 0.999},
	};
	PynQuantiles quantiles;

	pyn_quantiles_open(&quantiles, sketch, index);
	pyn_json_open_object(json, "quantiles");
	for (int i = 0; i < lengthof(points); i++)
		put_in_kind(json, points[i].name, &sketch->columns[index], pyn_quantile(&quantiles, points[i].share));
	pyn_json_close_object(json);
	pfree(quantiles.values);
	pfree(quantiles.ranks);
}

/* The text of a hash, as far as the sample has it; NULL when no sampled row has that value. */
static char *
sampled_text(const PynSketch *sketch, int index, uint64 hash)
{
	int			text_index = 0;

	if (!sketch->sample_text)
		return NULL;
	for (int column = 0; column < index; column++)
		text_index += pyn_kind_is_text(sketch->columns[column].kind);
	for (uint32 row = 0; row < sketch->sample.count; row++)
	{
		const uint8 *text;

		if (pyn_sample_cell(&sketch->sample, row, index).hash != hash)
			continue;
		text = pyn_sample_slot(&sketch->sample, row) + sizeof(PynCell) * sketch->column_count +
			(1 + PYN_SAMPLE_TEXT) * text_index;
		return pyn_utf8_to_server((const char *) text + 1, *text);
	}
	return NULL;
}

static void
put_top_values(PynJson *json, const PynSketch *sketch, int index)
{
	const PynColumn *column = &sketch->columns[index];
	int			count;
	PynHeavyHitter *hitters = pyn_heavy_hitters_sorted(&column->hitters, &count);

	pyn_json_open_array(json, "top_values");
	for (int i = 0; i < Min(count, TOP_VALUES); i++)
	{
		pyn_json_open_object(json, NULL);
		if (pyn_kind_is_text(column->kind))
		{
			char	   *text = sampled_text(sketch, index, hitters[i].hash);

			if (text != NULL)
				pyn_json_text(json, "value", text);
			else
				pyn_json_null(json, "value");
		}
		else
		{
			PynCell		cell;
			JsonbValue	value;

			cell.hash = hitters[i].value;
			pyn_cell_to_jsonb_value(column->kind, cell.number, &value);
			pyn_json_value(json, "value", &value);
		}
		pyn_json_integer(json, "count", hitters[i].count);
		pyn_json_close_object(json);
	}
	pyn_json_close_array(json);
	pyn_json_integer(json, "top_values_error", column->hitters.error);
}

static void
put_column(PynJson *json, const PynSketch *sketch, int index)
{
	const PynColumn *column = &sketch->columns[index];
	bool		is_text = pyn_kind_is_text(column->kind);

	pyn_json_open_object(json, NULL);
	pyn_json_text(json, "name", pyn_utf8_to_server(column->name, strlen(column->name)));
	pyn_json_text(json, "kind", pyn_kind_name(column->kind));
	if (column->is_key)
		pyn_json_boolean(json, "key", true);
	pyn_json_integer(json, "nulls", column->nulls);
	pyn_json_number(json, "distinct", rint(pyn_distinct_count(&column->distinct)));
	pyn_json_boolean(json, "distinct_is_exact", pyn_distinct_is_exact(&column->distinct));
	if (is_text)
		pyn_json_integer(json, "empty", column->empties);
	else
	{
		pyn_json_integer(json, "zeros", column->zeros);
		pyn_json_integer(json, "negatives", column->negatives);
		pyn_json_integer(json, "nan", column->nans);
		pyn_json_integer(json, "infinite", column->positive_infinities + column->negative_infinities);
	}
	if (column->count > 0)
	{
		if (is_text)
			pyn_json_open_object(json, "length");
		put_moments(json, column);
		if (is_text)
			pyn_json_close_object(json);
		else
			put_quantiles(json, sketch, index);
	}
	put_top_values(json, sketch, index);
	pyn_json_close_object(json);
}

/*
 * sketch → jsonb: the relation's and each column's statistics.  Standard deviation with n - 1, skewness g1, excess
 * kurtosis g2 (Joanes and Gill 1998), quantiles of type 5 (Hyndman and Fan 1996).  Lengths of text in characters.
 */
Datum
pyn_sketch_to_jsonb(PG_FUNCTION_ARGS)
{
	PynSketch  *sketch = pyn_sketch_from_datum(PG_GETARG_DATUM(0));
	PynJson		json = {0};

	pyn_json_open_object(&json, NULL);
	pyn_json_integer(&json, "format_version", PYN_SKETCH_VERSION);
	pyn_json_integer(&json, "rows", sketch->rows);
	pyn_json_number(&json, "seed", (double) sketch->seed);
	pyn_json_open_object(&json, "sample");
	pyn_json_integer(&json, "rows", sketch->sample.count);
	pyn_json_integer(&json, "capacity", sketch->sample.capacity);
	pyn_json_boolean(&json, "text", sketch->sample_text);
	pyn_json_close_object(&json);
	pyn_json_open_array(&json, "columns");
	for (int i = 0; i < sketch->column_count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		put_column(&json, sketch, i);
	}
	pyn_json_close_array(&json);
	pyn_json_close_object(&json);
	PG_RETURN_POINTER(JsonbValueToJsonb(json.result));
}
