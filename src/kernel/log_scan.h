/*
 * log_scan.h
 *		Reads the log by its indexes.
 */
#ifndef PYN_LOG_SCAN_H
#define PYN_LOG_SCAN_H

#include "postgres.h"
#include "utils/timestamp.h"

#include "kernel/consumer.h"

/* What a scan found, by id. */
typedef struct PynFound
{
	PynWaiting	waiting;
	int			type;			/* index of types */
} PynFound;

typedef struct PynLogScan
{
	PynFound   *found;
	int			count;
	bool		cut;			/* there is more after the last */
	char	  **types;			/* of the events found */
	int			type_count;
} PynLogScan;

extern void pyn_log_scan(PynLogScan *scan, Datum done, Datum target, int64 after_id, TimestampTz since, int limit);
extern PynEvent *pyn_log_fetch(const PynWaiting *waiting, int count, int *found);

#endif							/* PYN_LOG_SCAN_H */
