/*
 * encoding.c
 *		How the columns of a row become the features that detectors see.
 *
 *		integers, numbers, booleans		value
 *		dates, times, timestamps		value in seconds; hour of the day; rarity of the weekday where some are rare
 *		text, uuid						rarity of the category, NULL being one
 *		numbers that are missing		a feature of its own says so, where some are and some are not
 *
 * Columns that do not vary among the training rows are left out.  Rarity, the self-information -log2(share), puts
 * categories on a scale on which odd ones lie far out; shares that differ by less than a quarter of a bit are alike.
 */
#include "kernel/port.h"
#include "detectors/marginal.h"
#include "detectors/model.h"
#include "numeric/math.h"
#include "numeric/selection.h"

#define RARE_WEEKDAY 0.05		/* weekdays take part when the rarest has less than this share */
#define SECONDS_PER_DAY 86400.0

/* ---------------------------------------------------------------- encode */

static double
floor_of(double x)
{
	double		whole = (double) (int64) x;

	return whole > x ? whole - 1.0 : whole;
}

/* Seconds in the model's time zone, of a moment; other kinds are local already. */
static double
local_seconds(const PynModel *model, PynKind kind, double seconds)
{
	if (kind != PYN_KIND_TIMESTAMPTZ || model->zone_offset == NULL)
		return seconds;
	return seconds + (double) model->zone_offset(model->zone, (int64) floor_of(seconds));
}

static double
hour_of(double seconds)
{
	return (seconds - floor_of(seconds / SECONDS_PER_DAY) * SECONDS_PER_DAY) / 3600.0;
}

/* 1 for Sunday to 7 for Saturday; 1970-01-01 was a Thursday. */
static uint64
weekday_of(double seconds)
{
	int64		days = (int64) floor_of(seconds / SECONDS_PER_DAY);

	return (uint64) (((days + 4) % 7 + 7) % 7 + 1);
}

static double
rarity_of(const PynFeature *feature, uint64 hash)
{
	int			low = 0;
	int			high = feature->category_count;

	while (low < high)
	{
		int			middle = (low + high) >> 1;

		if (feature->hashes[middle] < hash)
			low = middle + 1;
		else
			high = middle;
	}
	if (low < feature->category_count && feature->hashes[low] == hash)
		return feature->rarities[low];
	return feature->unseen;
}

/* Moments that a calendar does not have, a sketch from elsewhere could hold, are missing. */
static bool
is_moment(double seconds)
{
	return seconds > -1e13 && seconds < 1e13;
}

static inline double
encode(const PynModel *model, const PynFeature *feature, PynCell cell)
{
	PynKind		kind = model->columns[feature->column].kind;

	switch (feature->encoding)
	{
		case PYN_ENCODE_VALUE:
			return likely(pyn_is_finite(cell.number)) ? cell.number : pyn_nan();
		case PYN_ENCODE_HOUR:
			return is_moment(cell.number) ? hour_of(local_seconds(model, kind, cell.number)) : pyn_nan();
		case PYN_ENCODE_WEEKDAY:
			return is_moment(cell.number) ?
				rarity_of(feature, weekday_of(local_seconds(model, kind, cell.number))) : pyn_nan();
		case PYN_ENCODE_RARITY:
			return rarity_of(feature, cell.hash);
		case PYN_ENCODE_MISSING:
			return pyn_is_finite(cell.number) ? 0.0 : 1.0;
	}
	return pyn_nan();
}

/* One cell under one feature. */
double
pyn_encode_cell(const PynModel *model, const PynFeature *feature, PynCell cell)
{
	return encode(model, feature, cell);
}

/* The weekday of a moment in the model's time zone, 1 for Sunday to 7; 0 when the cell holds no moment. */
uint64
pyn_weekday(const PynModel *model, const PynFeature *feature, PynCell cell)
{
	if (!is_moment(cell.number))
		return 0;
	return weekday_of(local_seconds(model, model->columns[feature->column].kind, cell.number));
}

void
pyn_encode_row(const PynModel *model, const PynCell *cells, double *features)
{
	for (int i = 0; i < model->feature_count; i++)
		features[i] = encode(model, &model->features[i], cells[model->features[i].column]);
}

