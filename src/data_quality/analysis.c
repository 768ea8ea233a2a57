/*
 * analysis.c
 *		One analysis of a dataset: reads what is known, runs the checks, sums them up.
 */
#include "postgres.h"

#include "datatype/timestamp.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "data_quality/data_quality.h"
#include "kernel/access.h"
#include "sketch/cell.h"
#include "sketch/sketch_store.h"

#define FIRST_ROOM 64
#define UNIX_EPOCH_DAYS (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE)

/*
 * pyn_quality_add adds a check that is not judged yet; of a column of the sketch, or -1 for the whole dataset.  The
 * pointer is good until the next one is added.
 */
PynQualityCheck *
pyn_quality_add(PynQualityAnalysis *analysis, PynQualityDimension dimension, const char *name, int column)
{
	PynQualityCheck *check;

	if (analysis->count == analysis->room)
	{
		analysis->room = Max(FIRST_ROOM, analysis->room * 2);
		analysis->checks = analysis->checks == NULL ? palloc(sizeof(PynQualityCheck) * analysis->room) :
			repalloc(analysis->checks, sizeof(PynQualityCheck) * analysis->room);
	}
	check = &analysis->checks[analysis->count++];
	*check = (PynQualityCheck) {.dimension = dimension,.name = name,
								.column = column >= 0 ? analysis->names[column] : NULL,
								.value = pyn_nan(),.low = pyn_nan(),.high = pyn_nan(),
								.severity = PYN_CHECK_WARN,.message = ""};
	return check;
}

/*
 * pyn_quality_in_order gives the checks as they are shown: those that failed first, else in the order in which they
 * were made.
 */
PynQualityCheck **
pyn_quality_in_order(const PynQualityAnalysis *analysis)
{
	PynQualityCheck **order = palloc(sizeof(PynQualityCheck *) * Max(analysis->count, 1));
	int			n = 0;

	for (int i = 0; i < analysis->count; i++)
		if (analysis->checks[i].outcome == PYN_FAILED)
			order[n++] = &analysis->checks[i];
	for (int i = 0; i < analysis->count; i++)
		if (analysis->checks[i].outcome != PYN_FAILED)
			order[n++] = &analysis->checks[i];
	return order;
}

static double
unix_seconds(int64 microseconds)
{
	return microseconds / 1e6 + UNIX_EPOCH_DAYS * (double) SECS_PER_DAY;
}

/* Sets the clocks that the ages of times are read from. */
static void
read_clocks(PynQualityAnalysis *analysis)
{
	Datum		now = TimestampTzGetDatum(GetCurrentTimestamp());
	Datum		wall_clock;

	if (analysis->time_zone != NULL)
		wall_clock = DirectFunctionCall2(timestamptz_zone, CStringGetTextDatum(analysis->time_zone), now);
	else
		wall_clock = DirectFunctionCall1(timestamptz_timestamp, now);
	analysis->checked_at = DatumGetTimestampTz(now);
	analysis->now = unix_seconds(analysis->checked_at);
	analysis->wall_clock = unix_seconds(DatumGetTimestamp(wall_clock));
}

static void
read_sketch(PynQualityAnalysis *analysis)
{
	int			columns;

	analysis->sketch = pyn_sketch_load(analysis->digest, analysis->owner);
	columns = analysis->sketch->column_count;
	analysis->names = palloc(sizeof(char *) * columns);
	analysis->spreads = palloc(sizeof(double) * columns);
	for (int i = 0; i < columns; i++)
	{
		const char *name = analysis->sketch->columns[i].name;

		analysis->names[i] = pyn_utf8_to_server(name, strlen(name));
		analysis->spreads[i] = pyn_nan();
	}
}

/* Reads history and rules, as the extension's owner. */
static void
read_knowledge(PynQualityAnalysis *analysis)
{
	MemoryContext own = CurrentMemoryContext;
	PynAccess	access;

	pyn_access_begin(&access, pyn_owner());
	SPI_connect();
	MemoryContextSwitchTo(own);
	pyn_quality_history_load(analysis);
	pyn_quality_rules_load(analysis);
	SPI_finish();
	pyn_access_end(&access);
}

/*
 * pyn_quality_analyze answers for the analysis' owner what is asked of its dataset, in the current memory context.  It
 * stores nothing.
 */
void
pyn_quality_analyze(PynQualityAnalysis *analysis)
{
	read_clocks(analysis);
	read_sketch(analysis);
	read_knowledge(analysis);
	pyn_quality_check_table(analysis);
	for (int column = 0; column < analysis->sketch->column_count; column++)
		pyn_quality_check_column(analysis, column);
	pyn_quality_score(analysis);
	analysis->seconds = (GetCurrentTimestamp() - analysis->checked_at) / 1e6;
}
