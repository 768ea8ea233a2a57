/*
 * profile_store.c
 *		Stores profiles and reads them: the domain's only access to its tables.
 *
 * The tables belong to the extension's owner, who reads them all, so each statement that looks for somebody's profile
 * says whose.  A column is stored by the members of its object (profile_json.c), one statement for each, so that a table
 * of 1,600 columns needs the memory of one.
 */
#include "kernel/port.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/tuplestore.h"
#include "utils/uuid.h"

#include "data_profiling/data_profiling.h"
#include "kernel/statement.h"
#include "sketch/cell.h"

/*
 * pyn_profile_begin becomes the extension's owner, and connects to SPI, whose memory then is the current one.  Times are
 * rendered in UTC until pyn_profile_end, whatever the session's zone, so that stored texts mean the same to everybody.
 */
void
pyn_profile_begin(PynAccess *access)
{
	pyn_access_begin(access, pyn_owner());
	(void) set_config_option("timezone", "UTC", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "cannot connect to SPI");
}

/*
 * pyn_profile_end puts back what pyn_profile_begin has changed.
 */
void
pyn_profile_end(const PynAccess *access)
{
	SPI_finish();
	pyn_access_end(access);
}

static Datum
request_datum(const char *request)
{
	return DirectFunctionCall1(uuid_in, CStringGetDatum(request));
}

/*
 * pyn_profile_of_request tells whether the owner has a profile of the request.
 */
bool
pyn_profile_of_request(Oid owner, const char *request)
{
	static PynStatement select_profile = PYN_STATEMENT(
		"SELECT 1 FROM pynomaly_data_profiling.profile WHERE owner = $1 AND request = $2",
		REGROLEOID, UUIDOID);
	Datum		values[] = {ObjectIdGetDatum(owner), request_datum(request)};

	return pyn_execute(&select_profile, values, NULL, 1) > 0;
}

/*
 * pyn_profile_insert stores a profile, still without columns and time, and gives its number; *previous is that of the
 * newest one of the same owner and dataset, 0 if there is none.
 */
int64
pyn_profile_insert(const PynProfileTask *task, const PynSketch *sketch, int64 *previous)
{
	static PynStatement insert_profile = PYN_STATEMENT(
		"INSERT INTO pynomaly_data_profiling.profile (owner, dataset, source, sketch, request, rows, sampled_rows, columns, "
		"previous, profiled_at, seconds) "
		"SELECT $1, $2, $3, $4, $5, $6, $7, $8, (SELECT max(id) FROM pynomaly_data_profiling.profile "
		"WHERE owner = $1 AND dataset = $2), clock_timestamp(), 0 RETURNING id, previous",
		REGROLEOID, INT8OID, TEXTOID, BYTEAOID, UUIDOID, INT8OID, INT8OID, INT4OID);
	Datum		values[] = {ObjectIdGetDatum(task->owner), Int64GetDatum(task->dataset),
		CStringGetTextDatum(task->source), PointerGetDatum(task->sketch),
		task->request != NULL ? request_datum(task->request) : (Datum) 0, Int64GetDatum(sketch->rows),
		Int64GetDatum(pyn_sampled_rows(sketch)), Int32GetDatum(sketch->column_count)};
	bool		is_first;

	pyn_execute(&insert_profile, values, task->request != NULL ? NULL : "    n   ", 0);
	*previous = DatumGetInt64(pyn_field(0, 2, &is_first));
	if (is_first)
		*previous = 0;
	return DatumGetInt64(pyn_field(0, 1, NULL));
}

/*
 * pyn_profile_insert_column stores the statistics of one column.
 */
void
pyn_profile_insert_column(int64 profile, Oid owner, const PynColumnStatistics *statistics, int position)
{
	static PynStatement insert_column = PYN_STATEMENT(
		"INSERT INTO pynomaly_data_profiling.column_profile "
		"SELECT column_profile.* FROM pg_catalog.jsonb_populate_record(NULL::pynomaly_data_profiling.column_profile, "
		"$3 || pg_catalog.jsonb_build_object('profile', $1, 'owner', $2::pg_catalog.oid)) AS column_profile",
		INT8OID, OIDOID, JSONBOID);
	Datum		values[] = {Int64GetDatum(profile), ObjectIdGetDatum(owner),
	JsonbPGetDatum(pyn_column_json(statistics, position))};

	pyn_execute(&insert_column, values, NULL, 0);
}

/*
 * pyn_profile_insert_changes stores how the profile differs from the one before.
 */
