/*
 * reference_sets.c
 *		Distances from rows to the nearest of a few hundred reference rows, for several sets of them.
 *
 * All pairs of rows and references are compared: for so few references no index pays.  Of a block, PYN_LANES rows lie
 * side by side in a vector and meet one reference after the other, four at a time, so that a row's number is loaded once
 * for four.  A single row meets as many sets side by side, or references of one set where sets would leave lanes
 * empty.  The least distances so far are a sorted list of vectors, into which a new one is sunk by minimum and maximum:
 * as many steps whatever the distances are, so nothing is mispredicted.  Each pair's sum runs over the features in their
 * order and is never contracted or reassociated, which vectors of pairs need not; so the bits are the same in vectors of
 * any width.
 */
#include "kernel/port.h"

#include <math.h>

#include "detectors/reference_sets.h"
#include "numeric/vector.h"

#define LANES PYN_LANES
#define FEW 8					/* lists up to this length lie in registers */


typedef PynFloats Vector;

/* ---------------------------------------------------------------- references */

/* Where a number lies in what a single row meets: beside it those of the other sets, or of the next references. */
static inline Size
lane_place(const PynReferenceSets *sets, int set, int reference, int feature)
{
	Size		features = (Size) sets->features;
	Size		padded = (Size) sets->padded;

	if (sets->by_set)
		return (((Size) (set / LANES) * padded + reference) * features + feature) * LANES + set % LANES;
	return (((Size) set * padded / LANES + reference / LANES) * features + feature) * LANES + reference % LANES;
}

void
pyn_reference_sets_make(PynReferenceSets *sets, const float *references, int count, int size, int features, bool by_set)
{
	int			padded = (size + LANES - 1) / LANES * LANES;
	int			lanes = by_set ? (count + LANES - 1) / LANES * LANES : count;

	sets->sets = count;
	sets->size = size;
	sets->features = features;
	sets->padded = padded;
	sets->values = pyn_new(float, (Size) count * padded * features);
	sets->lanes = pyn_new(float, (Size) lanes * padded * features);
	sets->by_set = by_set;
	for (Size i = (Size) (lanes - LANES) * padded * features; i < (Size) lanes * padded * features; i++)
		sets->lanes[i] = INFINITY;
	for (int set = 0; set < count; set++)
	{
		float	   *values = sets->values + (Size) set * padded * features;

		for (int i = 0; i < padded; i++)
			for (int feature = 0; feature < features; feature++)
			{
				float		value = i < size ? references[((Size) set * size + i) * features + feature] : INFINITY;

				values[(Size) i * features + feature] = value;
				sets->lanes[lane_place(sets, set, i, feature)] = value;
			}
	}
}

/* u16 sets, u16 size, then the numbers. */
void
pyn_reference_sets_write(const float *references, int count, int size, int features, PynWriter *writer)
{
	Assert(count >= 1 && count <= PYN_MAX_SETS && size >= 1 && size <= PYN_MAX_SET_SIZE);
	pyn_write_u16(writer, (uint16) count);
	pyn_write_u16(writer, (uint16) size);
	for (Size i = 0; i < (Size) count * size * features; i++)
		pyn_write_f32(writer, references[i]);
}

const char *
pyn_reference_sets_read(PynReader *reader, int features, PynReferenceSets *sets)
{
	int			count = pyn_read_u16(reader);
	int			size = pyn_read_u16(reader);
	Size		numbers = (Size) count * size * features;
	float	   *references;

	if (count < 1 || count > PYN_MAX_SETS || size < 1 || size > PYN_MAX_SET_SIZE ||
		!pyn_reader_has(reader, numbers, sizeof(float)))
		return "the reference sets are cut off";
	references = pyn_new(float, numbers);
	for (Size i = 0; i < numbers; i++)
	{
		references[i] = pyn_read_f32(reader);
		if (!(fabsf(references[i]) <= PYN_MOST_SCALED_FLOAT))
			return "a reference is not finite";
	}
	pyn_reference_sets_make(sets, references, count, size, features, pyn_by_set_pays(count));
	pfree(references);
	return NULL;
}

