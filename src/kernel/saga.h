/*
 * saga.h
 *		Sagas: work that spans domains, as a durable state machine of steps that are caused by events.
 *
 * A saga's id is the subject of all its events.  Each step is a domain's handler of the event that the step before has
 * published; it does its work and publishes the next event in one transaction.  The engine (saga.c), which handles the
 * same events in the gateway's worker, records what has been done, and undoes it when a step fails or the saga is
 * cancelled.
 */
#ifndef PYN_SAGA_H
#define PYN_SAGA_H

#include "postgres.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "kernel/event_log.h"

/* An event as a handler reads it; in the current memory context. */
typedef struct PynEventFields
{
	int64		id;
	char	   *type;
	char	   *subject;		/* NULL: none */
	Oid			publisher;		/* on whose behalf it was published, and is to be handled */
	TimestampTz time;
	pg_uuid_t	correlation_id;
	Jsonb	   *data;
} PynEventFields;

extern void pyn_event_fields(Datum event, PynEventFields *fields);

/*
 * Does a step's work and publishes its event with pyn_saga_publish.  It is called as the extension's owner, connected to
 * nothing; what it raises fails the step.
 */
typedef void (*PynStepFunction) (const PynEventFields *event);

typedef struct PynStep
{
	const char *name;			/* of the step in the saga's definition */
	const char *failed;			/* type of the event that tells of its failure: see pyn_saga_step */
	PynStepFunction run;
} PynStep;

/*
 * A handler that is a step of a saga calls this and nothing else.  The step is run if the saga goes on; an event of no
 * saga (without "request" in its data) is left alone.  An error that another attempt cannot mend is rolled back and
 * told by an event of the type `failed` with {request, step, sqlstate, message, detail, hint}; others are raised, so that the
 * consumer tries again.
 */
extern void pyn_saga_step(const PynStep *step, Datum event);

/*
 * Publishes a saga's event on behalf of the event's publisher; data must hold "request".  Its "seconds", if it has any,
 * become those since the step began.
 */
extern void pyn_saga_publish(const PynEventFields *event, const char *type, Jsonb *data);

#endif							/* PYN_SAGA_H */
