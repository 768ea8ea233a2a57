/*
 * registry.c
 *		Models and versions as rows: finds them for a role, and adds new ones.
 *
 * A role's own model comes before those of roles that it belongs to.  Who changes a version or an alias updates the
 * model's row first.  So changes of one model come one after another, version numbers have no gaps, and a transaction
 * whose snapshot is older than somebody else's change fails with 40001 instead of building on what is no longer so.
 */
#include "mlops/mlops.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"

#include "kernel/statement.h"

#define SCHEMA "pynomaly_mlops"

/* What read_version reads, of model_version v and model m. */
#define VERSION_COLUMNS \
	"v.id, v.version, v.digest, v.algorithm, v.status, v.columns, v.rows, v.training_rows, v.contamination, v.seed, " \
	"v.code_version, m.id, m.owner, m.name, v.labels"

/*
 * pyn_mlops_begin begins work on the domain's tables: as the extension's owner, connected to SPI.  What is allocated
 * meanwhile is still in the caller's memory context.
 */
void
pyn_mlops_begin(PynAccess *access)
{
	MemoryContext caller = CurrentMemoryContext;

	pyn_access_begin(access, pyn_owner());
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "cannot connect to SPI");
	MemoryContextSwitchTo(caller);
}

/*
 * pyn_mlops_end ends it.
 */
void
pyn_mlops_end(PynAccess *access)
{
	SPI_finish();
	pyn_access_end(access);
}

/*
 * pyn_mlops_tell_change tells other sessions, when the transaction commits, that an address may mean something else:
 * who keeps models by their address watches this table.
 */
void
pyn_mlops_tell_change(void)
{
	Oid			relation = get_relname_relid("alias", get_namespace_oid(SCHEMA, false));

	if (!OidIsValid(relation))
		elog(ERROR, "relation " SCHEMA ".alias does not exist");
	CacheInvalidateRelcacheByRelid(relation);
}

/*
 * pyn_mlops_find_model finds the model that the name means for the role; false if there is none.
 */
bool
pyn_mlops_find_model(const char *name, Oid role, PynRegisteredModel *model)
{
	static PynStatement select_models = PYN_STATEMENT(
		"SELECT id, owner FROM pynomaly_mlops.model WHERE name = $1 AND pg_has_role($2, owner, 'USAGE') "
		"ORDER BY owner <> $2 LIMIT 2",
		TEXTOID, OIDOID);
	Datum		values[] = {CStringGetTextDatum(name), ObjectIdGetDatum(role)};
	uint64		found = pyn_execute(&select_models, values, NULL, 0);

	if (found == 0)
		return false;
	model->id = DatumGetInt64(pyn_field(0, 1, NULL));
	model->owner = DatumGetObjectId(pyn_field(0, 2, NULL));
	model->name = pstrdup(name);
	if (found > 1 && model->owner != role)
		ereport(ERROR,
				(errcode(ERRCODE_AMBIGUOUS_FUNCTION),
				 errmsg("model name \"%s\" is ambiguous", name),
				 errdetail("More than one of your roles has a model of this name, and you have none yourself."),
				 errhint("SET ROLE to the one whose model you mean.")));
	return true;
}

/*
 * pyn_mlops_need_model finds it, or raises the error that there is none.
 */
void
pyn_mlops_need_model(const char *name, Oid role, PynRegisteredModel *model)
{
	if (!pyn_mlops_find_model(name, role, model))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("model \"%s\" does not exist", name),
				 errhint("The view " SCHEMA ".version lists the models that you can use.")));
}

/*
 * pyn_mlops_lock_model makes others who want to change the model wait until this transaction ends.
 */
void
pyn_mlops_lock_model(const PynRegisteredModel *model)
{
	static PynStatement update_model = PYN_STATEMENT(
		"UPDATE pynomaly_mlops.model SET changed_at = clock_timestamp() WHERE id = $1",
		INT8OID);
	Datum		values[] = {Int64GetDatum(model->id)};

	if (pyn_execute(&update_model, values, NULL, 0) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("model \"%s\" was dropped meanwhile", model->name)));
}

/* Reads a row of VERSION_COLUMNS; false if it is of no version. */
static bool
read_version(uint64 row, PynModelVersion *version)
{
	bool		is_null;
	Datum		id = pyn_field(row, 1, &is_null);
	Datum		labels;

	if (is_null)
		return false;
	version->id = DatumGetInt64(id);
	version->version = DatumGetInt32(pyn_field(row, 2, NULL));
	version->digest = DatumGetByteaPCopy(pyn_field(row, 3, NULL));
	version->algorithm = pyn_text_field(row, 4);
	version->status = pyn_text_field(row, 5);
	version->columns = DatumGetArrayTypePCopy(pyn_field(row, 6, NULL));
	version->rows = DatumGetInt64(pyn_field(row, 7, NULL));
	version->training_rows = DatumGetInt64(pyn_field(row, 8, NULL));
	version->contamination = DatumGetFloat8(pyn_field(row, 9, NULL));
	version->seed = DatumGetInt64(pyn_field(row, 10, NULL));
	version->code_version = pyn_text_field(row, 11);
	version->model.id = DatumGetInt64(pyn_field(row, 12, NULL));
	version->model.owner = DatumGetObjectId(pyn_field(row, 13, NULL));
	version->model.name = pyn_text_field(row, 14);
	labels = pyn_field(row, 15, &is_null);
	version->labels = is_null ? NULL : DatumGetJsonbPCopy(labels);
	return true;
}

