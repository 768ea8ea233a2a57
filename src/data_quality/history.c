/*
 * history.c
 *		What earlier runs of the same dataset measured.
 *
 * The history is read once per analysis: the last runs, the columns that they had, and their values by check and
 * column. It belongs to one owner: another role may see other rows of the same relation, so its counts would prove
 * nothing. A column's values count only from runs where it had the kind that it has now.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "data_quality/data_quality.h"
#include "kernel/statement.h"
#include "sketch/cell.h"

#define UNIX_EPOCH_DAYS (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE)
#define MAX_CHECK_NAME 32

/* The values of one check of one column, by run; hashed as bytes, so unused ones are zero. */
typedef struct ValueKey
{
	char		name[MAX_CHECK_NAME];
	char		column[NAMEDATALEN];	/* empty: of the whole dataset */
} ValueKey;

typedef struct ValueEntry
{
	ValueKey	key;
	double		values[PYN_QUALITY_HISTORY];	/* NaN: the run has none */
} ValueEntry;

static ValueKey
value_key(const char *name, const char *column)
{
	ValueKey	key;

	memset(&key, 0, sizeof(key));
	strlcpy(key.name, name, sizeof(key.name));
	if (column != NULL)
		strlcpy(key.column, column, sizeof(key.column));
	return key;
}

/* Finds a run by its id; the runs are in the order of their ids. */
static int
run_of(const PynQualityHistory *history, int64 id)
{
	for (int run = 0; run < history->run_count; run++)
		if (history->runs[run].id == id)
			return run;
	return -1;
}

static void
load_runs(PynQualityAnalysis *analysis)
{
	static PynStatement select_runs = PYN_INDEX_STATEMENT(
		"SELECT id, rows, checked_at FROM pynomaly_data_quality.check_run WHERE owner = $1 AND dataset = $2 "
		"ORDER BY id DESC LIMIT $3",
		REGROLEOID, INT8OID, INT4OID);
	Datum		values[] = {ObjectIdGetDatum(analysis->owner), Int64GetDatum(analysis->dataset),
	Int32GetDatum(PYN_QUALITY_HISTORY)};
	PynQualityHistory *history = &analysis->history;
	int			columns = analysis->sketch->column_count;

	history->run_count = (int) pyn_execute(&select_runs, values, NULL, 0);
	for (int row = 0; row < history->run_count; row++)
	{
		PynEarlierRun *run = &history->runs[history->run_count - 1 - row];
		TimestampTz checked_at = DatumGetTimestampTz(pyn_field(row, 3, NULL));

		run->id = DatumGetInt64(pyn_field(row, 1, NULL));
		run->rows = (double) DatumGetInt64(pyn_field(row, 2, NULL));
		run->checked_at = checked_at / 1e6 + UNIX_EPOCH_DAYS * (double) SECS_PER_DAY;
		run->same_kind = palloc0(sizeof(bool) * columns);
		run->spread = palloc(sizeof(double) * columns);
		for (int i = 0; i < columns; i++)
			run->spread[i] = pyn_nan();
	}
}

/* The place of each column of the sketch, by name. */
static HTAB *
index_columns(const PynQualityAnalysis *analysis)
{
	HASHCTL		control = {.keysize = NAMEDATALEN,.entrysize = NAMEDATALEN + sizeof(int),
						   .hcxt = CurrentMemoryContext};
	HTAB	   *places = hash_create("pynomaly columns", analysis->sketch->column_count, &control,
									 HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);

	for (int i = 0; i < analysis->sketch->column_count; i++)
	{
		char	   *entry = hash_search(places, analysis->names[i], HASH_ENTER, NULL);

		memcpy(entry + NAMEDATALEN, &i, sizeof(i));
	}
	return places;
}

