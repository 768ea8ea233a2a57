/*
 * statement.c
 *		The kernel's fixed statements on its own tables.
 *
 * All SQL that the kernel runs is a constant text with parameters, planned once per backend.  Callers are connected to
 * SPI and are the extension's owner (pyn_access_begin).  PostgreSQL plans again by itself when something that a plan
 * depends on has changed, even when the extension was dropped and created again.
 *
 * A statement that must find its rows by index says so: log members are filled and emptied so fast that statistics are
 * always old, and a plan that was made for an empty table would be kept for a full one.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"

#include "kernel/statement.h"

bool		pyn_reading = false;

static SPIPlanPtr
plan_of(PynStatement *statement)
{
	if (statement->plan == NULL)
	{
		SPIPlanPtr	plan = SPI_prepare_cursor(statement->sql, statement->count, statement->types,
											  CURSOR_OPT_GENERIC_PLAN);

		if (plan == NULL)
			elog(ERROR, "cannot prepare \"%s\": %s", statement->sql, SPI_result_code_string(SPI_result));
		SPI_keepplan(plan);
		statement->plan = plan;
	}
	return statement->plan;
}

/* Executes under `snapshot`, or under a new one for a statement that may write. */
static uint64
execute(PynStatement *statement, const Datum *values, const char *nulls, uint64 limit, Snapshot snapshot)
{
	MemoryContext caller = CurrentMemoryContext;
	int			level = -1;
	int			result;

	if (statement->by_index)
	{
		level = NewGUCNestLevel();
		(void) set_config_option("enable_seqscan", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	}
	if (snapshot == InvalidSnapshot)
		result = SPI_execute_plan(plan_of(statement), (Datum *) values, nulls, pyn_reading, (long) limit);
	else
		result = SPI_execute_snapshot(plan_of(statement), (Datum *) values, nulls, snapshot, InvalidSnapshot, true,
									  false, (long) limit);
	if (result < 0)
		elog(ERROR, "cannot execute \"%s\": %s", statement->sql, SPI_result_code_string(result));
	if (level >= 0)
		AtEOXact_GUC(false, level);
	/* SPI leaves us in memory of its own, which ends with the connection. */
	MemoryContextSwitchTo(caller);
	return SPI_processed;
}

/*
 * pyn_execute runs the statement and gives the number of rows that it found or changed, at most `limit` (0: no limit).
 * The rows are in SPI_tuptable until the caller's SPI connection ends or frees it.
 */
uint64
pyn_execute(PynStatement *statement, const Datum *values, const char *nulls, uint64 limit)
{
	return execute(statement, values, nulls, limit, InvalidSnapshot);
}

/*
 * pyn_execute_latest reads what is committed now, even in a transaction whose own snapshot is older.
 */
uint64
pyn_execute_latest(PynStatement *statement, const Datum *values, const char *nulls)
{
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	uint64		rows = execute(statement, values, nulls, 0, snapshot);

	UnregisterSnapshot(snapshot);
	return rows;
}

/*
 * pyn_field gives a value of the last result, columns counted from 1; it lives as long as the result.
 */
Datum
pyn_field(uint64 row, int column, bool *is_null)
{
	bool		null_here;
	Datum		value;

	if (SPI_tuptable == NULL || row >= SPI_tuptable->numvals)
		elog(ERROR, "a statement of our own gave no row");
	value = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, &null_here);

	if (is_null != NULL)
		*is_null = null_here;
	else if (null_here)
		elog(ERROR, "column %d of the kernel's own statement is null", column);
	return value;
}

/*
 * pyn_text_field gives a text of the last result in the current memory context; NULL for a null.
 */
char *
pyn_text_field(uint64 row, int column)
{
	bool		is_null;
	Datum		value = pyn_field(row, column, &is_null);

	return is_null ? NULL : TextDatumGetCString(value);
}

/*
 * pyn_text_or_null gives a parameter for a text that may be NULL, and marks it so.
 */
Datum
pyn_text_or_null(const char *text, char *null)
{
	*null = text == NULL ? 'n' : ' ';
	return text == NULL ? (Datum) 0 : CStringGetTextDatum(text);
}
