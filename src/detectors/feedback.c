/*
 * feedback.c
 *		Learns from people's verdicts on flagged rows: weights of members, then the threshold.
 *
 * Weights, after Das, Wong, Dietterich, Fern and Emmott, "Incorporating Expert Feedback into Active Anomaly Discovery", ICDM
 * 2016: the score is a mean of the members' scores z by weights w, and w is chosen so that labelled anomalies score above
 * and false alarms below the level q past which the expected share of the training rows lies.  Each row on the wrong side
 * costs its distance to q; leaving the weights u that the model was fitted with costs λ/2 |w - u|².  One verdict moves a
 * weight by about a tenth of the whole, and none ever below a quarter or above four times what it was.
 *
 * Threshold: the most probable one, where each verdict counts one and the expected share of alarms is a prior worth
 * two verdicts for each factor e by which it is left.  So n verdicts can silence what lies between the p-values p and
 * p exp(-n/2): one false alarm the mildest 39 % of the alarms at most, five all but the worst tenth, and beyond a tenth
 * or three times the expected share nothing goes.  The threshold never rises above a labelled anomaly that was flagged.
 *
 * Verdicts are heard all at once, and begin from the model as it was fitted: their order does not matter, what was taken
 * back leaves no trace, and the same verdicts give the same bytes.
 */
#include "kernel/port.h"
#include "detectors/feedback.h"
#include "detectors/marginal.h"
#include "numeric/math.h"

#define PRIOR_VERDICTS 2.0		/* what leaving the expected share by a factor e costs */
#define LOWEST_SHARE 0.1		/* of the expected share of alarms */
#define HIGHEST_SHARE 3.0
#define STIFFNESS 10.0			/* λ, of scores whose largest is 1 */
#define WEIGHT_RANGE 4.0
#define LEVEL_ROUNDS 5
#define STEPS 60
#define MARGIN 0.01				/* by which a row must be on the right side of the level */

int
pyn_weights(const PynModel *model, double *weights)
{
	return model->detector->weighing != NULL ? model->detector->weighing->weights(model->state, weights) : 0;
}

void
pyn_member_scores(const PynModel *model, const double *row, double *scores)
{
	model->detector->weighing->scores(model->state, row, 1, 1, scores);
}

/* As the detectors combine: the same bits. */
static double
weighted_mean(const double *scores, Size stride, const double *weights, int members)
{
	double		sum = 0;
	double		total = 0;

	for (int i = 0; i < members; i++)
	{
		sum += weights[i] * scores[i * stride];
		total += weights[i];
	}
	return sum / total;
}

/* ---------------------------------------------------------------- weights */

/* The training rows' scores by member, and the verdicts that have such scores. */
typedef struct Weighing
{
	int			members;
	int			rows;
	const double *scores;		/* member * rows + row */
	const int64 *row_weights;
	double		share;			/* that is expected to be flagged */
	double		scale;			/* the largest score of a verdict's row */
	int			count;
	const PynHumanVerdict **verdicts;
	double		prior[PYN_MAX_MEMBERS]; /* sums to 1 */
} Weighing;

/* The score past which the expected share of the training rows lies. */
static double
level(const Weighing *weighing, const double *weights, PynWeighted *scratch)
{
	double		total = 0;
	double		above = 0;

	for (int row = 0; row < weighing->rows; row++)
	{
		scratch[row].value = weighted_mean(weighing->scores + row, weighing->rows, weights, weighing->members);
		scratch[row].weight = (double) weighing->row_weights[row];
		total += scratch[row].weight;
	}
	pyn_weighted_sort(scratch, weighing->rows);
	for (int row = weighing->rows - 1; row > 0; row--)
	{
		above += scratch[row].weight;
		if (above >= weighing->share * total)
			return scratch[row].value;
	}
	return scratch[0].value;
}

/* The nearest weights that sum to 1 and stay within their ranges: all are moved by one amount, then cut. */
static void
project(const Weighing *weighing, double *weights)
{
	double		low = -2;
	double		high = 2;
	double		moved[PYN_MAX_MEMBERS];

	for (int round = 0; round < 60; round++)
	{
		double		shift = (low + high) / 2;
		double		sum = 0;

		for (int i = 0; i < weighing->members; i++)
		{
			double		u = weighing->prior[i];

			moved[i] = Max(u / WEIGHT_RANGE, Min(u * WEIGHT_RANGE, weights[i] + shift));
			sum += moved[i];
		}
		if (sum < 1.0)
			low = shift;
		else
			high = shift;
	}
	memcpy(weights, moved, sizeof(double) * weighing->members);
}

