/*
 * deadline.c
 *		Deadlines of calls: past it a call is cancelled, and fails with an error that says so.
 *
 * A timer of our own cancels as pg_cancel_backend does; the session's statement_timeout goes on beside it.  Of calls
 * within calls the nearest deadline counts, and when the inner one has ended the timer is set to the outer one again.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "utils/timeout.h"

#include "kernel/deadline.h"

/* The nearest deadline of the calls in progress, and whether its timer has fired. */
static TimestampTz nearest;
static volatile sig_atomic_t expired;

static void
deadline_passed(void)
{
	expired = true;
	InterruptPending = true;
	QueryCancelPending = true;
	SetLatch(MyLatch);
}

/* Sets the timer to a moment, or off (0). */
static void
set_timer(TimestampTz end)
{
	static TimeoutId id = USER_TIMEOUT;
	static bool registered = false;

	if (!registered)
	{
		id = RegisterTimeout(USER_TIMEOUT, deadline_passed);
		registered = true;
	}
	nearest = end;
	if (end != 0)
		enable_timeout_at(id, end);
	else
		disable_timeout(id, false);
}

/*
 * pyn_deadline_set prepares a deadline so long from pyn_deadline_begin on; 0: none.
 */
void
pyn_deadline_set(PynDeadline *deadline, int milliseconds)
{
	deadline->milliseconds = milliseconds;
	deadline->limits = false;
	deadline->outer = nearest;
}

/*
 * pyn_deadline_begin starts the timer, in a PG_TRY of the caller, who calls pyn_deadline_end or pyn_deadline_failed.
 */
void
pyn_deadline_begin(PynDeadline *deadline)
{
	TimestampTz end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), deadline->milliseconds);

	if (deadline->milliseconds == 0 || (nearest != 0 && nearest <= end))
		return;
	deadline->limits = true;
	expired = false;
	set_timer(end);
}

/*
 * pyn_deadline_end ends it when the call has succeeded.
 */
void
pyn_deadline_end(PynDeadline *deadline)
{
	if (!deadline->limits)
		return;
	set_timer(deadline->outer);
	/* It came too late to matter. */
	if (expired)
		QueryCancelPending = false;
}

/*
 * pyn_deadline_failed ends it when the call has failed, in PG_CATCH; where that was by our cancellation it raises the error
 * that says so in its place.
 */
void
pyn_deadline_failed(PynDeadline *deadline, const char *name, MemoryContext context)
{
	ErrorData  *error;

	if (!deadline->limits)
		return;
	set_timer(deadline->outer);
	if (!expired)
		return;
	MemoryContextSwitchTo(context);
	error = CopyErrorData();
	if (error->sqlerrcode != ERRCODE_QUERY_CANCELED)
		ReThrowError(error);
	FlushErrorState();
	ereport(ERROR,
			(errcode(ERRCODE_QUERY_CANCELED),
			 errmsg("the call of %s took longer than its deadline of %d ms", name, deadline->milliseconds)));
}