/*
 * pyn_mlops_find_version finds what an address means; false if it is a bare name whose model has no champion.  A
 * number or an alias that is not there is an error.
 */
bool
pyn_mlops_find_version(const PynRegisteredModel *model, const PynModelAddress *address, PynModelVersion *version)
{
	static PynStatement select_by_number = PYN_STATEMENT(
		"SELECT " VERSION_COLUMNS " FROM pynomaly_mlops.model_version v JOIN pynomaly_mlops.model m ON m.id = v.model "
		"WHERE v.model = $1 AND v.version = $2",
		INT8OID, INT8OID);
	static PynStatement select_by_alias = PYN_STATEMENT(
		"SELECT " VERSION_COLUMNS " FROM pynomaly_mlops.alias a "
		"LEFT JOIN pynomaly_mlops.alias_history h ON h.alias = a.id AND upper_inf(h.valid) "
		"LEFT JOIN pynomaly_mlops.model_version v ON v.id = h.version "
		"LEFT JOIN pynomaly_mlops.model m ON m.id = v.model WHERE a.model = $1 AND a.name = $2",
		INT8OID, TEXTOID);
	Datum		values[2] = {Int64GetDatum(model->id)};
	bool		by_alias = address->alias != NULL;

	values[1] = by_alias ? CStringGetTextDatum(address->alias) : Int64GetDatum(address->version);
	if (pyn_execute(by_alias ? &select_by_alias : &select_by_number, values, NULL, 1) == 1)
	{
		if (read_version(0, version))
			return true;
		if (!address->bare)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("alias \"%s\" of model \"%s\" stands for no version", address->alias, model->name),
					 errhint("Promote one.")));
	}
	if (address->bare)
		return false;
	if (by_alias)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("model \"%s\" has no alias \"%s\"", model->name, address->alias)));
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("model \"%s\" has no version " INT64_FORMAT, model->name, address->version)));
	return false;
}

/*
 * pyn_mlops_need_version finds the version that can be used by an address, or raises the error why there is none.
 */
void
pyn_mlops_need_version(const PynRegisteredModel *model, const PynModelAddress *address, PynModelVersion *version)
{
	if (!pyn_mlops_find_version(model, address, version))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("model \"%s\" has no champion", model->name),
				 errhint("Promote a version, or write which one: name@alias or name/3.")));
	pyn_mlops_require_ready(version);
}

/*
 * pyn_mlops_require_ready refuses a version whose bytes are gone.
 */
void
pyn_mlops_require_ready(const PynModelVersion *version)
{
	if (strcmp(version->status, "withdrawn") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("version %d of model \"%s\" was withdrawn", version->version, version->model.name),
				 errdetail("The request that had it trained failed or was cancelled."),
				 errhint("Use or promote another version; the view " SCHEMA ".version lists them.")));
	if (strcmp(version->status, "ready") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("version %d of model \"%s\" has expired", version->version, version->model.name),
				 errdetail("It was trained for a request, had no alias, and made way for newer ones."),
				 errhint("Use or promote another version; give an alias to one that is to stay.")));
}

/*
 * pyn_mlops_find_request finds the version that a request of the role was served with.
 */
bool
pyn_mlops_find_request(const pg_uuid_t *request, Oid role, PynModelVersion *version, bool *reused)
{
	static PynStatement select_request = PYN_STATEMENT(
		"SELECT " VERSION_COLUMNS ", r.reused FROM pynomaly_mlops.request_model r "
		"JOIN pynomaly_mlops.model_version v ON v.id = r.version JOIN pynomaly_mlops.model m ON m.id = v.model "
		"WHERE r.request = $1 AND pg_has_role($2, r.owner, 'USAGE') AND pg_has_role($2, v.owner, 'USAGE')",
		UUIDOID, OIDOID);
	Datum		values[] = {UUIDPGetDatum(request), ObjectIdGetDatum(role)};

	if (pyn_execute(&select_request, values, NULL, 1) == 0)
		return false;
	*reused = DatumGetBool(pyn_field(0, 16, NULL));
	return read_version(0, version);
}

/*
 * pyn_mlops_keep_request remembers which version a request was served with.
 */
