/*
 * counterfactual.c
 *		The smallest change of a row that turns its verdict (Wachter, Mittelstadt and Russell 2018): for a flagged row what would
 *		make it normal, for one that is not what would flag it.
 *
 * A detector is a black box whose score need not rise or fall evenly, so values of a feature are tried: those across the
 * normal range of the training rows, and outwards from it in doubling steps.  Of those that turn the verdict the one nearest to
 * the row's own is taken, and the place between it and its neighbour where the verdict turns is found by bisection, to a
 * thousandth of the normal range (whole numbers to 1) or in MOST_HALVINGS steps.  The bound given is a value that was scored
 * and turns the verdict; further values are claimed as far as those tried turn it, too.
 *
 * Features are tried by their share in the row's oddness, at most PYN_MOST_CHANGED of them.  Where no single one will do, the
 * first PYN_MOST_PAIRED are changed in pairs: one to where the raw score is best, the other as before, then the first one
 * anew; the ranges are given if their four corners turn the verdict, else the two values.  A feature takes at most MOST_POINTS + MOST_HALVINGS + 4 rows to score, so one answer takes less than
 * PYN_MOST_EVALUATIONS; where rules of suppression hold each may take two scores.
 */
#include "kernel/port.h"

#include <math.h>

#include "detectors/counterfactual.h"

#define RANGE_STEPS 16			/* the normal range is tried at so many steps */
#define OUTWARD_STEPS 14		/* doublings of its width */
#define OWN_STEPS 8				/* between the row's value and the nearer end of the range */
#define MOST_POINTS 64
#define MOST_HALVINGS 60
#define TOLERANCE 0.001
#define FIRST_MOMENT -210866803200.0	/* that PostgreSQL knows, in seconds since 1970 */
#define LAST_MOMENT 9214646400.0	/* the end of 2261: nothing past it is a sensible answer */

/* A value of a feature that is tried. */
typedef struct Point
{
	double		at;
	bool		turns;
} Point;

typedef struct Search
{
	const PynModel *model;
	bool		flagged;		/* the row's verdict, which is to be turned */
	PynCell    *cells;			/* the row, while pairs are tried with one value changed */
	double	   *row;			/* its features */
	double	   *changed;		/* those of the row that is tried */
	int			evaluations;

	/* The feature under search. */
	const PynFeature *feature;
	PynKind		kind;
	double		own;			/* the row's value; NaN: missing */
	Point		points[MOST_POINTS];
	int			count;
	double		best_raw;		/* of all points, in the direction that is wanted */
	double		best_at;
	double		sum_raw;		/* over the normal range */
	int			sum_count;
} Search;

/* ---------------------------------------------------------------- rows that are tried */

static bool
is_category(const Search *search)
{
	return search->feature->encoding == PYN_ENCODE_RARITY;
}

