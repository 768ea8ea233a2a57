/*
 * statement.h
 *		The kernel's fixed statements on its own tables.
 */
#ifndef PYN_STATEMENT_H
#define PYN_STATEMENT_H

#include "postgres.h"
#include "executor/spi.h"

#define PYN_STATEMENT_PARAMETERS 24

/* One per place in the code, static; the last two members are for the plan that the backend keeps. */
typedef struct PynStatement
{
	const char *sql;
	int			count;			/* of parameters */
	Oid			types[PYN_STATEMENT_PARAMETERS];
	bool		by_index;		/* plan without sequential scans, whatever the statistics say */
	SPIPlanPtr	plan;
} PynStatement;

/* A statement's text and the types of its parameters; the second one finds its rows by index. */
#define PYN_STATEMENT(text, ...) \
	{.sql = (text), .count = sizeof((Oid[]) {__VA_ARGS__}) / sizeof(Oid), .types = {__VA_ARGS__}}
#define PYN_INDEX_STATEMENT(text, ...) \
	{.sql = (text), .count = sizeof((Oid[]) {__VA_ARGS__}) / sizeof(Oid), .types = {__VA_ARGS__}, .by_index = true}

/*
 * While it is true, statements read, and under the snapshot of the query that called: so do operations that change nothing,
 * which may be called by STABLE functions, in parallel workers too.
 */
extern bool pyn_reading;

extern uint64 pyn_execute(PynStatement *statement, const Datum *values, const char *nulls, uint64 limit);
extern uint64 pyn_execute_latest(PynStatement *statement, const Datum *values, const char *nulls);
extern Datum pyn_field(uint64 row, int column, bool *is_null);
extern char *pyn_text_field(uint64 row, int column);
extern Datum pyn_text_or_null(const char *text, char *null);

#endif							/* PYN_STATEMENT_H */
