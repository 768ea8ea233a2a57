/*
 * service.c
 *		What others may ask of this domain, and its step of the journey: see contract.sql.
 *
 * An operation acts for the current user, the step for the publisher of the event; both hand that role down.  User
 * relations are never read here: the scan, if one is needed, is the data_science domain's, reached by the one door.
 */
#include "mlops/mlops.h"

#include <math.h>

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "kernel/audit.h"
#include "kernel/event_log.h"
#include "kernel/json_reader.h"
#include "kernel/saga.h"
#include "kernel/service.h"

#define DOMAIN "mlops"

PG_FUNCTION_INFO_V1(pyn_mlops_train);
PG_FUNCTION_INFO_V1(pyn_mlops_get_model);
PG_FUNCTION_INFO_V1(pyn_mlops_promote);
PG_FUNCTION_INFO_V1(pyn_mlops_rollback);
PG_FUNCTION_INFO_V1(pyn_mlops_drop_model);
PG_FUNCTION_INFO_V1(pyn_mlops_withdraw);
PG_FUNCTION_INFO_V1(pyn_mlops_learn_verdict);
PG_FUNCTION_INFO_V1(pyn_mlops_report);
PG_FUNCTION_INFO_V1(pyn_mlops_on_profile_generated);

static double
seconds_since(TimestampTz begin)
{
	return Max((GetCurrentTimestamp() - begin) / 1e6, 0.0);
}

static char *
role_name(Oid role)
{
	char	   *name = GetUserNameFromId(role, true);

	return name != NULL ? name : psprintf("%u", role);
}

static char *
address_of(const PynModelVersion *version)
{
	return psprintf("%s/%d", version->model.name, version->version);
}

/* What every answer says of a version. */
static void
put_version(PynJson *json, const PynModelVersion *version)
{
	pyn_json_text(json, "model", version->model.name);
	pyn_json_integer(json, "version", version->version);
	pyn_json_text(json, "address", address_of(version));
	pyn_json_digest(json, "digest", version->digest);
	pyn_json_text(json, "algorithm", version->algorithm);
	pyn_json_text(json, "owner", role_name(version->model.owner));
}

/* What model_ready says in and out of a journey. */
static void
put_ready(PynJson *json, const PynModelVersion *version, bool reused, double seconds)
{
	pyn_json_text(json, "model", version->model.name);
	pyn_json_integer(json, "version", version->version);
	pyn_json_digest(json, "digest", version->digest);
	pyn_json_boolean(json, "reused", reused);
	pyn_json_number(json, "seconds", seconds);
}

static void
publish(const char *type, const char *model, Jsonb *data, Oid publisher)
{
	PynPublication publication = {.type = type,.subject = model,.data = data,.publisher = publisher};

	(void) pyn_publish(&publication);
}

/* Fits what was ordered and makes it a version, which becomes champion at least where the model has none. */
static void
train(const PynTrainingOrder *order, Oid role, bool always_champion, const char *reason, TimestampTz begin,
	  PynModelVersion *version)
{
	PynAliasChange change = {.name = PYN_CHAMPION,.changed_by = role,.reason = reason,.request = order->request};
	PynTrained	trained;
	PynAccess	access;

	pyn_mlops_fit(order, &trained);
	pyn_mlops_begin(&access);
	pyn_mlops_add_version(order, &trained, role, seconds_since(begin), version);
	if (always_champion || !pyn_mlops_alias_is_given(&version->model, PYN_CHAMPION))
		(void) pyn_mlops_give_alias(&change, version);
	pyn_mlops_tell_change();
	pyn_mlops_end(&access);
}