void
pyn_profile_insert_changes(int64 profile, Oid owner, List *changes)
{
	static PynStatement insert_change = PYN_STATEMENT(
		"INSERT INTO pynomaly_data_profiling.change (profile, owner, position, column_name, property, before, after, "
		"difference) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
		INT8OID, REGROLEOID, INT4OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, FLOAT8OID);
	ListCell   *cell;

	foreach(cell, changes)
	{
		const PynChange *change = lfirst(cell);
		char		nulls[] = "        ";
		int			position = foreach_current_index(cell) + 1;
		Datum		values[8] = {Int64GetDatum(profile), ObjectIdGetDatum(owner), Int32GetDatum(position)};

		values[3] = pyn_text_or_null(change->column, &nulls[3]);
		values[4] = CStringGetTextDatum(change->property);
		values[5] = pyn_text_or_null(change->before, &nulls[5]);
		values[6] = pyn_text_or_null(change->after, &nulls[6]);
		values[7] = Float8GetDatum(change->difference);
		nulls[7] = isnan(change->difference) ? 'n' : ' ';
		pyn_execute(&insert_change, values, nulls, 0);
	}
}

/*
 * pyn_profile_set_seconds notes how long a profile took.
 */
void
pyn_profile_set_seconds(int64 profile, double seconds)
{
	static PynStatement update_profile = PYN_STATEMENT(
		"UPDATE pynomaly_data_profiling.profile SET seconds = $2 WHERE id = $1",
		INT8OID, FLOAT8OID);
	Datum		values[] = {Int64GetDatum(profile), Float8GetDatum(seconds)};

	pyn_execute(&update_profile, values, NULL, 0);
}

/*
 * pyn_profile_remove_old removes all but the newest profiles of an owner's dataset, with their columns and changes.
 */
void
pyn_profile_remove_old(Oid owner, int64 dataset)
{
	static PynStatement delete_profiles = PYN_STATEMENT(
		"DELETE FROM pynomaly_data_profiling.profile WHERE owner = $1 AND dataset = $2 "
		"AND id <= (SELECT id FROM pynomaly_data_profiling.profile WHERE owner = $1 AND dataset = $2 "
		"ORDER BY id DESC OFFSET $3 LIMIT 1)",
		REGROLEOID, INT8OID, INT8OID);
	Datum		values[] = {ObjectIdGetDatum(owner), Int64GetDatum(dataset), Int64GetDatum(PYN_PROFILES_KEPT)};

	pyn_execute(&delete_profiles, values, NULL, 0);
}

/*
 * pyn_profile_discard removes the owner's profile of a request, if there is one.
 */
void
pyn_profile_discard(Oid owner, const char *request)
{
	static PynStatement delete_profile = PYN_STATEMENT(
		"DELETE FROM pynomaly_data_profiling.profile WHERE owner = $1 AND request = $2",
		REGROLEOID, UUIDOID);
	Datum		values[] = {ObjectIdGetDatum(owner), request_datum(request)};

	pyn_execute(&delete_profile, values, NULL, 0);
}

/* A kind by its name. */
static PynKind
kind_of(const char *name)
{
	for (PynKind kind = PYN_KIND_NONE; kind <= PYN_KIND_LAST; kind++)
		if (strcmp(pyn_kind_name(kind), name) == 0)
			return kind;
	return PYN_KIND_NONE;
}

static double
number_field(uint64 row, int column)
{
	bool		is_null;
	Datum		value = pyn_field(row, column, &is_null);

	return is_null ? NAN : DatumGetFloat8(value);
}

/*
 * pyn_profile_load reads a stored profile as far as comparisons need it, in the current memory context; false if it is not
 * there any more.
 */
bool
pyn_profile_load(int64 id, PynStoredProfile *profile)
{
	static PynStatement select_profile = PYN_STATEMENT(
		"SELECT rows FROM pynomaly_data_profiling.profile WHERE id = $1",
		INT8OID);
	static PynStatement select_columns = PYN_STATEMENT(
		"SELECT column_name, kind, rows - nulls, null_share, distinct_values::pg_catalog.float8, distinct_is_exact, "
		"minimum, maximum, mean, standard_deviation, q25, median, q75, top_values "
		"FROM pynomaly_data_profiling.column_profile WHERE profile = $1 ORDER BY position",
		INT8OID);
	Datum		values[] = {Int64GetDatum(id)};
	SPITupleTable *rows;

	if (pyn_execute(&select_profile, values, NULL, 1) == 0)
		return false;
	profile->id = id;
	profile->rows = DatumGetInt64(pyn_field(0, 1, NULL));
	profile->column_count = (int) pyn_execute(&select_columns, values, NULL, 0);
	profile->columns = palloc0(sizeof(PynStoredColumn) * Max(profile->column_count, 1));
	rows = SPI_tuptable;
	for (int i = 0; i < profile->column_count; i++)
	{
		PynStoredColumn *column = &profile->columns[i];

		column->name = pyn_text_field(i, 1);
		column->kind = kind_of(pyn_text_field(i, 2));
		column->present = DatumGetInt64(pyn_field(i, 3, NULL));
		column->null_share = number_field(i, 4);
		column->distinct = number_field(i, 5);
		column->distinct_is_exact = DatumGetBool(pyn_field(i, 6, NULL));
		column->minimum = number_field(i, 7);
		column->maximum = number_field(i, 8);
		column->mean = number_field(i, 9);
		column->standard_deviation = number_field(i, 10);
		column->q25 = number_field(i, 11);
		column->median = number_field(i, 12);
		column->q75 = number_field(i, 13);
		column->top_values = DatumGetJsonbPCopy(pyn_field(i, 14, NULL));
	}
	SPI_freetuptable(rows);
	return true;
}

