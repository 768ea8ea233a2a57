/*
 * artifact.c
 *		Stores large values by their SHA-256.
 *
 * Events are small; the sketches and models that they are about are stored here and named by digest.  Who knows a digest
 * may not thereby read what it names: each owner has a row of its own, which only it and its members find.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/cryptohash.h"
#include "common/sha2.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"

#include "kernel/access.h"
#include "kernel/artifact.h"
#include "kernel/statement.h"

#define MAX_KIND 63				/* bytes */

PG_FUNCTION_INFO_V1(pyn_put_artifact_sql);
PG_FUNCTION_INFO_V1(pyn_get_artifact_sql);
PG_FUNCTION_INFO_V1(pyn_drop_artifact_sql);

static bytea *
sha256(const bytea *bytes)
{
	bytea	   *digest = palloc(VARHDRSZ + PG_SHA256_DIGEST_LENGTH);
	pg_cryptohash_ctx *context = pg_cryptohash_create(PG_SHA256);

	SET_VARSIZE(digest, VARHDRSZ + PG_SHA256_DIGEST_LENGTH);
	if (pg_cryptohash_init(context) < 0 ||
		pg_cryptohash_update(context, (const uint8 *) VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes)) < 0 ||
		pg_cryptohash_final(context, (uint8 *) VARDATA(digest), PG_SHA256_DIGEST_LENGTH) < 0)
		elog(ERROR, "could not compute SHA-256: %s", pg_cryptohash_error(context));
	pg_cryptohash_free(context);
	return digest;
}

/* Runs a statement that locks an artifact; false if there is none, or it cannot be locked. */
static bool
lock(PynStatement *statement, bytea *digest, Oid owner)
{
	Datum		values[] = {PointerGetDatum(digest), ObjectIdGetDatum(OidIsValid(owner) ? owner : GetUserId())};
	PynAccess	access;
	bool		locked;

	pyn_access_begin(&access, pyn_owner());
	SPI_connect();
	locked = pyn_execute(statement, values, NULL, 1) == 1;
	SPI_finish();
	pyn_access_end(&access);
	return locked;
}

/*
 * pyn_artifact_hold keeps an artifact until the transaction ends; false if there is none.
 */
bool
pyn_artifact_hold(bytea *digest, Oid owner)
{
	static PynStatement lock_artifact = PYN_STATEMENT(
		"SELECT FROM pynomaly_kernel.artifact WHERE digest = $1 AND owner = $2 FOR KEY SHARE",
		BYTEAOID, REGROLEOID);

	return lock(&lock_artifact, digest, owner);
}

/*
 * pyn_artifact_seize makes sure that nobody holds an artifact, or begins to, until the transaction ends; false if somebody
 * does, or there is none.
 */
bool
pyn_artifact_seize(bytea *digest, Oid owner)
{
	static PynStatement lock_artifact = PYN_STATEMENT(
		"SELECT FROM pynomaly_kernel.artifact WHERE digest = $1 AND owner = $2 FOR UPDATE SKIP LOCKED",
		BYTEAOID, REGROLEOID);

	return lock(&lock_artifact, digest, owner);
}

/* Stores bytes under their digest, unless they are there; an error if they are of another kind. */
static void
store(bytea *digest, const char *kind, bytea *bytes, Oid owner)
{
	static PynStatement insert_artifact = PYN_STATEMENT(
		"INSERT INTO pynomaly_kernel.artifact (digest, owner, kind, bytes, created_at) VALUES ($1, $2, $3, $4, now()) "
		"ON CONFLICT (digest, owner) DO NOTHING",
		BYTEAOID, REGROLEOID, TEXTOID, BYTEAOID);
	static PynStatement select_kind = PYN_STATEMENT(
		"SELECT kind FROM pynomaly_kernel.artifact WHERE digest = $1 AND owner = $2",
		BYTEAOID, REGROLEOID);
	Datum		values[] = {
		PointerGetDatum(digest), ObjectIdGetDatum(owner), CStringGetTextDatum(kind), PointerGetDatum(bytes)
	};
	PynAccess	access;

	pyn_access_begin(&access, pyn_owner());
	SPI_connect();
	if (pyn_execute(&insert_artifact, values, NULL, 0) == 0 && pyn_execute(&select_kind, values, NULL, 1) == 1 &&
		strcmp(pyn_text_field(0, 1), kind) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNIQUE_VIOLATION),
				 errmsg("these bytes are stored as an artifact of kind \"%s\", not \"%s\"", pyn_text_field(0, 1), kind)));
	SPI_finish();
	pyn_access_end(&access);
}

