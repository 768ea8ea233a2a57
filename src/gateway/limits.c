/*
 * limits.c
 *		How much a role may ask for.
 *
 * Who submits counts as himself; of the limits of all roles that he belongs to the lowest counts.  Those for whom one was set
 * submit one after the other, so that two sessions cannot take the same last place.
 */
#include "postgres.h"

#include <limits.h>

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"

#include "gateway/gateway.h"
#include "kernel/access.h"
#include "kernel/audit.h"
#include "kernel/json_writer.h"
#include "kernel/statement.h"

PG_FUNCTION_INFO_V1(pyn_limit_role);

int			pyn_gateway_retention = 90 * 86400;
int			pyn_gateway_max_active = 1000;

/*
 * pyn_gateway_init defines the gateway's settings.
 */
void
pyn_gateway_init(void)
{
	DefineCustomIntVariable("pynomaly.gateway_retention",
							"Sets how long requests and their reports are kept after their end.",
							NULL,
							&pyn_gateway_retention, pyn_gateway_retention, 1, INT_MAX, PGC_SIGHUP, GUC_UNIT_S,
							NULL, NULL, NULL);
	DefineCustomIntVariable("pynomaly.gateway_max_active",
							"Sets how many requests of one role may be active at a time.",
							"pynomaly.limit_role sets lower limits for some roles.",
							&pyn_gateway_max_active, pyn_gateway_max_active, 1, INT_MAX, PGC_SUSET, 0,
							NULL, NULL, NULL);
}

/* Waits until no other session submits for this role. */
static void
lock_role(Oid owner)
{
	LOCKTAG		tag;

	/* SQL's advisory locks have 1 and 2 in the last field, the event log's keys 3. */
	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, owner, 0, 4);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

static void
refuse(Oid owner, int64 limit, const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			 errmsg("role \"%s\" has reached its limit of " INT64_FORMAT " %s", GetUserNameFromId(owner, true), limit, what),
			 errhint("Wait until requests have ended, or ask an administrator for pynomaly.limit_role.")));
}

/* The lower one of a limit (-1: none) and a field of the last result. */
static int64
lower_limit(int64 limit, uint64 row, int column)
{
	bool		is_null;
	int64		other = DatumGetInt32(pyn_field(row, column, &is_null));

	return is_null || (limit >= 0 && limit <= other) ? limit : other;
}

/*
 * pyn_check_limits refuses (53400) a further request of the role.  The caller is the extension's owner, connected to SPI.
 * A superuser is limited only by what was said of the roles that he was made a member of.
 */
void
pyn_check_limits(Oid owner)
{
	static PynStatement select_limits = PYN_STATEMENT(
		"SELECT role, max_active, max_per_hour FROM pynomaly_gateway.role_limit");
	static PynStatement count_requests = PYN_STATEMENT(
		"SELECT count(*) FILTER (WHERE s.ended_at IS NULL), count(*) FILTER (WHERE r.submitted_at > clock_timestamp() - interval '1 hour') "
		"FROM pynomaly_gateway.request r JOIN pynomaly_kernel.saga s ON s.id = r.id WHERE r.owner = $1 "
		"AND (s.ended_at IS NULL OR r.submitted_at > clock_timestamp() - interval '1 hour')",
		REGROLEOID);
	Datum		values[] = {ObjectIdGetDatum(owner)};
	int64		max_active = pyn_gateway_max_active;
	int64		max_per_hour = -1;
	bool		limited = false;
	uint64		count;

	count = pyn_execute(&select_limits, NULL, NULL, 0);
	for (uint64 row = 0; row < count; row++)
	{
		if (!is_member_of_role_nosuper(owner, DatumGetObjectId(pyn_field(row, 1, NULL))))
			continue;
		limited = true;
		max_active = lower_limit(max_active, row, 2);
		max_per_hour = lower_limit(max_per_hour, row, 3);
	}
	if (limited)
		lock_role(owner);
	pyn_execute_latest(&count_requests, values, NULL);
	if (DatumGetInt64(pyn_field(0, 1, NULL)) >= max_active)
		refuse(owner, max_active, "active requests");
	if (max_per_hour >= 0 && DatumGetInt64(pyn_field(0, 2, NULL)) >= max_per_hour)
		refuse(owner, max_per_hour, "requests an hour");
}

/*
 * pynomaly.limit_role(role regrole, max_active int = NULL, max_per_hour int = NULL) → void
 */
Datum
pyn_limit_role(PG_FUNCTION_ARGS)
{
	static PynStatement delete_limit = PYN_STATEMENT(
		"DELETE FROM pynomaly_gateway.role_limit WHERE role = $1",
		REGROLEOID);
	static PynStatement insert_limit = PYN_STATEMENT(
		"INSERT INTO pynomaly_gateway.role_limit (role, max_active, max_per_hour) VALUES ($1, $2, $3)",
		REGROLEOID, INT4OID, INT4OID);
	char		nulls[] = "   ";
	Datum		values[3];
	PynJson		json = {0};
	PynAccess	access;
	char	   *role;

	pyn_check_writable("limit_role()");
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("the role to be limited must not be null")));
	role = GetUserNameFromId(PG_GETARG_OID(0), false);
	values[0] = PG_GETARG_DATUM(0);
	pyn_json_open_object(&json, NULL);
	for (int i = 1; i <= 2; i++)
	{
		values[i] = PG_ARGISNULL(i) ? (Datum) 0 : PG_GETARG_DATUM(i);
		nulls[i] = PG_ARGISNULL(i) ? 'n' : ' ';
		if (PG_ARGISNULL(i))
			continue;
		if (PG_GETARG_INT32(i) < 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("a limit must not be negative")));
		pyn_json_integer(&json, i == 1 ? "max_active" : "max_per_hour", PG_GETARG_INT32(i));
	}
	pyn_json_close_object(&json);
	pyn_access_begin(&access, pyn_owner());
	SPI_connect();
	pyn_execute(&delete_limit, values, NULL, 0);
	if (nulls[1] != 'n' || nulls[2] != 'n')
		pyn_execute(&insert_limit, values, nulls, 0);
	SPI_finish();
	pyn_access_end(&access);
	pyn_audit("gateway.limit_role", role, JsonbValueToJsonb(json.result));
	PG_RETURN_VOID();
}
