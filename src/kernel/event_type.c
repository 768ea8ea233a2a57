/*
 * event_type.c
 *		Registered types of events.
 *
 * A type is <domain>.<name>.v<version>.  Once registered it never changes, so that a consumer that knows a type knows
 * its data for ever; another schema is another version.
 *
 * Publishing looks its type up in a cache of the backend (cache.c).
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "kernel/access.h"
#include "kernel/cache.h"
#include "kernel/event_type.h"
#include "kernel/statement.h"

/* Types are text, but short enough for a hash key. */
#define TYPE_LENGTH 128

typedef struct CachedType
{
	char		name[TYPE_LENGTH];	/* hash key */
	PynEventType type;
} CachedType;

static PynCache cache = {
	.name = "event types",.key_size = TYPE_LENGTH,.entry_size = sizeof(CachedType),.tables = {"event_type", "subscription"}
};

PG_FUNCTION_INFO_V1(pyn_register_event_type);

static bool
is_word(const char *text, Size length)
{
	if (length == 0 || length >= NAMEDATALEN || text[0] < 'a' || text[0] > 'z')
		return false;
	for (Size i = 0; i < length; i++)
		if (!((text[i] >= 'a' && text[i] <= 'z') || (text[i] >= '0' && text[i] <= '9') || text[i] == '_'))
			return false;
	return true;
}

/* True for <domain>.<name>.v<version>. */
static bool
is_type_name(const char *type)
{
	const char *name = strchr(type, '.');
	const char *version = name != NULL ? strchr(name + 1, '.') : NULL;

	if (version == NULL || strlen(type) >= TYPE_LENGTH)
		return false;
	return is_word(type, name - type) && is_word(name + 1, version - name - 1) &&
		version[1] == 'v' && version[2] >= '1' && version[2] <= '9' &&
		strspn(version + 2, "0123456789") == strlen(version + 2);
}

static void
refuse_type_name(const char *type, const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("\"%s\" is no %s", type, what),
			 errhint("A type is <domain>.<name>.v<version> of at most %d bytes, such as shop.order_paid.v1, where "
					 "domain and name are lower-case letters, digits and underscores.", TYPE_LENGTH - 1)));
}

/*
 * pyn_check_type_pattern refuses what is neither a type nor the beginning of one and an asterisk.
 */
void
pyn_check_type_pattern(const char *pattern)
{
	Size		length = strlen(pattern);

	if (is_type_name(pattern))
		return;
	if (length == 0 || length >= TYPE_LENGTH || pattern[length - 1] != '*' ||
		strspn(pattern, "abcdefghijklmnopqrstuvwxyz0123456789_.") != length - 1)
		refuse_type_name(pattern, "event type or pattern of event types");
}

/*
 * pyn_type_matches tells whether a type is the pattern, or begins as a pattern that ends with an asterisk says.
 */
bool
pyn_type_matches(const char *pattern, const char *type)
{
	Size		length = strlen(pattern);

	if (length > 0 && pattern[length - 1] == '*')
		return strncmp(pattern, type, length - 1) == 0;
	return strcmp(pattern, type) == 0;
}

/* The domains with active subscriptions to the type, into `type`, which is in the cache's memory. */
static void
find_domains(PynEventType *type, const char *name)
{
	static PynStatement select_subscriptions = PYN_STATEMENT(
		"SELECT DISTINCT domain, type FROM pynomaly_kernel.subscription WHERE status = 'active'");
	uint64		rows = pyn_execute(&select_subscriptions, NULL, NULL, 0);

	type->domains = MemoryContextAllocZero(cache.context, (rows + 1) * sizeof(NameData));
	for (uint64 row = 0; row < rows; row++)
	{
		Name		domain = DatumGetName(pyn_field(row, 1, NULL));
		int			known = 0;

		while (known < type->domain_count && namestrcmp(domain, NameStr(type->domains[known])) != 0)
			known++;
		if (known == type->domain_count && pyn_type_matches(pyn_text_field(row, 2), name))
			type->domains[type->domain_count++] = *domain;
	}
}

