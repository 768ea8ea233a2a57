/*
 * removal.c
 *		Models' bytes: stored once for each owner, and removed with the last version that needs them.
 *
 * Equal models have one artifact, which thus may belong to several versions.  Who makes a version, or chooses one for
 * a request, holds its artifact until the transaction ends (kernel/artifact.h); who removes one seizes it before looking
 * whether it is still needed.  Removers do not wait: what is held is in use.  What a running request
 * is served with stays, too, though its version be withdrawn; it goes with the model.
 */
#include "mlops/mlops.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "kernel/artifact.h"
#include "kernel/statement.h"

#define ARTIFACT_KIND "model"

/*
 * Each journey that names no model trains a version, which nobody may ever ask for again.  Those without an alias are
 * kept for comparison and for rollbacks: the newest ten of a model, and those that a request under way is served
 * with.
 */
#define KEPT_VERSIONS 10

/*
 * pyn_mlops_store_bytes stores a model's bytes for an owner and gives their digest; nobody removes them until the
 * transaction ends.
 */
bytea *
pyn_mlops_store_bytes(bytea *bytes, Oid owner)
{
	return pyn_artifact_put(ARTIFACT_KIND, bytes, owner);
}

/*
 * pyn_mlops_hold_bytes makes sure that a version's bytes are there, and stay until the transaction ends.
 */
void
pyn_mlops_hold_bytes(const PynModelVersion *version)
{
	if (!pyn_artifact_hold(version->digest, version->model.owner))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the bytes of version %d of model \"%s\" have been removed", version->version,
						version->model.name),
				 errhint("Train a new version.")));
}

/* Removes an owner's model if no version and no request under way needs it; true if it was removed. */
static bool
remove_unused(bytea *digest, Oid owner)
{
	static PynStatement select_need = PYN_STATEMENT(
		"SELECT FROM pynomaly_mlops.model_version v WHERE v.digest = $1 AND v.owner = $2 AND (v.status = 'ready' OR "
		"EXISTS (SELECT FROM pynomaly_mlops.request_model r JOIN pynomaly_kernel.saga s ON s.id = r.request "
		"WHERE r.version = v.id AND s.state = 'running')) LIMIT 1",
		BYTEAOID, REGROLEOID);
	Datum		values[] = {PointerGetDatum(digest), ObjectIdGetDatum(owner)};

	/* Whoever had locked it has committed: its version shows in a snapshot that is taken now. */
	return pyn_artifact_seize(digest, owner) &&
		pyn_execute_latest(&select_need, values, NULL) == 0 &&
		pyn_artifact_drop(digest, owner);
}

/* Copies the digests, in the first column of the last result. */
static bytea **
result_digests(uint64 count)
{
	bytea	  **digests = palloc(sizeof(bytea *) * Max(count, 1));

	for (uint64 row = 0; row < count; row++)
		digests[row] = DatumGetByteaPCopy(pyn_field(row, 1, NULL));
	return digests;
}

/* Removes those that no version needs and gives their number. */
static int
remove_all_unused(bytea **digests, uint64 count, Oid owner)
{
	int			removed = 0;

	for (uint64 i = 0; i < count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		removed += remove_unused(digests[i], owner) ? 1 : 0;
	}
	return removed;
}

/*
 * pyn_mlops_expire lets old versions that requests had trained go; the model is locked.
 */
void
pyn_mlops_expire(const PynRegisteredModel *model)
{
	static PynStatement update_versions = PYN_STATEMENT(
		"UPDATE pynomaly_mlops.model_version SET status = 'expired' WHERE id IN ("
		"SELECT id FROM pynomaly_mlops.model_version v WHERE model = $1 AND status = 'ready' AND request IS NOT NULL "
		"AND NOT EXISTS (SELECT FROM pynomaly_mlops.alias_history h WHERE h.version = v.id AND upper_inf(h.valid)) "
		"AND NOT EXISTS (SELECT FROM pynomaly_mlops.model_version child WHERE child.model = v.model "
		"AND child.parent = v.version AND child.status = 'ready') "
		"ORDER BY version DESC OFFSET $2) AND NOT EXISTS (SELECT FROM pynomaly_mlops.request_model r "
		"JOIN pynomaly_kernel.saga s ON s.id = r.request WHERE r.version = model_version.id AND s.state = 'running') "
		"RETURNING digest",
		INT8OID, INT8OID);
	Datum		values[] = {Int64GetDatum(model->id), Int64GetDatum(KEPT_VERSIONS)};
	uint64		count = pyn_execute(&update_versions, values, NULL, 0);

	if (count == 0)
		return;
	(void) remove_all_unused(result_digests(count), count, model->owner);
	pyn_mlops_tell_change();
}

/*
 * pyn_mlops_expire_children lets old versions go that have learnt from verdicts: each verdict may make one.  The model is
 * locked.
 */
