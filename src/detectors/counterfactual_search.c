/*
 * counterfactual_search.c
 *		The search for the values of one feature that turn a row's verdict.
 *
 * A detector is a black box whose score need not rise or fall evenly, so values of a feature are tried: those across the
 * normal range of the training rows, and outwards from it in doubling steps.  Of those that turn the verdict the one nearest to
 * the row's own is taken, and the place between it and its neighbour where the verdict turns is found by bisection, to a
 * thousandth of the normal range (whole numbers to 1) or in MOST_HALVINGS steps.  The bound given is a value that was scored
 * and turns the verdict; further values are claimed as far as those tried turn it, too.
 *
 * A feature takes at most PYN_MOST_POINTS + MOST_HALVINGS + 4 rows to score.
 */
#include "kernel/port.h"

#include <math.h>

#include "detectors/counterfactual_search.h"

#define RANGE_STEPS 16			/* the normal range is tried at so many steps */
#define OUTWARD_STEPS 14		/* doublings of its width */
#define OWN_STEPS 8				/* between the row's value and the nearer end of the range */
#define MOST_HALVINGS 60
#define TOLERANCE 0.001
#define FIRST_MOMENT -210866803200.0	/* that PostgreSQL knows, in seconds since 1970 */
#define LAST_MOMENT 9214646400.0	/* the end of 2261: nothing past it is a sensible answer */

/* ---------------------------------------------------------------- rows that are tried */

bool
pyn_search_category(const PynSearch *search)
{
	return search->feature->encoding == PYN_ENCODE_RARITY;
}

/* Values between which there is no other: no bisection. */
static bool
is_discrete(const PynSearch *search)
{
	return pyn_search_category(search) || search->feature->encoding == PYN_ENCODE_WEEKDAY || search->kind == PYN_KIND_BOOLEAN;
}

/* A hash with this rarity, or one never seen. */
static uint64
hash_of(const PynFeature *feature, double rarity)
{
	for (int i = 0; i < feature->category_count; i++)
		if (feature->rarities[i] == rarity)
			return feature->hashes[i];
	for (uint64 hash = 2;; hash++)
	{
		bool		known = false;

		for (int i = 0; i < feature->category_count && !known; i++)
			known = feature->hashes[i] == hash;
		if (!known)
			return hash;
	}
}

/* The column's cell when the feature has this value. */
PynCell
pyn_search_cell(const PynSearch *search, double value)
{
	PynCell		cell = search->cells[search->feature->column];

	switch (search->feature->encoding)
	{
		case PYN_ENCODE_HOUR:
			cell.number += (value - search->own) * 3600.0;
			break;
		case PYN_ENCODE_WEEKDAY:
			cell.number += (value - search->own) * 86400.0;
			break;
		case PYN_ENCODE_RARITY:
			cell.hash = hash_of(search->feature, value);
			break;
		default:
			cell.number = value;
			if (value != value)
				cell = pyn_null_cell(search->kind);
	}
	return cell;
}

/* Whether the row's verdict turns when the column has this cell; *raw is its raw score then. */
bool
pyn_search_turns(PynSearch *search, PynCell cell, double *raw)
{
	const PynModel *model = search->model;
	int			column = search->feature->column;
	PynVerdict	verdict;

	memcpy(search->changed, search->row, sizeof(double) * model->feature_count);
	for (int i = 0; i < model->feature_count; i++)
		if (model->features[i].column == column)
			search->changed[i] = pyn_encode_cell(model, &model->features[i], cell);
	search->evaluations++;
	*raw = model->detector->score_row(model->state, search->changed);
	verdict = pyn_judge(model, *raw);
	pyn_suppress(model, search->changed, &verdict);
	return verdict.is_anomaly != search->flagged;
}

static bool
turns_at(PynSearch *search, double value)
{
	double		raw;

	return pyn_search_turns(search, pyn_search_cell(search, value), &raw);
}

/* ---------------------------------------------------------------- values that are tried */

