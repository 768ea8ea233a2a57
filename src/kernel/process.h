/*
 * process.h
 *		Who does the work.
 */
#ifndef PYN_PROCESS_H
#define PYN_PROCESS_H

#include "postgres.h"

/* True if background workers serve this database, or will when there is work. */
extern bool pyn_workers_run(void);

/* True if start() was called for it: workers come back, though none may run just now. */
extern bool pyn_is_started(void);

#endif							/* PYN_PROCESS_H */
