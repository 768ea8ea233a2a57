/* sources: src/kernel/bytes.c src/kernel/hash.c src/sketch/sketch.c src/sketch/column.c src/sketch/sample.c src/sketch/quantiles.c src/sketch/distinct.c src/sketch/heavy_hitters.c src/sketch/sketch_format.c detectors */
/*
 * neighbours.c
 *		Nearest neighbours by the tree of boxes, against those found by sorting all distances.
 */
#include "kernel/port.h"

#include "detectors/neighbours.h"
#include "tap.h"

#define QUERIES 60

static int
compare_neighbours(const void *a, const void *b)
{
	const PynNeighbour *x = a;
	const PynNeighbour *y = b;

	if (x->square != y->square)
		return x->square < y->square ? -1 : 1;
	return (x->point > y->point) - (x->point < y->point);
}

/* All points by distance, cut off where k copies are reached; `others`: without one copy of an equal one. */
static int
by_sorting(const PynPoints *points, const double *row, int k, bool others, PynNeighbour *all)
{
	int			count = 0;

	for (int i = 0; i < points->count; i++)
	{
		double		square = 0;

		for (int feature = 0; feature < points->features; feature++)
		{
			double		difference = row[feature] - points->values[i * points->features + feature];

			square += difference * difference;
		}
		all[i] = (PynNeighbour) {square, i, (int) points->copies[i]};
	}
	qsort(all, points->count, sizeof(PynNeighbour), compare_neighbours);
	if (others && all[0].square == 0)
		all[0].copies--;
	for (int i = 0; i < points->count && k > 0; i++)
	{
		if (all[i].copies == 0)
			continue;
		all[count] = all[i];
		all[count].copies = Min(k, all[count].copies);
		k -= all[count++].copies;
	}
	return count;
}

/* `levels` different numbers in each feature, 0: any; returns how many answers are wrong. */
static int
count_wrong(int rows, int features, int levels, int k, PynRandom *random)
{
	double	   *values = pyn_new(double, rows * features);
	int64	   *weights = pyn_new(int64, rows);
	double	   *row = pyn_new(double, features);
	PynNeighbour *found = pyn_new(PynNeighbour, k + 2);
	PynNeighbour *right;
	PynTraining training = {.rows = rows,.features = features,.values = values,.weights = weights};
	PynScaling	scaling;
	PynPoints	points;
	PynWriter	writer;
	PynReader	reader;
	PynNeighbourIndex *index;
	int			wrong = 0;

	for (int i = 0; i < rows * features; i++)
		values[i] = levels > 0 ? (double) pyn_random_below(random, levels) : pyn_random_double(random);
	for (int i = 0; i < rows; i++)
		training.total_weight += weights[i] = 1 + (i % 10 == 0) * 3;
	pyn_scaling_fit(&training, NULL, PYN_SCALE_STANDARD, &scaling);
	pyn_points_draw(&training, &scaling, rows / 2 + 1000, 1, &points);
	pyn_writer_init(&writer, 1024);
	pyn_points_write(&points, &writer);
	pyn_reader_init(&reader, writer.data, writer.length);
	wrong += pyn_points_read(&reader, features, &points) != NULL || pyn_reader_left(&reader) > 0;
	index = pyn_neighbours_build(&points);
	right = pyn_new(PynNeighbour, points.count);
	for (int query = 0; query < QUERIES; query++)
	{
		for (int feature = 0; feature < features; feature++)
			row[feature] = pyn_scaled(&scaling, feature, query % 3 == 0 ? values[feature * rows + query % rows] :
									  query % 3 == 1 ? pyn_random_double(random) * 3 - 1 : query % 2 ? 1e308 : 2.0);
		for (int others = 0; others < 2; others++)
		{
			int			count = others ? pyn_neighbours_find_others(index, row, k, found) : pyn_neighbours_find(index, row, k, found);
			int			right_count = by_sorting(&points, row, k, others, right);

			wrong += count != right_count || memcmp(found, right, sizeof(PynNeighbour) * count) != 0;
		}
	}
	for (int i = 0; i < points.count; i++)
		for (int feature = 0; feature < features; feature++)
			wrong += pyn_neighbours_value(index, i, feature) != points.values[i * features + feature];
	pyn_standalone_reset();
	return wrong;
}

int
main(void)
{
	static const int sizes[] = {2, 3, 9, 24, 25, 100, 1000};
	static const int widths[] = {1, 2, 5, 20, 64, 65};
	static const int levels[] = {0, 1, 2, 5};
	static const int ks[] = {1, 2, 5, 21, 256};
	PynRandom	random = {42};
	int			wrong = 0;

	for (int s = 0; s < (int) lengthof(sizes); s++)
		for (int w = 0; w < (int) lengthof(widths); w++)
			for (int l = 0; l < (int) lengthof(levels); l++)
				for (int k = 0; k < (int) lengthof(ks); k++)
					wrong += count_wrong(sizes[s], widths[w], levels[l], ks[k], &random);
	ok(wrong == 0, "the nearest points are the very ones that sorting gives, ties and copies included");
	ok(count_wrong(100, PYN_MAX_FEATURES, 0, 5, &random) == 0, "so they are with as many features as there may be");
	return done();
}