/* A step against the slope of what the weights cost. */
static void
descend(const Weighing *weighing, double level, double rate, double *weights)
{
	double		slope[PYN_MAX_MEMBERS];

	for (int i = 0; i < weighing->members; i++)
		slope[i] = STIFFNESS * (weights[i] - weighing->prior[i]);
	for (int i = 0; i < weighing->count; i++)
	{
		const PynHumanVerdict *verdict = weighing->verdicts[i];
		double		over = (weighted_mean(verdict->scores, 1, weights, weighing->members) - level) / weighing->scale;
		double		sign = verdict->is_anomaly ? -1 : 1;

		if (sign * over > -MARGIN)
			for (int j = 0; j < weighing->members; j++)
				slope[j] += sign * verdict->scores[j] / weighing->scale;
	}
	for (int i = 0; i < weighing->members; i++)
		weights[i] -= rate * slope[i];
	project(weighing, weights);
}

/* Finds weights that sum to 1. */
static void
find_weights(const Weighing *weighing, double *weights)
{
	PynWeighted *scratch = pyn_new(PynWeighted, weighing->rows);

	memcpy(weights, weighing->prior, sizeof(double) * weighing->members);
	for (int round = 0; round < LEVEL_ROUNDS; round++)
	{
		double		q = level(weighing, weights, scratch);
		double		current[PYN_MAX_MEMBERS];
		double		sum[PYN_MAX_MEMBERS] = {0};

		CHECK_FOR_INTERRUPTS();
		memcpy(current, weighing->prior, sizeof(current));
		for (int step = 0; step < STEPS; step++)
		{
			descend(weighing, q, 1.0 / (STIFFNESS * (step + 2)), current);
			for (int i = 0; step >= STEPS / 2 && i < weighing->members; i++)
				sum[i] += current[i];
		}
		for (int i = 0; i < weighing->members; i++)
			weights[i] = sum[i] / (STEPS - STEPS / 2);
	}
	pfree(scratch);
}

/* The members' scores of all training rows. */
static double *
training_scores(const PynModel *model, const PynTraining *training, int members)
{
	double	   *scores = pyn_new(double, (Size) members * training->rows);
	double	   *block = pyn_new(double, (Size) members * PYN_SCORE_BLOCK);

	for (int start = 0; start < training->rows; start += PYN_SCORE_BLOCK)
	{
		int			rows = Min(PYN_SCORE_BLOCK, training->rows - start);

		CHECK_FOR_INTERRUPTS();
		model->detector->weighing->scores(model->state, training->values + start, training->rows, rows, block);
		for (int i = 0; i < members; i++)
			memcpy(scores + (Size) i * training->rows + start, block + (Size) i * rows, sizeof(double) * rows);
	}
	pfree(block);
	return scores;
}

/* Learns from scores by new weights what they mean. */
static void
calibrate_again(PynModel *model, const Weighing *weighing, const double *weights)
{
	double	   *raw = pyn_new(double, weighing->rows);

	for (int row = 0; row < weighing->rows; row++)
		raw[row] = weighted_mean(weighing->scores + row, weighing->rows, weights, weighing->members);
	pyn_calibration_fit(&model->calibration, raw, NULL, weighing->row_weights, weighing->rows);
	pfree(raw);
}

/*
 * Gives the members other weights where verdicts suggest that and the training rows are at hand; the model's calibration is
 * then that of the new scores.  True if weights[] differ from those of the model.
 */
static bool
learn_weights(PynModel *model, const PynHumanVerdict *verdicts, int count, const PynSketch *sketch, double share,
			  double *weights, int members)
{
	Weighing	weighing = {.members = members,.share = share,.verdicts = pyn_new(const PynHumanVerdict *, Max(count, 1))};
	PynTraining training = {0};
	double		total = 0;
	bool		differ = false;

	for (int i = 0; i < count; i++)
		if (verdicts[i].members == members)
		{
			weighing.verdicts[weighing.count++] = &verdicts[i];
			for (int j = 0; j < members; j++)
				weighing.scale = Max(weighing.scale, Max(verdicts[i].scores[j], -verdicts[i].scores[j]));
		}
	if (members < 2 || weighing.count == 0 || !(weighing.scale > 0) || sketch == NULL ||
		!pyn_training_again(model, sketch, &training))
		return false;
	for (int i = 0; i < members; i++)
		total += weights[i];
	for (int i = 0; i < members; i++)
		weighing.prior[i] = weights[i] / total;
	weighing.rows = training.rows;
	weighing.row_weights = training.weights;
	weighing.scores = training_scores(model, &training, members);
	find_weights(&weighing, weights);
	for (int i = 0; i < members; i++)
	{
		double		change = weights[i] - weighing.prior[i];

		differ |= change > 1e-6 || change < -1e-6;
	}
	for (int i = 0; i < members; i++)
		weights[i] = (differ ? weights[i] : weighing.prior[i]) * total;
	if (differ)
		calibrate_again(model, &weighing, weights);
	return differ;
}

/* ---------------------------------------------------------------- the threshold */

