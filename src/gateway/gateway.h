/*
 * gateway.h
 *		The public schema's calls.
 */
#ifndef PYN_GATEWAY_H
#define PYN_GATEWAY_H

#include "postgres.h"
#include "utils/jsonb.h"
#include "utils/uuid.h"

#define PYN_GATEWAY "gateway"

extern int	pyn_gateway_retention;	/* s */
extern int	pyn_gateway_max_active;

extern void pyn_gateway_init(void);

/* limits.c */
extern void pyn_check_limits(Oid owner);

/* request.c: the status of a request that the reader may see, else an error (42704). */
extern char *pyn_request_status(pg_uuid_t *request, Oid reader, bool *ended);

#endif							/* PYN_GATEWAY_H */
