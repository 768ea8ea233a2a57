/*
 * settings.c
 *		The kernel's settings, and what it does when the library is loaded.
 *
 * All settings can be made with and without preloading: the postmaster, sessions and workers define the same.
 */
#include "postgres.h"

#include <limits.h>

#include "miscadmin.h"
#include "utils/guc.h"

#include "kernel/doorbell.h"
#include "kernel/event_log.h"
#include "kernel/launcher.h"
#include "kernel/settings.h"

int			pyn_max_workers = 5;
int			pyn_poll_interval = 1000;
int			pyn_idle_exit = 60;
int			pyn_handler_timeout = 30000;
int			pyn_max_attempts = 5;
int			pyn_retry_delay = 1000;
int			pyn_retention = 7 * 86400;
int			pyn_max_lag = 7 * 86400;
int			pyn_lock_timeout = 3000;
bool		pyn_trace = true;

static bool autostart = false;

/* W3C trace context: version, trace id, parent id and flags in hexadecimal digits. */
static bool
check_traceparent(char **value, void **extra, GucSource source)
{
	static const int lengths[] = {2, 32, 16, 2};
	const char *p = *value;

	if (p == NULL || p[0] == 0)
		return true;
	for (int i = 0; i < lengthof(lengths); i++)
	{
		if (i > 0 && *p++ != '-')
			return false;
		if (strspn(p, "0123456789abcdef") < lengths[i])
			return false;
		p += lengths[i];
	}
	return *p == 0;
}

static void
define_worker_settings(void)
{
	DefineCustomBoolVariable("pynomaly.autostart",
							 "Background workers serve this database.",
							 "Set for a database by pynomaly.start() and reset by pynomaly.stop().",
							 &autostart, false, PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("pynomaly.max_workers",
							"Sets the maximum number of background workers that run at once, in all databases.",
							"There is one for each domain of each started database; others take turns.",
							&pyn_max_workers, pyn_max_workers, 1, 64, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("pynomaly.kernel_poll_interval",
							"Sets how often a worker looks for events when nothing wakes it.",
							NULL,
							&pyn_poll_interval, pyn_poll_interval, 10, 60000, PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("pynomaly.kernel_idle_exit",
							"Sets after what time without work a worker ends; it comes back with the next event.",
							NULL,
							&pyn_idle_exit, pyn_idle_exit, 1, INT_MAX / 1000, PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
}

/*
 * pyn_kernel_init defines the settings and, in the postmaster, registers shared memory and the launcher.
 */
void
pyn_kernel_init(void)
{
	define_worker_settings();
	DefineCustomIntVariable("pynomaly.kernel_handler_timeout",
							"Sets how long a handler may take for one event, unless its subscription says otherwise.",
							NULL,
							&pyn_handler_timeout, pyn_handler_timeout, 1, INT_MAX, PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL,
							NULL);
	DefineCustomIntVariable("pynomaly.kernel_max_attempts",
							"Sets after how many attempts an event is dead, unless its subscription says otherwise.",
							NULL,
							&pyn_max_attempts, pyn_max_attempts, 1, 100, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("pynomaly.kernel_retry_delay",
							"Sets the time before the second attempt; it doubles with each further one, up to an hour.",
							NULL,
							&pyn_retry_delay, pyn_retry_delay, 1, 3600 * 1000, PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL,
							NULL);
	DefineCustomIntVariable("pynomaly.kernel_retention",
							"Sets how long events are kept at least.",
							NULL,
							&pyn_retention, pyn_retention, 1, INT_MAX / 1000, PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("pynomaly.kernel_max_lag",
							"Sets how old the oldest event that waits for a subscription may become before it is suspended.",
							"A suspended subscription no longer keeps events from being removed.",
							&pyn_max_lag, pyn_max_lag, 10, INT_MAX / 1000, PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("pynomaly.kernel_lock_timeout",
							"Sets how long a domain's handler waits for a lock before it gives way and is tried again later.",
							"Meanwhile the events of others have their turn.",
							&pyn_lock_timeout, pyn_lock_timeout, 1, INT_MAX, PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomBoolVariable("pynomaly.kernel_trace",
							 "Stores spans of calls and steps.",
							 NULL,
							 &pyn_trace, pyn_trace, PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("pynomaly.traceparent",
							   "Sets the W3C trace context that published events carry.",
							   NULL,
							   &pyn_traceparent, "", PGC_USERSET, 0, check_traceparent, NULL, NULL);

	if (process_shared_preload_libraries_in_progress && !IsBinaryUpgrade)
	{
		pyn_doorbell_init();
		pyn_launcher_register();
	}
}
