/*
 * scaling.h
 *		Puts features on one scale, for detectors that measure distances.
 */
#ifndef PYN_SCALING_H
#define PYN_SCALING_H

#include "detectors/detector.h"
#include "detectors/marginal.h"
#include "numeric/math.h"

#define PYN_MOST_SCALED 1e100	/* scaled numbers are cut here, so that no sum of their squares overflows */

typedef enum PynScale
{
	PYN_SCALE_STANDARD = 1,		/* (x - mean) / standard deviation */
	PYN_SCALE_ROBUST = 2,		/* (x - median) / s, s the interquartile range of a normal distribution's sd */
	PYN_SCALE_TAILS = 3,		/* asinh of that: linear about the median, logarithmic far out */
	PYN_SCALE_LAST = PYN_SCALE_TAILS
} PynScale;

typedef struct PynScaling
{
	int			features;
	PynScale	kind;
	double	   *centres;
	double	   *factors;		/* 1 / scale; 0 where the feature does not vary: it is 0 then */
} PynScaling;

extern void pyn_scaling_fit(const PynTraining *training, const PynRows *rows, PynScale kind, PynScaling *scaling);
extern void pyn_scaling_write(const PynScaling *scaling, PynWriter *writer);
extern const char *pyn_scaling_read(PynReader *reader, int features, PynScaling *scaling);

/*
 * Scaled values of all training rows, row-major: out[row * features + feature].
 */
extern void pyn_scale_training(const PynScaling *scaling, const PynTraining *training, double *out);

/* A feature's value on its scale; a missing one lies at the centre. */
static inline double
pyn_scaled(const PynScaling *scaling, int feature, double value)
{
	double		z;

	if (value != value)
		return 0.0;
	z = (value - scaling->centres[feature]) * scaling->factors[feature];
	z = z > PYN_MOST_SCALED ? PYN_MOST_SCALED : z < -PYN_MOST_SCALED ? -PYN_MOST_SCALED : z == z ? z : 0.0;
	return scaling->kind == PYN_SCALE_TAILS ? pyn_asinh(z) : z;
}

/* A row of the training data as it is, not scaled. */
static inline void
pyn_training_row(const PynTraining *training, int row, double *out)
{
	for (int feature = 0; feature < training->features; feature++)
		out[feature] = training->values[(Size) feature * training->rows + row];
}

/*
 * The median of numbers, which are overwritten, and their scale: the standard deviation that a normal distribution of their
 * median absolute deviation has; where more than half of them are equal, the root mean square of all deviations, or 1.
 */
extern double pyn_median_and_scale(PynWeighted *numbers, int count, double total, double *median);

#endif							/* PYN_SCALING_H */
