/*
 * doorbell.h
 *		The shared memory through which publishers wake workers, and workers and launcher know of each other.
 */
#ifndef PYN_DOORBELL_H
#define PYN_DOORBELL_H

#include "postgres.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

/* More pairs of a database and a domain than these take turns. */
#define PYN_SLOTS 64

/* A worker's place, which stays when the worker has left.  Free where database is InvalidOid. */
typedef struct PynSlot
{
	Oid			database;
	NameData	domain;
	pid_t		pid;			/* 0: no worker */
	Latch	   *latch;			/* of the worker */
	bool		wanted;			/* there may be work since the worker last looked */
	bool		starting;		/* the launcher has asked for a worker at started_at */
	bool		leave;			/* the worker shall end */
	bool		left_well;		/* the last one ended of its own accord */
	bool		idle;			/* it waits */
	TimestampTz started_at;
	TimestampTz not_before;		/* no start before */
	TimestampTz wake_at;		/* start then even when nobody rings; 0: never */
	int			failures;		/* starts in a row that ended badly */
	bool		is_handling;	/* a step of a saga, which may be cancelled */
	pg_uuid_t	handling;		/* the saga */
} PynSlot;

/* A session that waits for the end of a saga.  Free where pid is 0. */
typedef struct PynWaiter
{
	pid_t		pid;
	Latch	   *latch;
	pg_uuid_t	saga;
} PynWaiter;

typedef struct PynShared
{
	LWLock		lock;			/* guards all below; a `wanted` may be set under a shared lock */
	pid_t		launcher_pid;
	Latch	   *launcher_latch;
	bool		look;			/* databases may have been started or stopped */
	bool		out_of_workers; /* the server had no place for a worker at the last start */
	PynSlot		slots[PYN_SLOTS];
	PynWaiter	waiters[PYN_SLOTS]; /* more than these look now and then */
} PynShared;

extern void pyn_doorbell_init(void);
extern PynShared *pyn_shared(void);
extern PynSlot *pyn_slot(PynShared *shared, Oid database, const char *domain);
extern bool pyn_slot_want(Oid database, const char *domain);
extern void pyn_doorbell_prepare(const NameData *domains, int count);
extern void pyn_doorbell_prepare_start(const char *domain);
extern void pyn_doorbell_prepare_cancel(const pg_uuid_t *saga);
extern void pyn_handling(const pg_uuid_t *saga);
extern void pyn_wait_for(const pg_uuid_t *saga);
extern void pyn_doorbell_prepare_wake(const pg_uuid_t *saga);

#endif							/* PYN_DOORBELL_H */