/* What speaks for a threshold instead of the expected one: verdicts that come right, less those that go wrong and the prior. */
static double
gain_of(const PynHumanVerdict *verdicts, const double *raw, int count, double from, double to, double log_ratio)
{
	double		gain = -PRIOR_VERDICTS * (log_ratio < 0 ? -log_ratio : log_ratio);

	for (int i = 0; i < count; i++)
	{
		if (raw[i] >= from && raw[i] < to)
			gain += verdicts[i].is_anomaly ? -1 : 1;	/* no longer flagged */
		else if (raw[i] >= to && raw[i] < from)
			gain += verdicts[i].is_anomaly ? 1 : -1;	/* flagged now */
	}
	return gain;
}

/*
 * Finds the raw score from which on to flag: just above a false alarm, at an anomaly that was not flagged, or as expected.
 */
static double
choose_threshold(const PynCalibration *calibration, double expected, const PynHumanVerdict *verdicts, const double *raw,
				 int count)
{
	double		p = pyn_p_value(calibration, expected);
	double		ceiling = 2e300;	/* beyond all raw scores */
	double		best = expected;
	double		best_gain = 0;

	for (int i = 0; i < count; i++)
		if (verdicts[i].is_anomaly && raw[i] >= expected)
			ceiling = Min(ceiling, raw[i]);
	for (int i = 0; i < count; i++)
	{
		double		threshold = verdicts[i].is_anomaly ? raw[i] : pyn_raw_after(raw[i]);
		double		own_p = pyn_p_value(calibration, threshold);
		double		gain;

		if ((raw[i] >= expected) == verdicts[i].is_anomaly || threshold > ceiling ||
			own_p < LOWEST_SHARE * p || own_p > Min(HIGHEST_SHARE * p, 0.5))
			continue;
		gain = gain_of(verdicts, raw, count, expected, threshold, pyn_log(p / own_p));
		if (gain > best_gain || (gain == best_gain && best_gain > 0 && threshold < best))
		{
			best = threshold;
			best_gain = gain;
		}
	}
	return best;
}

/* The raw score from which on the model flags. */
static double
raw_threshold(const PynModel *model)
{
	if (model->threshold_method > PYN_THRESHOLD_SCORE)
		return model->threshold;
	return pyn_raw_of_p(&model->calibration,
						model->threshold_method == PYN_THRESHOLD_SCORE ? 1.0 - model->threshold : model->contamination);
}

/*
 * pyn_model_learn appends the model as the verdicts would have it; its state is no longer that of its weights then.
 */
void
pyn_model_learn(PynModel *model, const PynHumanVerdict *verdicts, int count, const PynSketch *sketch, PynWriter *writer,
				PynLearned *learned)
{
	double	   *raw = pyn_new(double, Max(count, 1));
	double		expected = raw_threshold(model);
	double		threshold;
	PynWriter	parameters;
	bool		reweighed;
	int			members;

	memset(learned, 0, sizeof(*learned));
	learned->p_before = pyn_p_value(&model->calibration, expected);
	members = pyn_weights(model, learned->weights_before);
	memcpy(learned->weights, learned->weights_before, sizeof(learned->weights));
	reweighed = learn_weights(model, verdicts, count, sketch, learned->p_before, learned->weights, members);
	learned->members = reweighed ? members : 0;
	if (reweighed)
		expected = pyn_raw_of_p(&model->calibration, learned->p_before);
	for (int i = 0; i < count; i++)
	{
		raw[i] = verdicts[i].raw;
		if (members > 0 && verdicts[i].members == members)
			raw[i] = weighted_mean(verdicts[i].scores, 1, learned->weights, members);
	}
	threshold = choose_threshold(&model->calibration, expected, verdicts, raw, count);
	for (int i = 0; i < count; i++)
	{
		learned->anomalies += verdicts[i].is_anomaly;
		learned->false_alarms += !verdicts[i].is_anomaly;
		learned->silenced += !verdicts[i].is_anomaly && raw[i] < threshold;
	}
	learned->p_value = pyn_p_value(&model->calibration, threshold);
	if (threshold != expected || (reweighed && model->threshold_method > PYN_THRESHOLD_SCORE))
	{
		model->threshold_method = PYN_THRESHOLD_FEEDBACK;
		model->threshold = threshold;
		snprintf(model->threshold_reason, PYN_THRESHOLD_REASON,
				 "%d false alarms and %d anomalies were labelled: p-value at most %.4g instead of %.4g", learned->false_alarms,
				 learned->anomalies, learned->p_value, learned->p_before);
	}
	pyn_writer_init(&parameters, model->parameter_bytes + 1);
	if (reweighed)
		model->detector->weighing->reweigh(model->parameters, model->parameter_bytes, learned->weights, &parameters);
	else
		pyn_write_bytes(&parameters, model->parameters, model->parameter_bytes);
	pyn_model_write(model, parameters.data, parameters.length, writer);
	pfree(parameters.data);
	pfree(raw);
}