void
pyn_mlops_keep_request(const pg_uuid_t *request, Oid owner, const PynModelVersion *version, bool reused)
{
	static PynStatement insert_request = PYN_STATEMENT(
		"INSERT INTO pynomaly_mlops.request_model (request, owner, version, reused, chosen_at) "
		"VALUES ($1, $2, $3, $4, clock_timestamp()) ON CONFLICT (request) DO UPDATE SET (version, reused, chosen_at) = "
		"(excluded.version, excluded.reused, excluded.chosen_at)",
		UUIDOID, REGROLEOID, INT8OID, BOOLOID);
	Datum		values[] = {UUIDPGetDatum(request), ObjectIdGetDatum(owner), Int64GetDatum(version->id),
	BoolGetDatum(reused)};

	pyn_execute(&insert_request, values, NULL, 0);
}

/* Gives the next version's number of the owner's model, which is made if it is new, and locks it. */
static void
next_version(const PynTrainingOrder *order, PynModelVersion *version)
{
	static PynStatement count_version = PYN_STATEMENT(
		"INSERT INTO pynomaly_mlops.model AS m (owner, name, description, last_version, created_at, changed_at) "
		"VALUES ($1, $2, $3, 1, clock_timestamp(), clock_timestamp()) ON CONFLICT (name, owner) DO UPDATE "
		"SET last_version = m.last_version + 1, description = coalesce(excluded.description, m.description), "
		"changed_at = excluded.changed_at RETURNING id, last_version",
		REGROLEOID, TEXTOID, TEXTOID);
	char		nulls[] = "   ";
	Datum		values[] = {ObjectIdGetDatum(order->owner), CStringGetTextDatum(order->name),
	pyn_text_or_null(order->description, &nulls[2])};

	pyn_execute(&count_version, values, nulls, 0);
	version->model.id = DatumGetInt64(pyn_field(0, 1, NULL));
	version->model.owner = order->owner;
	version->model.name = pstrdup(order->name);
	version->version = DatumGetInt32(pyn_field(0, 2, NULL));
}

/*
 * pyn_mlops_add_version makes a version of what was trained, and locks its model.
 */
void
pyn_mlops_add_version(const PynTrainingOrder *order, const PynTrained *trained, Oid created_by,
					  double seconds, PynModelVersion *version)
{
	static PynStatement insert_version = PYN_STATEMENT(
		"INSERT INTO pynomaly_mlops.model_version (model, owner, version, digest, algorithm, contamination, source, "
		"dataset, columns, rows, training_rows, seed, sketch_digest, options, code_version, request, status, "
		"created_at, created_by, seconds, labels) "
		"VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, coalesce($14, '{}'), "
		"(SELECT extversion FROM pg_extension WHERE extname = 'pynomaly'), $15, 'ready', clock_timestamp(), $16, $17, $18) "
		"RETURNING id",
		INT8OID, REGROLEOID, INT4OID, BYTEAOID, TEXTOID, FLOAT8OID, TEXTOID, INT8OID, NAMEARRAYOID, INT8OID, INT8OID,
		INT8OID, BYTEAOID, JSONBOID, UUIDOID, REGROLEOID, FLOAT8OID, JSONBOID);
	char		nulls[] = "                  ";
	Datum		values[18];

	memset(version, 0, sizeof(*version));
	/* The model first and the bytes then, as everybody does, or two could wait for each other. */
	next_version(order, version);
	version->digest = pyn_mlops_store_bytes(trained->bytes, order->owner);
	version->algorithm = pstrdup(trained->algorithm);
	values[0] = Int64GetDatum(version->model.id);
	values[1] = ObjectIdGetDatum(order->owner);
	values[2] = Int32GetDatum(version->version);
	values[3] = PointerGetDatum(version->digest);
	values[4] = CStringGetTextDatum(trained->algorithm);
	values[5] = Float8GetDatum(trained->contamination);
	values[6] = pyn_text_or_null(order->source, &nulls[6]);
	values[7] = Int64GetDatum(order->dataset);
	nulls[7] = order->dataset < 0 ? 'n' : ' ';
	values[8] = PointerGetDatum(trained->columns);
	values[9] = Int64GetDatum(trained->rows);
	values[10] = Int64GetDatum(trained->training_rows);
	values[11] = Int64GetDatum(trained->seed);
	values[12] = PointerGetDatum(order->sketch);
	values[13] = JsonbPGetDatum(order->options);
	nulls[13] = order->options == NULL ? 'n' : ' ';
	values[14] = UUIDPGetDatum(order->request);
	nulls[14] = order->request == NULL ? 'n' : ' ';
	values[15] = ObjectIdGetDatum(created_by);
	values[16] = Float8GetDatum(seconds);
	values[17] = JsonbPGetDatum(trained->labels);
	nulls[17] = trained->labels == NULL ? 'n' : ' ';
	pyn_execute(&insert_version, values, nulls, 0);
	version->id = DatumGetInt64(pyn_field(0, 1, NULL));
}
