/*
 * subscription.c
 *		Makes, stops and removes subscriptions, and asks for events again.
 *
 * The functions here run in users' sessions, consumers in others.  What they change they tell by invalidating the
 * relation-cache entry of the table, which a consumer looks out for, and by ringing for its worker.
 */
#include "postgres.h"

#include <limits.h>

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "kernel/access.h"
#include "kernel/consumer.h"
#include "kernel/doorbell.h"
#include "kernel/event_type.h"
#include "kernel/statement.h"

#define MAX_NAME 200			/* bytes */

PG_FUNCTION_INFO_V1(pyn_subscribe);
PG_FUNCTION_INFO_V1(pyn_add_subscription);
PG_FUNCTION_INFO_V1(pyn_unsubscribe);
PG_FUNCTION_INFO_V1(pyn_resume);
PG_FUNCTION_INFO_V1(pyn_replay);
PG_FUNCTION_INFO_V1(pyn_redrive);

/* Tells consumers and publishers that subscriptions have changed, and wakes the domain. */
static void
announce_change(const char *table, const char *domain)
{
	NameData	name;

	namestrcpy(&name, domain);
	CacheInvalidateRelcacheByRelid(pyn_relation(table));
	pyn_doorbell_prepare(&name, 1);
}

static void
insert_subscription(const char *name, const char *domain, const char *type, const char *handler, Oid owner,
					Datum max_attempts, bool no_max_attempts, Datum timeout, bool no_timeout)
{
	static PynStatement insert = PYN_STATEMENT(
		"INSERT INTO pynomaly_kernel.subscription "
		"(name, domain, type, handler, owner, max_attempts, timeout, status, builtin, created_at) "
		"VALUES ($1, $2, $3, $4, $5, $6, $7, 'active', $8, now()) ON CONFLICT (name) DO NOTHING",
		TEXTOID, NAMEOID, TEXTOID, TEXTOID, REGROLEOID, INT4OID, INTERVALOID, BOOLOID);
	NameData	domain_name;
	Datum		values[] = {CStringGetTextDatum(name), NameGetDatum(&domain_name), CStringGetTextDatum(type),
		handler != NULL ? CStringGetTextDatum(handler) : (Datum) 0, ObjectIdGetDatum(owner), max_attempts, timeout,
	BoolGetDatum(creating_extension)};
	char		nulls[] = {' ', ' ', ' ', handler != NULL ? ' ' : 'n', ' ', no_max_attempts ? 'n' : ' ',
	no_timeout ? 'n' : ' ', ' ', 0};

	namestrcpy(&domain_name, domain);
	if (pyn_execute(&insert, values, nulls, 0) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("subscription \"%s\" exists already", name),
				 errhint("Give another name, or call pynomaly.unsubscribe first.")));
	pyn_new_position(name, NULL);
	announce_change("subscription", domain);
}

/*
 * pyn_interval_ms gives a positive interval in milliseconds; an error for others.
 */
int
pyn_interval_ms(const Interval *interval, const char *what)
{
	double		ms = interval->time / 1000.0 + interval->day * 86400000.0 + interval->month * (30 * 86400000.0);

	if (ms < 1 || ms > INT_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the %s must be from 1 ms to 24 days", what)));
	return (int) ms;
}

/*
 * pyn_check_login refuses a role that may not log in: what it had done in its name would run for nobody.
 */
void
pyn_check_login(Oid role)
{
	HeapTuple	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(role));
	bool		can_log_in = HeapTupleIsValid(tuple) && ((Form_pg_authid) GETSTRUCT(tuple))->rolcanlogin;

	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	if (!can_log_in)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
				 errmsg("role \"%s\" may not log in", GetUserNameFromId(role, true)),
				 errhint("Handlers run as the role that asked for them, which must be able to log in.")));
}

/*
 * pyn_name_argument gives a name that a user chose for a thing of ours.
 */
char *
pyn_name_argument(text *value, const char *what)
{
	char	   *name = text_to_cstring(value);

	if (name[0] == 0 || strlen(name) > MAX_NAME)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the name of a %s must have 1 to %d bytes", what, MAX_NAME)));
	return name;
}

/*
 * pynomaly.subscribe(type text, handler text, name text = NULL, max_attempts int = NULL, timeout interval = NULL) → text
 */
