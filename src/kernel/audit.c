/*
 * audit.c
 *		The audit trail: who did what, sealed into a chain of hashes.
 *
 * Callers append rows to audit_pending with their own transactions, which do not wait for each other.  The gateway's
 * worker, or process_events(), moves the committed ones into the chain: row n has the SHA-256 of the hash of row n - 1
 * and of all of its own fields.  Whoever changes, removes or inserts a row, as a superuser can, breaks the chain from
 * there on, unless all later hashes are computed anew; against that, and against cutting the end off, a head that was
 * noted elsewhere helps, which verify_audit() takes.
 *
 * What is hashed is text, with lengths, and names in place of OIDs, so the chain survives a dump.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/cryptohash.h"
#include "common/sha2.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "kernel/access.h"
#include "kernel/audit.h"
#include "kernel/consumer.h"
#include "kernel/doorbell.h"
#include "kernel/statement.h"

/* Rows sealed in one transaction. */
#define SEAL_ROWS 1000

/* Longest details, in bytes of jsonb; others are left out. */
#define MAX_DETAILS 8192

/* The columns of a row that are hashed, as statements here select them after the sequence. */
enum
{
	COLUMN_ID = 2,
	COLUMN_AT,
	COLUMN_ACTOR,
	COLUMN_SESSION_ACTOR,
	COLUMN_ACTION,
	COLUMN_SUBJECT,
	COLUMN_DETAILS,
	COLUMN_HASH
};

PG_FUNCTION_INFO_V1(pyn_verify_audit);

/* A role's name, or its OID where it was dropped meanwhile. */
static char *
role_name(Oid role)
{
	char	   *name = GetUserNameFromId(role, true);

	return name != NULL ? name : psprintf("%u", role);
}

/*
 * pyn_audit appends a row in the current user's name, with the current transaction.
 */
void
pyn_audit(const char *action, const char *subject, Jsonb *details)
{
	static PynStatement insert_row = PYN_STATEMENT(
		"INSERT INTO pynomaly_kernel.audit_pending (at, actor, session_actor, action, subject, details) "
		"VALUES (clock_timestamp(), $1, $2, $3, $4, $5)",
		TEXTOID, TEXTOID, TEXTOID, TEXTOID, JSONBOID);
	char		nulls[] = "     ";
	Datum		values[5];
	NameData	host;
	PynAccess	access;

	values[0] = CStringGetTextDatum(role_name(GetUserId()));
	values[1] = CStringGetTextDatum(role_name(GetSessionUserId()));
	values[2] = CStringGetTextDatum(action);
	values[3] = pyn_text_or_null(subject, &nulls[3]);
	values[4] = JsonbPGetDatum(details);
	if (details == NULL || VARSIZE(details) > MAX_DETAILS)
		nulls[4] = 'n';
	pyn_access_begin(&access, pyn_owner());
	SPI_connect();
	pyn_execute(&insert_row, values, nulls, 0);
	SPI_finish();
	pyn_access_end(&access);
	/* Its worker seals. */
	namestrcpy(&host, PYN_HOST_DOMAIN);
	pyn_doorbell_prepare(&host, 1);
}

static void
hash_bytes(pg_cryptohash_ctx *context, const void *bytes, Size length)
{
	if (pg_cryptohash_update(context, bytes, length) < 0)
		elog(ERROR, "could not compute SHA-256: %s", pg_cryptohash_error(context));
}

static void
hash_integer(pg_cryptohash_ctx *context, int64 number)
{
	uint64		bytes = pg_hton64((uint64) number);

	hash_bytes(context, &bytes, sizeof(bytes));
}

/* A text after its length; NULL has the length -1. */
static void
hash_text(pg_cryptohash_ctx *context, const char *text)
{
	hash_integer(context, text == NULL ? -1 : (int64) strlen(text));
	if (text != NULL)
		hash_bytes(context, text, strlen(text));
}

