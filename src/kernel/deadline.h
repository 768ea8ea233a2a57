/*
 * deadline.h
 *		Deadlines of calls.
 */
#ifndef PYN_DEADLINE_H
#define PYN_DEADLINE_H

#include "postgres.h"
#include "utils/timestamp.h"

/* Lies on the stack of who calls. */
typedef struct PynDeadline
{
	int			milliseconds;	/* 0: none of its own */
	bool		limits;			/* it is nearer than those of the calls around it */
	TimestampTz outer;			/* the nearest one around it; 0: none */
} PynDeadline;

extern void pyn_deadline_set(PynDeadline *deadline, int milliseconds);
extern void pyn_deadline_begin(PynDeadline *deadline);
extern void pyn_deadline_end(PynDeadline *deadline);
extern void pyn_deadline_failed(PynDeadline *deadline, const char *name, MemoryContext context);

#endif							/* PYN_DEADLINE_H */
