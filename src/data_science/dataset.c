/*
 * dataset.c
 *		Datasets: what of a relation is looked at, and reading it into a sketch.
 *
 * This is the one place of all domains that touches users' relations for a sketch; the others work from the sketch.  A
 * relation is read as the dataset's owner; what is stored is written as the extension's owner.
 */
#include "kernel/port.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/primnodes.h"
#include "portability/instr_time.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"

#include "data_science/data_science.h"
#include "detectors/model_type.h"
#include "kernel/access.h"
#include "kernel/artifact.h"
#include "kernel/statement.h"
#include "sketch/sketch_store.h"
#include "sketch/source.h"

/*
 * pyn_dataset_relation finds the relation that a call is about, by its OID or its name.
 */
Oid
pyn_dataset_relation(Jsonb *arguments)
{
	Oid			relation = (Oid) pyn_json_get_integer(arguments, "relation", InvalidOid);
	char	   *source = pyn_json_get_text(arguments, "source");

	if (OidIsValid(relation))
		return relation;
	if (source == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("neither source nor relation is given")));
	return RangeVarGetRelid(makeRangeVarFromNameList(stringToQualifiedNameList(source)), NoLock, false);
}

/*
 * pyn_dataset_source gives a relation's qualified name; an error if it was dropped.
 */
char *
pyn_dataset_source(Oid relation)
{
	char	   *name = get_rel_name(relation);

	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relation)));
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relation)), name);
}

/* Opens the dataset's relation as the current user, with all the checks that this makes. */
static PynSource *
open_source(const PynDataset *dataset, const char *label)
{
	PynSourceOptions options = {
		.columns = dataset->columns,.key = dataset->key,.except = label,.label = PYN_LABEL_IF_POSSIBLE,.keep_key = true
	};
	PynSource  *source = pyn_source_of_relation(dataset->relation, &options);

	/* There is no second reading to keep rows for. */
	source->rereads = true;
	return source;
}

/* Starts to read, which asks for all privileges that reading takes, those on what a view reads among them. */
static void
check_privileges(const PynSource *source)
{
	Portal		portal = SPI_cursor_open(NULL, source->plan, NULL, NULL, true);

	SPI_cursor_close(portal);
}

/* A temporary relation is another session's affair. */
static void
refuse_temporary(Oid relation)
{
	if (get_rel_persistence(relation) == RELPERSISTENCE_TEMP)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("relation \"%s\" is temporary, which no worker can read", get_rel_name(relation)),
				 errhint("Use pynomaly.detect, which reads it in this session.")));
}

/*
 * pyn_dataset_register makes a dataset known, or finds it, for the current user, who must be able to read its relation.
 * The caller has set relation, columns and key.
 */
void
pyn_dataset_register(PynDataset *dataset)
{
	static PynStatement select_dataset = PYN_STATEMENT(
		"SELECT id FROM pynomaly_data_science.dataset WHERE source = $1 AND owner = $2 "
		"AND coalesce(columns, '{}') = coalesce($3, '{}') AND coalesce(key, '{}') = coalesce($4, '{}')",
		REGCLASSOID, REGROLEOID, NAMEARRAYOID, NAMEARRAYOID);
	static PynStatement insert_dataset = PYN_STATEMENT(
		"INSERT INTO pynomaly_data_science.dataset (source, owner, columns, key, created_at) VALUES ($1, $2, $3, $4, now()) "
		"ON CONFLICT DO NOTHING RETURNING id",
		REGCLASSOID, REGROLEOID, NAMEARRAYOID, NAMEARRAYOID);
	char		nulls[] = "    ";
	Datum		values[4];
	PynAccess	access;

	dataset->owner = GetUserId();
	dataset->source = pyn_dataset_source(dataset->relation);
	refuse_temporary(dataset->relation);
	SPI_connect();
	check_privileges(open_source(dataset, NULL));
	SPI_finish();

	values[0] = ObjectIdGetDatum(dataset->relation);
	values[1] = ObjectIdGetDatum(dataset->owner);
	values[2] = PointerGetDatum(dataset->columns);
	values[3] = PointerGetDatum(dataset->key);
	nulls[2] = dataset->columns == NULL ? 'n' : ' ';
	nulls[3] = dataset->key == NULL ? 'n' : ' ';
	pyn_access_begin(&access, pyn_owner());
	SPI_connect();
	/* Another session may make it at the same time. */
	while (pyn_execute(&select_dataset, values, nulls, 1) == 0 && pyn_execute(&insert_dataset, values, nulls, 0) == 0)
		CHECK_FOR_INTERRUPTS();
	dataset->id = DatumGetInt64(pyn_field(0, 1, NULL));
	SPI_finish();
	pyn_access_end(&access);
}