/* Has the relation scanned, and reads into the order what came of it. */
static void
scan(Jsonb *arguments, PynTrainingOrder *order)
{
	static const char *const of_scan[] = {"seed", "sample_text", "label_column"};
	PynCall		call = {.caller = DOMAIN,.domain = "data_science",.operation = "process_dataset"};
	Jsonb	   *relation = pyn_json_get(arguments, "relation");
	PynJson		json = {0};
	Jsonb	   *result;

	if (relation == NULL && order->source == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("there is nothing to train model \"%s\" from", order->name),
				 errhint("Give a relation, or the digest of a stored sketch.")));
	pyn_json_open_object(&json, NULL);
	if (relation != NULL)
		pyn_json_jsonb(&json, "relation", relation);
	else
		pyn_json_text(&json, "source", order->source);
	pyn_json_jsonb(&json, "columns", pyn_json_get(arguments, "columns"));
	pyn_json_jsonb(&json, "key", pyn_json_get(arguments, "key"));
	pyn_json_open_object(&json, "options");
	for (int i = 0; i < lengthof(of_scan); i++)
		pyn_json_jsonb(&json, of_scan[i], pyn_json_get(order->options, of_scan[i]));
	pyn_json_close_object(&json);
	if (pyn_mlops_learns_labels(order))
		pyn_json_boolean(&json, "labels", true);
	pyn_json_close_object(&json);
	call.arguments = pyn_json_finish(&json);
	result = pyn_call(&call);
	order->source = pyn_json_get_text(result, "source");
	order->dataset = pyn_json_get_integer(result, "dataset", -1);
	order->sketch = pyn_json_get_digest(result, "sketch");
	order->labels = pyn_json_get_digest(result, "labels");
	if (order->sketch == NULL)
		elog(ERROR, "the relation was processed without a sketch");
}

/*
 * train {name, description, relation or source or sketch, labels, dataset, columns, key, algorithm, contamination, options} →
 * {model, version, address, digest, algorithm, owner, seconds}
 */
Datum
pyn_mlops_train(PG_FUNCTION_ARGS)
{
	TimestampTz begin = GetCurrentTimestamp();
	Jsonb	   *arguments = PG_GETARG_JSONB_P(0);
	PynTrainingOrder order = {.owner = GetUserId()};
	PynModelVersion version;
	PynJson		json = {0};
	PynJson		event = {0};

	order.name = pyn_json_get_text(arguments, "name");
	order.description = pyn_json_get_text(arguments, "description");
	order.source = pyn_json_get_text(arguments, "source");
	order.dataset = pyn_json_get_integer(arguments, "dataset", -1);
	order.sketch = pyn_json_get_digest(arguments, "sketch");
	order.labels = pyn_json_get_digest(arguments, "labels");
	order.options = pyn_json_get(arguments, "options");
	pyn_mlops_check_model_name(order.name);
	pyn_mlops_read_options(&order, pyn_json_get_text(arguments, "algorithm"),
						   pyn_json_get_number(arguments, "contamination", NAN),
						   pyn_json_get(arguments, "columns") != NULL, false);
	if (order.sketch == NULL)
		scan(arguments, &order);
	train(&order, order.owner, false, "the model had none", begin, &version);

	pyn_json_open_object(&event, NULL);
	put_ready(&event, &version, false, seconds_since(begin));
	pyn_json_close_object(&event);
	publish("mlops.model_ready.v1", version.model.name, pyn_json_finish(&event), order.owner);

	pyn_json_open_object(&json, NULL);
	put_version(&json, &version);
	pyn_json_number(&json, "seconds", seconds_since(begin));
	pyn_json_close_object(&json);
	PG_RETURN_JSONB_P(pyn_json_finish(&json));
}

/*
 * get_model {name} → {model, version, address, digest, algorithm, owner}; changes nothing.
 */
Datum
pyn_mlops_get_model(PG_FUNCTION_ARGS)
{
	Oid			role = GetUserId();
	PynModelAddress address;
	PynRegisteredModel model;
	PynModelVersion version;
	PynAccess	access;
	PynJson		json = {0};

	pyn_mlops_read_address(pyn_json_get_text(PG_GETARG_JSONB_P(0), "name"), &address);
	pyn_mlops_begin(&access);
	pyn_mlops_need_model(address.name, role, &model);
	pyn_mlops_need_version(&model, &address, &version);
	pyn_mlops_end(&access);

	pyn_json_open_object(&json, NULL);
	put_version(&json, &version);
	pyn_json_close_object(&json);
	PG_RETURN_JSONB_P(pyn_json_finish(&json));
}

/* The alias that an operation is about, and who changes it why. */
static void
read_change(Jsonb *arguments, Oid role, PynAliasChange *change)
{
	memset(change, 0, sizeof(*change));
	change->name = pyn_json_get_text(arguments, "alias");
	if (change->name == NULL)
		change->name = PYN_CHAMPION;
	pyn_mlops_check_alias(change->name);
	change->changed_by = role;
	change->reason = pyn_json_get_text(arguments, "reason");
}