/* ---------------------------------------------------------------- the k least */

/*
 * How many of the least distances are looked at: one more than k, since the first may be of the row itself.
 */
static int
list_length(const PynReferenceSets *sets, int k)
{
	return Min(k + 1, sets->size);
}

/* One number of a rising list of squared distances, which is overwritten. */
static float
summarise(float *list, int length, int size, int k, PynNearest nearest)
{
	int			first = list[0] == 0.0f;
	int			count = Min(k, size - first);
	float		sum = 0;

	Assert(first + count <= length);
	if (count == 0)
		return 0.0f;
	list += first;
	switch (nearest)
	{
		case PYN_NEAREST_MEAN:
			for (int i = 0; i < count; i++)
				sum += sqrtf(list[i]);
			return sum / (float) count;
		case PYN_NEAREST_MEDIAN:
			return 0.5f * (sqrtf(list[(count - 1) / 2]) + sqrtf(list[count / 2]));
		default:
			return sqrtf(list[count - 1]);
	}
}

/* Sinks a vector of distances into a rising list of vectors; the largest falls out. */
static PYN_INLINE void
sink(Vector *list, int length, const Vector *distances)
{
	Vector		sinking = *distances;

#pragma GCC unroll 8
	for (int i = 0; i < length; i++)
	{
		Vector		here = list[i];

		for (int lane = 0; lane < LANES; lane++)
		{
			list[i][lane] = here[lane] < sinking[lane] ? here[lane] : sinking[lane];
			sinking[lane] = here[lane] > sinking[lane] ? here[lane] : sinking[lane];
		}
	}
}

/* Whether a vector has anything to sink. */
static PYN_INLINE bool
any_below(const Vector *distances, const Vector *worst)
{
	int			below = 0;

	for (int lane = 0; lane < LANES; lane++)
		below |= (*distances)[lane] < (*worst)[lane];
	return below != 0;
}

/* ---------------------------------------------------------------- a block of rows */

/* The least distances of LANES rows to one set's references; with a constant length the list stays in registers. */
static PYN_INLINE void
least_of_rows(const float *references, int padded, int features, const float *rows, int stride, Vector *list, int length)
{
	for (int i = 0; i < length; i++)
		for (int lane = 0; lane < LANES; lane++)
			list[i][lane] = INFINITY;
	for (int i = 0; i < padded; i += 4)
	{
		Vector		sums[4];

		pyn_four_distances(references + (Size) i * features, features, rows, stride, sums);
		if (length > FEW)
		{
			for (int j = 0; j < 4; j++)
				if (any_below(&sums[j], &list[length - 1]))
					sink(list, length, &sums[j]);
			continue;
		}
		sink(list, length, &sums[0]);
		sink(list, length, &sums[1]);
		sink(list, length, &sums[2]);
		sink(list, length, &sums[3]);
	}
}

/* A list of a length known to the compiler is copied out of its registers. */
#define LEAST_OF_FEW(n) \
	case n: \
	{ \
		Vector		few[n]; \
		least_of_rows(references, padded, features, rows, stride, few, n); \
		memcpy(list, few, sizeof(few)); \
		return; \
	}

static PYN_ANY_CPU void
find_least_of_rows(const float *references, int padded, int features, const float *rows, int stride, Vector *list, int length)
{
	switch (length)
	{
			LEAST_OF_FEW(1);
			LEAST_OF_FEW(2);
			LEAST_OF_FEW(3);
			LEAST_OF_FEW(4);
			LEAST_OF_FEW(5);
			LEAST_OF_FEW(6);
			LEAST_OF_FEW(7);
			LEAST_OF_FEW(8);
	}
	least_of_rows(references, padded, features, rows, stride, list, Max(length, FEW + 1));
}