static ArrayType *
names_field(int column)
{
	bool		is_null;
	Datum		value = pyn_field(0, column, &is_null);

	return is_null ? NULL : DatumGetArrayTypePCopy(value);
}

/*
 * pyn_dataset_read finds a dataset of the reader or of a role that he belongs to.
 */
void
pyn_dataset_read(int64 id, Oid reader, PynDataset *dataset)
{
	static PynStatement select_dataset = PYN_STATEMENT(
		"SELECT owner, source, columns, key FROM pynomaly_data_science.dataset WHERE id = $1",
		INT8OID);
	MemoryContext caller = CurrentMemoryContext;
	Datum		values[] = {Int64GetDatum(id)};
	PynAccess	access;
	bool		found;

	memset(dataset, 0, sizeof(*dataset));
	pyn_access_begin(&access, pyn_owner());
	SPI_connect();
	found = pyn_execute(&select_dataset, values, NULL, 1) == 1 &&
		has_privs_of_role(reader, DatumGetObjectId(pyn_field(0, 1, NULL)));
	if (found)
	{
		MemoryContextSwitchTo(caller);
		dataset->id = id;
		dataset->owner = DatumGetObjectId(pyn_field(0, 1, NULL));
		dataset->relation = DatumGetObjectId(pyn_field(0, 2, NULL));
		dataset->columns = names_field(3);
		dataset->key = names_field(4);
	}
	SPI_finish();
	pyn_access_end(&access);
	if (!found)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("dataset " INT64_FORMAT " does not exist", id)));
	dataset->source = pyn_dataset_source(dataset->relation);
}

/* The columns of a sketch as [{name, kind}]. */
static Jsonb *
describe_columns(const PynSketch *sketch)
{
	PynJson		json = {0};

	pyn_json_open_array(&json, NULL);
	for (int i = 0; i < sketch->column_count; i++)
	{
		const PynColumn *column = &sketch->columns[i];

		pyn_json_open_object(&json, NULL);
		pyn_json_text(&json, "name", pyn_utf8_to_server(column->name, strlen(column->name)));
		pyn_json_text(&json, "kind", pyn_kind_name(column->kind));
		pyn_json_close_object(&json);
	}
	pyn_json_close_array(&json);
	return pyn_json_finish(&json);
}

/* Drops an owner's sketch or labels unless a version has them.  The caller is the extension's owner and connected to SPI. */
static void
drop_unused(bytea *artifact, Oid owner)
{
	static PynStatement select_need = PYN_STATEMENT(
		"SELECT FROM pynomaly_data_science.dataset_version WHERE (sketch = $1 OR labels = $1) AND owner = $2",
		BYTEAOID, REGROLEOID);
	Datum		values[] = {PointerGetDatum(artifact), ObjectIdGetDatum(owner)};

	if (pyn_artifact_seize(artifact, owner) && pyn_execute_latest(&select_need, values, NULL) == 0)
		(void) pyn_artifact_drop(artifact, owner);
}