Datum
pyn_subscribe(PG_FUNCTION_ARGS)
{
	Oid			owner = GetUserId();
	PynAccess	access;
	char	   *type;
	char	   *handler;
	char	   *name;

	pyn_check_writable("subscribe()");
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("the %s of a subscription must not be null", PG_ARGISNULL(0) ? "type" : "handler")));
	type = text_to_cstring(PG_GETARG_TEXT_PP(0));
	pyn_check_type_pattern(type);
	pyn_check_login(owner);
	handler = pyn_handler_name(text_to_cstring(PG_GETARG_TEXT_PP(1)), true);
	name = PG_ARGISNULL(2) ? psprintf("%s(%s)", handler, type) : pyn_name_argument(PG_GETARG_TEXT_PP(2), "subscription");
	if (!PG_ARGISNULL(3) && (PG_GETARG_INT32(3) < 1 || PG_GETARG_INT32(3) > 100))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_attempts is %d, outside 1 to 100", PG_GETARG_INT32(3))));
	if (!PG_ARGISNULL(4))
		(void) pyn_interval_ms(PG_GETARG_INTERVAL_P(4), "timeout of a handler");

	pyn_access_begin(&access, pyn_owner());
	SPI_connect();
	if (strchr(type, '*') == NULL)
		(void) pyn_event_type(type);
	insert_subscription(name, PYN_HOST_DOMAIN, type, handler, owner, PG_GETARG_DATUM(3), PG_ARGISNULL(3),
						PG_GETARG_DATUM(4), PG_ARGISNULL(4));
	SPI_finish();
	pyn_access_end(&access);
	PG_RETURN_TEXT_P(cstring_to_text(name));
}

/*
 * pynomaly_kernel.add_subscription(domain name, name text, type text, handler text, timeout interval = NULL,
 *									max_attempts int = NULL) → void
 */
Datum
pyn_add_subscription(PG_FUNCTION_ARGS)
{
	PynAccess	access;
	char	   *type;
	char	   *handler = NULL;

	pyn_check_writable("add_subscription()");
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("domain, name and type of a subscription must not be null")));
	type = text_to_cstring(PG_GETARG_TEXT_PP(2));
	pyn_check_type_pattern(type);
	if (!PG_ARGISNULL(3))
		handler = pyn_handler_name(text_to_cstring(PG_GETARG_TEXT_PP(3)), true);

	pyn_access_begin(&access, pyn_owner());
	SPI_connect();
	insert_subscription(pyn_name_argument(PG_GETARG_TEXT_PP(1), "subscription"), NameStr(*PG_GETARG_NAME(0)), type,
						handler, pyn_owner(), PG_GETARG_DATUM(5), PG_ARGISNULL(5), PG_GETARG_DATUM(4), PG_ARGISNULL(4));
	SPI_finish();
	pyn_access_end(&access);
	PG_RETURN_VOID();
}

/*
 * pyn_retry_now makes the next attempts at a subject's events due at once, those of the domains' own handlers.  The caller
 * is the extension's owner and connected to SPI.
 */
void
pyn_retry_now(const char *subject)
{
	static PynStatement update_due = PYN_STATEMENT(
		"UPDATE pynomaly_kernel.retry r SET due_at = clock_timestamp() FROM pynomaly_kernel.subscription s "
		"WHERE r.subject = $1 AND r.state = 'waiting' AND s.name = r.subscription AND s.builtin RETURNING s.domain::text",
		TEXTOID);
	Datum		values[] = {CStringGetTextDatum(subject)};
	uint64		count = pyn_execute(&update_due, values, NULL, 0);

	for (uint64 row = 0; row < count; row++)
		announce_change("retry", pyn_text_field(row, 1));
}

/* What the functions below need of a subscription. */
typedef struct Subscribed
{
	char	   *name;
	char	   *domain;
	char	   *status;
	bool		builtin;
	Oid			owner;
} Subscribed;

/*
 * Begins a function that changes a subscription: becomes the extension's owner, connects to SPI and finds it; an error if
 * there is none, or if it is not the user's.
 */