void
pyn_encode_block(const PynModel *model, const PynCell *cells, int stride, int rows, double *features)
{
	for (int i = 0; i < model->feature_count; i++)
	{
		const PynFeature *feature = &model->features[i];
		const PynCell *column = cells + (Size) feature->column * stride;
		double	   *values = features + (Size) i * stride;

		for (int row = 0; row < rows; row++)
			values[row] = encode(model, feature, column[row]);
	}
}

/* ---------------------------------------------------------------- choose */

/* Room for the numbers of one feature, used for one after the other: `weighted`, unless each row has weight 1. */
typedef struct Scratch
{
	PynWeighted *weighted;
	double	   *numbers;
} Scratch;

static Scratch
make_scratch(const PynSample *sample)
{
	Scratch		scratch = {0};
	bool		plain = true;

	for (uint32 row = 0; row < sample->count; row++)
		plain &= sample->rows[row].weight == 1;
	if (plain)
		scratch.numbers = pyn_new(double, Max(sample->count, 1));
	else
		scratch.weighted = pyn_new(PynWeighted, sample->count);
	return scratch;
}

/* Median and normal range where each number has weight 1: the same as by weight. */
static bool
measure_plain(PynFeature *feature, double *numbers, int count)
{
	int			low = (int) (PYN_REFERENCE_LOW * count);
	int			middle = (int) (0.5 * count);
	int			high = (int) ((1.0 - PYN_REFERENCE_LOW) * count);
	double		smallest;
	double		largest;

	/* The middle parts the numbers, so that the ends are looked for in halves. */
	feature->centre = pyn_select(numbers, count, middle);
	feature->low = pyn_select(numbers, middle + 1, low);
	feature->high = pyn_select(numbers + middle, count - middle, high - middle);
	smallest = largest = feature->centre;
	for (int i = 0; i <= low; i++)
		smallest = Min(smallest, numbers[i]);
	for (int i = high; i < count; i++)
		largest = Max(largest, numbers[i]);
	return smallest < largest;
}

static bool
measure_weighted(PynFeature *feature, PynWeighted *numbers, int count, double total)
{
	pyn_weighted_sort(numbers, count);
	feature->centre = pyn_weighted_quantile(numbers, count, total, 0.5);
	feature->low = pyn_weighted_quantile(numbers, count, total, PYN_REFERENCE_LOW);
	feature->high = pyn_weighted_quantile(numbers, count, total, 1.0 - PYN_REFERENCE_LOW);
	return numbers[0].value < numbers[count - 1].value;
}

/*
 * Sets median and normal range of a feature of numbers; false when its values do not vary.
 */
static bool
measure_feature(const PynModel *model, PynFeature *feature, const PynSketch *sketch, const Scratch *scratch)
{
	const PynSample *sample = &sketch->sample;
	int			origin = model->columns[feature->column].origin;
	double		total = 0;
	int			count = 0;

	for (uint32 row = 0; row < sample->count; row++)
	{
		double		value = encode(model, feature, pyn_sample_cell(sample, row, origin));

		if (value != value)
			continue;
		if (scratch->numbers != NULL)
			scratch->numbers[count] = value;
		else
		{
			scratch->weighted[count].value = value;
			scratch->weighted[count].weight = (double) sample->rows[row].weight;
			total += (double) sample->rows[row].weight;
		}
		count++;
	}
	if (count == 0)
		return false;
	if (scratch->numbers != NULL)
		return measure_plain(feature, scratch->numbers, count);
	return measure_weighted(feature, scratch->weighted, count, total);
}

typedef struct Category
{
	uint64		hash;
	int64		weight;
	uint32		row;			/* a sampled row that has it */
} Category;

static int
compare_hashes(const void *a, const void *b)
{
	uint64		x = ((const Category *) a)->hash;
	uint64		y = ((const Category *) b)->hash;

	return (x > y) - (x < y);
}

static int
compare_weights(const void *a, const void *b)
{
	const Category *x = a;
	const Category *y = b;

	if (x->weight != y->weight)
		return x->weight > y->weight ? -1 : 1;
	return compare_hashes(a, b);
}

/* Sorts categories by hash and joins equal ones; returns how many there are. */
static int
join_categories(Category *categories, int count)
{
	int			distinct = 0;

	qsort(categories, count, sizeof(Category), compare_hashes);
	for (int i = 0; i < count; i++)
	{
		if (distinct > 0 && categories[distinct - 1].hash == categories[i].hash)
			categories[distinct - 1].weight += categories[i].weight;
		else
			categories[distinct++] = categories[i];
	}
	return distinct;
}