/* Drops the sketches and labels in the two columns of the last result, unless versions have them. */
static void
drop_all_unused(uint64 count, Oid owner)
{
	SPITupleTable *artifacts = SPI_tuptable;

	for (uint64 row = 0; row < count; row++)
		for (int column = 1; column <= 2; column++)
		{
			bool		is_null;
			Datum		artifact = SPI_getbinval(artifacts->vals[row], artifacts->tupdesc, column, &is_null);

			if (!is_null)
				drop_unused(DatumGetByteaPP(artifact), owner);
		}
}

/* Forgets the sketches of versions that are no longer among the newest ones, nor those of requests under way. */
static void
forget_sketches(const PynDataset *dataset, int version)
{
	static PynStatement update_old = PYN_STATEMENT(
		"WITH old AS (SELECT version, sketch, labels FROM pynomaly_data_science.dataset_version v "
		"WHERE dataset = $1 AND version <= $2 AND sketch IS NOT NULL "
		"AND NOT EXISTS (SELECT FROM pynomaly_kernel.saga s WHERE s.id = v.request AND s.ended_at IS NULL)) "
		"UPDATE pynomaly_data_science.dataset_version v SET sketch = NULL, labels = NULL FROM old "
		"WHERE v.dataset = $1 AND v.version = old.version RETURNING old.sketch, old.labels",
		INT8OID, INT4OID);
	Datum		values[] = {Int64GetDatum(dataset->id), Int32GetDatum(version - pyn_data_science_kept_sketches)};

	drop_all_unused(pyn_execute(&update_old, values, NULL, 0), dataset->owner);
}

static void
insert_version(const PynDataset *dataset, uint64 seed, pg_uuid_t *request, PynDatasetVersion *version)
{
	static PynStatement lock_dataset = PYN_STATEMENT(
		"SELECT FROM pynomaly_data_science.dataset WHERE id = $1 FOR NO KEY UPDATE",
		INT8OID);
	static PynStatement insert = PYN_STATEMENT(
		"INSERT INTO pynomaly_data_science.dataset_version "
		"(dataset, version, owner, sketch, rows, columns, seed, request, seconds, labels, processed_at) "
		"SELECT $1, coalesce(max(version), 0) + 1, $2, $3, $4, $5, $6, $7, $8, $9, clock_timestamp() "
		"FROM pynomaly_data_science.dataset_version WHERE dataset = $1 RETURNING version",
		INT8OID, REGROLEOID, BYTEAOID, INT8OID, JSONBOID, INT8OID, UUIDOID, FLOAT8OID, BYTEAOID);
	char		nulls[] = "         ";
	Datum		values[] = {
		Int64GetDatum(dataset->id), ObjectIdGetDatum(dataset->owner), PointerGetDatum(version->sketch),
		Int64GetDatum(version->rows), JsonbPGetDatum(version->columns), Int64GetDatum((int64) seed),
		request != NULL ? UUIDPGetDatum(request) : (Datum) 0, Float8GetDatum(version->seconds), PointerGetDatum(version->labels)
	};
	PynAccess	access;

	nulls[6] = request == NULL ? 'n' : ' ';
	nulls[8] = version->labels == NULL ? 'n' : ' ';
	pyn_access_begin(&access, pyn_owner());
	SPI_connect();
	if (pyn_execute(&lock_dataset, values, NULL, 0) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("dataset " INT64_FORMAT " does not exist", dataset->id)));
	pyn_execute(&insert, values, nulls, 0);
	version->version = DatumGetInt32(pyn_field(0, 1, NULL));
	forget_sketches(dataset, version->version);
	SPI_finish();
	pyn_access_end(&access);
}

/*
 * pyn_dataset_process reads the dataset's relation once, as the current user, and stores the sketch as a new version.
 * Options are those of detect by the algorithm; NULL: auto.  With labels: what people have said of the relation's anomalies is
 * stored, too, where the algorithm learns from it.
 */
