/*
 * feedback.c
 *		What people say of anomalies: a label that is kept with who and when, and that the model learns from at once; models
 *		that are fitted later find it by labels.c.
 *
 * The registry of models is asked through the door, in this transaction: so a label and its effect come and go together,
 * and where there is no registry there is no label either.
 */
#include "kernel/port.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "data_science/data_science.h"
#include "kernel/access.h"
#include "kernel/service.h"
#include "kernel/statement.h"

PG_FUNCTION_INFO_V1(pyn_data_science_feedback);

/* An anomaly before the label, and what has found it. */
typedef struct Labelled
{
	int64		anomaly;
	char	   *status;
	char	   *label;			/* NULL: none */
	Jsonb	   *evidence;		/* NULL: not kept */
	char	   *model;			/* NULL: not known */
	int			version;
	bytea	   *digest;
} Labelled;

static void
check_label(const char *label)
{
	if (label != NULL && strcmp(label, "anomaly") != 0 && strcmp(label, "false_alarm") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" is no label of an anomaly", label),
				 errhint("It is anomaly or false_alarm; NULL takes the label away.")));
}

/* Finds the anomaly for its owner's roles and locks it. */
static void
read_anomaly(int64 anomaly, Labelled *labelled)
{
	static PynStatement select_anomaly = PYN_STATEMENT(
		"SELECT a.status, a.label, a.evidence, d.model_name, d.model_version, d.model_digest "
		"FROM pynomaly_data_science.anomaly a JOIN pynomaly_data_science.detection d ON d.id = a.detection "
		"WHERE a.id = $1 AND pg_has_role($2, a.owner, 'USAGE') FOR NO KEY UPDATE OF a",
		INT8OID, OIDOID);
	Datum		values[] = {Int64GetDatum(anomaly), ObjectIdGetDatum(GetUserId())};
	MemoryContext caller = CurrentMemoryContext;
	PynAccess	access;
	bool		is_null;
	Datum		field;

	memset(labelled, 0, sizeof(*labelled));
	labelled->anomaly = anomaly;
	pyn_access_begin(&access, pyn_owner());
	SPI_connect();
	if (pyn_execute(&select_anomaly, values, NULL, 0) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("anomaly " INT64_FORMAT " does not exist", anomaly)));
	MemoryContextSwitchTo(caller);
	labelled->status = pyn_text_field(0, 1);
	labelled->label = pyn_text_field(0, 2);
	field = pyn_field(0, 3, &is_null);
	labelled->evidence = is_null ? NULL : DatumGetJsonbPCopy(field);
	labelled->model = pyn_text_field(0, 4);
	field = pyn_field(0, 5, &is_null);
	labelled->version = is_null ? 0 : DatumGetInt32(field);
	labelled->digest = DatumGetByteaPCopy(pyn_field(0, 6, NULL));
	SPI_finish();
	pyn_access_end(&access);
}

/* The status that goes with a label: what people have done about it beyond that stays. */
static const char *
status_for(const Labelled *labelled, const char *label)
{
	if (label != NULL && strcmp(label, "false_alarm") == 0)
		return "false_alarm";
	if (label != NULL && (strcmp(labelled->status, "open") == 0 || strcmp(labelled->status, "false_alarm") == 0))
		return "acknowledged";
	if (label == NULL && strcmp(labelled->status, "false_alarm") == 0)
		return "open";
	return labelled->status;
}

static void
keep_label(const Labelled *labelled, const char *label, const char *status, const char *note)
{
	static PynStatement update_anomaly = PYN_STATEMENT(
		"WITH changed AS (UPDATE pynomaly_data_science.anomaly SET status = $2, label = $3 WHERE id = $1 RETURNING id, owner) "
		"INSERT INTO pynomaly_data_science.anomaly_history (anomaly, changed_at, owner, changed_by, status_before, status, note, "
		"label_before, label) SELECT id, clock_timestamp(), owner, $4, $5, $2, $6, $7, $3 FROM changed",
		INT8OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID);
	char		nulls[] = "       ";
	Datum		values[] = {
		Int64GetDatum(labelled->anomaly), CStringGetTextDatum(status), pyn_text_or_null(label, &nulls[2]),
		CStringGetTextDatum(GetUserNameFromId(GetUserId(), false)), CStringGetTextDatum(labelled->status),
		pyn_text_or_null(note, &nulls[5]), pyn_text_or_null(labelled->label, &nulls[6])
	};
	PynAccess	access;

	pyn_access_begin(&access, pyn_owner());
	SPI_connect();
	pyn_execute(&update_anomaly, values, nulls, 0);
	SPI_finish();
	pyn_access_end(&access);
}

/* The registry of models learns from scores; values stay with the anomaly, for models to come. */
static Jsonb *
without_values(Jsonb *evidence)
{
	return DatumGetJsonbP(DirectFunctionCall2(jsonb_delete, JsonbPGetDatum(evidence), CStringGetTextDatum("row")));
}

/* Has the model that found the anomaly learn from the label, and gives what came of it. */
static Jsonb *
teach(const Labelled *labelled, const char *label)
{
	PynCall		call = {.caller = "data_science",.domain = "mlops",.operation = "learn"};
	PynJson		json = {0};

	pyn_json_open_object(&json, NULL);
	pyn_json_text(&json, "model", labelled->model);
	pyn_json_integer(&json, "version", labelled->version);
	pyn_json_digest(&json, "digest", labelled->digest);
	pyn_json_integer(&json, "reference", labelled->anomaly);
	if (label != NULL)
		pyn_json_text(&json, "label", label);
	pyn_json_jsonb(&json, "evidence", without_values(labelled->evidence));
	pyn_json_close_object(&json);
	call.arguments = pyn_json_finish(&json);
	return pyn_call(&call);
}

/*
 * pynomaly_data_science.feedback({anomaly, label, note}) → {anomaly, label, status, learned}
 */
Datum
pyn_data_science_feedback(PG_FUNCTION_ARGS)
{
	Jsonb	   *arguments = PG_GETARG_JSONB_P(0);
	char	   *label = pyn_json_get_text(arguments, "label");
	const char *status;
	Labelled	labelled;
	PynJson		json = {0};

	check_label(label);
	read_anomaly(pyn_json_get_integer(arguments, "anomaly", 0), &labelled);
	status = status_for(&labelled, label);
	keep_label(&labelled, label, status, pyn_json_get_text(arguments, "note"));

	pyn_json_open_object(&json, NULL);
	pyn_json_integer(&json, "anomaly", labelled.anomaly);
	if (label != NULL)
		pyn_json_text(&json, "label", label);
	else
		pyn_json_null(&json, "label");
	pyn_json_text(&json, "status", status);
	if (labelled.evidence != NULL && labelled.model != NULL && labelled.version > 0)
		pyn_json_jsonb(&json, "learned", teach(&labelled, label));
	else
		pyn_json_null(&json, "learned");
	pyn_json_close_object(&json);
	PG_RETURN_JSONB_P(pyn_json_finish(&json));
}
