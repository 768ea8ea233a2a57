/*
 * explanation.c
 *		Which features make a row odd.
 *
 * A detector that is a sum over features gives each one's part itself.  For any other, a feature's part is the mean of two
 * differences of raw scores: the row against the row with that feature at its normal value, and the normal row with the
 * row's value in that feature against the normal row.  These are the last and the first of the marginal contributions
 * that the Shapley value averages (Štrumbelj and Kononenko 2014): the one finds values that are odd only together with
 * others, the other those that hide each other.
 *
 * An ensemble's row is explained by its members' explanations, each as far as it has part in the score.
 */
#include "kernel/port.h"
#include "detectors/model.h"

/*
 * The feature that answers for this one: a missing value is a matter of the column's value, where that is a feature too.
 */
static int
group_of(const PynModel *model, int feature)
{
	if (model->features[feature].encoding == PYN_ENCODE_MISSING)
		for (int i = feature - 1; i >= 0 && model->features[i].column == model->features[feature].column; i--)
			if (model->features[i].encoding == PYN_ENCODE_VALUE)
				return i;
	return feature;
}

/* Replaces the features of one group. */
static void
copy_group(const PynModel *model, int group, const double *from, double *into)
{
	for (int i = group; i < model->feature_count && model->features[i].column == model->features[group].column; i++)
		if (group_of(model, i) == group)
			into[i] = from[i];
}

static void
contributions_by_replacing(const PynModel *model, const PynDetector *detector, const void *state, const double *row,
						   double *shares)
{
	double	   *normal = pyn_new(double, model->feature_count);
	double	   *mixed = pyn_new(double, model->feature_count);
	double		row_raw = detector->score_row(state, row);
	double		normal_raw;

	for (int i = 0; i < model->feature_count; i++)
		normal[i] = model->features[i].centre;
	normal_raw = detector->score_row(state, normal);
	for (int i = 0; i < model->feature_count; i++)
	{
		double		without;
		double		alone;

		shares[i] = 0;
		if (group_of(model, i) != i)
			continue;
		CHECK_FOR_INTERRUPTS();
		memcpy(mixed, row, sizeof(double) * model->feature_count);
		copy_group(model, i, normal, mixed);
		without = row_raw - detector->score_row(state, mixed);
		memcpy(mixed, normal, sizeof(double) * model->feature_count);
		copy_group(model, i, row, mixed);
		alone = detector->score_row(state, mixed) - normal_raw;
		shares[i] = Max(without, 0.0) + Max(alone, 0.0);
	}
	pfree(normal);
	pfree(mixed);
}

/* Makes shares sum to 1; where nothing stands out, all features have the same. */
static void
normalise(const PynModel *model, double *shares)
{
	double		largest = 0;
	double		sum = 0;
	int			groups = 0;

	for (int i = 0; i < model->feature_count; i++)
	{
		largest = Max(largest, shares[i]);
		groups += group_of(model, i) == i;
	}
	for (int i = 0; i < model->feature_count; i++)
	{
		/* A row like any other: nothing stands out. */
		if (!(largest > 0))
			shares[i] = group_of(model, i) == i ? 1.0 / groups : 0.0;
		else
			sum += shares[i] /= largest;
	}
	if (largest > 0)
		for (int i = 0; i < model->feature_count; i++)
			shares[i] /= sum;
}

/* Each feature's share of what makes the row odd to a detector; they sum to 1. */
static void
explain(const PynModel *model, const PynDetector *detector, const void *state, const double *row, double *shares)
{
	double	   *own = pyn_new0(double, model->feature_count);

	memset(shares, 0, sizeof(double) * model->feature_count);
	if (detector->parts != NULL)
	{
		PynPart		parts[PYN_MAX_MEMBERS];
		int			count = detector->parts(state, row, parts);

		for (int part = 0; part < count; part++)
		{
			if (!(parts[part].share > 0))
				continue;
			explain(model, parts[part].detector, parts[part].state, row, own);
			for (int i = 0; i < model->feature_count; i++)
				shares[i] += parts[part].share * own[i];
		}
	}
	else if (detector->contribute != NULL)
	{
		detector->contribute(state, row, own);
		for (int i = 0; i < model->feature_count; i++)
			shares[group_of(model, i)] += Max(own[i], 0.0);
	}
	else
		contributions_by_replacing(model, detector, state, row, shares);
	normalise(model, shares);
	pfree(own);
}

/*
 * pyn_contributions gives each feature's share of what makes a row odd: not negative, sum 1.  A missing value counts
 * with its column's value.
 */
void
pyn_contributions(const PynModel *model, const PynCell *cells, double *shares)
{
	double	   *row = pyn_new(double, model->feature_count);

	pyn_encode_row(model, cells, row);
	explain(model, model->detector, model->state, row, shares);
	pfree(row);
}