void
pyn_dataset_process(const PynDataset *dataset, const char *algorithm, Jsonb *options, pg_uuid_t *request,
					bool with_labels, PynDatasetVersion *version)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext context = AllocSetContextCreate(caller, "pynomaly sketch", ALLOCSET_DEFAULT_SIZES);
	PynCallOptions call;
	PynSource  *source;
	PynSketch  *sketch;
	instr_time	begin;
	instr_time	duration;

	INSTR_TIME_SET_CURRENT(begin);
	pyn_call_options(algorithm != NULL ? algorithm : "auto", options, true, &call);
	refuse_temporary(dataset->relation);
	SPI_connect();
	MemoryContextSwitchTo(context);
	source = open_source(dataset, call.label);
	sketch = pyn_sketch_source(source, call.fit.seed, call.sample_text);
	MemoryContextSwitchTo(caller);
	version->sketch = pyn_sketch_store(sketch, dataset->owner);
	version->rows = sketch->rows;
	version->columns = describe_columns(sketch);
	MemoryContextDelete(context);
	SPI_finish();
	INSTR_TIME_SET_CURRENT(duration);
	INSTR_TIME_SUBTRACT(duration, begin);
	version->seconds = INSTR_TIME_GET_DOUBLE(duration);
	version->labels = with_labels && pyn_plan_learns(&call.fit.plan) ? pyn_labels_store(dataset) : NULL;
	insert_version(dataset, call.fit.seed, request, version);
}

/*
 * pyn_dataset_find_version gives a version of the dataset; 0: the latest.
 */
void
pyn_dataset_find_version(const PynDataset *dataset, int number, PynDatasetVersion *version)
{
	static PynStatement select_version = PYN_STATEMENT(
		"SELECT version, sketch, rows, columns, seconds, labels FROM pynomaly_data_science.dataset_version "
		"WHERE dataset = $1 AND (version = $2 OR $2 = 0) ORDER BY version DESC",
		INT8OID, INT4OID);
	MemoryContext caller = CurrentMemoryContext;
	Datum		values[] = {Int64GetDatum(dataset->id), Int32GetDatum(number)};
	PynAccess	access;
	Datum		sketch;
	Datum		labels;
	bool		is_null;

	pyn_access_begin(&access, pyn_owner());
	SPI_connect();
	if (pyn_execute(&select_version, values, NULL, 1) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("dataset " INT64_FORMAT " has no version %d", dataset->id, number),
				 errhint("A version is made each time that the dataset is processed.")));
	MemoryContextSwitchTo(caller);
	version->version = DatumGetInt32(pyn_field(0, 1, NULL));
	sketch = pyn_field(0, 2, &is_null);
	version->sketch = is_null ? NULL : DatumGetByteaPCopy(sketch);
	version->rows = DatumGetInt64(pyn_field(0, 3, NULL));
	version->columns = DatumGetJsonbPCopy(pyn_field(0, 4, NULL));
	version->seconds = DatumGetFloat8(pyn_field(0, 5, NULL));
	labels = pyn_field(0, 6, &is_null);
	version->labels = is_null ? NULL : DatumGetByteaPCopy(labels);
	SPI_finish();
	pyn_access_end(&access);
}

/*
 * pyn_dataset_discard removes what a request has processed, and the sketch unless another version has the same.
 */
void
pyn_dataset_discard(pg_uuid_t *request, Oid owner)
{
	static PynStatement delete_versions = PYN_STATEMENT(
		"DELETE FROM pynomaly_data_science.dataset_version WHERE request = $1 AND owner = $2 RETURNING sketch, labels",
		UUIDOID, REGROLEOID);
	Datum		values[] = {UUIDPGetDatum(request), ObjectIdGetDatum(owner)};
	PynAccess	access;

	pyn_access_begin(&access, pyn_owner());
	SPI_connect();
	drop_all_unused(pyn_execute(&delete_versions, values, NULL, 0), owner);
	SPI_finish();
	pyn_access_end(&access);
}
