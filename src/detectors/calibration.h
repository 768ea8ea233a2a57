/*
 * calibration.h
 *		What a raw score means: from the distribution of the training rows' raw scores.
 */
#ifndef PYN_CALIBRATION_H
#define PYN_CALIBRATION_H

#include "detectors/detector.h"

#define PYN_MAX_KNOTS 256

/*
 * Knots of the share of training rows that score at least `raw`: raw rising strictly, tail falling strictly.  Past the
 * last knot the tail is a generalised Pareto one.
 */
typedef struct PynCalibration
{
	int			count;
	double		raw[PYN_MAX_KNOTS];
	double		tail[PYN_MAX_KNOTS];
	double		tail_scale;		/* σ of the excess over the last knot, > 0 */
	double		tail_shape;		/* ξ, in [0, 0.5] */
} PynCalibration;

extern void pyn_calibration_fit(PynCalibration *calibration, const double *scores, const double *left_out,
								const int64 *weights, int rows);

/* Scores the training rows, scores[row], and learns from that. */
extern void pyn_calibrate(PynCalibration *calibration, const PynDetector *detector, const void *state,
						  const PynTraining *training, double *scores);
extern double pyn_p_value(const PynCalibration *calibration, double raw);
extern double pyn_log_p_value(const PynCalibration *calibration, double raw);	/* natural logarithm; has no floor */
extern double pyn_score(const PynCalibration *calibration, double raw);
extern void pyn_calibration_write(const PynCalibration *calibration, PynWriter *writer);
extern const char *pyn_calibration_read(PynCalibration *calibration, PynReader *reader);

#endif							/* PYN_CALIBRATION_H */
