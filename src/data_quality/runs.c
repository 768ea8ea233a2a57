/*
 * runs.c
 *		Stored runs: what an analysis found, and the report of it.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/json.h"
#include "utils/timestamp.h"

#include "data_quality/data_quality.h"
#include "kernel/access.h"
#include "kernel/json_reader.h"
#include "kernel/statement.h"
#include "sketch/cell.h"

PG_FUNCTION_INFO_V1(pyn_quality_report);

static void
number_or_null(PynJson *json, const char *name, double number)
{
	if (isnan(number))
		pyn_json_null(json, name);
	else
		pyn_json_number(json, name, number);
}

static Jsonb *
dimensions_json(const PynQualityAnalysis *analysis)
{
	PynJson		json = {0};

	pyn_json_open_object(&json, NULL);
	for (PynQualityDimension dimension = 0; dimension < PYN_DIMENSIONS; dimension++)
		number_or_null(&json, pyn_quality_dimension_name(dimension), analysis->scores[dimension]);
	pyn_json_close_object(&json);
	return pyn_json_finish(&json);
}

static Jsonb *
columns_json(const PynQualityAnalysis *analysis)
{
	PynJson		json = {0};

	pyn_json_open_array(&json, NULL);
	for (int i = 0; i < analysis->sketch->column_count; i++)
	{
		pyn_json_open_object(&json, NULL);
		pyn_json_text(&json, "name", analysis->names[i]);
		pyn_json_text(&json, "kind", pyn_kind_name(analysis->sketch->columns[i].kind));
		if (pyn_is_finite(analysis->spreads[i]))
			pyn_json_number(&json, "spread", analysis->spreads[i]);
		pyn_json_close_object(&json);
	}
	pyn_json_close_array(&json);
	return pyn_json_finish(&json);
}

static void
insert_run(PynQualityAnalysis *analysis)
{
	static PynStatement insert = PYN_STATEMENT(
		"INSERT INTO pynomaly_data_quality.check_run (owner, dataset, source, sketch, request, rows, score, grade, "
		"verdict, dimensions, columns, checked_at, seconds) "
		"VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) RETURNING id",
		REGROLEOID, INT8OID, TEXTOID, BYTEAOID, UUIDOID, INT8OID, FLOAT8OID, TEXTOID, TEXTOID, JSONBOID, JSONBOID,
		TIMESTAMPTZOID, FLOAT8OID);
	char		nulls[] = "             ";
	Datum		values[] = {
		ObjectIdGetDatum(analysis->owner), Int64GetDatum(analysis->dataset), CStringGetTextDatum(analysis->source),
		PointerGetDatum(analysis->digest), UUIDPGetDatum(analysis->request), Int64GetDatum(analysis->sketch->rows),
		Float8GetDatum(analysis->score), CStringGetTextDatum(analysis->grade), CStringGetTextDatum(analysis->verdict),
		JsonbPGetDatum(dimensions_json(analysis)), JsonbPGetDatum(columns_json(analysis)),
		TimestampTzGetDatum(analysis->checked_at), Float8GetDatum(analysis->seconds)
	};

	if (analysis->request == NULL)
		nulls[4] = 'n';
	pyn_execute(&insert, values, nulls, 0);
	analysis->run = DatumGetInt64(pyn_field(0, 1, NULL));
}

static void
insert_results(const PynQualityAnalysis *analysis)
{
	static PynStatement insert = PYN_STATEMENT(
		"INSERT INTO pynomaly_data_quality.result (check_run, position, owner, dimension, name, column_name, value, "
		"low, high, passed, severity, message) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
		INT8OID, INT4OID, REGROLEOID, TEXTOID, TEXTOID, TEXTOID, FLOAT8OID, FLOAT8OID, FLOAT8OID, BOOLOID, TEXTOID,
		TEXTOID);

	for (int i = 0; i < analysis->count; i++)
	{
		const PynQualityCheck *check = &analysis->checks[i];
		char		nulls[] = "            ";
		Datum		values[] = {
			Int64GetDatum(analysis->run), Int32GetDatum(i + 1), ObjectIdGetDatum(analysis->owner),
			CStringGetTextDatum(pyn_quality_dimension_name(check->dimension)), CStringGetTextDatum(check->name),
			pyn_text_or_null(check->column, &nulls[5]), Float8GetDatum(check->value), Float8GetDatum(check->low),
			Float8GetDatum(check->high), BoolGetDatum(check->outcome == PYN_PASSED),
			CStringGetTextDatum(pyn_quality_severity_name(check->severity)), CStringGetTextDatum(check->message)
		};

		CHECK_FOR_INTERRUPTS();
		nulls[6] = isnan(check->value) ? 'n' : ' ';
		nulls[7] = isnan(check->low) ? 'n' : ' ';
		nulls[8] = isnan(check->high) ? 'n' : ' ';
		nulls[9] = check->outcome == PYN_NOT_JUDGED ? 'n' : ' ';
		pyn_execute(&insert, values, nulls, 0);
	}
}

/*
 * pyn_quality_run_store keeps the analysis, whose run gets its id, and removes runs of the dataset past
 * PYN_QUALITY_RUNS_KEPT.
 */
