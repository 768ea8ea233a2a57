/*
 * timing.h
 *		When a schedule is next due.
 *
 * A timing is a text of one of two kinds, both evaluated in a time zone of its own, never in the session's:
 *
 * - a cron expression of five fields: minute (0-59), hour (0-23), day of month (1-31), month (1-12 or jan-dec) and day
 *   of week (0-7 or sun-sat; 0 and 7 are Sunday).  A field is a star, a value, a range a-b, a star or range followed by
 *   a step as in 0-30/5, or a list of these.  If neither day field starts with a star, a date that either allows is
 *   due, else both must allow it (as in Vixie's cron).  Also @hourly, @daily, @midnight, @weekly, @monthly, @yearly and
 *   @annually.
 * - an interval as PostgreSQL reads it, such as '5 minutes' or '1 month': at least a second, no part of it negative.
 *
 * Where clocks change, a cron expression of certain hours is due when the wall clock first reaches or passes a matching
 * time: those that a change leaves out are due, once, at the first moment after it, and one that comes twice is due the
 * first time only.  An expression whose hours are all 24 is due whenever the wall clock shows a matching time, so that
 * one of every five minutes is due every five real minutes.
 */
#ifndef PYN_TIMING_H
#define PYN_TIMING_H

#include "postgres.h"
#include "datatype/timestamp.h"

/* A parsed timing: one allocation in the context that pyn_timing_parse was called in, which leaves scratch there. */
typedef struct PynTiming PynTiming;

/*
 * Reads a timing and the time zone, a name that SET timezone knows, that it is evaluated in.  A text that is no timing,
 * a timing that is never due, such as 30 February, and an unknown zone raise invalid_parameter_value.
 */
extern PynTiming *pyn_timing_parse(const char *text, const char *time_zone);

/*
 * The first moment strictly after `after` at which the timing is due.
 *
 * A cron expression has no use for the anchor.  An interval is due at anchor + n * interval for n = 0, 1, 2, ...: the
 * anchor is normally the schedule's first or previous run, and is itself the answer if `after` is before it.  Months
 * and days move the wall clock from the anchor in one step, so that 31 January is followed by 28 February and 31 March;
 * a time that a change of clocks leaves out or repeats is taken as PostgreSQL takes it.  Raises invalid_parameter_value
 * if an argument that is used is infinite, and if the range of timestamps ends before the timing is due.
 */
extern TimestampTz pyn_timing_next(const PynTiming *timing, TimestampTz anchor, TimestampTz after);

#endif							/* PYN_TIMING_H */
