/* sources: src/kernel/bytes.c src/kernel/hash.c src/sketch/sketch.c src/sketch/column.c src/sketch/sample.c src/sketch/quantiles.c src/sketch/distinct.c src/sketch/heavy_hitters.c src/sketch/sketch_format.c detectors */
/*
 * reference_sets.c
 *		Distances to the nearest references of sets, against those found by sorting all distances.
 */
#include "kernel/port.h"

#include <math.h>

#include "detectors/reference_sets.h"
#include "tap.h"

#define ROWS 37

static int
compare_floats(const void *a, const void *b)
{
	float		x = *(const float *) a;
	float		y = *(const float *) b;

	return (x > y) - (x < y);
}

/* What the k nearest give, without the first that is equal. */
static float
by_sorting(const float *references, int size, int features, const float *row, int k, PynNearest nearest)
{
	float	   *sorted = pyn_new(float, size);
	float	   *list = sorted;
	float		sum = 0;

	for (int i = 0; i < size; i++)
	{
		float		square = 0;

		for (int feature = 0; feature < features; feature++)
		{
			float		difference = row[feature] - references[i * features + feature];
			float		product = difference * difference;

			square = square + product;
		}
		sorted[i] = sqrtf(square);
	}
	qsort(sorted, size, sizeof(float), compare_floats);
	if (list[0] == 0)
	{
		list++;
		size--;
	}
	k = Min(k, size);
	if (k == 0)
		return 0;
	for (int i = 0; i < k; i++)
		sum += list[i];
	return nearest == PYN_NEAREST_MEAN ? sum / (float) k :
		nearest == PYN_NEAREST_MEDIAN ? 0.5f * (list[(k - 1) / 2] + list[k / 2]) : list[k - 1];
}

/* Compares all ways; returns how many numbers differ. */
static int
count_wrong(int count, int size, int features, int k, PynNearest nearest, PynRandom *random)
{
	int			stride = (ROWS + PYN_LANES - 1) / PYN_LANES * PYN_LANES;
	float	   *references = pyn_new(float, count * size * features);
	float	   *rows = pyn_new0(float, stride * features);
	float	   *row = pyn_new(float, features);
	float	   *of_block = pyn_new(float, count * stride);
	float	   *of_row = pyn_new(float, count);
	PynReferenceSets sets;
	int			wrong = 0;

	/* Few different numbers in two features, so that many rows are equal; some are far out. */
	for (int i = 0; i < count * size * features; i++)
		references[i] = features <= 2 ? (float) pyn_random_below(random, 4) : (float) pyn_random_double(random);
	for (int i = 0; i < ROWS; i++)
		for (int feature = 0; feature < features; feature++)
			rows[feature * stride + i] = i % 5 == 0 ? references[pyn_random_below(random, count * size) * features + feature] :
				i % 7 == 0 ? PYN_MOST_SCALED_FLOAT : references[(i % (count * size)) * features + feature];
	pyn_reference_sets_make(&sets, references, count, size, features, true);
	pyn_reference_block(&sets, rows, stride, ROWS, k, nearest, of_block);
	for (int i = 0; i < ROWS; i++)
	{
		for (int feature = 0; feature < features; feature++)
			row[feature] = rows[feature * stride + i];
		pyn_reference_row(&sets, row, k, nearest, of_row);
		for (int set = 0; set < count; set++)
		{
			float		right = by_sorting(references + set * size * features, size, features, row, k, nearest);

			wrong += memcmp(&of_row[set], &of_block[set * stride + i], sizeof(float)) != 0;
			wrong += memcmp(&of_row[set], &right, sizeof(float)) != 0;
		}
	}
	pyn_standalone_reset();
	return wrong;
}

/* Distances without each feature against those found by leaving it out and sorting; the row lies apart from all references. */
static bool
without_is_right(int count, int size, int features, int k, PynRandom *random)
{
	float	   *references = pyn_new(float, count * size * features);
	float	   *row = pyn_new(float, features);
	float	   *rest = pyn_new(float, size * features);
	float	   *rest_row = pyn_new(float, features);
	double	   *without = pyn_new(double, features);
	PynReferenceSets sets;
	double		with;
	bool		right = true;

	for (int i = 0; i < count * size * features; i++)
		references[i] = (float) pyn_random_double(random);
	for (int feature = 0; feature < features; feature++)
		row[feature] = (float) (3 * pyn_random_double(random));
	pyn_reference_sets_make(&sets, references, count, size, features, true);
	with = pyn_reference_without(&sets, row, k, without);
	for (int left_out = -1; left_out < features; left_out++)
	{
		double		mean = 0;
		double		found = left_out < 0 ? with : without[left_out];

		for (int set = 0; set < count; set++)
		{
			int			kept = 0;

			for (int feature = 0; feature < features; feature++)
			{
				if (feature == left_out)
					continue;
				rest_row[kept] = row[feature];
				for (int i = 0; i < size; i++)
					rest[i * (features - (left_out >= 0)) + kept] = references[(set * size + i) * features + feature];
				kept++;
			}
			mean += by_sorting(rest, size, kept, rest_row, k, PYN_NEAREST_LARGEST) / count;
		}
		right = right && fabs(found - mean) <= 1e-5 * mean;
	}
	pyn_standalone_reset();
	return right;
}

int
main(void)
{
	static const int sizes[] = {1, 2, 3, 5, 8, 31, 32, 257};
	static const int ks[] = {1, 2, 3, 4, 5, 6, 7, 8, 20, 256};
	static const int widths[] = {1, 2, 3, 8, 33};
	PynRandom	random = {42};
	int			wrong = 0;

	for (int s = 0; s < (int) lengthof(sizes); s++)
		for (int k = 0; k < (int) lengthof(ks); k++)
			for (int w = 0; w < (int) lengthof(widths); w++)
				for (int nearest = 0; nearest <= PYN_NEAREST_MEDIAN; nearest++)
				{
					wrong += count_wrong(1 + s % 3, sizes[s], widths[w], ks[k], (PynNearest) nearest, &random);
					/* As many sets as lanes, and twice as many. */
					wrong += count_wrong(PYN_LANES << s % 2, sizes[s], widths[w], ks[k], (PynNearest) nearest, &random);
				}
	ok(wrong == 0, "a row and a block of rows give the very distances that sorting gives");
	ok(count_wrong(1, 9, PYN_MAX_FEATURES, 3, PYN_NEAREST_LARGEST, &random) == 0, "so they do with as many features as there may be");
	ok(without_is_right(3, 32, 2, 5, &random) && without_is_right(8, 256, 8, 5, &random) && without_is_right(2, 5, 33, 7, &random) &&
	   without_is_right(1, 300, 4, 256, &random), "distances without a feature are those of rows that do not have it");
	return done();
}
