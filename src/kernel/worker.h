/*
 * worker.h
 *		A background worker, which handles the events of one domain of one database.
 */
#ifndef PYN_WORKER_H
#define PYN_WORKER_H

#include "postgres.h"

extern PGDLLEXPORT void pyn_worker_main(Datum argument);

#endif							/* PYN_WORKER_H */
