/*
 * model_type.c
 *		The SQL type pynomaly.model: input, output and what it says of itself.
 *
 * A model is flat bytes without pointers; it is parsed, validated in full, wherever it is used, and call sites keep the
 * parsed form (score.c).
 */
#include "kernel/port.h"

#include "libpq/pqformat.h"
#include "pgtime.h"
#include "utils/builtins.h"

#include "detectors/model_type.h"
#include "sketch/cell.h"
#include "sketch/sketch_type.h"

#define TEXT_PREFIX "pynomaly.model"

PG_FUNCTION_INFO_V1(pyn_model_in);
PG_FUNCTION_INFO_V1(pyn_model_out);
PG_FUNCTION_INFO_V1(pyn_model_recv);
PG_FUNCTION_INFO_V1(pyn_model_send);
PG_FUNCTION_INFO_V1(pyn_model_to_jsonb);

PynModelResolver pyn_model_resolver = NULL;
uint64		pyn_model_names = 0;

/* Seconds east of UTC at a moment. */
static int64
zone_offset(const void *zone, int64 unix_seconds)
{
	pg_time_t	moment = (pg_time_t) unix_seconds;
	struct pg_tm *local = pg_localtime(&moment, (const pg_tz *) zone);

	return local != NULL ? local->tm_gmtoff : 0;
}

/*
 * pyn_set_zone gives a model the rules of its time zone; what the server does not know is an error.
 */
void
pyn_set_zone(PynModel *model)
{
	pg_tz	   *zone;

	model->zone_offset = NULL;
	model->zone = NULL;
	if (strcmp(model->zone_name, "UTC") == 0)
		return;
	zone = pg_tzset(model->zone_name);
	if (zone == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the model's time zone \"%s\" is not known here", model->zone_name),
				 errhint("See pg_timezone_names for those that are.")));
	model->zone_offset = zone_offset;
	model->zone = zone;
}

PynModel *
pyn_model_from_datum(Datum value)
{
	struct varlena *flat = PG_DETOAST_DATUM_PACKED(value);
	PynModel   *model;
	const char *problem = pyn_model_read(VARDATA_ANY(flat), VARSIZE_ANY_EXHDR(flat), &model);

	if (problem != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("invalid model: %s", problem)));
	pyn_set_zone(model);
	return model;
}

Datum
pyn_resolve_model(const char *name)
{
	if (pyn_model_resolver == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("model \"%s\" does not exist", name),
				 errhint("Give a value of type pynomaly.model, as pynomaly.fit returns it.")));
	return pyn_model_resolver(name);
}

static Datum
checked_datum(const void *data, Size length, int error_code)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "pynomaly model check", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	PynModel   *model;
	const char *problem = pyn_model_read(data, length, &model);
	struct varlena *result;

	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	if (problem != NULL)
		ereport(ERROR,
				(errcode(error_code),
				 errmsg("invalid model: %s", problem)));
	result = palloc(VARHDRSZ + length);
	SET_VARSIZE(result, VARHDRSZ + length);
	memcpy(VARDATA(result), data, length);
	return PointerGetDatum(result);
}

Datum
pyn_model_in(PG_FUNCTION_ARGS)
{
	Size		length;
	uint8	   *bytes = pyn_text_to_bytes(TEXT_PREFIX, "pynomaly.model", PG_GETARG_CSTRING(0), &length);

	PG_RETURN_DATUM(checked_datum(bytes, length, ERRCODE_INVALID_TEXT_REPRESENTATION));
}

Datum
pyn_model_out(PG_FUNCTION_ARGS)
{
	struct varlena *flat = PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(0));

	PG_RETURN_CSTRING(pyn_bytes_to_text(TEXT_PREFIX, VARDATA_ANY(flat), VARSIZE_ANY_EXHDR(flat)));
}

Datum
pyn_model_recv(PG_FUNCTION_ARGS)
{
	StringInfo	message = (StringInfo) PG_GETARG_POINTER(0);
	Size		length = message->len - message->cursor;
	const char *bytes = pq_getmsgbytes(message, length);

	PG_RETURN_DATUM(checked_datum(bytes, length, ERRCODE_INVALID_BINARY_REPRESENTATION));
}

Datum
pyn_model_send(PG_FUNCTION_ARGS)
{
	struct varlena *flat = PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(0));
	StringInfoData message;

	pq_begintypsend(&message);
	pq_sendbytes(&message, VARDATA_ANY(flat), VARSIZE_ANY_EXHDR(flat));
	PG_RETURN_BYTEA_P(pq_endtypsend(&message));
}

static const char *
use_name(PynColumnUse use)
{
	static const char *const names[] = {
		[PYN_USED] = "used",
		[PYN_CONSTANT] = "constant",
		[PYN_ALL_MISSING] = "all missing",
		[PYN_MANY_CATEGORIES] = "too many categories",
	};

	return names[use];
}

