/*
 * listeners.c
 *		Tells sessions that LISTEN of new events.
 *
 * A NOTIFY in every publishing transaction would make them commit one after the other.  So the host's worker sends them,
 * for a whole piece of a batch at once.  They are hints: of each type the last event of the piece, without its data, since
 * a channel has no access control.  Who was told looks into pynomaly.events, which shows what he may see.
 */
#include "postgres.h"

#include "commands/async.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/json.h"

#include "kernel/consumer.h"

#define CHANNEL "pynomaly"

/* A listener that sleeps in a transaction holds the queue up, and a full one would fail our commit. */
#define FULLEST_QUEUE 0.5
#define LOG_INTERVAL 60000		/* ms */

/* Bytes of a subject that are sent; some characters become six bytes of JSON, and all shall be less than 1 kB. */
#define SUBJECT_LENGTH 130

static char *
payload(const PynEvent *event)
{
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfoString(&text, "{\"type\": ");
	escape_json(&text, event->type);
	appendStringInfo(&text, ", \"id\": " INT64_FORMAT ", \"subject\": ", event->id);
	if (event->subject == NULL)
		appendStringInfoString(&text, "null");
	else
		escape_json(&text, pnstrdup(event->subject,
									pg_mbcliplen(event->subject, strlen(event->subject), SUBJECT_LENGTH)));
	appendStringInfoChar(&text, '}');
	return text.data;
}

/* True if a later event of the piece has the same type. */
static bool
is_superseded(const PynEvent *events, int count, int i)
{
	for (int later = i + 1; later < count; later++)
		if (strcmp(events[later].type, events[i].type) == 0)
			return true;
	return false;
}

/*
 * pyn_tell_listeners sends the hints with the current transaction, on the channels pynomaly and pynomaly_<domain>.
 */
void
pyn_tell_listeners(const PynEvent *events, int count)
{
	static TimestampTz last_log = 0;

	if (DatumGetFloat8(DirectFunctionCall1(pg_notification_queue_usage, (Datum) 0)) > FULLEST_QUEUE)
	{
		if (TimestampDifferenceExceeds(last_log, GetCurrentTimestamp(), LOG_INTERVAL))
		{
			ereport(LOG,
					(errmsg("pynomaly: listeners are not told of events because the NOTIFY queue is more than half full"),
					 errhint("A session that listens stays in a transaction for long.")));
			last_log = GetCurrentTimestamp();
		}
		return;
	}
	for (int i = 0; i < count; i++)
	{
		char	   *text;
		char		channel[NAMEDATALEN];

		if (is_superseded(events, count, i))
			continue;
		text = payload(&events[i]);
		Async_Notify(CHANNEL, text);
		snprintf(channel, sizeof(channel), CHANNEL "_%s", events[i].source);
		Async_Notify(channel, text);
	}
}