/*
 * pyn_artifact_put stores bytes and gives their digest.  The same bytes of one owner are stored once.
 */
bytea *
pyn_artifact_put(const char *kind, bytea *bytes, Oid owner)
{
	bytea	   *digest = sha256(bytes);

	pyn_check_writable("put_artifact()");
	if (!OidIsValid(owner))
		owner = GetUserId();
	if (kind[0] == 0 || strlen(kind) > MAX_KIND)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the kind of an artifact must have 1 to %d bytes", MAX_KIND)));
	/* Equal bytes that were there already may be dropped before they are held. */
	do
	{
		CHECK_FOR_INTERRUPTS();
		store(digest, kind, bytes, owner);
	} while (!pyn_artifact_hold(digest, owner));
	return digest;
}

/*
 * pyn_artifact_get gives the bytes that `reader`, or a role that it belongs to, has stored under the digest; in the
 * current memory context.
 */
bytea *
pyn_artifact_get(bytea *digest, Oid reader)
{
	static PynStatement select_artifact = PYN_STATEMENT(
		"SELECT owner, bytes FROM pynomaly_kernel.artifact WHERE digest = $1",
		BYTEAOID);
	MemoryContext caller = CurrentMemoryContext;
	Oid			user = OidIsValid(reader) ? reader : GetUserId();
	Datum		values[] = {PointerGetDatum(digest)};
	bytea	   *bytes = NULL;
	PynAccess	access;

	pyn_access_begin(&access, pyn_owner());
	SPI_connect();
	pyn_execute(&select_artifact, values, NULL, 0);
	for (uint64 row = 0; row < SPI_processed && bytes == NULL; row++)
	{
		if (!has_privs_of_role(user, DatumGetObjectId(pyn_field(row, 1, NULL))))
			continue;
		MemoryContextSwitchTo(caller);
		bytes = DatumGetByteaPCopy(pyn_field(row, 2, NULL));
	}
	SPI_finish();
	pyn_access_end(&access);
	if (bytes == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA),
				 errmsg("role \"%s\" has no artifact with this digest", GetUserNameFromId(user, true))));
	return bytes;
}

/*
 * pyn_artifact_drop removes an owner's artifact; false if there is none.
 */
bool
pyn_artifact_drop(bytea *digest, Oid owner)
{
	static PynStatement delete_artifact = PYN_STATEMENT(
		"DELETE FROM pynomaly_kernel.artifact WHERE digest = $1 AND owner = $2",
		BYTEAOID, REGROLEOID);
	Datum		values[] = {PointerGetDatum(digest), ObjectIdGetDatum(OidIsValid(owner) ? owner : GetUserId())};
	PynAccess	access;
	uint64		deleted;

	pyn_check_writable("drop_artifact()");
	pyn_access_begin(&access, pyn_owner());
	SPI_connect();
	deleted = pyn_execute(&delete_artifact, values, NULL, 0);
	SPI_finish();
	pyn_access_end(&access);
	return deleted > 0;
}

/*
 * pynomaly_kernel.put_artifact(kind text, bytes bytea) → bytea
 */
Datum
pyn_put_artifact_sql(PG_FUNCTION_ARGS)
{
	PG_RETURN_BYTEA_P(pyn_artifact_put(text_to_cstring(PG_GETARG_TEXT_PP(0)), PG_GETARG_BYTEA_PP(1), InvalidOid));
}

/*
 * pynomaly_kernel.get_artifact(digest bytea) → bytea
 */
Datum
pyn_get_artifact_sql(PG_FUNCTION_ARGS)
{
	PG_RETURN_BYTEA_P(pyn_artifact_get(PG_GETARG_BYTEA_PP(0), InvalidOid));
}

/*
 * pynomaly_kernel.drop_artifact(digest bytea) → boolean
 */
Datum
pyn_drop_artifact_sql(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(pyn_artifact_drop(PG_GETARG_BYTEA_PP(0), InvalidOid));
}