/* Keeps to values that the column's type has. */
static bool
is_possible(const PynSearch *search, double value)
{
	if (search->feature->encoding != PYN_ENCODE_VALUE)
		return true;
	switch (search->kind)
	{
		case PYN_KIND_DATE:
		case PYN_KIND_TIMESTAMP:
		case PYN_KIND_TIMESTAMPTZ:
			return value >= FIRST_MOMENT && value <= LAST_MOMENT;
		case PYN_KIND_TIME:
			return value >= 0 && value <= 86400.0;
		case PYN_KIND_INTEGER:
			return fabs(value) <= 9007199254740992.0;
		default:
			return fabs(value) <= 1e300;
	}
}

/* The nearest value that the column's type has: whole numbers, days, seconds. */
static double
settle(const PynSearch *search, double value)
{
	if (search->feature->encoding != PYN_ENCODE_VALUE)
		return value;
	switch (search->kind)
	{
		case PYN_KIND_INTEGER:
		case PYN_KIND_TIME:
		case PYN_KIND_TIMESTAMP:
		case PYN_KIND_TIMESTAMPTZ:
			return floor(value + 0.5);
		case PYN_KIND_DATE:
			return floor(value / 86400.0 + 0.5) * 86400.0;
		default:
			return value;
	}
}

/* The smallest step between values of the column's type; 0: there is none. */
static double
least_step(const PynSearch *search)
{
	if (search->feature->encoding == PYN_ENCODE_HOUR)
		return 1.0 / 60;
	switch (search->kind)
	{
		case PYN_KIND_DATE:
			return 86400.0;
		case PYN_KIND_INTEGER:
		case PYN_KIND_TIME:
		case PYN_KIND_TIMESTAMP:
		case PYN_KIND_TIMESTAMPTZ:
			return 1.0;
		default:
			return 0.0;
	}
}

static void
add_point(PynSearch *search, double value)
{
	value = settle(search, value);
	if (search->count < PYN_MOST_POINTS && is_possible(search, value) && value != search->own)
		search->points[search->count++].at = value;
}

static void
sort_points(PynSearch *search)
{
	int			distinct = 0;

	for (int i = 1; i < search->count; i++)
	{
		PynPoint		point = search->points[i];
		int			j = i - 1;

		for (; j >= 0 && search->points[j].at > point.at; j--)
			search->points[j + 1] = search->points[j];
		search->points[j + 1] = point;
	}
	for (int i = 0; i < search->count; i++)
		if (distinct == 0 || search->points[i].at != search->points[distinct - 1].at)
			search->points[distinct++] = search->points[i];
	search->count = distinct;
}

static double
width_of(const PynFeature *feature)
{
	double		width = feature->high - feature->low;

	if (!(width > 0))
		width = Max(fabs(feature->centre), 1.0);
	return Min(width, 1e300);
}

/* Across the normal range, outwards from it, and between it and the row's value. */
static void
add_numbers(PynSearch *search)
{
	const PynFeature *feature = search->feature;
	double		low = feature->low;
	double		high = feature->high;
	double		width = width_of(feature);
	double		edge = search->own > high ? high : search->own < low ? low : feature->centre;

	for (int i = 0; i <= RANGE_STEPS; i++)
		add_point(search, low + (high - low) * ((double) i / RANGE_STEPS));
	add_point(search, feature->centre);
	for (int i = 0; i < OUTWARD_STEPS; i++, width *= 2)
	{
		/* A flagged row is not asked to be odder still. */
		if (!search->flagged || high + width < search->own)
			add_point(search, high + width);
		if (!search->flagged || low - width > search->own)
			add_point(search, low - width);
	}
	if (search->own == search->own)
		for (int i = 1; i < OWN_STEPS; i++)
			add_point(search, search->own + (edge - search->own) * ((double) i / OWN_STEPS));
}

/* Each rarity once, a category never seen among them; of very many every so many. */
static void
add_rarities(PynSearch *search)
{
	const PynFeature *feature = search->feature;
	double		last = -1;

	add_point(search, feature->unseen);
	for (int i = 0; search->count < PYN_MOST_POINTS - 1; i++)
	{
		double		next = INFINITY;

		for (int j = 0; j < feature->category_count; j++)
			if (feature->rarities[j] > last && feature->rarities[j] < next)
				next = feature->rarities[j];
		if (!(next < INFINITY))
			break;
		add_point(search, next);
		last = next;
	}
}

