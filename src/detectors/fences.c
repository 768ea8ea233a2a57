/*
 * fences.c
 *		Distances of values from what is ordinary in their feature, combined over features into a raw score.
 *
 * A model takes 32 bytes a feature, on disk and open.  Distances are cut at 1e100, so that no sum of squares overflows; a
 * missing value is 0 off: it has a feature of its own.
 */
#include "kernel/port.h"

#include <math.h>

#include "detectors/fences.h"

#define FARTHEST 1e100
#define LARGEST 1.7976931348623157e308

typedef struct Fences
{
	int			features;
	PynCombination combination;
	PynFence   *fences;
} Fences;

void
pyn_fences_begin(PynWriter *writer, PynCombination combination)
{
	pyn_write_u8(writer, (uint8) combination);
}

/* A factor that is no number, of a feature that does not vary, is written as 0. */
void
pyn_fence_write(PynWriter *writer, const PynFence *fence)
{
	pyn_write_f64(writer, fence->low);
	pyn_write_f64(writer, fence->high);
	pyn_write_f64(writer, fence->below <= LARGEST ? fence->below : 0.0);
	pyn_write_f64(writer, fence->above <= LARGEST ? fence->above : 0.0);
}

const char *
pyn_fences_open(PynReader *reader, int features, void **state)
{
	Fences	   *fences = palloc0(sizeof(Fences));
	uint8		combination = pyn_read_u8(reader);

	if (combination > PYN_COMBINE_LAST)
		return "the columns are combined in an unknown way";
	if (!pyn_reader_has(reader, features, 4 * sizeof(double)))
		return "the fences are cut off";
	fences->features = features;
	fences->combination = (PynCombination) combination;
	fences->fences = pyn_new(PynFence, features);
	for (int feature = 0; feature < features; feature++)
	{
		PynFence   *fence = &fences->fences[feature];

		fence->low = pyn_read_f64(reader);
		fence->high = pyn_read_f64(reader);
		fence->below = pyn_read_f64(reader);
		fence->above = pyn_read_f64(reader);
		if (!(fence->low >= -LARGEST && fence->low <= fence->high && fence->high <= LARGEST) ||
			!(fence->below >= 0 && fence->below <= LARGEST && fence->above >= 0 && fence->above <= LARGEST))
			return "a fence is impossible";
	}
	*state = fences;
	return NULL;
}

/* Halves are subtracted: the difference of two finite numbers may overflow. */
static inline double
distance(const PynFence *fence, double value)
{
	double		below = (0.5 * fence->low - 0.5 * value) * fence->below;
	double		above = (0.5 * value - 0.5 * fence->high) * fence->above;
	double		farther = above > below ? above : below;

	/* 0 inside, and of a missing value; written so that it compiles to a maximum and a minimum. */
	farther = farther > 0 ? farther : 0.0;
	return 2.0 * (farther < 0.5 * FARTHEST ? farther : 0.5 * FARTHEST);
}

static inline double
add_distance(PynCombination combination, double sum, double distance)
{
	switch (combination)
	{
		case PYN_COMBINE_MAX:
			return distance > sum ? distance : sum;
		case PYN_COMBINE_MEAN:
			return sum + distance;
		case PYN_COMBINE_NORM:
			return sum + distance * distance;
	}
	return sum;
}

static inline double
finish(const Fences *fences, double sum)
{
	switch (fences->combination)
	{
		case PYN_COMBINE_MAX:
			return sum;
		case PYN_COMBINE_MEAN:
			return sum / fences->features;
		case PYN_COMBINE_NORM:
			return sqrt(sum);
	}
	return sum;
}

double
pyn_fences_score_row(const void *state, const double *row)
{
	const Fences *fences = state;
	double		sum = 0;

	for (int feature = 0; feature < fences->features; feature++)
		sum = add_distance(fences->combination, sum, distance(&fences->fences[feature], row[feature]));
	return finish(fences, sum);
}

void
pyn_fences_score_block(const void *state, const double *values, int stride, int rows, double *scores)
{
	const Fences *fences = state;

	memset(scores, 0, sizeof(double) * rows);
	for (int feature = 0; feature < fences->features; feature++)
	{
		const PynFence fence = fences->fences[feature];
		const double *column = values + (Size) feature * stride;

		for (int row = 0; row < rows; row++)
			scores[row] = add_distance(fences->combination, scores[row], distance(&fence, column[row]));
	}
	for (int row = 0; row < rows; row++)
		scores[row] = finish(fences, scores[row]);
}

/* How far off each value is; of the norm its square, which is its part of the sum. */
void
pyn_fences_contribute(const void *state, const double *row, double *contributions)
{
	const Fences *fences = state;

	for (int feature = 0; feature < fences->features; feature++)
	{
		double		off = distance(&fences->fences[feature], row[feature]);

		contributions[feature] = fences->combination == PYN_COMBINE_NORM ? off * off : off;
	}
}
