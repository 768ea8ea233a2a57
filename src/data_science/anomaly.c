/*
 * anomaly.c
 *		Stored anomalies: telling of them, listing them, their status, and forgetting them.
 */
#include "kernel/port.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "data_science/data_science.h"
#include "kernel/access.h"
#include "kernel/event_log.h"
#include "kernel/statement.h"

/* Anomalies that events tell of, of one detection; a table that has gone bad shall not flood the log. */
#define MOST_TOLD 100

/* Anomalies in a report. */
#define MOST_REPORTED 20

PG_FUNCTION_INFO_V1(pyn_data_science_anomalies);
PG_FUNCTION_INFO_V1(pyn_data_science_set_anomaly_status);
PG_FUNCTION_INFO_V1(pyn_data_science_apply_retention);

static void
tell(int64 anomaly, int64 detection, int64 dataset, const char *severity, double score, Oid owner)
{
	PynPublication publication = {.type = "data_science.anomaly_detected.v1",.publisher = owner};
	PynJson		json = {0};

	publication.subject = psprintf("dataset " INT64_FORMAT, dataset);
	pyn_json_open_object(&json, NULL);
	pyn_json_integer(&json, "anomaly", anomaly);
	pyn_json_integer(&json, "detection", detection);
	pyn_json_integer(&json, "dataset", dataset);
	pyn_json_text(&json, "severity", severity);
	pyn_json_number(&json, "score", score);
	pyn_json_close_object(&json);
	publication.data = pyn_json_finish(&json);
	pyn_publish(&publication);
}

/*
 * pyn_anomalies_tell publishes an event for each of a detection's worst anomalies whose severity is high or critical.
 */
void
pyn_anomalies_tell(int64 detection, int64 dataset, Oid owner)
{
	static PynStatement select_worst = PYN_STATEMENT(
		"SELECT id, severity, score FROM pynomaly_data_science.anomaly WHERE detection = $1 "
		"AND severity IN ('high', 'critical') ORDER BY score DESC, id LIMIT $2",
		INT8OID, INT4OID);
	Datum		values[] = {Int64GetDatum(detection), Int32GetDatum(MOST_TOLD)};
	SPITupleTable *worst;
	PynAccess	access;
	uint64		count;

	pyn_access_begin(&access, pyn_owner());
	SPI_connect();
	count = pyn_execute(&select_worst, values, NULL, 0);
	worst = SPI_tuptable;
	for (uint64 row = 0; row < count; row++)
	{
		bool		is_null;

		tell(DatumGetInt64(SPI_getbinval(worst->vals[row], worst->tupdesc, 1, &is_null)), detection, dataset,
			 SPI_getvalue(worst->vals[row], worst->tupdesc, 2),
			 DatumGetFloat8(SPI_getbinval(worst->vals[row], worst->tupdesc, 3, &is_null)), owner);
	}
	SPI_finish();
	pyn_access_end(&access);
}

/*
 * pyn_anomaly_summary says what a request has read and found; NULL if it has read nothing that the reader may see.
 */
Jsonb *
pyn_anomaly_summary(pg_uuid_t *request, Oid reader)
{
	static PynStatement select_summary = PYN_STATEMENT(
		"SELECT jsonb_build_object('dataset', v.dataset, 'version', v.version, 'rows', v.rows, 'columns', v.columns, "
		"'sketch', encode(v.sketch, 'hex'), 'detection', "
		"(SELECT jsonb_build_object('id', d.id, 'rows', d.rows, 'anomalies', d.anomalies, 'stored', d.stored, "
		"'contamination', d.contamination, 'by_severity', "
		"(SELECT coalesce(jsonb_object_agg(severity, count), '{}') FROM (SELECT severity, count(*) "
		"FROM pynomaly_data_science.anomaly WHERE detection = d.id GROUP BY severity) AS counted), 'worst', "
		"(SELECT coalesce(jsonb_agg(jsonb_build_object('anomaly', id, 'key', key, 'score', score, 'p_value', p_value, "
		"'severity', severity, 'reasons', reasons) ORDER BY score DESC, id), '[]') FROM (SELECT id, key, score, p_value, severity, reasons "
		"FROM pynomaly_data_science.anomaly WHERE detection = d.id ORDER BY score DESC, id LIMIT $3) AS worst)) "
		"FROM pynomaly_data_science.detection d WHERE d.request = $1 ORDER BY d.id DESC LIMIT 1)) "
		"FROM pynomaly_data_science.dataset_version v WHERE v.request = $1 AND pg_has_role($2, v.owner, 'USAGE')",
		UUIDOID, OIDOID, INT4OID);
	MemoryContext caller = CurrentMemoryContext;
	Datum		values[] = {UUIDPGetDatum(request), ObjectIdGetDatum(reader), Int32GetDatum(MOST_REPORTED)};
	Jsonb	   *summary = NULL;
	PynAccess	access;

	pyn_access_begin(&access, pyn_owner());
	SPI_connect();
	if (pyn_execute(&select_summary, values, NULL, 1) == 1)
	{
		MemoryContextSwitchTo(caller);
		summary = DatumGetJsonbPCopy(pyn_field(0, 1, NULL));
	}
	SPI_finish();
	pyn_access_end(&access);
	return summary;
}

/*
 * pynomaly_data_science.anomalies({request | detection, limit}) → (id, key, score, p_value, severity, reasons, status)
 */