/* Makes the points of a feature and scores them. */
static void
try_points(PynSearch *search)
{
	search->count = 0;
	search->best_raw = search->flagged ? INFINITY : -INFINITY;
	search->best_at = search->own;
	search->sum_raw = 0;
	search->sum_count = 0;
	if (pyn_search_category(search))
		add_rarities(search);
	else if (search->feature->encoding == PYN_ENCODE_WEEKDAY)
		for (int day = 1; day <= 7; day++)
			add_point(search, day);
	else if (search->feature->encoding == PYN_ENCODE_HOUR)
		for (int hour = 0; hour < 24; hour++)
			add_point(search, hour);
	else if (search->kind == PYN_KIND_BOOLEAN)
	{
		add_point(search, 0);
		add_point(search, 1);
	}
	else
		add_numbers(search);
	sort_points(search);
	for (int i = 0; i < search->count; i++)
	{
		PynPoint	   *point = &search->points[i];
		double		raw;

		point->turns = pyn_search_turns(search, pyn_search_cell(search, point->at), &raw);
		if (search->flagged ? raw < search->best_raw : raw > search->best_raw)
		{
			search->best_raw = raw;
			search->best_at = point->at;
		}
		if (is_discrete(search) || (point->at >= search->feature->low && point->at <= search->feature->high))
		{
			search->sum_raw += raw;
			search->sum_count++;
		}
	}
}

/* ---------------------------------------------------------------- one feature */

/* Between a value that turns the verdict and one that does not: the one that still does. */
static double
bisect(PynSearch *search, double turning, double other)
{
	double		tolerance = Max(least_step(search), search->kind == PYN_KIND_INTEGER ? 1.0 :
								TOLERANCE * width_of(search->feature));

	for (int i = 0; i < MOST_HALVINGS && fabs(turning - other) > tolerance; i++)
	{
		double		middle = settle(search, turning / 2 + other / 2);

		if (middle == turning || middle == other)
			break;
		if (turns_at(search, middle))
			turning = middle;
		else
			other = middle;
	}
	return turning;
}

/* A bound with few digits, not further than the tolerance from the one found, if it turns the verdict. */
static double
make_readable(PynSearch *search, double bound, bool upwards)
{
	bool		hours = search->feature->encoding == PYN_ENCODE_HOUR;
	double		unit = hours ? 0.1 : 1e-300;
	double		rounded;

	if (!hours && least_step(search) > 0)
		return bound;
	while (!hours && unit * 10 <= TOLERANCE * width_of(search->feature) && unit < 1e299)
		unit *= 10;
	if (unit < 1)
	{
		/* Tenths, hundredths, ... are not exact in binary: divide by what is. */
		double		parts = floor(1 / unit + 0.5);

		rounded = (upwards ? ceil(bound * parts) : floor(bound * parts)) / parts;
	}
	else
		rounded = (upwards ? ceil(bound / unit) : floor(bound / unit)) * unit;
	return fabs(rounded) <= 1e300 && turns_at(search, rounded) ? rounded : bound;
}

/*
 * The points from `start` on in one direction that turn the verdict: gives the last of them; *open says that it is the last
 * point of all.
 */
static int
end_of_run(const PynSearch *search, int start, int step, bool *open)
{
	int			i = start;

	while (i + step >= 0 && i + step < search->count && search->points[i + step].turns)
		i += step;
	*open = i + step < 0 || i + step >= search->count;
	return i;
}

/* The nearest point that turns the verdict, or -1; a missing value is as near to the centre as can be. */
static int
nearest_point(const PynSearch *search)
{
	double		own = search->own == search->own ? search->own : search->feature->centre;
	int			best = -1;

	for (int i = 0; i < search->count; i++)
		if (search->points[i].turns &&
			(best < 0 || fabs(search->points[i].at - own) < fabs(search->points[best].at - own)))
			best = i;
	return best;
}