void
pyn_quality_run_store(PynQualityAnalysis *analysis)
{
	/* Two runs at once would both remove the same: who comes second leaves it to the first. */
	static PynStatement delete_old = PYN_INDEX_STATEMENT(
		"DELETE FROM pynomaly_data_quality.check_run WHERE id IN (SELECT id FROM pynomaly_data_quality.check_run "
		"WHERE owner = $1 AND dataset = $2 ORDER BY id DESC OFFSET $3 FOR UPDATE SKIP LOCKED)",
		REGROLEOID, INT8OID, INT4OID);
	MemoryContext own = CurrentMemoryContext;
	Datum		values[] = {ObjectIdGetDatum(analysis->owner), Int64GetDatum(analysis->dataset),
	Int32GetDatum(PYN_QUALITY_RUNS_KEPT)};
	PynAccess	access;

	pyn_access_begin(&access, pyn_owner());
	SPI_connect();
	MemoryContextSwitchTo(own);
	insert_run(analysis);
	insert_results(analysis);
	pyn_execute(&delete_old, values, NULL, 0);
	SPI_finish();
	pyn_access_end(&access);
}

/*
 * pyn_quality_run_exists tells whether the request has been analysed already.
 */
bool
pyn_quality_run_exists(Oid owner, const pg_uuid_t *request)
{
	static PynStatement select_run = PYN_INDEX_STATEMENT(
		"SELECT FROM pynomaly_data_quality.check_run WHERE request = $1 AND owner = $2",
		UUIDOID, REGROLEOID);
	Datum		values[] = {UUIDPGetDatum(request), ObjectIdGetDatum(owner)};
	PynAccess	access;
	bool		exists;

	pyn_access_begin(&access, pyn_owner());
	SPI_connect();
	exists = pyn_execute(&select_run, values, NULL, 1) > 0;
	SPI_finish();
	pyn_access_end(&access);
	return exists;
}

/*
 * pyn_quality_run_discard removes what a request has had analysed.
 */
void
pyn_quality_run_discard(Oid owner, const pg_uuid_t *request)
{
	static PynStatement delete_runs = PYN_INDEX_STATEMENT(
		"DELETE FROM pynomaly_data_quality.check_run WHERE request = $1 AND owner = $2",
		UUIDOID, REGROLEOID);
	Datum		values[] = {UUIDPGetDatum(request), ObjectIdGetDatum(owner)};
	PynAccess	access;

	pyn_access_begin(&access, pyn_owner());
	SPI_connect();
	pyn_execute(&delete_runs, values, NULL, 0);
	SPI_finish();
	pyn_access_end(&access);
}

/* Finds the run that is asked for among those of the user's roles; its row is the result. */
static bool
find_run(int64 id, const char *request, Oid user)
{
	static PynStatement select_run = PYN_INDEX_STATEMENT(
		"SELECT id, source, dataset, score, grade, verdict, dimensions, rows, checked_at, request::text "
		"FROM pynomaly_data_quality.check_run WHERE id = $1 AND pg_has_role($2, owner, 'USAGE')",
		INT8OID, OIDOID);
	static PynStatement select_run_of_request = PYN_INDEX_STATEMENT(
		"SELECT id, source, dataset, score, grade, verdict, dimensions, rows, checked_at, request::text "
		"FROM pynomaly_data_quality.check_run WHERE request = $1::uuid AND pg_has_role($2, owner, 'USAGE') "
		"ORDER BY id DESC LIMIT 1",
		TEXTOID, OIDOID);
	Datum		values[] = {Int64GetDatum(id), ObjectIdGetDatum(user)};

	if (request == NULL)
		return pyn_execute(&select_run, values, NULL, 0) > 0;
	values[0] = CStringGetTextDatum(request);
	return pyn_execute(&select_run_of_request, values, NULL, 0) > 0;
}