/* The hash of a row of `table` that follows the hash `before` (empty for the first) with this sequence. */
static bytea *
hash_row(SPITupleTable *table, uint64 row, int64 sequence, bytea *before)
{
	pg_cryptohash_ctx *context = pg_cryptohash_create(PG_SHA256);
	bytea	   *hash = palloc(VARHDRSZ + PG_SHA256_DIGEST_LENGTH);
	bool		is_null;

	SET_VARSIZE(hash, VARHDRSZ + PG_SHA256_DIGEST_LENGTH);
	if (pg_cryptohash_init(context) < 0)
		elog(ERROR, "could not compute SHA-256: %s", pg_cryptohash_error(context));
	hash_bytes(context, VARDATA_ANY(before), VARSIZE_ANY_EXHDR(before));
	hash_integer(context, sequence);
	hash_integer(context, DatumGetInt64(SPI_getbinval(table->vals[row], table->tupdesc, COLUMN_ID, &is_null)));
	hash_integer(context, DatumGetTimestampTz(SPI_getbinval(table->vals[row], table->tupdesc, COLUMN_AT, &is_null)));
	for (int column = COLUMN_ACTOR; column <= COLUMN_DETAILS; column++)
		hash_text(context, SPI_getvalue(table->vals[row], table->tupdesc, column));
	if (pg_cryptohash_final(context, (uint8 *) VARDATA(hash), PG_SHA256_DIGEST_LENGTH) < 0)
		elog(ERROR, "could not compute SHA-256: %s", pg_cryptohash_error(context));
	pg_cryptohash_free(context);
	return hash;
}

static bytea *
no_hash(void)
{
	bytea	   *hash = palloc(VARHDRSZ);

	SET_VARSIZE(hash, VARHDRSZ);
	return hash;
}

/*
 * pyn_audit_seal moves committed rows into the chain, at most some; true if there may be more.  The caller is the
 * extension's owner, connected to SPI, and the only one who seals.
 */
bool
pyn_audit_seal(void)
{
	static PynStatement select_head = PYN_STATEMENT(
		"SELECT sequence, hash FROM pynomaly_kernel.audit ORDER BY sequence DESC LIMIT 1");
	static PynStatement take_pending = PYN_STATEMENT(
		"WITH taken AS (DELETE FROM pynomaly_kernel.audit_pending WHERE id IN "
		"(SELECT id FROM pynomaly_kernel.audit_pending ORDER BY id LIMIT $1) RETURNING *) "
		"SELECT 0::bigint, id, at, actor, session_actor, action, subject, details FROM taken ORDER BY id",
		INT4OID);
	static PynStatement insert_row = PYN_STATEMENT(
		"INSERT INTO pynomaly_kernel.audit (sequence, id, at, actor, session_actor, action, subject, details, hash) "
		"VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
		INT8OID, INT8OID, TIMESTAMPTZOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, JSONBOID, BYTEAOID);
	Datum		limit = Int32GetDatum(SEAL_ROWS);
	bytea	   *hash = no_hash();
	int64		sequence = 0;
	SPITupleTable *taken;
	uint64		count;

	count = pyn_execute(&take_pending, &limit, NULL, 0);
	taken = SPI_tuptable;
	if (count == 0)
		return false;
	if (pyn_execute(&select_head, NULL, NULL, 1) == 1)
	{
		sequence = DatumGetInt64(pyn_field(0, 1, NULL));
		hash = DatumGetByteaPCopy(pyn_field(0, 2, NULL));
	}
	for (uint64 row = 0; row < count; row++)
	{
		Datum		values[COLUMN_HASH];
		char		nulls[COLUMN_HASH + 1] = "         ";

		sequence++;
		hash = hash_row(taken, row, sequence, hash);
		for (int column = COLUMN_ID; column <= COLUMN_DETAILS; column++)
		{
			bool		is_null;

			values[column - 1] = SPI_getbinval(taken->vals[row], taken->tupdesc, column, &is_null);
			nulls[column - 1] = is_null ? 'n' : ' ';
		}
		values[0] = Int64GetDatum(sequence);
		values[COLUMN_HASH - 1] = PointerGetDatum(hash);
		pyn_execute(&insert_row, values, nulls, 0);
	}
	return count == SEAL_ROWS;
}

/* What verifying has found. */
typedef struct Verdict
{
	int64		sealed;
	int64		first_broken;
	const char *reason;			/* NULL: it is intact */
	bytea	   *head;
} Verdict;

