/*
 * learning.c
 *		Versions that have learnt from people's verdicts on what a model has found.
 *
 * A version that was fitted, the parent, may have children: the same model with the weights and the threshold that the
 * verdicts on rows found by any of the family suggest (detectors/feedback.c).  Each child is made of its parent and all
 * verdicts that are valid, never of another child.  So the order of verdicts does not matter, one that is taken back
 * leaves no trace, and verdicts that were there before give the version that was there before.
 *
 * The model is locked before verdicts are read: of two that come at once the second one waits, and then hears the first.
 * Of a row only its scores are known here, under the number that the asking domain gave it.
 */
#include "mlops/mlops.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "detectors/feedback.h"
#include "detectors/model_type.h"
#include "kernel/artifact.h"
#include "kernel/json_reader.h"
#include "kernel/statement.h"
#include "sketch/sketch_store.h"

/*
 * pyn_mlops_find_finder finds the version by which something was found; false if it is gone, or if the role has no part in it.
 */
bool
pyn_mlops_find_finder(const PynVerdictOrder *order, Oid role, PynModelVersion *finder)
{
	static PynStatement select_version = PYN_STATEMENT(
		"SELECT v.id, v.version, m.id, m.owner, m.name FROM pynomaly_mlops.model m JOIN pynomaly_mlops.model_version v "
		"ON v.model = m.id WHERE m.name = $1 AND v.version = $2 AND v.digest = $3 AND pg_has_role($4, m.owner, 'USAGE') "
		"ORDER BY m.owner <> $4, m.id LIMIT 1",
		TEXTOID, INT4OID, BYTEAOID, OIDOID);
	Datum		values[] = {CStringGetTextDatum(order->model), Int32GetDatum(order->version), PointerGetDatum(order->digest),
	ObjectIdGetDatum(role)};

	memset(finder, 0, sizeof(*finder));
	if (pyn_execute(&select_version, values, NULL, 1) == 0)
		return false;
	finder->id = DatumGetInt64(pyn_field(0, 1, NULL));
	finder->version = DatumGetInt32(pyn_field(0, 2, NULL));
	finder->model.id = DatumGetInt64(pyn_field(0, 3, NULL));
	finder->model.owner = DatumGetObjectId(pyn_field(0, 4, NULL));
	finder->model.name = pyn_text_field(0, 5);
	return true;
}

/* The number of the version that this one was made of, itself if it was fitted. */
static int32
parent_of(const PynModelVersion *version)
{
	static PynStatement select_parent = PYN_STATEMENT(
		"SELECT coalesce(parent, version) FROM pynomaly_mlops.model_version WHERE id = $1",
		INT8OID);
	Datum		values[] = {Int64GetDatum(version->id)};

	if (pyn_execute(&select_parent, values, NULL, 1) == 0)
		elog(ERROR, "version " INT64_FORMAT " does not exist", version->id);
	return DatumGetInt32(pyn_field(0, 1, NULL));
}

static void
keep_verdict(const PynVerdictOrder *order, const PynRegisteredModel *model, int32 parent, Oid role)
{
	static PynStatement delete_verdict = PYN_STATEMENT(
		"DELETE FROM pynomaly_mlops.verdict WHERE model = $1 AND parent = $2 AND reference = $3",
		INT8OID, INT4OID, INT8OID);
	static PynStatement insert_verdict = PYN_STATEMENT(
		"INSERT INTO pynomaly_mlops.verdict (model, parent, reference, owner, label, evidence, given_by, given_at) "
		"VALUES ($1, $2, $3, $4, $5, $6, $7, clock_timestamp())",
		INT8OID, INT4OID, INT8OID, REGROLEOID, TEXTOID, JSONBOID, REGROLEOID);
	char		nulls[] = "       ";
	Datum		values[] = {
		Int64GetDatum(model->id), Int32GetDatum(parent), Int64GetDatum(order->reference), ObjectIdGetDatum(model->owner),
		pyn_text_or_null(order->label, &nulls[4]), JsonbPGetDatum(order->evidence), ObjectIdGetDatum(role)
	};

	pyn_execute(&delete_verdict, values, NULL, 0);
	if (order->label != NULL)
		pyn_execute(&insert_verdict, values, nulls, 0);
}

/* Reads the scores of a verdict's row. */
static void
read_evidence(Jsonb *evidence, PynHumanVerdict *verdict)
{
	Jsonb	   *members = pyn_json_get(evidence, "members");

	verdict->raw = pyn_json_get_number(evidence, "raw", 0);
	if (members == NULL || !JB_ROOT_IS_ARRAY(members) || JB_ROOT_COUNT(members) > PYN_MAX_MEMBERS)
		return;
	for (uint32 i = 0; i < JB_ROOT_COUNT(members); i++)
	{
		JsonbValue *number = getIthJsonbValueFromContainer(&members->root, i);

		if (number->type != jbvNumeric)
			return;
		verdict->scores[i] = DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow,
																NumericGetDatum(number->val.numeric)));
	}
	verdict->members = JB_ROOT_COUNT(members);
}