void
pyn_mlops_expire_children(const PynRegisteredModel *model)
{
	static PynStatement update_versions = PYN_STATEMENT(
		"UPDATE pynomaly_mlops.model_version SET status = 'expired' WHERE id IN ("
		"SELECT id FROM pynomaly_mlops.model_version v WHERE model = $1 AND status = 'ready' AND parent IS NOT NULL "
		"AND NOT EXISTS (SELECT FROM pynomaly_mlops.alias_history h WHERE h.version = v.id AND upper_inf(h.valid)) "
		"ORDER BY version DESC OFFSET $2) AND NOT EXISTS (SELECT FROM pynomaly_mlops.request_model r "
		"JOIN pynomaly_kernel.saga s ON s.id = r.request WHERE r.version = model_version.id AND s.state = 'running') "
		"RETURNING digest",
		INT8OID, INT8OID);
	Datum		values[] = {Int64GetDatum(model->id), Int64GetDatum(KEPT_VERSIONS)};
	uint64		count = pyn_execute(&update_versions, values, NULL, 0);

	if (count > 0)
		(void) remove_all_unused(result_digests(count), count, model->owner);
}

/* Withdraws the request's versions of one model and gives their number. */
static int
withdraw_versions(const pg_uuid_t *request, Oid role, const PynRegisteredModel *model)
{
	static PynStatement update_versions = PYN_STATEMENT(
		"UPDATE pynomaly_mlops.model_version SET status = 'withdrawn' "
		"WHERE model = $1 AND request = $2 AND status = 'ready' RETURNING digest",
		INT8OID, UUIDOID);
	Datum		values[] = {Int64GetDatum(model->id), UUIDPGetDatum(request)};
	PynAliasChange change = {.changed_by = role,.reason = "the request was undone",.request = request};
	uint64		count;
	bytea	  **digests;

	pyn_mlops_lock_model(model);
	count = pyn_execute(&update_versions, values, NULL, 0);
	if (count == 0)
		return 0;
	digests = result_digests(count);
	pyn_mlops_take_aliases_back(&change, model);
	(void) remove_all_unused(digests, count, model->owner);
	pyn_mlops_tell_change();
	return (int) count;
}

/*
 * pyn_mlops_withdraw_request undoes a request's training or choice, if it is the role's, and gives the number of versions
 * withdrawn.
 */
int
pyn_mlops_withdraw_request(const pg_uuid_t *request, Oid role)
{
	/* In the models' order, as everybody locks them who locks more than one. */
	static PynStatement select_models = PYN_STATEMENT(
		"SELECT DISTINCT m.id, m.owner, m.name FROM pynomaly_mlops.model_version v "
		"JOIN pynomaly_mlops.model m ON m.id = v.model "
		"WHERE v.request = $1 AND v.status = 'ready' AND pg_has_role($2, v.owner, 'USAGE') ORDER BY m.id",
		UUIDOID, OIDOID);
	static PynStatement delete_choice = PYN_STATEMENT(
		"DELETE FROM pynomaly_mlops.request_model WHERE request = $1 AND pg_has_role($2, owner, 'USAGE')",
		UUIDOID, OIDOID);
	Datum		values[] = {UUIDPGetDatum(request), ObjectIdGetDatum(role)};
	uint64		count = pyn_execute(&select_models, values, NULL, 0);
	PynRegisteredModel *models = palloc(sizeof(PynRegisteredModel) * Max(count, 1));
	int			withdrawn = 0;

	for (uint64 row = 0; row < count; row++)
	{
		models[row].id = DatumGetInt64(pyn_field(row, 1, NULL));
		models[row].owner = DatumGetObjectId(pyn_field(row, 2, NULL));
		models[row].name = pyn_text_field(row, 3);
	}
	for (uint64 i = 0; i < count; i++)
		withdrawn += withdraw_versions(request, role, &models[i]);
	pyn_execute(&delete_choice, values, NULL, 0);
	return withdrawn;
}

/*
 * pyn_mlops_drop removes a model with all that belongs to it; the model is locked.
 */
void
pyn_mlops_drop(const PynRegisteredModel *model, int *versions, int *artifacts)
{
	static PynStatement select_digests = PYN_STATEMENT(
		"SELECT DISTINCT digest FROM pynomaly_mlops.model_version WHERE model = $1",
		INT8OID);
	static PynStatement count_versions = PYN_STATEMENT(
		"SELECT count(*) FROM pynomaly_mlops.model_version WHERE model = $1",
		INT8OID);
	static PynStatement delete_model = PYN_STATEMENT(
		"DELETE FROM pynomaly_mlops.model WHERE id = $1",
		INT8OID);
	Datum		values[] = {Int64GetDatum(model->id)};
	uint64		count;
	bytea	  **digests;

	pyn_execute(&count_versions, values, NULL, 1);
	*versions = (int) DatumGetInt64(pyn_field(0, 1, NULL));
	count = pyn_execute(&select_digests, values, NULL, 0);
	digests = result_digests(count);
	pyn_execute(&delete_model, values, NULL, 0);
	*artifacts = remove_all_unused(digests, count, model->owner);
	pyn_mlops_tell_change();
}
