/*
 * saga_engine.h
 *		What the engine of sagas offers to who begins them.
 */
#ifndef PYN_SAGA_ENGINE_H
#define PYN_SAGA_ENGINE_H

#include "postgres.h"
#include "utils/jsonb.h"
#include "utils/uuid.h"

/* Begins a registered saga, owned by the current user, by publishing the event that its first step handles. */
extern void pyn_saga_start(const char *definition, pg_uuid_t *id, const char *type, Jsonb *data);

/* Asks for its end; false if there is no such saga, or it has ended, or ends already. */
extern bool pyn_saga_cancel(pg_uuid_t *id, const char *reason);

extern bool pyn_saga_upkeep(void);

#endif							/* PYN_SAGA_ENGINE_H */