static Subscribed
begin_change(PynAccess *access, text *name, const char *what)
{
	static PynStatement select_subscription = PYN_STATEMENT(
		"SELECT owner, domain, status, builtin FROM pynomaly_kernel.subscription WHERE name = $1",
		TEXTOID);
	Oid			user = GetUserId();
	Subscribed	subscribed = {.name = text_to_cstring(name)};
	Datum		values[] = {PointerGetDatum(name)};

	pyn_check_writable(what);
	pyn_access_begin(access, pyn_owner());
	SPI_connect();
	if (pyn_execute(&select_subscription, values, NULL, 1) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("subscription \"%s\" does not exist", subscribed.name),
				 errhint("The view pynomaly.subscriptions lists them.")));
	subscribed.owner = DatumGetObjectId(pyn_field(0, 1, NULL));
	subscribed.domain = pstrdup(NameStr(*DatumGetName(pyn_field(0, 2, NULL))));
	subscribed.status = pyn_text_field(0, 3);
	subscribed.builtin = DatumGetBool(pyn_field(0, 4, NULL));
	if (!has_privs_of_role(user, subscribed.owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of subscription \"%s\"", subscribed.name)));
	return subscribed;
}

static void
end_change(const PynAccess *access)
{
	SPI_finish();
	pyn_access_end(access);
}

/*
 * pynomaly.unsubscribe(name text) → void
 */
Datum
pyn_unsubscribe(PG_FUNCTION_ARGS)
{
	static PynStatement delete_subscription = PYN_STATEMENT(
		"DELETE FROM pynomaly_kernel.subscription WHERE name = $1",
		TEXTOID);
	static PynStatement delete_position = PYN_STATEMENT(
		"DELETE FROM pynomaly_kernel.subscription_position WHERE subscription = $1",
		TEXTOID);
	static PynStatement delete_retries = PYN_STATEMENT(
		"DELETE FROM pynomaly_kernel.retry WHERE subscription = $1",
		TEXTOID);
	Datum		values[] = {PG_GETARG_DATUM(0)};
	PynAccess	access;
	Subscribed	subscribed = begin_change(&access, PG_GETARG_TEXT_PP(0), "unsubscribe()");

	if (subscribed.builtin)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("subscription \"%s\" is a part of pynomaly", subscribed.name)));
	pyn_execute(&delete_subscription, values, NULL, 0);
	pyn_execute(&delete_position, values, NULL, 0);
	pyn_execute(&delete_retries, values, NULL, 0);
	announce_change("subscription", subscribed.domain);
	end_change(&access);
	PG_RETURN_VOID();
}

/*
 * pynomaly.resume(name text) → void
 */
Datum
pyn_resume(PG_FUNCTION_ARGS)
{
	static PynStatement update_subscription = PYN_STATEMENT(
		"UPDATE pynomaly_kernel.subscription SET status = 'active', reason = NULL WHERE name = $1",
		TEXTOID);
	static PynStatement grant_grace = PYN_STATEMENT(
		"UPDATE pynomaly_kernel.subscription_position SET updated_at = clock_timestamp() WHERE subscription = $1",
		TEXTOID);
	static PynStatement take_note = PYN_STATEMENT(
		"UPDATE pynomaly_kernel.subscription_position p SET note = NULL "
		"FROM (SELECT subscription, note FROM pynomaly_kernel.subscription_position WHERE subscription = $1) AS old "
		"WHERE p.subscription = old.subscription AND old.note IS NOT NULL RETURNING old.note",
		TEXTOID);
	Datum		values[] = {PG_GETARG_DATUM(0)};
	PynAccess	access;
	Subscribed	subscribed = begin_change(&access, PG_GETARG_TEXT_PP(0), "resume()");

	if (strcmp(subscribed.status, "active") != 0)
	{
		pyn_execute(&update_subscription, values, NULL, 0);
		/* It is not behind again before its worker has had time. */
		pyn_execute(&grant_grace, values, NULL, 0);
		if (pyn_execute(&take_note, values, NULL, 0) > 0)
			ereport(WARNING,
					(errmsg("subscription \"%s\": %s", subscribed.name, pyn_text_field(0, 1))));
		announce_change("subscription", subscribed.domain);
	}
	end_change(&access);
	PG_RETURN_VOID();
}

/*
 * pynomaly.replay(subscription text, since timestamptz) → void
 */
