/*
 * throughput.c
 *		What each subscription did, minute by minute.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "kernel/consumer.h"
#include "kernel/statement.h"

/*
 * pyn_throughput_write adds the counts in memory to the table's row of their minute, and removes rows older than a day.
 * Counts that a crash takes are lost: they are no part of the truth.
 */
void
pyn_throughput_write(PynConsumer *consumer)
{
	static PynStatement add_counts = PYN_STATEMENT(
		"INSERT INTO pynomaly_kernel.throughput AS t (minute, subscription, handled, failed, busy_seconds, lag_seconds) "
		"VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (minute, subscription) DO UPDATE SET "
		"handled = t.handled + excluded.handled, failed = t.failed + excluded.failed, "
		"busy_seconds = t.busy_seconds + excluded.busy_seconds, lag_seconds = greatest(t.lag_seconds, excluded.lag_seconds)",
		TIMESTAMPTZOID, TEXTOID, INT8OID, INT8OID, FLOAT8OID, FLOAT8OID);
	static PynStatement delete_old = PYN_STATEMENT(
		"DELETE FROM pynomaly_kernel.throughput WHERE minute < now() - interval '1 day'");
	bool		any = false;
	ListCell   *cell;

	foreach(cell, consumer->subscriptions)
	{
		PynSubscription *subscription = lfirst(cell);
		Datum		values[] = {
			TimestampTzGetDatum(consumer->minute), CStringGetTextDatum(subscription->name),
			Int64GetDatum(subscription->handled), Int64GetDatum(subscription->failed),
			Float8GetDatum(subscription->busy), Float8GetDatum(subscription->lag)
		};

		if (subscription->handled + subscription->failed == 0 || consumer->minute == 0)
			continue;
		pyn_execute(&add_counts, values, NULL, 0);
		subscription->handled = subscription->failed = 0;
		subscription->busy = subscription->lag = 0;
		any = true;
	}
	if (any)
		pyn_execute(&delete_old, NULL, NULL, 0);
}