/* Reads the type from the tables; false if it is not registered. */
static bool
read_type(const char *name, PynEventType *type)
{
	static PynStatement select_type = PYN_STATEMENT(
		"SELECT schema, priority, builtin FROM pynomaly_kernel.event_type WHERE type = $1",
		TEXTOID);
	Datum		values[] = {CStringGetTextDatum(name)};
	MemoryContext caller;

	if (pyn_execute(&select_type, values, NULL, 1) == 0)
		return false;
	memset(type, 0, sizeof(*type));
	type->priority = DatumGetInt16(pyn_field(0, 2, NULL));
	type->builtin = DatumGetBool(pyn_field(0, 3, NULL));
	caller = MemoryContextSwitchTo(cache.context);
	type->schema = pyn_json_schema_compile(DatumGetJsonbP(pyn_field(0, 1, NULL)));
	type->source = pnstrdup(name, strchr(name, '.') - name);
	MemoryContextSwitchTo(caller);
	find_domains(type, name);
	return true;
}

/*
 * pyn_event_type gives a registered type; an error (42704) for another one.  The caller is the extension's owner and
 * connected to SPI.  The result is valid until the next call.
 */
const PynEventType *
pyn_event_type(const char *name)
{
	CachedType *entry;
	PynEventType type;

	pyn_cache_prepare(&cache);
	if (strlen(name) < TYPE_LENGTH)
	{
		entry = hash_search(cache.entries, name, HASH_FIND, NULL);
		if (entry != NULL)
			return &entry->type;
	}
	if (!is_type_name(name))
		refuse_type_name(name, "event type");

	/* An invalidation that arrives while it is read makes what was read too old. */
	do
	{
		pyn_cache_prepare(&cache);
		if (!read_type(name, &type))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("event type \"%s\" is not registered", name),
					 errhint("Register it with pynomaly_kernel.register_event_type.")));
	} while (!cache.valid);
	entry = hash_search(cache.entries, name, HASH_ENTER, NULL);
	entry->type = type;
	return &entry->type;
}

/*
 * pynomaly_kernel.register_event_type(type text, schema jsonb, priority smallint = 0) → void
 */
Datum
pyn_register_event_type(PG_FUNCTION_ARGS)
{
	static PynStatement insert_type = PYN_STATEMENT(
		"INSERT INTO pynomaly_kernel.event_type (type, schema, priority, builtin, registered_at) "
		"VALUES ($1, $2, $3, $4, now()) ON CONFLICT (type) DO NOTHING",
		TEXTOID, JSONBOID, INT2OID, BOOLOID);
	static PynStatement select_same = PYN_STATEMENT(
		"SELECT FROM pynomaly_kernel.event_type WHERE type = $1 AND schema = $2 AND priority = $3",
		TEXTOID, JSONBOID, INT2OID);
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Datum		values[] = {PG_GETARG_DATUM(0), PG_GETARG_DATUM(1), PG_GETARG_DATUM(2), BoolGetDatum(creating_extension)};
	PynAccess	access;

	pyn_check_writable("register_event_type()");
	if (!is_type_name(name))
		refuse_type_name(name, "event type");
	(void) pyn_json_schema_compile(PG_GETARG_JSONB_P(1));

	pyn_access_begin(&access, pyn_owner());
	SPI_connect();
	if (pyn_execute(&insert_type, values, NULL, 0) == 1)
		CacheInvalidateRelcacheByRelid(pyn_relation("event_type"));
	else if (pyn_execute(&select_same, values, NULL, 1) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("event type \"%s\" is registered with another schema or priority", name),
				 errhint("A registered type never changes; register the next version.")));
	SPI_finish();
	pyn_access_end(&access);
	PG_RETURN_VOID();
}