/* Answers, and where something has changed tells the world. */
static Jsonb *
tell_promotion(const PynAliasChange *change, const PynModelVersion *version, int32 previous)
{
	PynJson		json = {0};
	Jsonb	   *data;

	pyn_json_open_object(&json, NULL);
	pyn_json_text(&json, "model", version->model.name);
	pyn_json_text(&json, "alias", change->name);
	pyn_json_integer(&json, "version", version->version);
	if (previous != 0)
		pyn_json_integer(&json, "previous", previous);
	else
		pyn_json_null(&json, "previous");
	pyn_json_close_object(&json);
	data = pyn_json_finish(&json);
	if (previous != version->version)
		publish("mlops.model_promoted.v1", version->model.name, data, version->model.owner);
	return data;
}

/*
 * promote {model (an address), alias, reason} → {model, alias, version, previous}
 */
Datum
pyn_mlops_promote(PG_FUNCTION_ARGS)
{
	Oid			role = GetUserId();
	Jsonb	   *arguments = PG_GETARG_JSONB_P(0);
	PynModelAddress address;
	PynRegisteredModel model;
	PynModelVersion version;
	PynAliasChange change;
	PynAccess	access;
	int32		previous;

	pyn_mlops_read_address(pyn_json_get_text(arguments, "model"), &address);
	read_change(arguments, role, &change);
	pyn_mlops_begin(&access);
	pyn_mlops_need_model(address.name, role, &model);
	pyn_mlops_lock_model(&model);
	pyn_mlops_need_version(&model, &address, &version);
	previous = pyn_mlops_give_alias(&change, &version);
	pyn_mlops_end(&access);
	PG_RETURN_JSONB_P(tell_promotion(&change, &version, previous));
}

/*
 * rollback {model (a name), alias, reason} → {model, alias, version, previous}
 */
Datum
pyn_mlops_rollback(PG_FUNCTION_ARGS)
{
	Oid			role = GetUserId();
	Jsonb	   *arguments = PG_GETARG_JSONB_P(0);
	char	   *name = pyn_json_get_text(arguments, "model");
	PynRegisteredModel model;
	PynModelVersion version;
	PynAliasChange change;
	PynAccess	access;
	int32		previous;

	pyn_mlops_check_model_name(name);
	read_change(arguments, role, &change);
	pyn_mlops_begin(&access);
	pyn_mlops_need_model(name, role, &model);
	pyn_mlops_lock_model(&model);
	pyn_mlops_roll_back(&change, &model, &version, &previous);
	pyn_mlops_end(&access);
	PG_RETURN_JSONB_P(tell_promotion(&change, &version, previous));
}

/*
 * drop_model {model (a name)} → {model, versions, artifacts}
 */
Datum
pyn_mlops_drop_model(PG_FUNCTION_ARGS)
{
	char	   *name = pyn_json_get_text(PG_GETARG_JSONB_P(0), "model");
	Oid			role = GetUserId();
	PynRegisteredModel model;
	PynAccess	access;
	PynJson		json = {0};
	int			versions;
	int			artifacts;

	pyn_mlops_check_model_name(name);
	pyn_mlops_begin(&access);
	pyn_mlops_need_model(name, role, &model);
	pyn_mlops_lock_model(&model);
	pyn_mlops_drop(&model, &versions, &artifacts);
	pyn_mlops_end(&access);

	pyn_json_open_object(&json, NULL);
	pyn_json_text(&json, "model", model.name);
	pyn_json_integer(&json, "versions", versions);
	pyn_json_integer(&json, "artifacts", artifacts);
	pyn_json_close_object(&json);
	PG_RETURN_JSONB_P(pyn_json_finish(&json));
}

/* The uuid in a member "request", whose form the caller's schema has checked. */
static pg_uuid_t *
read_request(Jsonb *object)
{
	return DatumGetUUIDP(DirectFunctionCall1(uuid_in, CStringGetDatum(pyn_json_get_text(object, "request"))));
}

/*
 * withdraw {request} → {request, versions}
 */
