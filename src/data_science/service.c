/*
 * service.c
 *		The application layer of data_science: its operations, and its steps of the journey.
 *
 * An operation acts for the current user.  A step acts for the role on whose behalf the event was published, and becomes
 * that role where users' relations are read.
 */
#include "kernel/port.h"

#include <limits.h>

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"

#include "data_science/data_science.h"
#include "detectors/model_type.h"
#include "kernel/access.h"
#include "kernel/saga.h"
#include "kernel/service.h"

int			pyn_data_science_retention = 90 * 86400;
int			pyn_data_science_max_anomalies = 10000;
int			pyn_data_science_kept_sketches = 10;

PG_FUNCTION_INFO_V1(pyn_data_science_register_dataset);
PG_FUNCTION_INFO_V1(pyn_data_science_process_dataset);
PG_FUNCTION_INFO_V1(pyn_data_science_get_sketch);
PG_FUNCTION_INFO_V1(pyn_data_science_detect);
PG_FUNCTION_INFO_V1(pyn_data_science_report);
PG_FUNCTION_INFO_V1(pyn_data_science_discard_dataset_version);
PG_FUNCTION_INFO_V1(pyn_data_science_discard_detection);
PG_FUNCTION_INFO_V1(pyn_data_science_on_detection_requested);
PG_FUNCTION_INFO_V1(pyn_data_science_on_model_ready);

/*
 * pyn_data_science_init defines the domain's settings.
 */