static double
rarity(double share)
{
	return floor_of(-pyn_log2(share) * 4.0 + 0.5) / 4.0;
}

/*
 * Makes the feature's table from counted categories, of which the most frequent come first.  False when all categories
 * are equally rare.
 */
static bool
set_categories(PynFeature *feature, Category *categories, int count, int64 total)
{
	int			kept = Min(count, PYN_MAX_CATEGORIES);
	double		least = rarity((double) categories[0].weight / (double) total);
	double		most = rarity((double) categories[count - 1].weight / (double) total);

	feature->commonest = categories[0].hash;
	feature->unseen = rarity((count > kept ? 1.0 : 0.5) / (double) total);
	feature->category_count = kept;
	feature->hashes = pyn_new(uint64, kept);
	feature->rarities = pyn_new(double, kept);
	qsort(categories, kept, sizeof(Category), compare_hashes);
	for (int i = 0; i < kept; i++)
	{
		feature->hashes[i] = categories[i].hash;
		feature->rarities[i] = rarity((double) categories[i].weight / (double) total);
	}
	feature->centre = feature->low = least;
	feature->high = most;
	return least < most;
}

/* Copies the sampled text of a row's text column; empty when texts are not kept. */
static void
copy_text(const PynSketch *sketch, uint32 row, int column, char *text)
{
	const uint8 *place = pyn_sample_slot(&sketch->sample, row) + sizeof(PynCell) * sketch->column_count;

	text[0] = 0;
	if (!sketch->sample_text)
		return;
	for (int i = 0; i < column; i++)
		if (pyn_kind_is_text(sketch->columns[i].kind))
			place += 1 + PYN_SAMPLE_TEXT;
	memcpy(text, place + 1, *place);
	text[*place] = 0;
}

/*
 * Categories that are all equally rare take part, too: what is seen later may be of another one.  *varies says whether the
 * training rows differ.
 */
static PynColumnUse
choose_text(PynModel *model, PynFeature *feature, const PynSketch *sketch, bool all_text, bool *varies)
{
	const PynSample *sample = &sketch->sample;
	Category   *categories = pyn_new(Category, sample->count);
	int64		total = 0;
	int64		present = 0;
	int			count;
	PynColumnUse use = PYN_USED;

	for (uint32 row = 0; row < sample->count; row++)
	{
		categories[row].hash = pyn_sample_cell(sample, row, model->columns[feature->column].origin).hash;
		categories[row].weight = sample->rows[row].weight;
		categories[row].row = row;
		total += categories[row].weight;
		if (categories[row].hash != 0)
			present += categories[row].weight;
	}
	count = join_categories(categories, (int) sample->count);
	if (present == 0)
		use = PYN_ALL_MISSING;
	else if (count == 1)
		use = PYN_CONSTANT;
	else if (!all_text && (count > PYN_FEW_CATEGORIES || (int64) count > present / 2 + 1))
		use = PYN_MANY_CATEGORIES;
	else
	{
		uint32		row;

		qsort(categories, count, sizeof(Category), compare_weights);
		row = categories[0].row;
		*varies |= set_categories(feature, categories, count, total);
		if (feature->commonest != 0)
			copy_text(sketch, row, model->columns[feature->column].origin, feature->commonest_text);
	}
	pfree(categories);
	return use;
}

/* Counts the weekdays; true when they differ enough to take part. */
static bool
choose_weekday(PynModel *model, PynFeature *feature, const PynSketch *sketch)
{
	const PynSample *sample = &sketch->sample;
	PynKind		kind = model->columns[feature->column].kind;
	Category	days[7];
	int64		total = 0;
	double		first = 0;
	double		last = 0;
	int			count = 0;

	memset(days, 0, sizeof(days));
	for (uint32 row = 0; row < sample->count; row++)
	{
		double		seconds = pyn_sample_cell(sample, row, model->columns[feature->column].origin).number;
		int			day;

		if (!is_moment(seconds))
			continue;
		first = total == 0 ? seconds : Min(first, seconds);
		last = total == 0 ? seconds : Max(last, seconds);
		day = (int) weekday_of(local_seconds(model, kind, seconds)) - 1;
		days[day].hash = day + 1;
		days[day].weight += sample->rows[row].weight;
		total += sample->rows[row].weight;
	}
	if (last - first < 14 * SECONDS_PER_DAY)
		return false;
	for (int day = 0; day < 7; day++)
		if (days[day].weight > 0)
			days[count++] = days[day];
	qsort(days, count, sizeof(Category), compare_weights);
	if (count == 7 && (double) days[6].weight >= RARE_WEEKDAY * (double) total)
		return false;
	return set_categories(feature, days, count, total);
}

