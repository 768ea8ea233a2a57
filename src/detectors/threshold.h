/*
 * threshold.h
 *		From which raw score on a row is flagged, where the contamination is not what decides.
 */
#ifndef PYN_THRESHOLD_H
#define PYN_THRESHOLD_H

#include "detectors/calibration.h"

#define PYN_THRESHOLD_REASON 256	/* bytes of the sentence that says how a threshold came about */

/* Stored: the numbers stay. */
typedef enum PynThresholdMethod
{
	PYN_THRESHOLD_CONTAMINATION = 0,	/* p-value ≤ contamination */
	PYN_THRESHOLD_SCORE = 1,	/* score ≥ what the user has set */
	/* From here on: raw score ≥ what was learnt from the training rows' raw scores. */
	PYN_THRESHOLD_PERCENTILE = 2,
	PYN_THRESHOLD_IQR = 3,
	PYN_THRESHOLD_MAD = 4,
	PYN_THRESHOLD_LARGEST_GAP = 5,
	PYN_THRESHOLD_TAIL = 6,
	PYN_THRESHOLD_BUDGET = 7,
	PYN_THRESHOLD_DETECTOR = 8, /* the detector's cutoff: not for users to name */
	PYN_THRESHOLD_FEEDBACK = 9, /* from people's verdicts; cannot be asked for */
	PYN_THRESHOLD_LAST = PYN_THRESHOLD_FEEDBACK
} PynThresholdMethod;

typedef struct PynThresholdRule
{
	PynThresholdMethod method;
	double		percentile;
	double		multiplier;		/* of the interquartile range or the MAD */
	double		tail_probability;
	double		alarms_per_day;
	double		rows_per_day;
	bool		contamination_given;	/* then it decides, whatever the detector's own cutoff is */
} PynThresholdRule;

extern const char *pyn_threshold_name(PynThresholdMethod method);

/* The smallest raw score whose p-value is at most so large; and the next larger raw score. */
extern double pyn_raw_of_p(const PynCalibration *calibration, double p);
extern double pyn_raw_after(double raw);
extern double pyn_threshold_fit(const PynThresholdRule *rule, const PynCalibration *calibration, const double *scores,
								const int64 *weights, int rows, char *reason);

#endif							/* PYN_THRESHOLD_H */
