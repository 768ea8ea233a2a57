/*
 * process.h
 *		Who does the work.
 */
#ifndef PYN_PROCESS_H
#define PYN_PROCESS_H

#include "postgres.h"

/* True if background workers serve this database, or will when there is work. */
extern bool pyn_workers_run(void);

#endif							/* PYN_PROCESS_H */
