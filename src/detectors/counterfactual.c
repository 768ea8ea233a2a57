/*
 * counterfactual.c
 *		The smallest change of a row that turns its verdict (Wachter, Mittelstadt and Russell 2018): for a flagged row what would
 *		make it normal, for one that is not what would flag it.
 *
 * Features are tried by their share in the row's oddness, at most PYN_MOST_CHANGED of them; counterfactual_search.c tries one.
 * Where no single one will do, the first PYN_MOST_PAIRED are changed in pairs: one to where the raw score is best, the other
 * as before, then the first one anew; the ranges are given if their four corners turn the verdict, else the two values.  One
 * answer takes less than PYN_MOST_EVALUATIONS rows to score; where rules of suppression hold each may take two scores.
 */
#include "kernel/port.h"

#include "detectors/counterfactual_search.h"

/* ---------------------------------------------------------------- pairs */

/* Gives the row another value of a feature, as long as `old` is not put back. */
static void
replace(PynSearch *search, int column, PynCell cell)
{
	search->cells[column] = cell;
	pyn_encode_row(search->model, search->cells, search->row);
}

/* The ends of what a change claims; where it is open, those of the normal range. */
static void
ends_of(const PynSearch *search, const PynChange *change, double *ends)
{
	const PynFeature *feature = &search->model->features[change->feature];

	ends[0] = ends[1] = change->example;
	if (feature->encoding == PYN_ENCODE_WEEKDAY)
		return;
	ends[0] = change->has_low || pyn_search_category(search) ? change->low : Min(feature->low, change->example);
	ends[1] = change->has_high || pyn_search_category(search) ? change->high : Max(feature->high, change->example);
}

/*
 * Keeps what a pair claims to what holds for both together: the ranges if their four corners turn the verdict, else the one
 * pair of values that was found.  The row has its own values when it is called and when it returns.
 */
static void
confirm_pair(PynSearch *search, PynChange *pair)
{
	int			columns[2];
	PynCell		own[2];
	PynCell		cells[2][2];
	bool		holds = true;

	for (int i = 0; i < 2; i++)
	{
		double		ends[2];

		pyn_search_choose(search, pair[i].feature);
		columns[i] = search->feature->column;
		own[i] = search->cells[columns[i]];
		ends_of(search, &pair[i], ends);
		for (int j = 0; j < 2; j++)
			cells[i][j] = pyn_search_cell(search, ends[j]);
		if (search->feature->encoding == PYN_ENCODE_WEEKDAY)
			pair[i].days = (uint8) (1 << (int) pair[i].example);
	}
	for (int corner = 0; corner < 4 && holds; corner++)
	{
		double		raw;

		replace(search, columns[0], cells[0][corner & 1]);
		holds = pyn_search_turns(search, cells[1][corner >> 1], &raw);
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
search_pair(PynSearch *search, int first, int second, double first_at, PynChange *pair)
{
	int			columns[2] = {search->model->features[first].column, search->model->features[second].column};
	PynCell		own[2] = {search->cells[columns[0]], search->cells[columns[1]]};
	bool		found;

	pyn_search_choose(search, first);
	replace(search, columns[0], pyn_search_cell(search, first_at));
	found = pyn_search_feature(search, second, &pair[1]);
	if (found)
	{
		/* The first one with the second at its bound: from the row's own value again. */
		PynCell		cell = pyn_search_cell(search, pair[1].example);

		search->cells[columns[1]] = cell;
		replace(search, columns[0], own[0]);
		found = pyn_search_feature(search, first, &pair[0]);
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
	PynSearch		search = {.model = model};
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
		found->count += pyn_search_feature(&search, order[i], &found->changes[found->count]);
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