void
pyn_reference_block(const PynReferenceSets *sets, const float *rows, int stride, int count, int k, PynNearest nearest,
					float *distances)
{
	int			length = list_length(sets, k);
	Vector	   *list;
	void	   *memory = palloc(sizeof(Vector) * (length + 1));
	float		lane_list[PYN_MAX_NEIGHBOURS + 1];

	/* palloc aligns to less than a vector. */
	list = (Vector *) (((uintptr_t) memory + sizeof(Vector) - 1) / sizeof(Vector) * sizeof(Vector));
	for (int set = 0; set < sets->sets; set++)
	{
		const float *references = sets->values + (Size) set * sets->padded * sets->features;

		CHECK_FOR_INTERRUPTS();
		for (int first = 0; first < count; first += LANES)
		{
			int			lanes = Min(LANES, count - first);

			find_least_of_rows(references, sets->padded, sets->features, rows + first, stride, list, length);
			for (int lane = 0; lane < lanes; lane++)
			{
				for (int i = 0; i < length; i++)
					lane_list[i] = list[i][lane];
				distances[(Size) set * stride + first + lane] = summarise(lane_list, length, sets->size, k, nearest);
			}
		}
	}
	pfree(memory);
}

/* ---------------------------------------------------------------- one row */

/* Squared distances of a row to all references of a set, LANES of them side by side. */
static PYN_ANY_CPU void
distances_of_row(const float *lanes, int padded, int features, const float *row, float *squares)
{
	for (int first = 0; first < padded; first += LANES)
	{
		Vector		sum = {0};

		for (int feature = 0; feature < features; feature++)
		{
			Vector		references;
			Vector		difference;

			memcpy(&references, lanes + ((Size) first * features + (Size) feature * LANES), sizeof(references));
			difference = row[feature] - references;
			sum += difference * difference;
		}
		memcpy(squares + first, &sum, sizeof(sum));
	}
}

/* The least squares as a rising list, and where they are, if `places` is not NULL. */
static void
list_least(const float *squares, int size, float *list, int *places, int length)
{
	int			filled = 0;

	for (int i = 0; i < size; i++)
	{
		int			place;

		if (filled == length && !(squares[i] < list[length - 1]))
			continue;
		place = filled < length ? filled++ : length - 1;
		for (; place > 0 && list[place - 1] > squares[i]; place--)
		{
			list[place] = list[place - 1];
			if (places != NULL)
				places[place] = places[place - 1];
		}
		list[place] = squares[i];
		if (places != NULL)
			places[place] = i;
	}
}

/* The least squares of each lane, then those of all lanes, as far as they can be among the `length` least. */
static PYN_INLINE void
least_of_lanes(const float *squares, int padded, float *list, int length)
{
	Vector		lists[FEW];
	int			filled = 0;

	for (int i = 0; i < length; i++)
		for (int lane = 0; lane < LANES; lane++)
			lists[i][lane] = INFINITY;
	for (int first = 0; first < padded; first += LANES)
	{
		Vector		distances;

		memcpy(&distances, squares + first, sizeof(distances));
		sink(lists, length, &distances);
	}
	for (int lane = 0; lane < LANES; lane++)
		for (int i = 0; i < length; i++)
		{
			float		square = lists[i][lane];
			int			place;

			if (filled == length && !(square < list[length - 1]))
				break;
			place = filled < length ? filled++ : length - 1;
			for (; place > 0 && list[place - 1] > square; place--)
				list[place] = list[place - 1];
			list[place] = square;
		}
}

#define LEAST_OF_FEW_LANES(n) \
	case n: \
		least_of_lanes(squares, padded, list, n); \
		return;

static PYN_ANY_CPU void
find_least_of_lanes(const float *squares, int padded, float *list, int length)
{
	switch (length)
	{
			LEAST_OF_FEW_LANES(1);
			LEAST_OF_FEW_LANES(2);
			LEAST_OF_FEW_LANES(3);
			LEAST_OF_FEW_LANES(4);
			LEAST_OF_FEW_LANES(5);
			LEAST_OF_FEW_LANES(6);
			LEAST_OF_FEW_LANES(7);
			LEAST_OF_FEW_LANES(8);
	}
}