/* True when some values are missing and some are not; what most rows are is the normal state. */
static bool
choose_missing(const PynModel *model, PynFeature *feature, const PynSketch *sketch)
{
	int64		missing = 0;
	int64		present = 0;

	for (uint32 row = 0; row < sketch->sample.count; row++)
	{
		PynCell		cell = pyn_sample_cell(&sketch->sample, row, model->columns[feature->column].origin);

		*(pyn_is_finite(cell.number) ? &present : &missing) += sketch->sample.rows[row].weight;
	}
	feature->centre = missing > present ? 1.0 : 0.0;
	feature->low = 0.0;
	feature->high = 1.0;
	return missing > 0 && present > 0;
}

static bool
has_value(const PynSketch *sketch, int column)
{
	for (uint32 row = 0; row < sketch->sample.count; row++)
		if (pyn_is_finite(pyn_sample_cell(&sketch->sample, row, column).number))
			return true;
	return false;
}

static PynFeature *
next_feature(PynModel *model, int column, PynEncoding encoding)
{
	PynFeature *feature = &model->features[model->feature_count];

	memset(feature, 0, sizeof(*feature));
	feature->column = column;
	feature->encoding = encoding;
	return feature;
}

/* Every feature that is chosen here varies among the training rows; returns how many they are. */
static int
choose_number(PynModel *model, int column, const PynSketch *sketch, const Scratch *scratch)
{
	PynKind		kind = model->columns[column].kind;
	int			before = model->feature_count;

	if (measure_feature(model, next_feature(model, column, PYN_ENCODE_VALUE), sketch, scratch))
		model->feature_count++;
	if (kind == PYN_KIND_TIMESTAMP || kind == PYN_KIND_TIMESTAMPTZ)
		if (measure_feature(model, next_feature(model, column, PYN_ENCODE_HOUR), sketch, scratch))
			model->feature_count++;
	if (kind == PYN_KIND_TIMESTAMP || kind == PYN_KIND_TIMESTAMPTZ || kind == PYN_KIND_DATE)
		if (choose_weekday(model, next_feature(model, column, PYN_ENCODE_WEEKDAY), sketch))
			model->feature_count++;
	if (choose_missing(model, next_feature(model, column, PYN_ENCODE_MISSING), sketch))
		model->feature_count++;
	if (model->feature_count == before)
		model->columns[column].use = has_value(sketch, model->columns[column].origin) ? PYN_CONSTANT : PYN_ALL_MISSING;
	return model->feature_count - before;
}

/*
 * pyn_choose_features decides from the sketch's sample what each column of the model gives; the model's columns are set,
 * its features are allocated here.  Where no feature varies among the rows there is none.
 */
void
pyn_choose_features(PynModel *model, const PynSketch *sketch, bool all_text)
{
	Scratch		scratch = make_scratch(&sketch->sample);
	bool		varies = false;

	model->features = pyn_new(PynFeature, 4 * (Size) model->column_count);
	model->feature_count = 0;
	for (int column = 0; column < model->column_count; column++)
	{
		CHECK_FOR_INTERRUPTS();
		model->columns[column].use = PYN_USED;
		if (pyn_kind_is_text(model->columns[column].kind))
		{
			PynFeature *feature = next_feature(model, column, PYN_ENCODE_RARITY);

			model->columns[column].use = choose_text(model, feature, sketch, all_text, &varies);
			if (model->columns[column].use == PYN_USED)
				model->feature_count++;
		}
		else
			varies |= choose_number(model, column, sketch, &scratch) > 0;
	}
	if (!varies)
	{
		model->feature_count = 0;
		for (int column = 0; column < model->column_count; column++)
			if (model->columns[column].use == PYN_USED)
				model->columns[column].use = PYN_CONSTANT;
	}
	if (scratch.weighted != NULL)
		pfree(scratch.weighted);
	if (scratch.numbers != NULL)
		pfree(scratch.numbers);
}
