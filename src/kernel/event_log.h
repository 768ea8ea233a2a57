/*
 * event_log.h
 *		Publishes events and names the tables that they are in.
 */
#ifndef PYN_EVENT_LOG_H
#define PYN_EVENT_LOG_H

#include "postgres.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

/* The member tables event_0 to event_7 of sql/10_event_log.sql. */
#define PYN_LOG_MEMBERS 8

#define PYN_MAX_EVENT_DATA (64 * 1024)	/* bytes of jsonb */
#define PYN_MAX_EVENT_TEXT 1024	/* bytes of a subject or an idempotency key */

/* Columns of pynomaly_kernel.event, of which each member has the same. */
enum
{
	PYN_EVENT_ID = 1,
	PYN_EVENT_ORIGIN,
	PYN_EVENT_TYPE,
	PYN_EVENT_SOURCE,
	PYN_EVENT_SUBJECT,
	PYN_EVENT_TIME,
	PYN_EVENT_DATA,
	PYN_EVENT_CORRELATION_ID,
	PYN_EVENT_CAUSATION_ID,
	PYN_EVENT_TRACEPARENT,
	PYN_EVENT_PRIORITY,
	PYN_EVENT_PUBLISHER,
	PYN_EVENT_XID,
	PYN_EVENT_IDEMPOTENCY_KEY,
	PYN_EVENT_COLUMNS = PYN_EVENT_IDEMPOTENCY_KEY
};

/* What a publisher says; the rest comes from the type, the transaction and the event that is being handled. */
typedef struct PynPublication
{
	const char *type;
	const char *subject;		/* NULL: none, and no order */
	Jsonb	   *data;
	const char *idempotency_key;	/* NULL: none */
	Oid			publisher;		/* on whose behalf; InvalidOid: the current user */
	bool		by_user;		/* who may not forge events of ours */
	pg_uuid_t  *correlation_id; /* NULL: that of the event that is being handled, else a new one */
} PynPublication;

/* The event whose handler runs, which is the cause of what is published meanwhile. */
typedef struct PynCause
{
	int64		id;
	pg_uuid_t	correlation_id;
	const char *traceparent;	/* may be NULL */
} PynCause;

extern const PynCause *pyn_cause;
extern char *pyn_traceparent;

extern int64 pyn_publish(const PynPublication *publication);
extern const char *pyn_clip(const char *text);
extern Oid	pyn_log_member(int member);
extern pg_uuid_t pyn_log_origin(void);
extern pg_uuid_t pyn_new_uuid(TimestampTz now);

#endif							/* PYN_EVENT_LOG_H */