/* The least distances of a row to LANES sets, a set in each lane. */
static PYN_INLINE void
least_of_sets(const float *lanes, int padded, int features, const float *row, Vector *list, int length)
{
	for (int i = 0; i < length; i++)
		for (int lane = 0; lane < LANES; lane++)
			list[i][lane] = INFINITY;
	for (int i = 0; i < padded; i += 4, lanes += (Size) 4 * features * LANES)
	{
		Vector		sums[4] = {{0}, {0}, {0}, {0}};

		for (int feature = 0; feature < features; feature++)
#pragma GCC unroll 4
			for (int j = 0; j < 4; j++)
			{
				Vector		references;
				Vector		difference;

				memcpy(&references, lanes + ((Size) j * features + feature) * LANES, sizeof(references));
				difference = row[feature] - references;
				sums[j] += difference * difference;
			}
#pragma GCC unroll 4
		for (int j = 0; j < 4; j++)
			sink(list, length, &sums[j]);
	}
}

#define LEAST_OF_FEW_SETS(n) \
	case n: \
	{ \
		Vector		few[n]; \
		least_of_sets(lanes, padded, features, row, few, n); \
		memcpy(list, few, sizeof(few)); \
		return; \
	}

static PYN_ANY_CPU void
find_least_of_sets(const float *lanes, int padded, int features, const float *row, float *list, int length)
{
	switch (length)
	{
			LEAST_OF_FEW_SETS(1);
			LEAST_OF_FEW_SETS(2);
			LEAST_OF_FEW_SETS(3);
			LEAST_OF_FEW_SETS(4);
			LEAST_OF_FEW_SETS(5);
			LEAST_OF_FEW_SETS(6);
			LEAST_OF_FEW_SETS(7);
			LEAST_OF_FEW_SETS(8);
	}
}

/* Distances to all sets, LANES of them side by side. */
static void
row_by_sets(const PynReferenceSets *sets, const float *row, int k, PynNearest nearest, float *distances)
{
	int			length = list_length(sets, k);
	float		lists[FEW * LANES];
	float		list[FEW];

	for (int first = 0; first < sets->sets; first += LANES)
	{
		find_least_of_sets(sets->lanes + (Size) first * sets->padded * sets->features, sets->padded, sets->features, row, lists,
						   length);
		for (int lane = 0; lane < Min(LANES, sets->sets - first); lane++)
		{
			for (int i = 0; i < length; i++)
				list[i] = lists[i * LANES + lane];
			distances[first + lane] = summarise(list, length, sets->size, k, nearest);
		}
	}
}

/* Squared distances of a row to all references of a set, whatever lies side by side. */
static void
squares_of_set(const PynReferenceSets *sets, int set, const float *row, float *squares)
{
	const float *values = sets->values + (Size) set * sets->padded * sets->features;

	if (!sets->by_set)
	{
		distances_of_row(sets->lanes + (Size) set * sets->padded * sets->features, sets->padded, sets->features, row, squares);
		return;
	}
	for (int i = 0; i < sets->size; i++, values += sets->features)
	{
		squares[i] = 0;
		for (int feature = 0; feature < sets->features; feature++)
		{
			float		difference = row[feature] - values[feature];

			squares[i] += difference * difference;
		}
	}
}

void
pyn_reference_row(const PynReferenceSets *sets, const float *row, int k, PynNearest nearest, float *distances)
{
	int			length = list_length(sets, k);
	float	   *squares = pyn_new(float, sets->padded);
	float		list[PYN_MAX_NEIGHBOURS + 1];

	Assert(k <= PYN_MAX_NEIGHBOURS);
	if (sets->by_set && length <= FEW)
	{
		pfree(squares);
		row_by_sets(sets, row, k, nearest, distances);
		return;
	}
	for (int set = 0; set < sets->sets; set++)
	{
		squares_of_set(sets, set, row, squares);
		if (length <= FEW)
			find_least_of_lanes(squares, sets->padded, list, length);
		else
			list_least(squares, sets->size, list, NULL, length);
		distances[set] = summarise(list, length, sets->size, k, nearest);
	}
	pfree(squares);
}

