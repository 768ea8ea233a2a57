/*
 * handler.h
 *		Runs a handler: a function of an event, or of nothing, as its owner, within its time.
 */
#ifndef PYN_HANDLER_H
#define PYN_HANDLER_H

#include "postgres.h"
#include "fmgr.h"

#include "kernel/event_log.h"

/* A handler that was found and may be run. */
typedef struct PynHandler
{
	FmgrInfo	function;
	Oid			role;
	bool		builtin;
	int			timeout;		/* ms */
} PynHandler;

/* Why a handler failed; texts are in the memory context of the caller of pyn_handler_run, or NULL. */
typedef struct PynFailure
{
	char		sqlstate[6];
	char	   *message;
	char	   *detail;
	char	   *context;
} PynFailure;

extern char *pyn_handler_name(const char *text, bool takes_event);
extern const char *pyn_handler_find(PynHandler *handler, const char *name, bool takes_event, Oid role, bool builtin,
									int timeout);
extern bool pyn_is_cancellation(const ErrorData *error);
extern bool pyn_handler_run(PynHandler *handler, Datum event, const PynCause *cause, PynFailure *failure);

#endif							/* PYN_HANDLER_H */
