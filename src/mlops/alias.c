/*
 * alias.c
 *		Aliases: names for a version that can be given to another one, with their history.
 *
 * The history of an alias is a row for each time that it was changed; the row without an upper bound is valid now.  A
 * promotion remembers in `before` the row that it put an end to.  A rollback gives the alias back to the version of
 * that row and takes over that row's own `before`.  So rollbacks walk back through the promotions, one each, like an
 * editor's undo, and never to and fro between two versions: promote 1, 2, 3, roll back, roll back reaches 1; a
 * promotion after a rollback begins a new branch from where that one stands.
 *
 * Times of one alias are strictly increasing, whatever the clock does, also within one transaction: so ranges are
 * never empty and meet without a gap.  All this is done with the model locked (pyn_mlops_lock_model).
 */
#include "mlops/mlops.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "kernel/statement.h"

/* An alias and the row of its history that is valid now. */
typedef struct AliasState
{
	int64		id;
	int64		now;			/* the row; 0: the alias stands for nothing */
	int64		version;		/* that it stands for */
	int32		number;
	int64		before;			/* the row where a rollback leads; 0: nowhere */
} AliasState;

/* False if the model has no such alias. */
static bool
read_alias(const PynRegisteredModel *model, const char *name, AliasState *alias)
{
	static PynStatement select_alias = PYN_STATEMENT(
		"SELECT a.id, h.id, h.version, v.version, h.before FROM pynomaly_mlops.alias a "
		"LEFT JOIN pynomaly_mlops.alias_history h ON h.alias = a.id AND upper_inf(h.valid) "
		"LEFT JOIN pynomaly_mlops.model_version v ON v.id = h.version WHERE a.model = $1 AND a.name = $2",
		INT8OID, TEXTOID);
	Datum		values[] = {Int64GetDatum(model->id), CStringGetTextDatum(name)};
	bool		is_null;

	memset(alias, 0, sizeof(*alias));
	if (pyn_execute(&select_alias, values, NULL, 1) == 0)
		return false;
	alias->id = DatumGetInt64(pyn_field(0, 1, NULL));
	(void) pyn_field(0, 2, &is_null);
	if (is_null)
		return true;
	alias->now = DatumGetInt64(pyn_field(0, 2, NULL));
	alias->version = DatumGetInt64(pyn_field(0, 3, NULL));
	alias->number = DatumGetInt32(pyn_field(0, 4, NULL));
	alias->before = DatumGetInt64(pyn_field(0, 5, &is_null));
	if (is_null)
		alias->before = 0;
	return true;
}

static void
create_alias(const PynRegisteredModel *model, const char *name, AliasState *alias)
{
	static PynStatement insert_alias = PYN_STATEMENT(
		"INSERT INTO pynomaly_mlops.alias (model, owner, name) VALUES ($1, $2, $3) RETURNING id",
		INT8OID, REGROLEOID, TEXTOID);
	Datum		values[] = {Int64GetDatum(model->id), ObjectIdGetDatum(model->owner), CStringGetTextDatum(name)};

	pyn_execute(&insert_alias, values, NULL, 0);
	memset(alias, 0, sizeof(*alias));
	alias->id = DatumGetInt64(pyn_field(0, 1, NULL));
}

/* Ends what is valid now, and gives the moment: now, or just after the last change where the clock is not past it. */
static TimestampTz
end_now(const AliasState *alias)
{
	static PynStatement update_history = PYN_STATEMENT(
		"UPDATE pynomaly_mlops.alias_history "
		"SET valid = tstzrange(lower(valid), greatest(clock_timestamp(), lower(valid) + interval '1 microsecond')) "
		"WHERE alias = $1 AND upper_inf(valid) RETURNING upper(valid)",
		INT8OID);
	Datum		values[] = {Int64GetDatum(alias->id)};

	if (pyn_execute(&update_history, values, NULL, 0) == 0)
		return GetCurrentTimestamp();
	return DatumGetTimestampTz(pyn_field(0, 1, NULL));
}

/* Gives the alias to a version; version 0 leaves it without one. */
static void
set_alias(const PynAliasChange *change, const PynRegisteredModel *model, const AliasState *alias, int64 version,
		  int64 before)
{
	static PynStatement insert_history = PYN_STATEMENT(
		"INSERT INTO pynomaly_mlops.alias_history (alias, owner, version, before, valid, changed_by, reason, request) "
		"VALUES ($1, $2, $3, $4, tstzrange(greatest($5, (SELECT upper(valid) FROM pynomaly_mlops.alias_history "
		"WHERE alias = $1 ORDER BY id DESC LIMIT 1)), NULL), $6, $7, $8)",
		INT8OID, REGROLEOID, INT8OID, INT8OID, TIMESTAMPTZOID, REGROLEOID, TEXTOID, UUIDOID);
	char		nulls[] = "        ";
	Datum		values[8];

	values[0] = Int64GetDatum(alias->id);
	values[1] = ObjectIdGetDatum(model->owner);
	values[2] = Int64GetDatum(version);
	values[3] = Int64GetDatum(before);
	nulls[3] = before == 0 ? 'n' : ' ';
	values[4] = TimestampTzGetDatum(end_now(alias));
	values[5] = ObjectIdGetDatum(change->changed_by);
	values[6] = pyn_text_or_null(change->reason, &nulls[6]);
	values[7] = UUIDPGetDatum(change->request);
	nulls[7] = change->request == NULL ? 'n' : ' ';
	if (version != 0)
		pyn_execute(&insert_history, values, nulls, 0);
	pyn_mlops_tell_change();
}