/* Which columns the runs had; those of the last run are kept for the comparison of schemas. */
static void
load_columns(PynQualityAnalysis *analysis, Datum ids)
{
	static PynStatement select_columns = PYN_INDEX_STATEMENT(
		"SELECT r.id, c.name, c.kind, c.spread FROM pynomaly_data_quality.check_run r, "
		"ROWS FROM (jsonb_to_recordset(r.columns) AS (name text, kind text, spread float8)) "
		"WITH ORDINALITY AS c (name, kind, spread, place) "
		"WHERE r.id = ANY ($1) ORDER BY r.id, c.place",
		INT8ARRAYOID);
	PynQualityHistory *history = &analysis->history;
	int64		last = history->runs[history->run_count - 1].id;
	HTAB	   *places = index_columns(analysis);
	uint64		count = pyn_execute(&select_columns, &ids, NULL, 0);

	history->columns = palloc(sizeof(PynEarlierColumn) * Max(count, 1));
	for (uint64 row = 0; row < count; row++)
	{
		int64		id = DatumGetInt64(pyn_field(row, 1, NULL));
		PynEarlierRun *run = &history->runs[run_of(history, id)];
		char	   *name = pyn_text_field(row, 2);
		char	   *kind = pyn_text_field(row, 3);
		char	   *entry = strlen(name) < NAMEDATALEN ? hash_search(places, name, HASH_FIND, NULL) : NULL;
		int			place;

		if (id == last)
			history->columns[history->column_count++] = (PynEarlierColumn) {name, kind};
		if (entry == NULL)
			continue;
		memcpy(&place, entry + NAMEDATALEN, sizeof(place));
		if (strcmp(kind, pyn_kind_name(analysis->sketch->columns[place].kind)) == 0)
		{
			bool		is_null;
			Datum		spread = pyn_field(row, 4, &is_null);

			run->same_kind[place] = true;
			if (!is_null)
				run->spread[place] = DatumGetFloat8(spread);
		}
	}
	hash_destroy(places);
}

static void
load_values(PynQualityAnalysis *analysis, Datum ids)
{
	static PynStatement select_values = PYN_INDEX_STATEMENT(
		"SELECT check_run, name, column_name, value FROM pynomaly_data_quality.result "
		"WHERE check_run = ANY ($1) AND value IS NOT NULL",
		INT8ARRAYOID);
	PynQualityHistory *history = &analysis->history;
	HASHCTL		control = {.keysize = sizeof(ValueKey),.entrysize = sizeof(ValueEntry),.hcxt = CurrentMemoryContext};
	uint64		count = pyn_execute(&select_values, &ids, NULL, 0);

	history->values = hash_create("pynomaly quality history", 256, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	for (uint64 row = 0; row < count; row++)
	{
		ValueKey	key = value_key(pyn_text_field(row, 2), pyn_text_field(row, 3));
		bool		found;
		int			run;
		ValueEntry *entry = hash_search(history->values, &key, HASH_ENTER, &found);

		CHECK_FOR_INTERRUPTS();
		for (run = 0; !found && run < PYN_QUALITY_HISTORY; run++)
			entry->values[run] = pyn_nan();
		run = run_of(history, DatumGetInt64(pyn_field(row, 1, NULL)));
		entry->values[run] = DatumGetFloat8(pyn_field(row, 4, NULL));
	}
}

/*
 * pyn_quality_history_load reads the dataset's history.  The caller is the extension's owner and connected to SPI.
 */
void
pyn_quality_history_load(PynQualityAnalysis *analysis)
{
	PynQualityHistory *history = &analysis->history;
	Datum		ids[PYN_QUALITY_HISTORY];
	Datum		id_array;

	load_runs(analysis);
	if (history->run_count == 0)
		return;
	for (int run = 0; run < history->run_count; run++)
		ids[run] = Int64GetDatum(history->runs[run].id);
	id_array = PointerGetDatum(construct_array(ids, history->run_count, INT8OID, sizeof(int64), FLOAT8PASSBYVAL,
											   TYPALIGN_DOUBLE));
	load_columns(analysis, id_array);
	load_values(analysis, id_array);
}

/*
 * pyn_quality_history_values gives the finite values that the check had in earlier runs, the oldest first, and their
 * number.  Of a column (else -1) only while it had its present kind.  `times`, unless NULL, receives when the runs
 * were.
 */
int
pyn_quality_history_values(const PynQualityAnalysis *analysis, const char *name, int column, double *values,
						   double *times)
{
	const PynQualityHistory *history = &analysis->history;
	ValueKey	key = value_key(name, column >= 0 ? analysis->names[column] : NULL);
	ValueEntry *entry = history->values != NULL ? hash_search(history->values, &key, HASH_FIND, NULL) : NULL;
	int			count = 0;

	for (int run = 0; entry != NULL && run < history->run_count; run++)
	{
		if (!pyn_is_finite(entry->values[run]) || (column >= 0 && !history->runs[run].same_kind[column]))
			continue;
		if (times != NULL)
			times[count] = history->runs[run].checked_at;
		values[count++] = entry->values[run];
	}
	return count;
}

/*
 * pyn_quality_history_spread gives the median of a column's interquartile ranges in earlier runs; 0 when there is none.
 */
double
pyn_quality_history_spread(const PynQualityAnalysis *analysis, int column)
{
	double		spreads[PYN_QUALITY_HISTORY];
	int			count = 0;

	for (int run = 0; run < analysis->history.run_count; run++)
		if (pyn_is_finite(analysis->history.runs[run].spread[column]))
			spreads[count++] = analysis->history.runs[run].spread[column];
	return count > 0 ? pyn_quality_median(spreads, count) : 0;
}
