/*
 * span.c
 *		Spans: what work took, by trace, in W3C trace context (https://www.w3.org/TR/trace-context/).
 *
 * A span is stored with the work's own transaction: what is rolled back leaves none.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"

#include "kernel/access.h"
#include "kernel/settings.h"
#include "kernel/span.h"
#include "kernel/statement.h"

/* Where the parts of a traceparent are: 00-<trace>-<span>-<flags>. */
#define TRACE_AT 3
#define TRACE_DIGITS 32
#define SPAN_AT 36
#define SPAN_DIGITS 16

static PynSpan *current;

static void
random_digits(char *to, int digits)
{
	uint8		bytes[TRACE_DIGITS / 2];

	if (!pg_strong_random(bytes, digits / 2))
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not generate random values")));
	hex_encode((char *) bytes, digits / 2, to);
}

/*
 * pyn_span_begin begins a span below the current one, or else below `parent`.
 */
void
pyn_span_begin(PynSpan *span, const char *name, const char *parent)
{
	if (current != NULL)
		parent = current->traceparent;
	span->outer = current;
	span->name = name;
	span->started_at = GetCurrentTimestamp();
	strlcpy(span->parent, parent != NULL ? parent : "", PYN_TRACEPARENT);
	if (strlen(span->parent) == PYN_TRACEPARENT - 1)
		strcpy(span->traceparent, span->parent);
	else
	{
		span->parent[0] = 0;
		strcpy(span->traceparent, "00-00000000000000000000000000000000-0000000000000000-01");
		random_digits(span->traceparent + TRACE_AT, TRACE_DIGITS);
	}
	random_digits(span->traceparent + SPAN_AT, SPAN_DIGITS);
	current = span;
}

/*
 * pyn_span_drop ends a span that is not stored.
 */
void
pyn_span_drop(PynSpan *span)
{
	current = span->outer;
}

/*
 * pyn_span_end ends a span and stores it.
 */
void
pyn_span_end(PynSpan *span, Oid owner)
{
	static PynStatement insert_span = PYN_STATEMENT(
		"INSERT INTO pynomaly_kernel.span (trace_id, span_id, parent_id, name, owner, started_at, ended_at) "
		"VALUES ($1, $2, $3, $4, $5, $6, clock_timestamp())",
		TEXTOID, TEXTOID, TEXTOID, TEXTOID, REGROLEOID, TIMESTAMPTZOID);
	Datum		values[6];
	char		nulls[] = "      ";
	PynAccess	access;

	current = span->outer;
	if (!pyn_trace)
		return;
	values[0] = PointerGetDatum(cstring_to_text_with_len(span->traceparent + TRACE_AT, TRACE_DIGITS));
	values[1] = PointerGetDatum(cstring_to_text_with_len(span->traceparent + SPAN_AT, SPAN_DIGITS));
	values[2] = span->parent[0] != 0 ? PointerGetDatum(cstring_to_text_with_len(span->parent + SPAN_AT, SPAN_DIGITS)) : 0;
	nulls[2] = span->parent[0] != 0 ? ' ' : 'n';
	values[3] = CStringGetTextDatum(span->name);
	values[4] = ObjectIdGetDatum(owner);
	values[5] = TimestampTzGetDatum(span->started_at);
	pyn_access_begin(&access, pyn_owner());
	SPI_connect();
	pyn_execute(&insert_span, values, nulls, 0);
	SPI_finish();
	pyn_access_end(&access);
}

/*
 * pyn_span_traceparent gives the traceparent that events published now carry; NULL outside of spans.
 */
const char *
pyn_span_traceparent(void)
{
	return current != NULL ? current->traceparent : NULL;
}