/*
 * pyn_mlops_alias_is_given tells whether the alias stands for a version.
 */
bool
pyn_mlops_alias_is_given(const PynRegisteredModel *model, const char *name)
{
	AliasState	alias;

	return read_alias(model, name, &alias) && alias.now != 0;
}

/*
 * pyn_mlops_give_alias gives the alias to a version, and tells the number of the version that had it: 0 if none did,
 * and the same where nothing was to be done.
 */
int32
pyn_mlops_give_alias(const PynAliasChange *change, const PynModelVersion *version)
{
	AliasState	alias;

	if (!read_alias(&version->model, change->name, &alias))
		create_alias(&version->model, change->name, &alias);
	if (alias.version != version->id)
		set_alias(change, &version->model, &alias, version->id, alias.now);
	return alias.number;
}

/* Reads a row of an alias' history: its version with number and status, and its `before`. */
static void
read_history(int64 row, const PynRegisteredModel *model, PynModelVersion *version, int64 *before)
{
	static PynStatement select_history = PYN_STATEMENT(
		"SELECT v.id, v.version, v.status, coalesce(h.before, 0) FROM pynomaly_mlops.alias_history h "
		"JOIN pynomaly_mlops.model_version v ON v.id = h.version WHERE h.id = $1",
		INT8OID);
	Datum		values[] = {Int64GetDatum(row)};

	if (pyn_execute(&select_history, values, NULL, 1) == 0)
		elog(ERROR, "row " INT64_FORMAT " of the history of aliases does not exist", row);
	memset(version, 0, sizeof(*version));
	version->model = *model;
	version->id = DatumGetInt64(pyn_field(0, 1, NULL));
	version->version = DatumGetInt32(pyn_field(0, 2, NULL));
	version->status = pyn_text_field(0, 3);
	*before = DatumGetInt64(pyn_field(0, 4, NULL));
}

/*
 * pyn_mlops_roll_back gives the alias back to the version that it stood for before it was given to the present one.
 */
void
pyn_mlops_roll_back(const PynAliasChange *change, const PynRegisteredModel *model, PynModelVersion *version,
					int32 *previous)
{
	AliasState	alias;
	int64		before;

	if (!read_alias(model, change->name, &alias))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("model \"%s\" has no alias \"%s\"", model->name, change->name)));
	if (alias.before == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("there is nothing to roll alias \"%s\" of model \"%s\" back to", change->name, model->name),
				 errhint("Promote the version that you want.")));
	read_history(alias.before, model, version, &before);
	pyn_mlops_require_ready(version);
	set_alias(change, model, &alias, version->id, before);
	*previous = alias.number;
}

/*
 * pyn_mlops_take_aliases_back takes the model's aliases from versions that are withdrawn: each goes back to the last
 * version before that is ready, or stands for none.
 */
void
pyn_mlops_take_aliases_back(const PynAliasChange *change, const PynRegisteredModel *model)
{
	static PynStatement select_aliases = PYN_STATEMENT(
		"SELECT a.name FROM pynomaly_mlops.alias a "
		"JOIN pynomaly_mlops.alias_history h ON h.alias = a.id AND upper_inf(h.valid) "
		"JOIN pynomaly_mlops.model_version v ON v.id = h.version "
		"WHERE a.model = $1 AND v.status = 'withdrawn' ORDER BY a.name",
		INT8OID);
	Datum		values[] = {Int64GetDatum(model->id)};
	uint64		count = pyn_execute(&select_aliases, values, NULL, 0);
	char	  **names = palloc(sizeof(char *) * Max(count, 1));

	/* The next statement's rows take the place of these. */
	for (uint64 row = 0; row < count; row++)
		names[row] = pyn_text_field(row, 1);
	for (uint64 i = 0; i < count; i++)
	{
		PynModelVersion version = {0};
		AliasState	alias;
		int64		before;

		read_alias(model, names[i], &alias);
		for (before = alias.before; before != 0 && version.id == 0;)
		{
			CHECK_FOR_INTERRUPTS();
			read_history(before, model, &version, &before);
			if (strcmp(version.status, "ready") != 0)
				version.id = 0;
		}
		set_alias(change, model, &alias, version.id, before);
	}
}
