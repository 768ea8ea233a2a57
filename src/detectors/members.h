/*
 * members.h
 *		Detectors within a detector: each with a calibration of its own, so that their scores can be compared.
 */
#ifndef PYN_MEMBERS_H
#define PYN_MEMBERS_H

#include "detectors/calibration.h"
#include "detectors/detector.h"

/* On which scale members' scores are combined; stored, so the numbers stay. */
typedef enum PynCommonScale
{
	PYN_CALIBRATED = 0,			/* -log p: additive as evidence is, a member that is sure outvotes the others */
	PYN_RANKS = 1,				/* Gaussian ranks: the standard normal quantile of 1 - p */
	PYN_COMMON_SCALE_LAST = PYN_RANKS
} PynCommonScale;

typedef struct PynMember
{
	const PynDetector *detector;
	void	   *state;
	double		weight;
	PynCalibration calibration;
} PynMember;

/* Fits a member to the training data, calibrates it and appends its bytes; `number` sets its random numbers apart. */
extern void pyn_member_fit(const PynTraining *training, const PynPlan *plan, int number, PynWriter *writer);

/* Reads and validates a member in which ensembles may be nested `nesting` deep. */
extern const char *pyn_member_read(PynReader *reader, int features, int nesting, PynMember *member);

/* Passes over a member that was read before, and gives the place of its weight. */
extern Size pyn_member_skip(PynReader *reader);

/* Scores on the common scale: finite, rising strictly with the member's raw score. */
extern double pyn_common_score(const PynMember *member, PynCommonScale scale, double raw);
extern double pyn_member_row(const PynMember *member, PynCommonScale scale, const double *row);
extern void pyn_member_block(const PynMember *member, PynCommonScale scale, const double *values, int stride, int rows,
							 double *scores);
extern void pyn_member_left_out(const PynMember *member, PynCommonScale scale, const PynTraining *training, double *scores);

/* ensemble.c: opens an ensemble in which others may be nested `nesting` deep. */
extern const char *pyn_ensemble_open(PynReader *reader, int features, int nesting, void **state);

#endif							/* PYN_MEMBERS_H */