/*
 * pyn_profile_visible tells whether the profile exists for the reader: it or a role that it belongs to is its owner.
 */
bool
pyn_profile_visible(int64 id, Oid reader)
{
	static PynStatement select_profile = PYN_STATEMENT(
		"SELECT 1 FROM pynomaly_data_profiling.profile WHERE id = $1 AND pg_catalog.pg_has_role($2, owner, 'USAGE')",
		INT8OID, OIDOID);
	Datum		values[] = {Int64GetDatum(id), ObjectIdGetDatum(reader)};

	return pyn_execute(&select_profile, values, NULL, 1) > 0;
}

/*
 * pyn_profile_before finds the profile before one, of the same owner and dataset; 0 if there is none.
 */
int64
pyn_profile_before(int64 id)
{
	static PynStatement select_before = PYN_STATEMENT(
		"SELECT max(b.id) FROM pynomaly_data_profiling.profile p JOIN pynomaly_data_profiling.profile b "
		"ON b.owner = p.owner AND b.dataset = p.dataset AND b.id < p.id WHERE p.id = $1",
		INT8OID);
	Datum		values[] = {Int64GetDatum(id)};
	bool		is_null;
	Datum		before;

	pyn_execute(&select_before, values, NULL, 1);
	before = pyn_field(0, 1, &is_null);
	return is_null ? 0 : DatumGetInt64(before);
}

/*
 * pyn_profile_put_columns puts a profile's columns into the result of the operation `profile`.
 */
void
pyn_profile_put_columns(int64 id, ReturnSetInfo *result)
{
	static PynStatement select_columns = PYN_STATEMENT(
		"SELECT column_name, kind, is_key, rows, nulls, null_share, distinct_values, distinct_is_exact, zeros, negatives, "
		"nans, infinities, empty_texts, minimum, maximum, minimum_text, maximum_text, mean, standard_deviation, skewness, "
		"kurtosis, q01, q05, q25, median, q75, q95, q99, median_absolute_deviation, length_minimum, length_maximum, "
		"length_mean, top_values, histogram, alerts "
		"FROM pynomaly_data_profiling.column_profile WHERE profile = $1 ORDER BY position",
		INT8OID);
	Datum		values[] = {Int64GetDatum(id)};
	uint64		rows = pyn_execute(&select_columns, values, NULL, 0);

	for (uint64 row = 0; row < rows; row++)
		tuplestore_puttuple(result->setResult, SPI_tuptable->vals[row]);
}

/*
 * pyn_profile_json gives a stored profile with its columns and changes, by number or, where that is NULL, by the request
 * that it is a step of; NULL where the reader has none.  The result is allocated in `context`.
 */
Jsonb *
pyn_profile_json(const int64 *id, const char *request, Oid reader, MemoryContext context)
{
	static PynStatement select_profile = PYN_STATEMENT(
		"SELECT pg_catalog.jsonb_build_object('profile', p.id, 'dataset', p.dataset, 'source', p.source, "
		"'request', p.request, 'rows', p.rows, 'sampled_rows', p.sampled_rows, 'previous', p.previous, "
		"'profiled_at', p.profiled_at, 'seconds', p.seconds, 'columns', coalesce("
		"(SELECT pg_catalog.jsonb_agg(pg_catalog.to_jsonb(c) - '{profile,owner,position,rows}'::text[] ORDER BY c.position) "
		"FROM pynomaly_data_profiling.column_profile c WHERE c.profile = p.id), '[]'), 'changes', coalesce("
		"(SELECT pg_catalog.jsonb_agg(pg_catalog.to_jsonb(h) - '{profile,owner,position}'::text[] ORDER BY h.position) "
		"FROM pynomaly_data_profiling.change h WHERE h.profile = p.id), '[]')) "
		"FROM pynomaly_data_profiling.profile p WHERE pg_catalog.pg_has_role($3, p.owner, 'USAGE') AND p.id = coalesce($1, "
		"(SELECT max(r.id) FROM pynomaly_data_profiling.profile r "
		"WHERE r.request = $2 AND pg_catalog.pg_has_role($3, r.owner, 'USAGE')))",
		INT8OID, UUIDOID, OIDOID);
	Datum		values[] = {id != NULL ? Int64GetDatum(*id) : (Datum) 0,
		request != NULL ? request_datum(request) : (Datum) 0, ObjectIdGetDatum(reader)};
	char		nulls[] = {id != NULL ? ' ' : 'n', request != NULL ? ' ' : 'n', ' ', 0};
	MemoryContext old;
	Jsonb	   *result;

	if (pyn_execute(&select_profile, values, nulls, 1) == 0)
		return NULL;
	old = MemoryContextSwitchTo(context);
	result = DatumGetJsonbPCopy(pyn_field(0, 1, NULL));
	MemoryContextSwitchTo(old);
	return result;
}