static void
put_number_field(PynJson *json, const char *name, uint64 row, int column)
{
	bool		is_null;
	Datum		value = pyn_field(row, column, &is_null);

	number_or_null(json, name, is_null ? pyn_nan() : DatumGetFloat8(value));
}

static void
put_text_field(PynJson *json, const char *name, uint64 row, int column)
{
	char	   *text = pyn_text_field(row, column);

	if (text == NULL)
		pyn_json_null(json, name);
	else
		pyn_json_text(json, name, text);
}

static void
put_failed(PynJson *json, int64 run)
{
	static PynStatement select_failed = PYN_INDEX_STATEMENT(
		"SELECT dimension, name, column_name, value, low, high, severity, message FROM pynomaly_data_quality.result "
		"WHERE check_run = $1 AND NOT passed ORDER BY position",
		INT8OID);
	Datum		values[] = {Int64GetDatum(run)};
	uint64		count = pyn_execute(&select_failed, values, NULL, 0);

	pyn_json_open_array(json, "failed");
	for (uint64 row = 0; row < count; row++)
	{
		pyn_json_open_object(json, NULL);
		put_text_field(json, "dimension", row, 1);
		put_text_field(json, "name", row, 2);
		put_text_field(json, "column", row, 3);
		put_number_field(json, "value", row, 4);
		put_number_field(json, "low", row, 5);
		put_number_field(json, "high", row, 6);
		put_text_field(json, "severity", row, 7);
		put_text_field(json, "message", row, 8);
		pyn_json_close_object(json);
	}
	pyn_json_close_array(json);
}

/* Writes the run that find_run has found. */
static void
put_run(PynJson *json)
{
	int64		id = DatumGetInt64(pyn_field(0, 1, NULL));
	Datum		checked_at = pyn_field(0, 9, NULL);

	pyn_json_open_object(json, NULL);
	pyn_json_integer(json, "check", id);
	put_text_field(json, "request", 0, 10);
	put_text_field(json, "source", 0, 2);
	pyn_json_integer(json, "dataset", DatumGetInt64(pyn_field(0, 3, NULL)));
	put_number_field(json, "score", 0, 4);
	put_text_field(json, "grade", 0, 5);
	put_text_field(json, "verdict", 0, 6);
	pyn_json_jsonb(json, "dimensions", DatumGetJsonbPCopy(pyn_field(0, 7, NULL)));
	pyn_json_integer(json, "rows", DatumGetInt64(pyn_field(0, 8, NULL)));
	pyn_json_text(json, "checked_at", JsonEncodeDateTime(palloc(MAXDATELEN + 1), checked_at, TIMESTAMPTZOID, NULL));
	put_failed(json, id);
	pyn_json_close_object(json);
}

/*
 * pynomaly_data_quality.report(arguments jsonb) → jsonb
 */
Datum
pyn_quality_report(PG_FUNCTION_ARGS)
{
	Jsonb	   *arguments = PG_GETARG_JSONB_P(0);
	char	   *request = pyn_json_get_text(arguments, "request");
	Jsonb	   *check = pyn_json_get(arguments, "check");
	int64		id = pyn_json_get_integer(arguments, "check", 0);
	MemoryContext own = CurrentMemoryContext;
	Oid			user = GetUserId();
	PynJson		json = {0};
	PynAccess	access;

	if ((check == NULL) == (request == NULL))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a report is of one \"check\" or of one \"request\"")));
	pyn_access_begin(&access, pyn_owner());
	SPI_connect();
	MemoryContextSwitchTo(own);
	if (!find_run(id, request, user))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 request == NULL ? errmsg("check " INT64_FORMAT " does not exist", id) :
				 errmsg("request %s has no check", request)));
	put_run(&json);
	SPI_finish();
	pyn_access_end(&access);
	PG_RETURN_JSONB_P(pyn_json_finish(&json));
}