/* Follows the chain row by row, in portions; stops at the first row that does not fit. */
static void
follow_chain(Verdict *verdict, int64 noted_sequence, const char *noted_hash)
{
	static PynStatement select_rows = PYN_STATEMENT(
		"SELECT sequence, id, at, actor, session_actor, action, subject, details, hash FROM pynomaly_kernel.audit "
		"WHERE sequence > $1 ORDER BY sequence LIMIT $2",
		INT8OID, INT4OID);
	MemoryContext portion = AllocSetContextCreate(CurrentMemoryContext, "pynomaly audit", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(portion);
	/* A row with a sequence below 1 was put there by somebody else, too. */
	int64		last = PG_INT64_MIN;
	uint64		count;

	do
	{
		Datum		values[] = {Int64GetDatum(last), Int32GetDatum(SEAL_ROWS)};
		SPITupleTable *rows;

		CHECK_FOR_INTERRUPTS();
		count = pyn_execute(&select_rows, values, NULL, 0);
		rows = SPI_tuptable;
		for (uint64 row = 0; row < count; row++)
		{
			bool		is_null;
			bytea	   *hash = DatumGetByteaPP(SPI_getbinval(rows->vals[row], rows->tupdesc, COLUMN_HASH, &is_null));
			bytea	   *expected = hash_row(rows, row, verdict->sealed + 1, verdict->head);
			char		digits[2 * PG_SHA256_DIGEST_LENGTH + 1] = "";

			last = DatumGetInt64(SPI_getbinval(rows->vals[row], rows->tupdesc, 1, &is_null));
			if (last != verdict->sealed + 1)
			{
				verdict->first_broken = Min(last, verdict->sealed + 1);
				verdict->reason = last > verdict->sealed ? "the row is missing" : "the row was never sealed";
			}
			else if (VARSIZE_ANY_EXHDR(hash) != VARSIZE_ANY_EXHDR(expected) ||
					 memcmp(VARDATA_ANY(hash), VARDATA_ANY(expected), VARSIZE_ANY_EXHDR(expected)) != 0)
			{
				verdict->first_broken = last;
				verdict->reason = "the row, or the hash before it, is not what was sealed";
			}
			else
			{
				hex_encode(VARDATA_ANY(hash), PG_SHA256_DIGEST_LENGTH, digits);
				if (last == noted_sequence && noted_hash != NULL && strcmp(digits, noted_hash) != 0)
				{
					verdict->first_broken = last;
					verdict->reason = "the row has another hash than the one that was noted";
				}
			}
			if (verdict->reason != NULL)
				break;
			verdict->sealed = last;
			MemoryContextSwitchTo(caller);
			pfree(verdict->head);
			verdict->head = DatumGetByteaPCopy(PointerGetDatum(hash));
			MemoryContextSwitchTo(portion);
		}
		SPI_freetuptable(rows);
		MemoryContextReset(portion);
	} while (count == SEAL_ROWS && verdict->reason == NULL);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(portion);
	if (verdict->reason == NULL && noted_sequence > verdict->sealed)
	{
		verdict->first_broken = verdict->sealed + 1;
		verdict->reason = "the rows from here on are missing";
	}
}

/*
 * pynomaly.verify_audit(sequence bigint = NULL, hash text = NULL) → (intact, sealed, unsealed, first_broken, reason, head)
 */
Datum
pyn_verify_audit(PG_FUNCTION_ARGS)
{
	static PynStatement count_pending = PYN_STATEMENT("SELECT count(*) FROM pynomaly_kernel.audit_pending");
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	int64		noted_sequence = PG_ARGISNULL(0) ? 0 : PG_GETARG_INT64(0);
	char	   *noted_hash = PG_ARGISNULL(1) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(1));
	Verdict		verdict = {0};
	Datum		values[6];
	bool		nulls[6] = {false};
	char		digits[2 * PG_SHA256_DIGEST_LENGTH + 1] = "";
	PynAccess	access;

	if (PG_ARGISNULL(0) != PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("sequence and hash of a noted head belong together")));
	InitMaterializedSRF(fcinfo, 0);
	verdict.head = no_hash();
	pyn_access_begin(&access, pyn_owner());
	SPI_connect();
	follow_chain(&verdict, noted_sequence, noted_hash);
	pyn_execute(&count_pending, NULL, NULL, 1);
	values[2] = Int64GetDatum(DatumGetInt64(pyn_field(0, 1, NULL)));
	values[0] = BoolGetDatum(verdict.reason == NULL);
	values[1] = Int64GetDatum(verdict.sealed);
	values[3] = Int64GetDatum(verdict.first_broken);
	nulls[3] = nulls[4] = verdict.reason == NULL;
	values[4] = verdict.reason != NULL ? CStringGetTextDatum(verdict.reason) : (Datum) 0;
	hex_encode(VARDATA_ANY(verdict.head), VARSIZE_ANY_EXHDR(verdict.head), digits);
	values[5] = CStringGetTextDatum(digits);
	nulls[5] = verdict.sealed == 0;
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	SPI_finish();
	pyn_access_end(&access);
	return (Datum) 0;
}