/* The family's verdicts, the newest ones where there are very many; with the numbers of the rows for the lineage. */
static PynHumanVerdict *
read_verdicts(const PynRegisteredModel *model, int32 parent, int *count, PynJson *json)
{
	static PynStatement select_verdicts = PYN_STATEMENT(
		"SELECT label, evidence, reference FROM (SELECT label, evidence, reference FROM pynomaly_mlops.verdict "
		"WHERE model = $1 AND parent = $2 ORDER BY given_at DESC, reference LIMIT $3) AS newest ORDER BY label, reference",
		INT8OID, INT4OID, INT8OID);
	Datum		values[] = {Int64GetDatum(model->id), Int32GetDatum(parent), Int64GetDatum(PYN_MOST_VERDICTS)};
	PynHumanVerdict *verdicts;

	*count = (int) pyn_execute(&select_verdicts, values, NULL, 0);
	verdicts = palloc0(sizeof(PynHumanVerdict) * Max(*count, 1));
	for (int label = 0; label < 2; label++)
	{
		pyn_json_open_array(json, label == 0 ? "anomalies" : "false_alarms");
		for (int i = 0; i < *count; i++)
		{
			bool		is_anomaly = strcmp(pyn_text_field(i, 1), "anomaly") == 0;

			if (is_anomaly != (label == 0))
				continue;
			verdicts[i].is_anomaly = is_anomaly;
			read_evidence(DatumGetJsonbPCopy(pyn_field(i, 2, NULL)), &verdicts[i]);
			pyn_json_integer(json, NULL, DatumGetInt64(pyn_field(i, 3, NULL)));
		}
		pyn_json_close_array(json);
	}
	return verdicts;
}

static void
put_weights(PynJson *json, const char *name, const double *weights, int count)
{
	pyn_json_open_array(json, name);
	for (int i = 0; i < count; i++)
		pyn_json_number(json, NULL, weights[i]);
	pyn_json_close_array(json);
}

/* Makes the model that a family's verdicts suggest, and says in the lineage what it has learnt. */
static bytea *
make_child(const PynModelVersion *parent, const PynHumanVerdict *verdicts, int count, bytea *sketch_digest, PynJson *json)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext context = AllocSetContextCreate(caller, "pynomaly learning", ALLOCSET_DEFAULT_SIZES);
	PynSketch  *sketch = NULL;
	PynModel   *model;
	PynLearned	learned;
	PynWriter	writer;
	bytea	   *child;
	double		weights[PYN_MAX_MEMBERS];

	MemoryContextSwitchTo(context);
	model = pyn_model_from_datum(PointerGetDatum(pyn_artifact_get(parent->digest, parent->model.owner)));
	/* Only weights need the rows that it was fitted from, which may no longer be there. */
	if (pyn_weights(model, weights) > 1 && pyn_artifact_hold(sketch_digest, parent->model.owner))
		sketch = pyn_sketch_load(sketch_digest, parent->model.owner);
	pyn_writer_init(&writer, 65536);
	pyn_model_learn(model, verdicts, count, sketch, &writer, &learned);
	MemoryContextSwitchTo(caller);
	child = palloc(VARHDRSZ + writer.length);
	SET_VARSIZE(child, VARHDRSZ + writer.length);
	memcpy(VARDATA(child), writer.data, writer.length);
	MemoryContextDelete(context);

	pyn_json_integer(json, "silenced", learned.silenced);
	pyn_json_number(json, "p_value_before", learned.p_before);
	pyn_json_number(json, "p_value", learned.p_value);
	if (learned.members > 0)
	{
		put_weights(json, "weights_before", learned.weights_before, learned.members);
		put_weights(json, "weights", learned.weights, learned.members);
	}
	return child;
}

/* The digest of the sketch that a version was fitted from. */
static bytea *
sketch_of(const PynModelVersion *version)
{
	static PynStatement select_sketch = PYN_STATEMENT(
		"SELECT sketch_digest FROM pynomaly_mlops.model_version WHERE id = $1",
		INT8OID);
	Datum		values[] = {Int64GetDatum(version->id)};

	pyn_execute(&select_sketch, values, NULL, 1);
	return DatumGetByteaPCopy(pyn_field(0, 1, NULL));
}

/* A version of the family that has these bytes and is ready; false if there is none. */
static bool
find_twin(const PynModelVersion *parent, bytea *digest, PynModelVersion *twin)
{
	static PynStatement select_twin = PYN_STATEMENT(
		"SELECT id, version FROM pynomaly_mlops.model_version WHERE model = $1 AND (parent = $2 OR version = $2) AND digest = $3 "
		"AND status = 'ready' ORDER BY version LIMIT 1",
		INT8OID, INT4OID, BYTEAOID);
	Datum		values[] = {Int64GetDatum(parent->model.id), Int32GetDatum(parent->version), PointerGetDatum(digest)};

	*twin = *parent;
	if (pyn_execute(&select_twin, values, NULL, 1) == 0)
		return false;
	twin->id = DatumGetInt64(pyn_field(0, 1, NULL));
	twin->version = DatumGetInt32(pyn_field(0, 2, NULL));
	return true;
}

