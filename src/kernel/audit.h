/*
 * audit.h
 *		The audit trail: who did what, sealed into a chain of hashes by the gateway's worker.
 */
#ifndef PYN_AUDIT_H
#define PYN_AUDIT_H

#include "postgres.h"
#include "utils/jsonb.h"

/* Appends a row with the current transaction, in the current user's name.  No values of users' data in `details`. */
extern void pyn_audit(const char *action, const char *subject, Jsonb *details);

/* Moves committed rows into the chain; true if there may be more. */
extern bool pyn_audit_seal(void);

#endif							/* PYN_AUDIT_H */