Datum
pyn_replay(PG_FUNCTION_ARGS)
{
	static PynStatement update_position = PYN_STATEMENT(
		"UPDATE pynomaly_kernel.subscription_position SET replay_since = $2 WHERE subscription = $1",
		TEXTOID, TIMESTAMPTZOID);
	Datum		values[] = {PG_GETARG_DATUM(0), PG_GETARG_DATUM(1)};
	PynAccess	access;
	Subscribed	subscribed = begin_change(&access, PG_GETARG_TEXT_PP(0), "replay()");

	if (strcmp(subscribed.status, "active") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("subscription \"%s\" is %s", subscribed.name, subscribed.status),
				 errhint("Call pynomaly.resume first.")));
	if (pyn_execute(&update_position, values, NULL, 0) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("subscription \"%s\" has no position yet", subscribed.name),
				 errhint("Its worker has not run since the database was restored; it has handled nothing.")));
	announce_change("subscription", subscribed.domain);
	end_change(&access);
	PG_RETURN_VOID();
}

/* Puts one dead event behind all that waits. */
static void
revive(Datum place)
{
	static PynStatement update_retry = PYN_STATEMENT(
		"UPDATE pynomaly_kernel.retry SET place = DEFAULT, state = 'parked', attempts = 0, due_at = clock_timestamp() "
		"WHERE place = $1 AND state = 'dead'",
		INT8OID);

	pyn_execute(&update_retry, &place, NULL, 0);
}

/*
 * pynomaly.redrive(subscription text, event_id bigint = NULL) → bigint
 */
Datum
pyn_redrive(PG_FUNCTION_ARGS)
{
	static PynStatement select_dead = PYN_STATEMENT(
		"SELECT place FROM pynomaly_kernel.retry WHERE subscription = $1 AND state = 'dead' AND ($2 IS NULL OR id = $2) "
		"ORDER BY place FOR UPDATE",
		TEXTOID, INT8OID);
	static PynStatement release_first = PYN_STATEMENT(
		"UPDATE pynomaly_kernel.retry r SET state = 'waiting' WHERE subscription = $1 AND state = 'parked' AND NOT EXISTS "
		"(SELECT FROM pynomaly_kernel.retry e WHERE e.subscription = r.subscription AND e.subject = r.subject "
		"AND e.state <> 'dead' AND e.place < r.place)",
		TEXTOID);
	Datum		values[] = {PG_GETARG_DATUM(0), PG_GETARG_DATUM(1)};
	PynAccess	access;
	Subscribed	subscribed;
	SPITupleTable *dead;
	uint64		count;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("the subscription must not be null")));
	subscribed = begin_change(&access, PG_GETARG_TEXT_PP(0), "redrive()");
	count = pyn_execute(&select_dead, values, PG_ARGISNULL(1) ? " n" : NULL, 0);
	dead = SPI_tuptable;
	for (uint64 row = 0; row < count; row++)
	{
		bool		is_null;

		revive(SPI_getbinval(dead->vals[row], dead->tupdesc, 1, &is_null));
	}
	if (count > 0)
	{
		pyn_execute(&release_first, values, NULL, 0);
		announce_change("retry", subscribed.domain);
	}
	end_change(&access);
	PG_RETURN_INT64(count);
}

/*
 * pyn_subscription_stop makes a subscription 'suspended' or 'disabled' and tells why.  The caller is the extension's
 * owner and connected to SPI.
 */
void
pyn_subscription_stop(const char *name, Oid owner, const char *status, const char *reason)
{
	static PynStatement update_subscription = PYN_STATEMENT(
		"UPDATE pynomaly_kernel.subscription SET status = $2, reason = $3 WHERE name = $1 AND status = 'active'",
		TEXTOID, TEXTOID, TEXTOID);
	Datum		values[] = {CStringGetTextDatum(name), CStringGetTextDatum(status), CStringGetTextDatum(reason)};
	PynPublication publication = {.type = "kernel.subscription_stopped.v1",.subject = name,.publisher = owner};
	StringInfoData data;

	if (pyn_execute(&update_subscription, values, NULL, 0) == 0)
		return;
	CacheInvalidateRelcacheByRelid(pyn_relation("subscription"));
	initStringInfo(&data);
	appendStringInfoString(&data, "{\"subscription\": ");
	escape_json(&data, name);
	appendStringInfo(&data, ", \"status\": \"%s\", \"reason\": ", status);
	escape_json(&data, reason);
	appendStringInfoChar(&data, '}');
	publication.data = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(data.data)));
	pyn_publish(&publication);
	ereport(LOG,
			(errmsg("pynomaly: subscription \"%s\" was %s: %s", name, status, reason),
			 errhint("Call pynomaly.resume when the cause is removed.")));
}
