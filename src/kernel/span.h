/*
 * span.h
 *		Spans: what work took, by trace, in W3C trace context.
 */
#ifndef PYN_SPAN_H
#define PYN_SPAN_H

#include "postgres.h"
#include "utils/timestamp.h"

#define PYN_TRACEPARENT 56		/* bytes of "00-<32>-<16>-<2>" and a NUL */

/* Lies on the stack of who does the work; the innermost one is the parent of what begins meanwhile. */
typedef struct PynSpan
{
	struct PynSpan *outer;
	const char *name;
	char		traceparent[PYN_TRACEPARENT];
	char		parent[PYN_TRACEPARENT];	/* empty: the trace begins here */
	TimestampTz started_at;
} PynSpan;

/* Begins a span below the current one, or else below `parent` (a traceparent, or NULL). */
extern void pyn_span_begin(PynSpan *span, const char *name, const char *parent);

/* Ends it and stores it, on behalf of the role; the caller's transaction can write. */
extern void pyn_span_end(PynSpan *span, Oid owner);

/* Ends it without a trace, when the work has failed. */
extern void pyn_span_drop(PynSpan *span);

/* The traceparent that events published now carry; NULL outside of spans. */
extern const char *pyn_span_traceparent(void);

#endif							/* PYN_SPAN_H */
