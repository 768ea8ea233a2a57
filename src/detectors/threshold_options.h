/*
 * threshold_options.h
 *		The options that say how rows are flagged.
 */
#ifndef PYN_THRESHOLD_OPTIONS_H
#define PYN_THRESHOLD_OPTIONS_H

#include "detectors/threshold.h"
#include "kernel/options.h"

/* Their places, from that of the first on. */
enum
{
	PYN_OPTION_THRESHOLD_METHOD,
	PYN_OPTION_PERCENTILE,
	PYN_OPTION_THRESHOLD_MULTIPLIER,
	PYN_OPTION_TAIL_PROBABILITY,
	PYN_OPTION_ALARMS_PER_DAY,
	PYN_OPTION_ROWS_PER_DAY,
	PYN_THRESHOLD_OPTIONS
};

/* Fills in PYN_THRESHOLD_OPTIONS options to be read. */
extern void pyn_threshold_options(PynOption *options);

/* The rule that the options read ask for; what contradicts itself is an error. */
extern PynThresholdRule pyn_threshold_rule(const PynOption *options, const PynOption *threshold);

/* Refuses them all, for calls with a given model. */
extern void pyn_refuse_threshold_options(const PynOption *options);

/* Refuses a contamination beside a method that finds a threshold of its own. */
extern void pyn_refuse_contamination(const PynThresholdRule *rule);

#endif							/* PYN_THRESHOLD_OPTIONS_H */