Datum
pyn_mlops_withdraw(PG_FUNCTION_ARGS)
{
	Jsonb	   *arguments = PG_GETARG_JSONB_P(0);
	Oid			role = GetUserId();
	pg_uuid_t  *request = read_request(arguments);
	PynAccess	access;
	PynJson		json = {0};
	int			versions;

	pyn_mlops_begin(&access);
	versions = pyn_mlops_withdraw_request(request, role);
	pyn_mlops_end(&access);

	pyn_json_open_object(&json, NULL);
	pyn_json_text(&json, "request", pyn_json_get_text(arguments, "request"));
	pyn_json_integer(&json, "versions", versions);
	pyn_json_close_object(&json);
	PG_RETURN_JSONB_P(pyn_json_finish(&json));
}

/* An integer, or null where it is 0. */
static void
put_number(PynJson *json, const char *name, int32 number)
{
	if (number != 0)
		pyn_json_integer(json, name, number);
	else
		pyn_json_null(json, name);
}

/*
 * learn {model, version, digest, reference, label, evidence} → {model, version, previous, outcome, changes}
 */
Datum
pyn_mlops_learn_verdict(PG_FUNCTION_ARGS)
{
	Jsonb	   *arguments = PG_GETARG_JSONB_P(0);
	Oid			role = GetUserId();
	PynVerdictOrder order = {.model = pyn_json_get_text(arguments, "model")};
	PynModelVersion finder;
	PynLesson	lesson = {.outcome = "the version that has found it is no longer there"};
	PynAliasChange change = {.name = PYN_CHAMPION};
	PynAccess	access;
	PynJson		json = {0};

	order.version = (int32) pyn_json_get_integer(arguments, "version", 0);
	order.digest = pyn_json_get_digest(arguments, "digest");
	order.reference = pyn_json_get_integer(arguments, "reference", 0);
	order.label = pyn_json_get_text(arguments, "label");
	order.evidence = pyn_json_get(arguments, "evidence");
	pyn_mlops_begin(&access);
	if (pyn_mlops_find_finder(&order, role, &finder))
	{
		pyn_mlops_lock_model(&finder.model);
		pyn_mlops_learn(&order, &finder, role, &lesson);
	}
	pyn_mlops_end(&access);
	if (lesson.learned != NULL)
		(void) tell_promotion(&change, &lesson.version, lesson.previous);

	pyn_json_open_object(&json, NULL);
	pyn_json_text(&json, "model", order.model);
	put_number(&json, "version", lesson.version.version);
	put_number(&json, "previous", lesson.previous);
	pyn_json_text(&json, "outcome", lesson.outcome);
	pyn_json_jsonb(&json, "changes", lesson.learned);
	pyn_json_close_object(&json);
	PG_RETURN_JSONB_P(pyn_json_finish(&json));
}

/*
 * report {request} → the version that it was served with; changes nothing.
 */
Datum
pyn_mlops_report(PG_FUNCTION_ARGS)
{
	Jsonb	   *arguments = PG_GETARG_JSONB_P(0);
	Oid			role = GetUserId();
	pg_uuid_t  *request = read_request(arguments);
	PynModelVersion version;
	PynAccess	access;
	PynJson		json = {0};
	bool		reused;
	bool		found;

	pyn_mlops_begin(&access);
	found = pyn_mlops_find_request(request, role, &version, &reused);
	pyn_mlops_end(&access);
	if (!found)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("no model was trained or chosen for request %s", pyn_json_get_text(arguments, "request"))));

	pyn_json_open_object(&json, NULL);
	put_version(&json, &version);
	pyn_json_text(&json, "status", version.status);
	pyn_json_boolean(&json, "reused", reused);
	pyn_json_names(&json, "columns", version.columns);
	pyn_json_integer(&json, "rows", version.rows);
	pyn_json_integer(&json, "training_rows", version.training_rows);
	pyn_json_number(&json, "contamination", version.contamination);
	pyn_json_integer(&json, "seed", version.seed);
	pyn_json_text(&json, "code_version", version.code_version);
	pyn_json_jsonb(&json, "labels", version.labels);
	pyn_json_close_object(&json);
	PG_RETURN_JSONB_P(pyn_json_finish(&json));
}

/*
 * Chooses the version that a journey asks for by an address; false if it gave a bare name for a model to be made, or
 * without a champion.
 */