/* Values between which there is no other: no bisection. */
static bool
is_discrete(const Search *search)
{
	return is_category(search) || search->feature->encoding == PYN_ENCODE_WEEKDAY || search->kind == PYN_KIND_BOOLEAN;
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
static PynCell
cell_at(const Search *search, double value)
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
static bool
turns_with(Search *search, PynCell cell, double *raw)
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
turns_at(Search *search, double value)
{
	double		raw;

	return turns_with(search, cell_at(search, value), &raw);
}

/* ---------------------------------------------------------------- values that are tried */

/* Keeps to values that the column's type has. */
static bool
is_possible(const Search *search, double value)
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
settle(const Search *search, double value)
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
least_step(const Search *search)
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
add_point(Search *search, double value)
{
	value = settle(search, value);
	if (search->count < MOST_POINTS && is_possible(search, value) && value != search->own)
		search->points[search->count++].at = value;
}

static void
sort_points(Search *search)
{
	int			distinct = 0;

	for (int i = 1; i < search->count; i++)
	{
		Point		point = search->points[i];
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
add_numbers(Search *search)
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
add_rarities(Search *search)
{
	const PynFeature *feature = search->feature;
	double		last = -1;

	add_point(search, feature->unseen);
	for (int i = 0; search->count < MOST_POINTS - 1; i++)
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
try_points(Search *search)
{
	search->count = 0;
	search->best_raw = search->flagged ? INFINITY : -INFINITY;
	search->best_at = search->own;
	search->sum_raw = 0;
	search->sum_count = 0;
	if (is_category(search))
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
		Point	   *point = &search->points[i];
		double		raw;

		point->turns = turns_with(search, cell_at(search, point->at), &raw);
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
bisect(Search *search, double turning, double other)
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
make_readable(Search *search, double bound, bool upwards)
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
end_of_run(const Search *search, int start, int step, bool *open)
{
	int			i = start;

	while (i + step >= 0 && i + step < search->count && search->points[i + step].turns)
		i += step;
	*open = i + step < 0 || i + step >= search->count;
	return i;
}

/* The nearest point that turns the verdict, or -1; a missing value is as near to the centre as can be. */
static int
nearest_point(const Search *search)
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
bound_numbers(Search *search, int nearest, PynChange *change)
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
bound_categories(Search *search, int nearest, PynChange *change)
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

static void
choose_feature(Search *search, int feature)
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
static bool
search_feature(Search *search, int feature, PynChange *change)
{
	int			nearest;

	CHECK_FOR_INTERRUPTS();
	memset(change, 0, sizeof(*change));
	change->feature = feature;
	choose_feature(search, feature);
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

/* ---------------------------------------------------------------- pairs */

/* Gives the row another value of a feature, as long as `old` is not put back. */
static void
replace(Search *search, int column, PynCell cell)
{
	search->cells[column] = cell;
	pyn_encode_row(search->model, search->cells, search->row);
}

/* The ends of what a change claims; where it is open, those of the normal range. */
static void
ends_of(const Search *search, const PynChange *change, double *ends)
{
	const PynFeature *feature = &search->model->features[change->feature];

	ends[0] = ends[1] = change->example;
	if (feature->encoding == PYN_ENCODE_WEEKDAY)
		return;
	ends[0] = change->has_low || is_category(search) ? change->low : Min(feature->low, change->example);
	ends[1] = change->has_high || is_category(search) ? change->high : Max(feature->high, change->example);
}

/*
 * Keeps what a pair claims to what holds for both together: the ranges if their four corners turn the verdict, else the one
 * pair of values that was found.  The row has its own values when it is called and when it returns.
 */
static void
confirm_pair(Search *search, PynChange *pair)
{
	int			columns[2];
	PynCell		own[2];
	PynCell		cells[2][2];
	bool		holds = true;

	for (int i = 0; i < 2; i++)
	{
		double		ends[2];

		choose_feature(search, pair[i].feature);
		columns[i] = search->feature->column;
		own[i] = search->cells[columns[i]];
		ends_of(search, &pair[i], ends);
		for (int j = 0; j < 2; j++)
			cells[i][j] = cell_at(search, ends[j]);
		if (search->feature->encoding == PYN_ENCODE_WEEKDAY)
			pair[i].days = (uint8) (1 << (int) pair[i].example);
	}
	for (int corner = 0; corner < 4 && holds; corner++)
	{
		double		raw;

		replace(search, columns[0], cells[0][corner & 1]);
		holds = turns_with(search, cells[1][corner >> 1], &raw);
	}
	replace(search, columns[0], own[0]);
	for (int i = 0; i < 2 && !holds; i++)
	{
		const PynFeature *feature = &search->model->features[pair[i].feature];

		pair[i].has_low = pair[i].has_high = true;
		pair[i].low = pair[i].high = pair[i].example;
		pair[i].unseen = feature->encoding == PYN_ENCODE_RARITY && pair[i].example == feature->unseen;
	}
}

static bool
search_pair(Search *search, int first, int second, double first_at, PynChange *pair)
{
	int			columns[2] = {search->model->features[first].column, search->model->features[second].column};
	PynCell		own[2] = {search->cells[columns[0]], search->cells[columns[1]]};
	bool		found;

	choose_feature(search, first);
	replace(search, columns[0], cell_at(search, first_at));
	found = search_feature(search, second, &pair[1]);
	if (found)
	{
		/* The first one with the second at its bound: from the row's own value again. */
		PynCell		cell = cell_at(search, pair[1].example);

		search->cells[columns[1]] = cell;
		replace(search, columns[0], own[0]);
		found = search_feature(search, first, &pair[0]);
		search->cells[columns[1]] = own[1];
	}
	replace(search, columns[0], own[0]);
	if (found)
		confirm_pair(search, pair);
	return found;
}

static int
compare_ranks(const double *weights, int a, int b)
{
	return weights[a] != weights[b] ? (weights[a] > weights[b] ? -1 : 1) : a - b;
}

/* The features that are tried, the weightiest first. */
static int
choose_order(const PynModel *model, const double *weights, int *order)
{
	int			count = 0;

	for (int i = 0; i < model->feature_count; i++)
	{
		int			place = count;

		if (model->features[i].encoding == PYN_ENCODE_MISSING)
			continue;
		while (place > 0 && compare_ranks(weights, i, order[place - 1]) < 0)
			place--;
		if (place == PYN_MOST_CHANGED)
			continue;
		count = Min(count + 1, PYN_MOST_CHANGED);
		for (int j = count - 1; j > place; j--)
			order[j] = order[j - 1];
		order[place] = i;
	}
	return count;
}

/*
 * pyn_find_changes looks for changes that turn the verdict on a row that has something to score.  Of a row that is not
 * flagged, `pulls` says how much lower its raw score is for each feature than it would be, on average, with the values of the
 * normal range in its place.
 */
void
pyn_find_changes(const PynModel *model, const PynCell *cells, PynCounterfactual *found)
{
	Search		search = {.model = model};
	double	   *weights = pyn_new(double, model->feature_count);
	int			order[PYN_MOST_CHANGED];
	double		best[PYN_MOST_CHANGED];
	double		own_raw;
	double		sum = 0;
	int			count;

	memset(found, 0, sizeof(*found));
	found->pulls = pyn_new0(double, model->feature_count);
	search.cells = pyn_new(PynCell, model->column_count);
	search.row = pyn_new(double, model->feature_count);
	search.changed = pyn_new(double, model->feature_count);
	memcpy(search.cells, cells, sizeof(PynCell) * model->column_count);
	pyn_encode_row(model, cells, search.row);
	own_raw = model->detector->score_row(model->state, search.row);
	found->verdict = pyn_judge(model, own_raw);
	pyn_suppress(model, search.row, &found->verdict);
	search.flagged = found->verdict.is_anomaly;
	pyn_contributions(model, cells, weights);
	count = choose_order(model, weights, order);
	for (int i = 0; i < count; i++)
	{
		found->count += search_feature(&search, order[i], &found->changes[found->count]);
		best[i] = search.count > 0 ? search.best_at : pyn_nan();
		if (!search.flagged && search.sum_count > 0)
			found->pulls[order[i]] = Max(0.0, search.sum_raw / search.sum_count - own_raw);
		sum += found->pulls[order[i]];
	}
	for (int i = 0; i < model->feature_count; i++)
		found->pulls[i] = sum > 0 ? found->pulls[i] / sum : 0.0;
	for (int i = 0; i < Min(count, PYN_MOST_PAIRED) && found->count == 0; i++)
		for (int j = i + 1; j < Min(count, PYN_MOST_PAIRED) && found->pair_count == 0; j++)
			if (best[i] == best[i] && model->features[order[i]].column != model->features[order[j]].column)
				found->pair_count = search_pair(&search, order[i], order[j], best[i], found->pair);
	found->evaluations = search.evaluations;
	pfree(search.cells);
	pfree(search.row);
	pfree(search.changed);
	pfree(weights);
}