static void
put_columns(PynJson *json, const PynModel *model)
{
	pyn_json_open_array(json, "columns");
	for (int i = 0; i < model->column_count; i++)
	{
		const PynModelColumn *column = &model->columns[i];

		pyn_json_open_object(json, NULL);
		pyn_json_text(json, "name", pyn_utf8_to_server(column->name, strlen(column->name)));
		pyn_json_text(json, "kind", pyn_kind_name(column->kind));
		pyn_json_text(json, "use", use_name(column->use));
		pyn_json_close_object(json);
	}
	pyn_json_close_array(json);
}

static void
put_features(PynJson *json, const PynModel *model)
{
	static const char *const encodings[] = {
		[PYN_ENCODE_VALUE] = "value",
		[PYN_ENCODE_HOUR] = "hour",
		[PYN_ENCODE_WEEKDAY] = "weekday rarity",
		[PYN_ENCODE_RARITY] = "rarity",
		[PYN_ENCODE_MISSING] = "missing",
	};

	pyn_json_open_array(json, "features");
	for (int i = 0; i < model->feature_count; i++)
	{
		const PynFeature *feature = &model->features[i];
		const PynModelColumn *column = &model->columns[feature->column];
		PynKind		kind = feature->encoding == PYN_ENCODE_VALUE ? column->kind : PYN_KIND_NUMBER;
		JsonbValue	value;

		pyn_json_open_object(json, NULL);
		pyn_json_text(json, "column", pyn_utf8_to_server(column->name, strlen(column->name)));
		pyn_json_text(json, "encoding", encodings[feature->encoding]);
		pyn_cell_to_jsonb_value(kind, feature->centre, &value);
		pyn_json_value(json, "median", &value);
		pyn_cell_to_jsonb_value(kind, feature->low, &value);
		pyn_json_value(json, "low", &value);
		pyn_cell_to_jsonb_value(kind, feature->high, &value);
		pyn_json_value(json, "high", &value);
		if (feature->category_count > 0)
			pyn_json_integer(json, "categories", feature->category_count);
		pyn_json_close_object(json);
	}
	pyn_json_close_array(json);
}

/* What flags rows, and why so: the threshold as a score and, where it was learnt, as the raw score that decides. */
static void
put_threshold(PynJson *json, const PynModel *model)
{
	pyn_json_text(json, "threshold_method", pyn_threshold_name(model->threshold_method));
	if (model->threshold_method == PYN_THRESHOLD_SCORE)
		pyn_json_number(json, "threshold", model->threshold);
	if (model->threshold_method <= PYN_THRESHOLD_SCORE)
		return;
	pyn_json_number(json, "threshold", pyn_score(&model->calibration, model->threshold));
	pyn_json_number(json, "raw_threshold", model->threshold);
	pyn_json_text(json, "threshold_reason", model->threshold_reason);
}

static void
put_rules(PynJson *json, const PynModel *model)
{
	if (model->rule_count == 0)
		return;
	pyn_json_open_array(json, "suppress");
	for (int i = 0; i < model->rule_count; i++)
	{
		pyn_json_open_object(json, NULL);
		pyn_put_rule(json, &model->rules[i]);
		pyn_json_close_object(json);
	}
	pyn_json_close_array(json);
}

/*
 * model → jsonb: what it was fitted from and how, its columns in the order of score's arguments, its features with their
 * normal ranges, and the knots of its calibration.
 */
Datum
pyn_model_to_jsonb(PG_FUNCTION_ARGS)
{
	struct varlena *flat = PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(0));
	PynModel   *model = pyn_model_from_datum(PointerGetDatum(flat));
	PynJson		json = {0};

	pyn_json_open_object(&json, NULL);
	pyn_json_integer(&json, "format_version", PYN_MODEL_VERSION);
	pyn_json_text(&json, "algorithm", model->detector->name);
	pyn_json_number(&json, "seed", (double) model->seed);
	pyn_json_number(&json, "contamination", model->contamination);
	put_threshold(&json, model);
	pyn_json_integer(&json, "rows", model->rows);
	pyn_json_integer(&json, "training_rows", model->training_rows);
	pyn_json_text(&json, "time_zone", model->zone_name);
	pyn_json_integer(&json, "bytes", (int64) VARSIZE_ANY_EXHDR(flat));
	pyn_json_text(&json, "digest", psprintf("%016" INT64_MODIFIER "x%016" INT64_MODIFIER "x", model->digest.high,
											model->digest.low));
	if (model->detector->decisions != NULL)
		pyn_json_text(&json, "decisions", model->detector->decisions(model->state));
	put_columns(&json, model);
	put_features(&json, model);
	put_rules(&json, model);
	pyn_json_open_object(&json, "calibration");
	pyn_json_integer(&json, "knots", model->calibration.count);
	pyn_json_number(&json, "lowest_raw_score", model->calibration.raw[0]);
	pyn_json_number(&json, "highest_raw_score", model->calibration.raw[model->calibration.count - 1]);
	pyn_json_number(&json, "tail_scale", model->calibration.tail_scale);
	pyn_json_number(&json, "tail_shape", model->calibration.tail_shape);
	pyn_json_close_object(&json);
	pyn_json_close_object(&json);
	PG_RETURN_POINTER(JsonbValueToJsonb(json.result));
}