void
pyn_data_science_init(void)
{
	DefineCustomIntVariable("pynomaly.data_science_retention",
							"Sets how long anomalies are kept.",
							NULL,
							&pyn_data_science_retention, pyn_data_science_retention, 1, INT_MAX, PGC_SIGHUP,
							GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("pynomaly.data_science_max_anomalies",
							"Sets how many anomalies of one detection are stored, the worst ones.",
							NULL,
							&pyn_data_science_max_anomalies, pyn_data_science_max_anomalies, 1, INT_MAX, PGC_USERSET,
							0, NULL, NULL, NULL);
	DefineCustomIntVariable("pynomaly.data_science_kept_sketches",
							"Sets of how many versions of a dataset the sketches are kept, the newest ones.",
							NULL,
							&pyn_data_science_kept_sketches, pyn_data_science_kept_sketches, 1, 1000000, PGC_SIGHUP,
							0, NULL, NULL, NULL);
}

/* ---------------------------------------------------------------- operations */

static void
read_dataset(Jsonb *arguments, PynDataset *dataset)
{
	memset(dataset, 0, sizeof(*dataset));
	dataset->relation = pyn_dataset_relation(arguments);
	dataset->columns = pyn_json_get_names(arguments, "columns");
	dataset->key = pyn_json_get_names(arguments, "key");
	pyn_dataset_register(dataset);
}

static Jsonb *
no_result(void)
{
	JsonbValue	nothing = {.type = jbvNull};

	return JsonbValueToJsonb(&nothing);
}

static pg_uuid_t *
request_argument(Jsonb *arguments)
{
	char	   *request = pyn_json_get_text(arguments, "request");

	return DatumGetUUIDP(DirectFunctionCall1(uuid_in, CStringGetDatum(request)));
}

/*
 * register_dataset({source | relation, columns, key, algorithm, contamination, options}) → {dataset, source}
 */
Datum
pyn_data_science_register_dataset(PG_FUNCTION_ARGS)
{
	Jsonb	   *arguments = PG_GETARG_JSONB_P(0);
	char	   *algorithm = pyn_json_get_text(arguments, "algorithm");
	double		contamination = pyn_json_get_number(arguments, "contamination", -1);
	PynCallOptions options;
	PynDataset	dataset;
	PynJson		json = {0};

	pyn_call_options(algorithm != NULL ? algorithm : "auto", pyn_json_get(arguments, "options"), true, &options);
	if (pyn_json_get(arguments, "contamination") != NULL)
		pyn_set_contamination(&options, contamination);
	read_dataset(arguments, &dataset);
	pyn_json_open_object(&json, NULL);
	pyn_json_integer(&json, "dataset", dataset.id);
	pyn_json_text(&json, "source", dataset.source);
	pyn_json_close_object(&json);
	PG_RETURN_JSONB_P(pyn_json_finish(&json));
}

static Jsonb *
describe_version(const PynDataset *dataset, const PynDatasetVersion *version)
{
	PynJson		json = {0};

	pyn_json_open_object(&json, NULL);
	pyn_json_integer(&json, "dataset", dataset->id);
	pyn_json_integer(&json, "version", version->version);
	pyn_json_text(&json, "source", dataset->source);
	if (version->sketch != NULL)
		pyn_json_digest(&json, "sketch", version->sketch);
	else
		pyn_json_null(&json, "sketch");
	if (version->labels != NULL)
		pyn_json_digest(&json, "labels", version->labels);
	pyn_json_integer(&json, "rows", version->rows);
	pyn_json_jsonb(&json, "columns", version->columns);
	pyn_json_number(&json, "seconds", version->seconds);
	pyn_json_close_object(&json);
	return pyn_json_finish(&json);
}

/*
 * process_dataset({source | relation, columns, key, algorithm, options, labels}) →
 * {dataset, version, source, sketch, labels, rows, columns, seconds}
 */
Datum
pyn_data_science_process_dataset(PG_FUNCTION_ARGS)
{
	Jsonb	   *arguments = PG_GETARG_JSONB_P(0);
	PynDataset	dataset;
	PynDatasetVersion version;

	read_dataset(arguments, &dataset);
	pyn_dataset_process(&dataset, pyn_json_get_text(arguments, "algorithm"), pyn_json_get(arguments, "options"), NULL,
						pyn_json_get_boolean(arguments, "labels", false), &version);
	PG_RETURN_JSONB_P(describe_version(&dataset, &version));
}

/*
 * get_sketch({dataset, version}) → the same
 */
Datum
pyn_data_science_get_sketch(PG_FUNCTION_ARGS)
{
	Jsonb	   *arguments = PG_GETARG_JSONB_P(0);
	PynDataset	dataset;
	PynDatasetVersion version;

	pyn_dataset_read(pyn_json_get_integer(arguments, "dataset", 0), GetUserId(), &dataset);
	pyn_dataset_find_version(&dataset, (int) pyn_json_get_integer(arguments, "version", 0), &version);
	PG_RETURN_JSONB_P(describe_version(&dataset, &version));
}

/* The model that a name stands for, by the registry of models. */
static void
find_judge(const char *model, PynJudge *judge)
{
	PynCall		call = {.caller = "data_science",.domain = "mlops",.operation = "get_model"};
	PynJson		json = {0};
	Jsonb	   *found;

	pyn_json_open_object(&json, NULL);
	pyn_json_text(&json, "name", model);
	pyn_json_close_object(&json);
	call.arguments = pyn_json_finish(&json);
	found = pyn_call(&call);
	judge->digest = pyn_json_get_digest(found, "digest");
	judge->name = pyn_json_get_text(found, "model");
	judge->version = (int) pyn_json_get_integer(found, "version", 0);
}

static void
put_detection(PynJson *json, const PynDetection *detection)
{
	pyn_json_integer(json, "detection", detection->id);
	pyn_json_integer(json, "rows", detection->rows);
	pyn_json_integer(json, "anomalies", detection->anomalies);
	pyn_json_number(json, "seconds", detection->seconds);
}

/*
 * detect({source | relation, key, model, contamination, options}) → {detection, rows, anomalies, seconds}
 */
Datum
pyn_data_science_detect(PG_FUNCTION_ARGS)
{
	Jsonb	   *arguments = PG_GETARG_JSONB_P(0);
	double		contamination = pyn_json_get_number(arguments, "contamination", 0);
	PynDataset	dataset;
	PynJudge	judge;
	PynDetection detection;
	PynJson		json = {0};

	if (pyn_json_get(arguments, "contamination") != NULL)
		(void) pyn_check_contamination(contamination);
	read_dataset(arguments, &dataset);
	find_judge(pyn_json_get_text(arguments, "model"), &judge);
	pyn_detection_run(&dataset, &judge, contamination, NULL, pyn_json_get(arguments, "options"), NULL, &detection);
	pyn_json_open_object(&json, NULL);
	put_detection(&json, &detection);
	pyn_json_close_object(&json);
	PG_RETURN_JSONB_P(pyn_json_finish(&json));
}

/*
 * report({request}) → {dataset, version, rows, columns, sketch, detection}
 */
Datum
pyn_data_science_report(PG_FUNCTION_ARGS)
{
	Jsonb	   *summary = pyn_anomaly_summary(request_argument(PG_GETARG_JSONB_P(0)), GetUserId());
	PynJson		json = {0};

	if (summary != NULL)
		PG_RETURN_JSONB_P(summary);
	pyn_json_open_object(&json, NULL);
	pyn_json_close_object(&json);
	PG_RETURN_JSONB_P(pyn_json_finish(&json));
}

/*
 * discard_dataset_version({request}) → null
 */
Datum
pyn_data_science_discard_dataset_version(PG_FUNCTION_ARGS)
{
	pyn_dataset_discard(request_argument(PG_GETARG_JSONB_P(0)), GetUserId());
	PG_RETURN_JSONB_P(no_result());
}

/*
 * discard_detection({request}) → null
 */
Datum
pyn_data_science_discard_detection(PG_FUNCTION_ARGS)
{
	pyn_detection_discard(request_argument(PG_GETARG_JSONB_P(0)), GetUserId());
	PG_RETURN_JSONB_P(no_result());
}

/* ---------------------------------------------------------------- steps */

/* Becomes the role that the step works for, with the time zone of its request. */
static void
become_requester(PynAccess *access, const PynEventFields *event, Jsonb *journey)
{
	char	   *time_zone = pyn_json_get_text(journey, "time_zone");

	pyn_access_begin(access, event->publisher);
	if (time_zone != NULL)
		(void) set_config_option("TimeZone", time_zone, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

/* Step process: one scan, whose sketch the steps after it work from. */
static void
process(const PynEventFields *event)
{
	Jsonb	   *journey = pyn_json_get(event->data, "journey");
	pg_uuid_t  *request = request_argument(event->data);
	PynDataset	dataset;
	PynDatasetVersion version;
	PynJson		json = {0};
	PynAccess	access;

	pyn_dataset_read(pyn_json_get_integer(journey, "dataset", 0), event->publisher, &dataset);
	become_requester(&access, event, journey);
	pyn_dataset_process(&dataset, pyn_json_get_text(journey, "algorithm"), pyn_json_get(journey, "options"), request, true,
						&version);
	pyn_access_end(&access);

	pyn_json_open_object(&json, NULL);
	pyn_json_text(&json, "request", event->subject);
	pyn_json_integer(&json, "dataset", dataset.id);
	pyn_json_integer(&json, "version", version.version);
	pyn_json_digest(&json, "sketch", version.sketch);
	pyn_json_integer(&json, "rows", version.rows);
	pyn_json_number(&json, "seconds", version.seconds);
	pyn_json_open_object(&json, "journey");
	pyn_json_members(&json, journey);
	pyn_json_integer(&json, "version", version.version);
	pyn_json_digest(&json, "sketch", version.sketch);
	if (version.labels != NULL)
		pyn_json_digest(&json, "labels", version.labels);
	pyn_json_integer(&json, "rows", version.rows);
	pyn_json_close_object(&json);
	pyn_json_close_object(&json);
	pyn_saga_publish(event, "data_science.dataset_processed.v1", pyn_json_finish(&json));
}

/* Step detect: the second scan, judged by the model. */
static void
detect(const PynEventFields *event)
{
	Jsonb	   *journey = pyn_json_get(event->data, "journey");
	pg_uuid_t  *request = request_argument(event->data);
	PynJudge	judge = {
		.name = pyn_json_get_text(event->data, "model"),
		.version = (int) pyn_json_get_integer(event->data, "version", 0),
		.digest = pyn_json_get_digest(event->data, "digest")
	};
	PynDataset	dataset;
	PynDetection detection;
	PynJson		json = {0};
	PynAccess	access;

	pyn_dataset_read(pyn_json_get_integer(journey, "dataset", 0), event->publisher, &dataset);
	become_requester(&access, event, journey);
	pyn_detection_run(&dataset, &judge, pyn_json_get_number(journey, "contamination", 0),
					  pyn_json_get_text(journey, "algorithm"), pyn_json_get(journey, "options"), request, &detection);
	pyn_access_end(&access);

	pyn_json_open_object(&json, NULL);
	pyn_json_text(&json, "request", event->subject);
	put_detection(&json, &detection);
	pyn_json_jsonb(&json, "journey", journey);
	pyn_json_close_object(&json);
	pyn_saga_publish(event, "data_science.detection_completed.v1", pyn_json_finish(&json));
}

/*
 * on_detection_requested(event) → void
 */
Datum
pyn_data_science_on_detection_requested(PG_FUNCTION_ARGS)
{
	static const PynStep step = {"process", "data_science.detection_failed.v1", process};

	pyn_saga_step(&step, PG_GETARG_DATUM(0));
	PG_RETURN_VOID();
}

/*
 * on_model_ready(event) → void
 */
Datum
pyn_data_science_on_model_ready(PG_FUNCTION_ARGS)
{
	static const PynStep step = {"detect", "data_science.detection_failed.v1", detect};

	pyn_saga_step(&step, PG_GETARG_DATUM(0));
	PG_RETURN_VOID();
}