Datum
pyn_data_science_anomalies(PG_FUNCTION_ARGS)
{
	static PynStatement select_anomalies = PYN_STATEMENT(
		"SELECT a.id, a.key, a.score, a.p_value, a.severity, a.reasons, a.status FROM pynomaly_data_science.anomaly a "
		"JOIN pynomaly_data_science.detection d ON d.id = a.detection "
		"WHERE (d.request = $1 OR d.id = $2) AND pg_has_role($3, d.owner, 'USAGE') ORDER BY a.score DESC, a.id LIMIT $4",
		UUIDOID, INT8OID, OIDOID, INT8OID);
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Jsonb	   *arguments = PG_GETARG_JSONB_P(0);
	char	   *request = pyn_json_get_text(arguments, "request");
	int64		limit = pyn_json_get_integer(arguments, "limit", -1);
	char		nulls[] = "    ";
	Datum		values[4] = {0};
	PynAccess	access;
	uint64		count;

	if (request != NULL)
		values[0] = DirectFunctionCall1(uuid_in, CStringGetDatum(request));
	nulls[0] = request == NULL ? 'n' : ' ';
	values[1] = Int64GetDatum(pyn_json_get_integer(arguments, "detection", 0));
	values[2] = ObjectIdGetDatum(GetUserId());
	values[3] = Int64GetDatum(limit);
	nulls[3] = limit < 0 ? 'n' : ' ';
	InitMaterializedSRF(fcinfo, 0);
	pyn_access_begin(&access, pyn_owner());
	SPI_connect();
	count = pyn_execute(&select_anomalies, values, nulls, 0);
	for (uint64 row = 0; row < count; row++)
		tuplestore_puttuple(result->setResult, SPI_tuptable->vals[row]);
	SPI_finish();
	pyn_access_end(&access);
	return (Datum) 0;
}

static void
check_status(const char *status)
{
	static const char *const known[] = {"open", "acknowledged", "resolved", "ignored", "false_alarm"};

	for (int i = 0; i < lengthof(known); i++)
		if (strcmp(status, known[i]) == 0)
			return;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("\"%s\" is no status of an anomaly", status),
			 errhint("It is one of: open, acknowledged, resolved, ignored, false_alarm.")));
}

/*
 * pynomaly_data_science.set_anomaly_status({anomaly, status, note}) → null
 */
Datum
pyn_data_science_set_anomaly_status(PG_FUNCTION_ARGS)
{
	static PynStatement update_anomaly = PYN_STATEMENT(
		"WITH before AS (SELECT id, owner, status, label FROM pynomaly_data_science.anomaly "
		"WHERE id = $1 AND pg_has_role($2, owner, 'USAGE') FOR UPDATE), "
		"changed AS (UPDATE pynomaly_data_science.anomaly a SET status = $3 FROM before b WHERE a.id = b.id) "
		"INSERT INTO pynomaly_data_science.anomaly_history (anomaly, changed_at, owner, changed_by, status_before, status, note, label_before, label) "
		"SELECT id, clock_timestamp(), owner, $4, status, $3, $5, label, label FROM before",
		INT8OID, OIDOID, TEXTOID, TEXTOID, TEXTOID);
	Jsonb	   *arguments = PG_GETARG_JSONB_P(0);
	int64		anomaly = pyn_json_get_integer(arguments, "anomaly", 0);
	char	   *status = pyn_json_get_text(arguments, "status");
	char		nulls[] = "     ";
	Datum		values[] = {
		Int64GetDatum(anomaly), ObjectIdGetDatum(GetUserId()), CStringGetTextDatum(status),
		CStringGetTextDatum(GetUserNameFromId(GetUserId(), false)),
		pyn_text_or_null(pyn_json_get_text(arguments, "note"), &nulls[4])
	};
	JsonbValue	nothing = {.type = jbvNull};
	PynAccess	access;

	check_status(status);
	pyn_access_begin(&access, pyn_owner());
	SPI_connect();
	if (pyn_execute(&update_anomaly, values, nulls, 0) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("anomaly " INT64_FORMAT " does not exist", anomaly)));
	SPI_finish();
	pyn_access_end(&access);
	PG_RETURN_JSONB_P(JsonbValueToJsonb(&nothing));
}

/*
 * pynomaly_data_science.apply_retention() → void
 *
 * Anomalies go after their time, then detections that have none left, and versions of datasets whose sketch is no longer
 * kept, but for the newest.
 */
Datum
pyn_data_science_apply_retention(PG_FUNCTION_ARGS)
{
	static PynStatement delete_anomalies = PYN_STATEMENT(
		"DELETE FROM pynomaly_data_science.anomaly WHERE detected_at < now() - $1 * interval '1 s'",
		FLOAT8OID);
	static PynStatement delete_detections = PYN_STATEMENT(
		"DELETE FROM pynomaly_data_science.detection d WHERE detected_at < now() - $1 * interval '1 s' "
		"AND NOT EXISTS (SELECT FROM pynomaly_data_science.anomaly a WHERE a.detection = d.id)",
		FLOAT8OID);
	static PynStatement delete_versions = PYN_STATEMENT(
		"DELETE FROM pynomaly_data_science.dataset_version v WHERE processed_at < now() - $1 * interval '1 s' AND sketch IS NULL "
		"AND EXISTS (SELECT FROM pynomaly_data_science.dataset_version newer WHERE newer.dataset = v.dataset AND newer.version > v.version)",
		FLOAT8OID);
	Datum		retention = Float8GetDatum((double) pyn_data_science_retention);
	PynAccess	access;

	pyn_access_begin(&access, pyn_owner());
	SPI_connect();
	pyn_execute(&delete_anomalies, &retention, NULL, 0);
	pyn_execute(&delete_detections, &retention, NULL, 0);
	pyn_execute(&delete_versions, &retention, NULL, 0);
	SPI_finish();
	pyn_access_end(&access);
	PG_RETURN_VOID();
}
