/*
 * service.h
 *		The registry of services, and the one door between domains.
 *
 * A domain registers its contract (sql: pynomaly_kernel.register_service); everybody else reaches it by pyn_call alone.
 * An operation is the SQL function pynomaly_<domain>.<operation>(arguments jsonb), which nobody may execute but the
 * extension's owner: who may use it is decided by who may execute the public call that leads to it.
 */
#ifndef PYN_SERVICE_H
#define PYN_SERVICE_H

#include "postgres.h"
#include "nodes/execnodes.h"
#include "utils/jsonb.h"

/*
 * A call acts for the current user: it is he whose relations are read and who owns what is stored.  Arguments and results
 * are checked against the contract's schemas.  Errors of the operation are the call's.
 */
typedef struct PynCall
{
	const char *caller;			/* the calling domain, whose contract must name the operation under "calls" */
	const char *domain;
	const char *operation;
	Jsonb	   *arguments;		/* an object */
	int			deadline;		/* ms; 0: as the contract says.  Past it the call fails with 57014 */
} PynCall;

/* Calls a unary operation: jsonb in and out.  The result is in the current memory context. */
extern Jsonb *pyn_call(const PynCall *call);

/* Calls a stream operation, whose rows go into the caller's materialised result set; the row types must be the same. */
extern void pyn_call_stream(const PynCall *call, ReturnSetInfo *result);

#endif							/* PYN_SERVICE_H */
