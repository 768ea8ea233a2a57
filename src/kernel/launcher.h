/*
 * launcher.h
 *		The process that starts the workers.
 */
#ifndef PYN_LAUNCHER_H
#define PYN_LAUNCHER_H

#include "postgres.h"

#include "kernel/doorbell.h"

extern void pyn_launcher_register(void);
extern bool pyn_launcher_start(void);
extern void pyn_slot_failed(PynSlot *slot);
extern PGDLLEXPORT void pyn_launcher_main(Datum argument);

#endif							/* PYN_LAUNCHER_H */