static bool
choose(const char *text, Oid role, PynModelVersion *version)
{
	PynModelAddress address;
	PynRegisteredModel model;
	PynAccess	access;
	bool		found;

	pyn_mlops_read_address(text, &address);
	pyn_mlops_begin(&access);
	found = pyn_mlops_find_model(address.name, role, &model);
	if (!found && !address.bare)
		pyn_mlops_need_model(address.name, role, &model);
	found = found && pyn_mlops_find_version(&model, &address, version);
	if (found)
	{
		pyn_mlops_require_ready(version);
		pyn_mlops_hold_bytes(version);
	}
	pyn_mlops_end(&access);
	return found;
}

/* Trains the journey's model, for its request's owner.  A model that nobody named does not grow for ever. */
static void
train_for_journey(const PynEventFields *event, Jsonb *journey, const char *name, pg_uuid_t *request, TimestampTz begin,
				  PynModelVersion *version)
{
	PynTrainingOrder order = {.owner = event->publisher,.request = request};
	PynAccess	access;

	order.source = pyn_json_get_text(journey, "source");
	order.dataset = pyn_json_get_integer(journey, "dataset", -1);
	order.sketch = pyn_json_get_digest(journey, "sketch");
	order.labels = pyn_json_get_digest(journey, "labels");
	order.options = pyn_json_get(journey, "options");
	order.name = name != NULL ? name : order.source;
	if (order.name == NULL || order.sketch == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the journey has no %s", order.name == NULL ? "source" : "sketch")));
	pyn_mlops_check_model_name(order.name);
	pyn_mlops_read_options(&order, pyn_json_get_text(journey, "algorithm"),
						   pyn_json_get_number(journey, "contamination", NAN),
						   pyn_json_get(journey, "columns") != NULL, true);
	train(&order, event->publisher, true, "journey", begin, version);
	if (name == NULL)
	{
		pyn_mlops_begin(&access);
		pyn_mlops_expire(&version->model);
		pyn_mlops_end(&access);
	}
	/* The door has not seen this change; the trail names whose it is. */
	pyn_access_begin(&access, event->publisher);
	pyn_audit("mlops.train", address_of(version), NULL);
	pyn_access_end(&access);
}

/* The step "train". */
static void
run_step(const PynEventFields *event)
{
	TimestampTz begin = GetCurrentTimestamp();
	Jsonb	   *journey = pyn_json_get(event->data, "journey");
	char	   *wanted = journey != NULL ? pyn_json_get_text(journey, "model") : NULL;
	pg_uuid_t  *request = read_request(event->data);
	PynModelVersion version;
	PynAccess	access;
	PynJson		json = {0};
	bool		reused = false;
	bool		done;

	if (journey == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the event has no journey")));

	/* A second delivery of the event finds what the first one did. */
	pyn_mlops_begin(&access);
	done = pyn_mlops_find_request(request, event->publisher, &version, &reused) && strcmp(version.status, "ready") == 0;
	pyn_mlops_end(&access);
	if (!done)
	{
		reused = wanted != NULL && choose(wanted, event->publisher, &version);
		if (!reused)
			train_for_journey(event, journey, wanted, request, begin, &version);
		pyn_mlops_begin(&access);
		pyn_mlops_keep_request(request, event->publisher, &version, reused);
		pyn_mlops_end(&access);
	}

	pyn_json_open_object(&json, NULL);
	pyn_json_text(&json, "request", pyn_json_get_text(event->data, "request"));
	pyn_json_open_object(&json, "journey");
	pyn_json_members(&json, journey);
	pyn_json_digest(&json, "model_digest", version.digest);
	pyn_json_text(&json, "model_name", version.model.name);
	pyn_json_integer(&json, "model_version", version.version);
	pyn_json_close_object(&json);
	put_ready(&json, &version, reused, seconds_since(begin));
	pyn_json_close_object(&json);
	pyn_saga_publish(event, "mlops.model_ready.v1", pyn_json_finish(&json));
}

/*
 * on_profile_generated(event): the step "train" of the saga "detection".
 */
Datum
pyn_mlops_on_profile_generated(PG_FUNCTION_ARGS)
{
	static const PynStep step = {"train", "mlops.training_failed.v1", run_step};

	pyn_saga_step(&step, PG_GETARG_DATUM(0));
	PG_RETURN_VOID();
}
