/*
 * plan.h
 *		Reads what to fit from options: an algorithm's parameters, and the members of an ensemble.
 */
#ifndef PYN_PLAN_H
#define PYN_PLAN_H

#include "kernel/port.h"

#include "detectors/detector.h"
#include "kernel/options.h"

#define PYN_PLAN_OPTIONS (PYN_MAX_PARAMETERS + 1)

/* The detector of that name, or an error that says where they are listed. */
extern const PynDetector *pyn_require_detector(const char *algorithm);

/* Appends a detector's options to `known`, which has room for PYN_PLAN_OPTIONS; returns how many. */
extern int	pyn_plan_options(const PynDetector *detector, PynOption *known);

/* Makes the plan of those options after they were read. */
extern void pyn_plan_set(PynPlan *plan, const PynDetector *detector, const PynOption *known);

/* What a detector's options are, for algorithms(). */
extern Jsonb *pyn_plan_describe(const PynDetector *detector);

#endif							/* PYN_PLAN_H */