void
pyn_reference_shares(const PynReferenceSets *sets, const float *row, int k, double *shares)
{
	int			length = list_length(sets, k);
	int			features = sets->features;
	float	   *squares = pyn_new(float, sets->padded);
	float		list[PYN_MAX_NEIGHBOURS + 1];
	int			places[PYN_MAX_NEIGHBOURS + 1];

	for (int set = 0; set < sets->sets; set++)
	{
		const float *references = sets->values + (Size) set * sets->padded * features;
		int			first;

		squares_of_set(sets, set, row, squares);
		list_least(squares, sets->size, list, places, length);
		first = list[0] == 0.0f;
		for (int i = first; i < first + Min(k, sets->size - first); i++)
			for (int feature = 0; feature < features && list[i] > 0.0f; feature++)
			{
				double		difference = (double) row[feature] - references[(Size) places[i] * features + feature];

				shares[feature] += difference * difference / list[i];
			}
	}
	pfree(squares);
}

/* ---------------------------------------------------------------- scaling */

void
pyn_scale_row(const PynScaling *scaling, const double *row, float *out)
{
	for (int feature = 0; feature < scaling->features; feature++)
		out[feature] = pyn_scaled_float(scaling, feature, row[feature]);
}

void
pyn_scale_block(const PynScaling *scaling, const double *values, int stride, int rows, float *out, int out_stride)
{
	for (int feature = 0; feature < scaling->features; feature++)
	{
		for (int row = 0; row < rows; row++)
			out[(Size) feature * out_stride + row] = pyn_scaled_float(scaling, feature, values[(Size) feature * stride + row]);
		for (int row = rows; row < out_stride; row++)
			out[(Size) feature * out_stride + row] = 0.0f;
	}
}

/* ---------------------------------------------------------------- drawing */

void
pyn_pool_init(PynPool *pool, const PynTraining *training, const int *rows, int count)
{
	pool->count = count;
	pool->rows = rows;
	pool->cumulative = pyn_new(int64, count);
	pool->total = 0;
	for (int i = 0; i < count; i++)
		pool->cumulative[i] = (pool->total += training->weights[rows != NULL ? rows[i] : i]);
}

/* Adds a unit to an open-addressed set, where it is kept plus one; false when it was there. */
static bool
add_unit(uint64 *slots, uint32 mask, uint64 unit)
{
	uint32		place = (uint32) pyn_hash_u64(unit, 3) & mask;

	while (slots[place] != 0)
	{
		if (slots[place] == unit + 1)
			return false;
		place = (place + 1) & mask;
	}
	slots[place] = unit + 1;
	return true;
}

/*
 * pyn_pool_draw is Floyd's algorithm (Bentley and Floyd 1987): each draw takes a unit up to a rising last one, or that
 * last one when the unit is taken already.
 */
void
pyn_pool_draw(const PynPool *pool, int count, PynRandom *random, int *drawn)
{
	uint32		mask = 1;
	uint64	   *slots;

	while (mask < 2 * (uint32) count)
		mask = 2 * mask + 1;
	slots = pyn_new0(uint64, (Size) mask + 1);
	for (int i = 0; i < count; i++)
	{
		int64		last = pool->total - count + i;
		int64		unit = Min((int64) (pyn_random_double(random) * (double) (last + 1)), last);
		int			low = 0;
		int			high = pool->count - 1;

		if (!add_unit(slots, mask, (uint64) unit))
			add_unit(slots, mask, (uint64) (unit = last));
		while (low < high)
		{
			int			middle = low + (high - low) / 2;

			if (pool->cumulative[middle] <= unit)
				low = middle + 1;
			else
				high = middle;
		}
		drawn[i] = pool->rows != NULL ? pool->rows[low] : low;
	}
	pfree(slots);
}
