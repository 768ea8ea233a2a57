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
#define LEAST_RATIO 0.001		/* of the robust scale to the standard deviation */
#define LARGE 1e100				/* from here on squares could overflow in sums */

/* PostgreSQL's own sort, with the comparison compiled into it. */
#define ST_SORT sort_weighted
#define ST_ELEMENT_TYPE PynWeighted
#define ST_COMPARE(a, b) (((a)->value > (b)->value) - ((a)->value < (b)->value))
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

void
pyn_weighted_sort(PynWeighted *numbers, int count)
{
	sort_weighted(numbers, count);
}

double
pyn_weighted_quantile(const PynWeighted *numbers, int count, double total, double share)
{
	double		reached = 0;

	for (int i = 0; i < count; i++)
	{
		reached += numbers[i].weight;
		if (reached > share * total)
			return numbers[i].value;
	}
	return numbers[count - 1].value;
}

/* Collects a feature's values that are there, in units of the returned number. */
static double
collect(const PynTraining *training, const PynRows *rows, int feature, PynWeighted *numbers, int *count, double *total)
{
	const double *values = training->values + (Size) feature * training->rows;
	int			row_count = rows != NULL ? rows->count : training->rows;
	double		largest = 0;
	double		unit = 1.0;

	*count = 0;
	*total = 0;
	for (int i = 0; i < row_count; i++)
	{
		int			row = rows != NULL ? rows->rows[i] : i;

		if (values[row] != values[row])
			continue;
		numbers[*count].value = values[row];
		numbers[*count].weight = (double) training->weights[row];
		*total += numbers[*count].weight;
		largest = Max(largest, fabs(values[row]));
		(*count)++;
	}
	if (largest > LARGE)
	{
		unit = largest;
		for (int i = 0; i < *count; i++)
			numbers[i].value /= unit;
	}
	return unit;
}

/* Mean and standard deviation of the collected values. */
static double
measure_moments(const PynWeighted *numbers, int count, double total, double *mean)
{
	double		sum = 0;

	*mean = 0;
	for (int i = 0; i < count; i++)
		*mean += numbers[i].value * (numbers[i].weight / total);
	for (int i = 0; i < count; i++)
	{
		double		difference = numbers[i].value - *mean;

		sum += difference * difference * (numbers[i].weight / total);
	}
	return sqrt(sum);
}

/*
 * pyn_scaling_fit measures every feature over the rows; what it allocates lives in the current memory context.
 */
void
pyn_scaling_fit(const PynTraining *training, const PynRows *rows, PynScale kind, PynScaling *scaling)
{
	PynWeighted *numbers = pyn_new(PynWeighted, rows != NULL ? rows->count : training->rows);

	scaling->features = training->features;
	scaling->kind = kind;
	scaling->centres = pyn_new(double, training->features);
	scaling->factors = pyn_new(double, training->features);
	for (int feature = 0; feature < training->features; feature++)
	{
		int			count;
		double		total;
		double		unit;
		double		centre;
		double		scale;

		CHECK_FOR_INTERRUPTS();
		scaling->centres[feature] = 0.0;
		scaling->factors[feature] = 0.0;
		unit = collect(training, rows, feature, numbers, &count, &total);
		if (count == 0)
			continue;
		scale = measure_moments(numbers, count, total, &centre);
		if (kind != PYN_SCALE_STANDARD)
		{
			double		range;

			pyn_weighted_sort(numbers, count);
			centre = pyn_weighted_quantile(numbers, count, total, 0.5);
			range = pyn_weighted_quantile(numbers, count, total, 0.75) - pyn_weighted_quantile(numbers, count, total, 0.25);
			if (range / NORMAL_IQR > LEAST_RATIO * scale)
				scale = range / NORMAL_IQR;
		}
		/* Rounding of the mean leaves a constant feature with a deviation of a few units in the last place. */
		if (scale <= 1e-14 * fabs(centre) || !(1.0 / scale <= 1.7976931348623157e308))
			continue;
		scaling->centres[feature] = centre * unit;
		scaling->factors[feature] = 1.0 / scale / unit;
	}
	pfree(numbers);
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