/* Turns the run of points about the nearest one into bounds of numbers. */
static void
bound_numbers(PynSearch *search, int nearest, PynChange *change)
{
	bool		above = search->points[nearest].at > search->own;
	double		bound = search->points[nearest].at;
	double		neighbour = search->own;
	double		far;
	bool		open;
	int			end;

	change->kind = PYN_CHANGE_RANGE;
	if (search->own != search->own)
	{
		change->kind = PYN_CHANGE_PRESENT;
		end = end_of_run(search, nearest, -1, &open);
		change->low = make_readable(search, search->points[end].at, true);
		change->has_low = !open;
		end = end_of_run(search, nearest, 1, &open);
		change->high = make_readable(search, search->points[end].at, false);
		change->has_high = !open;
		change->example = make_readable(search, bound, true);
		return;
	}
	if (above && nearest > 0 && search->points[nearest - 1].at > search->own)
		neighbour = search->points[nearest - 1].at;
	if (!above && nearest < search->count - 1 && search->points[nearest + 1].at < search->own)
		neighbour = search->points[nearest + 1].at;
	bound = make_readable(search, bisect(search, bound, neighbour), above);
	end = end_of_run(search, nearest, above ? 1 : -1, &open);
	change->has_low = above || !open;
	change->has_high = !above || !open;
	/* The far bound is rounded inwards, unless that would pass the near one. */
	far = open ? bound : make_readable(search, search->points[end].at, !above);
	if (above ? far < bound : far > bound)
		far = bound;
	change->low = above ? bound : far;
	change->high = above ? far : bound;
	change->example = bound;
}

static void
bound_categories(PynSearch *search, int nearest, PynChange *change)
{
	bool		open;
	int			end = end_of_run(search, nearest, -1, &open);

	change->kind = PYN_CHANGE_ONE_OF;
	change->example = search->points[nearest].at;
	if (search->feature->encoding == PYN_ENCODE_WEEKDAY)
	{
		for (int i = 0; i < search->count; i++)
			if (search->points[i].turns)
				change->days |= (uint8) (1 << (int) search->points[i].at);
		return;
	}
	change->low = search->points[end].at;
	change->has_low = !open;
	end = end_of_run(search, nearest, 1, &open);
	change->high = search->points[end].at;
	change->has_high = !open;
	for (int i = 0; i < search->count; i++)
		if (search->points[i].at == search->feature->unseen)
			change->unseen = search->points[i].turns;
}

void
pyn_search_choose(PynSearch *search, int feature)
{
	const PynModel *model = search->model;
	PynCell		cell = search->cells[model->features[feature].column];

	search->feature = &model->features[feature];
	search->kind = model->columns[search->feature->column].kind;
	search->own = pyn_encode_cell(model, search->feature, cell);
	if (search->feature->encoding == PYN_ENCODE_WEEKDAY)
	{
		uint64		day = pyn_weekday(model, search->feature, cell);

		search->own = day > 0 ? (double) day : pyn_nan();
	}
}

/* Searches one feature; false when no value that was tried turns the verdict. */
bool
pyn_search_feature(PynSearch *search, int feature, PynChange *change)
{
	int			nearest;

	CHECK_FOR_INTERRUPTS();
	memset(change, 0, sizeof(*change));
	change->feature = feature;
	pyn_search_choose(search, feature);
	search->count = search->sum_count = 0;
	/* What is no moment has neither hour nor weekday that could be changed; being missing is a matter of the value. */
	if (search->feature->encoding == PYN_ENCODE_MISSING ||
		(search->own != search->own && search->feature->encoding != PYN_ENCODE_VALUE))
		return false;
	try_points(search);
	nearest = nearest_point(search);
	if (nearest >= 0)
	{
		if (is_discrete(search) && search->kind != PYN_KIND_BOOLEAN)
			bound_categories(search, nearest, change);
		else if (search->kind == PYN_KIND_BOOLEAN)
		{
			change->has_low = change->has_high = true;
			change->low = change->high = change->example = search->points[nearest].at;
		}
		else
			bound_numbers(search, nearest, change);
		return true;
	}
	if (!search->flagged && search->feature->encoding == PYN_ENCODE_VALUE && search->own == search->own &&
		turns_at(search, pyn_nan()))
	{
		change->kind = PYN_CHANGE_MISSING;
		return true;
	}
	return false;
}