/* Adds a child as the model's next version; what it was fitted from is its parent's. */
static void
add_child(const PynModelVersion *parent, bytea *digest, Jsonb *learned, Oid role, double seconds, PynModelVersion *child)
{
	static PynStatement count_version = PYN_STATEMENT(
		"UPDATE pynomaly_mlops.model SET last_version = last_version + 1 WHERE id = $1 RETURNING last_version",
		INT8OID);
	static PynStatement insert_version = PYN_STATEMENT(
		"INSERT INTO pynomaly_mlops.model_version (model, owner, version, digest, algorithm, contamination, source, dataset, "
		"columns, rows, training_rows, seed, sketch_digest, options, code_version, request, status, created_at, created_by, "
		"seconds, parent, learned, labels) "
		"SELECT model, owner, $2, $3, algorithm, contamination, source, dataset, columns, rows, training_rows, seed, "
		"sketch_digest, options, (SELECT extversion FROM pg_extension WHERE extname = 'pynomaly'), NULL, 'ready', "
		"clock_timestamp(), $4, $5, version, $6, labels FROM pynomaly_mlops.model_version WHERE id = $1 RETURNING id",
		INT8OID, INT4OID, BYTEAOID, REGROLEOID, FLOAT8OID, JSONBOID);
	Datum		model[] = {Int64GetDatum(parent->model.id)};
	Datum		values[] = {
		Int64GetDatum(parent->id), (Datum) 0, PointerGetDatum(digest), ObjectIdGetDatum(role), Float8GetDatum(seconds),
		JsonbPGetDatum(learned)
	};

	*child = *parent;
	pyn_execute(&count_version, model, NULL, 0);
	child->version = DatumGetInt32(pyn_field(0, 1, NULL));
	values[1] = Int32GetDatum(child->version);
	pyn_execute(&insert_version, values, NULL, 0);
	child->id = DatumGetInt64(pyn_field(0, 1, NULL));
}

/*
 * pyn_mlops_learn keeps a verdict, and where the champion is of the family of the version that it is about has it replaced by
 * the one that all verdicts suggest.  The model of `finder` is locked.
 */
void
pyn_mlops_learn(const PynVerdictOrder *order, const PynModelVersion *finder, Oid role, PynLesson *lesson)
{
	PynModelAddress champion_address = {.text = finder->model.name,.alias = PYN_CHAMPION,.bare = true};
	PynModelAddress parent_address = {.text = finder->model.name};
	PynAliasChange change = {.name = PYN_CHAMPION,.changed_by = role};
	TimestampTz begin = GetCurrentTimestamp();
	PynModelVersion champion;
	PynModelVersion parent;
	PynHumanVerdict *verdicts;
	PynJson		json = {0};
	bytea	   *bytes;
	bytea	   *digest;
	int			count;

	memset(lesson, 0, sizeof(*lesson));
	parent_address.version = parent_of(finder);
	keep_verdict(order, &finder->model, (int32) parent_address.version, role);
	if (!pyn_mlops_find_version(&finder->model, &champion_address, &champion) ||
		parent_of(&champion) != parent_address.version)
	{
		lesson->outcome = "the champion is not of the family of the version that has found it";
		return;
	}
	lesson->previous = champion.version;
	lesson->version = champion;
	pyn_mlops_find_version(&finder->model, &parent_address, &parent);
	if (strcmp(parent.status, "ready") != 0 || !pyn_artifact_hold(parent.digest, parent.model.owner))
	{
		lesson->outcome = "the version that was fitted is no longer kept";
		return;
	}
	pyn_json_open_object(&json, NULL);
	verdicts = read_verdicts(&finder->model, parent.version, &count, &json);
	bytes = make_child(&parent, verdicts, count, sketch_of(&parent), &json);
	pyn_json_close_object(&json);
	lesson->learned = pyn_json_finish(&json);
	digest = pyn_mlops_store_bytes(bytes, parent.model.owner);
	if (!find_twin(&parent, digest, &lesson->version))
		add_child(&parent, digest, lesson->learned, role, (GetCurrentTimestamp() - begin) / 1e6, &lesson->version);
	lesson->version.digest = digest;
	change.reason = psprintf("feedback: %s of " INT64_FORMAT, order->label != NULL ? order->label : "nothing any more",
							 order->reference);
	(void) pyn_mlops_give_alias(&change, &lesson->version);
	pyn_mlops_expire_children(&parent.model);
	pyn_mlops_tell_change();
	lesson->outcome = lesson->version.version != champion.version ? "the champion was replaced" :
		"the verdicts do not suffice to change the champion";
}
