/*
 * scout.h
 *		Reads, in some database, which databases are to be served.
 */
#ifndef PYN_SCOUT_H
#define PYN_SCOUT_H

#include "postgres.h"
#include "nodes/pg_list.h"

extern List *pyn_databases(Oid only);
extern PGDLLEXPORT void pyn_scout_main(Datum argument);

#endif							/* PYN_SCOUT_H */
