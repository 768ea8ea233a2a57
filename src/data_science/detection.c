/*
 * detection.c
 *		Detections: a dataset's rows judged by a model, and the flagged ones stored.
 */
#include "kernel/port.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

#include "data_science/data_science.h"
#include "detectors/model_type.h"
#include "detectors/score_rows.h"
#include "kernel/access.h"
#include "kernel/artifact.h"
#include "kernel/statement.h"

/* What judging a relation gives. */
typedef struct Judged
{
	Tuplestorestate *store;		/* flagged rows, worst first */
	TupleDesc	type;
	PynScored	scored;
	double		contamination;
} Judged;

/* Judges the dataset's rows as the current user. */
static void
judge_rows(const PynDataset *dataset, const PynJudge *judge, double contamination, const char *algorithm, Jsonb *options,
		   Judged *judged)
{
	PynCallOptions call;
	PynModel   *model;

	/* Those of fitting were used when the model was made. */
	pyn_call_options(algorithm != NULL ? algorithm : "auto", options, true, &call);
	model = pyn_model_from_datum(PointerGetDatum(pyn_artifact_get(judge->digest, dataset->owner)));
	pyn_override_threshold(model, contamination > 0 ? contamination : pyn_nan(), call.fit.threshold);
	pyn_replace_rules(model, &call.suppress);
	judged->contamination = model->contamination;
	judged->type = pyn_flagged_type();
	judged->store = tuplestore_begin_heap(false, false, work_mem);
	SPI_connect();
	judged->scored = pyn_detect_flagged(dataset->relation, dataset->key, model, call.explain != PYN_EXPLAIN_NONE,
										pyn_data_science_max_anomalies, judged->store, judged->type);
	SPI_finish();
}

static int64
insert_detection(const PynDataset *dataset, const PynJudge *judge, pg_uuid_t *request, const Judged *judged,
				 double seconds)
{
	static PynStatement insert = PYN_STATEMENT(
		"INSERT INTO pynomaly_data_science.detection (dataset, owner, request, model_name, model_version, model_digest, "
		"contamination, rows, anomalies, stored, seconds, detected_at) "
		"VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, clock_timestamp()) RETURNING id",
		INT8OID, REGROLEOID, UUIDOID, TEXTOID, INT4OID, BYTEAOID, FLOAT8OID, INT8OID, INT8OID, INT8OID, FLOAT8OID);
	char		nulls[] = "           ";
	Datum		values[] = {
		Int64GetDatum(dataset->id), ObjectIdGetDatum(dataset->owner), request != NULL ? UUIDPGetDatum(request) : (Datum) 0,
		pyn_text_or_null(judge->name, &nulls[3]), Int32GetDatum(judge->version), PointerGetDatum(judge->digest),
		Float8GetDatum(judged->contamination), Int64GetDatum(judged->scored.rows), Int64GetDatum(judged->scored.flagged),
		Int64GetDatum(tuplestore_tuple_count(judged->store)), Float8GetDatum(seconds)
	};

	nulls[2] = request == NULL ? 'n' : ' ';
	pyn_execute(&insert, values, nulls, 0);
	return DatumGetInt64(pyn_field(0, 1, NULL));
}

/* Stores the flagged rows, all by one statement. */
static void
insert_anomalies(const PynDataset *dataset, int64 detection, const Judged *judged)
{
	static PynStatement insert = PYN_STATEMENT(
		"INSERT INTO pynomaly_data_science.anomaly (detection, owner, key, score, p_value, severity, reasons, evidence, detected_at) "
		"SELECT $1, $2, key, score, p_value, severity, reasons, evidence, now() FROM pynomaly_flagged",
		INT8OID, REGROLEOID);
	EphemeralNamedRelationData flagged = {
		.md.name = "pynomaly_flagged",.md.tupdesc = judged->type,.md.enrtype = ENR_NAMED_TUPLESTORE,
		.md.enrtuples = tuplestore_tuple_count(judged->store),.reldata = judged->store
	};
	Datum		values[] = {Int64GetDatum(detection), ObjectIdGetDatum(dataset->owner)};

	if (SPI_register_relation(&flagged) != SPI_OK_REL_REGISTER)
		elog(ERROR, "cannot register the flagged rows");
	pyn_execute(&insert, values, NULL, 0);
	SPI_unregister_relation("pynomaly_flagged");
}

/*
 * pyn_detection_run judges the dataset's rows, read as the current user, by a model of the dataset's owner, and stores the
 * flagged ones.  A contamination of 0 is the model's.
 */
void
pyn_detection_run(const PynDataset *dataset, const PynJudge *judge, double contamination, const char *algorithm, Jsonb *options,
				  pg_uuid_t *request, PynDetection *detection)
{
	Judged		judged;
	instr_time	begin;
	instr_time	duration;
	PynAccess	access;

	INSTR_TIME_SET_CURRENT(begin);
	judge_rows(dataset, judge, contamination, algorithm, options, &judged);
	INSTR_TIME_SET_CURRENT(duration);
	INSTR_TIME_SUBTRACT(duration, begin);
	detection->seconds = INSTR_TIME_GET_DOUBLE(duration);
	detection->rows = judged.scored.rows;
	detection->anomalies = judged.scored.flagged;

	pyn_access_begin(&access, pyn_owner());
	SPI_connect();
	detection->id = insert_detection(dataset, judge, request, &judged, detection->seconds);
	insert_anomalies(dataset, detection->id, &judged);
	SPI_finish();
	pyn_access_end(&access);
	tuplestore_end(judged.store);
	pyn_anomalies_tell(detection->id, dataset->id, dataset->owner);
}

/*
 * pyn_detection_discard removes what a request has detected.
 */
void
pyn_detection_discard(pg_uuid_t *request, Oid owner)
{
	static PynStatement delete_detections = PYN_STATEMENT(
		"DELETE FROM pynomaly_data_science.detection WHERE request = $1 AND owner = $2",
		UUIDOID, REGROLEOID);
	Datum		values[] = {UUIDPGetDatum(request), ObjectIdGetDatum(owner)};
	PynAccess	access;

	pyn_access_begin(&access, pyn_owner());
	SPI_connect();
	pyn_execute(&delete_detections, values, NULL, 0);
	SPI_finish();
	pyn_access_end(&access);
}
