/*
 * scaling.c
 *		Puts features on one scale.
 *
 * The robust scale is the interquartile range / 1.349, which is the standard deviation of normal data; where it is next to
 * nothing against the standard deviation, as of a column most of whose values are equal, the latter takes its place.
 * Values are measured in units of the largest one where squares would overflow.
 */
#include "kernel/port.h"

#include <math.h>

#include "detectors/scaling.h"

#define NORMAL_IQR 1.3489795003921634	/* interquartile range of the standard normal distribution */
#define NORMAL_MAD 1.482602218505602	/* its standard deviation in median absolute deviations */
#define LEAST_SCALE 1e-6			/* of logarithms, past which rounding is all that is left */
#define LEAST_RATIO 0.001		/* of the robust scale to the standard deviation */

static double
quantile(const PynMarginal *sorted, double share)
{
	return pyn_weighted_quantile(sorted->values, sorted->count, sorted->total, share) / sorted->unit;
}

/*
 * pyn_scaling_fit measures every feature over the rows; what it allocates lives in the current memory context.
 */
void
pyn_scaling_fit(const PynTraining *training, const PynRows *rows, PynScale kind, PynScaling *scaling)
{
	PynMarginal marginal;

	pyn_marginal_init(&marginal, rows != NULL ? rows->count : training->rows);
	scaling->features = training->features;
	scaling->kind = kind;
	scaling->centres = pyn_new(double, training->features);
	scaling->factors = pyn_new(double, training->features);
	for (int feature = 0; feature < training->features; feature++)
	{
		PynMoments	moments;
		double		centre;
		double		scale;

		CHECK_FOR_INTERRUPTS();
		scaling->centres[feature] = 0.0;
		scaling->factors[feature] = 0.0;
		pyn_marginal_collect(&marginal, training, rows, feature);
		if (marginal.count == 0)
			continue;
		pyn_marginal_moments(&marginal, &moments);
		centre = moments.mean;
		scale = moments.deviation;
		if (kind != PYN_SCALE_STANDARD)
		{
			double		range;

			pyn_weighted_sort(marginal.values, marginal.count);
			centre = quantile(&marginal, 0.5);
			range = quantile(&marginal, 0.75) - quantile(&marginal, 0.25);
			if (range / NORMAL_IQR > LEAST_RATIO * scale)
				scale = range / NORMAL_IQR;
		}
		/* Rounding of the mean leaves a constant feature with a deviation of a few units in the last place. */
		if (scale <= 1e-14 * fabs(centre) || !(1.0 / scale <= 1.7976931348623157e308))
			continue;
		scaling->centres[feature] = centre * marginal.unit;
		scaling->factors[feature] = 1.0 / scale / marginal.unit;
	}
	pfree(marginal.values);
}

void
pyn_scale_training(const PynScaling *scaling, const PynTraining *training, double *out)
{
	int			features = scaling->features;

	for (int feature = 0; feature < features; feature++)
	{
		CHECK_FOR_INTERRUPTS();
		for (int row = 0; row < training->rows; row++)
			out[(Size) row * features + feature] =
				pyn_scaled(scaling, feature, training->values[(Size) feature * training->rows + row]);
	}
}

/* u8 kind, then f64 centre and f64 factor of each feature. */
void
pyn_scaling_write(const PynScaling *scaling, PynWriter *writer)
{
	pyn_write_u8(writer, (uint8) scaling->kind);
	for (int feature = 0; feature < scaling->features; feature++)
	{
		pyn_write_f64(writer, scaling->centres[feature]);
		pyn_write_f64(writer, scaling->factors[feature]);
	}
}

const char *
pyn_scaling_read(PynReader *reader, int features, PynScaling *scaling)
{
	uint8		kind = pyn_read_u8(reader);

	if (kind < PYN_SCALE_STANDARD || kind > PYN_SCALE_LAST || !pyn_reader_has(reader, features, 2 * sizeof(double)))
		return "a scaling is cut off";
	scaling->features = features;
	scaling->kind = (PynScale) kind;
	scaling->centres = pyn_new(double, features);
	scaling->factors = pyn_new(double, features);
	for (int feature = 0; feature < features; feature++)
	{
		scaling->centres[feature] = pyn_read_f64(reader);
		scaling->factors[feature] = pyn_read_f64(reader);
		if (!(fabs(scaling->centres[feature]) <= 1.7976931348623157e308) ||
			!(scaling->factors[feature] >= 0 && scaling->factors[feature] <= 1.7976931348623157e308))
			return "a scale is impossible";
	}
	return NULL;
}

double
pyn_median_and_scale(PynWeighted *numbers, int count, double total, double *median)
{
	double		scale;

	pyn_weighted_sort(numbers, count);
	*median = pyn_weighted_quantile(numbers, count, total, 0.5);
	for (int i = 0; i < count; i++)
		numbers[i].value = fabs(numbers[i].value - *median);
	pyn_weighted_sort(numbers, count);
	scale = NORMAL_MAD * pyn_weighted_quantile(numbers, count, total, 0.5);
	if (!(scale > LEAST_SCALE))
	{
		double		sum = 0;

		for (int i = 0; i < count; i++)
			sum += numbers[i].value * numbers[i].value * (numbers[i].weight / total);
		scale = sqrt(sum);
	}
	return scale > LEAST_SCALE ? scale : 1.0;
}
