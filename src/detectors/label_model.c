/*
 * label_model.c
 *		Learns from a few labels what the score that was found without them leaves out.
 *
 * A logistic regression of the labels on the score, as a Gaussian rank, and on each feature's scaled value and its
 * magnitude, cut at three scales.  With few labels a strong penalty on squared coefficients (ridge) leaves little but the
 * score, which is the only thing there known to tell anomalies; with more labels the features say more.  Both classes weigh
 * the same in all, since anomalies are few.  Where no row is labelled ordinary, those without a label stand for them.  Labels
 * that people have given to flagged rows are no random ones: see choose_rows.
 *
 * Fitting: the logarithm of the likelihood has a curvature of at most a quarter everywhere (Böhning and Lindsay 1988), so that a
 * quadratic function which touches it at the present coefficients lies below it; that one is climbed coordinate by
 * coordinate and set up anew, and each step raises the likelihood.
 */
#include "kernel/port.h"

#include <math.h>

#include "detectors/label_model.h"
#include "numeric/math.h"

#define PENALTY 0.01			/* C: what the labelled rows weigh against half the squared coefficients */
#define EXPECTED 0.5			/* coefficient of the score where people have labelled what was flagged: see choose_rows */
#define MOST_SCALES 3.0			/* values count up to here */
#define MOST_STEPS 100
#define ENOUGH 1e-6				/* change of a coefficient, at which it ends */
#define MOST_COEFFICIENT 1e9

/* ---------------------------------------------------------------- predict */

static inline double
cut(double z)
{
	return z > MOST_SCALES ? MOST_SCALES : z < -MOST_SCALES ? -MOST_SCALES : z;
}

/* A feature's direct part in the predictor; 0 on average over the rows that were learnt from. */
static inline double
feature_part(const PynLabelModel *model, int feature, double value)
{
	double		z = cut(pyn_scaled(&model->scaling, feature, value));

	return model->linear[feature] * z + model->absolute[feature] * fabs(z) - model->offsets[feature];
}

double
pyn_label_model_row(const PynLabelModel *model, double score, const double *row)
{
	double		sum = model->intercept + model->score_weight * pyn_common_score(&model->score, PYN_RANKS, score);

	for (int feature = 0; feature < model->features; feature++)
		sum += feature_part(model, feature, row[feature]);
	return sum;
}

void
pyn_label_model_block(const PynLabelModel *model, const double *values, int stride, int rows, double *scores)
{
	for (int row = 0; row < rows; row++)
		scores[row] = model->intercept + model->score_weight * pyn_common_score(&model->score, PYN_RANKS, scores[row]);
	for (int feature = 0; feature < model->features; feature++)
		for (int row = 0; row < rows; row++)
			scores[row] += feature_part(model, feature, values[(Size) feature * stride + row]);
}

double
pyn_label_model_share(const PynLabelModel *model, double score, const double *row)
{
	double		of_score = Max(model->score_weight * pyn_common_score(&model->score, PYN_RANKS, score), 0.0);
	double		of_features = 0;

	for (int feature = 0; feature < model->features; feature++)
		of_features += Max(feature_part(model, feature, row[feature]), 0.0);
	return of_features > 0 ? of_features / (of_features + of_score) : 0.0;
}

static void
label_contribute(const void *state, const double *row, double *contributions)
{
	const PynLabelModel *model = state;

	for (int feature = 0; feature < model->features; feature++)
		contributions[feature] = feature_part(model, feature, row[feature]);
}

const PynDetector pyn_label_part = {
	.name = "labels",
	.contribute = label_contribute,
};

/* ---------------------------------------------------------------- fit */

/* The label of a row; rows past the sample are the extra ones. */
static inline PynLabel
label_of(const PynTraining *training, int row)
{
	return row < training->rows ? training->labels[row] : training->extra_labels[row - training->rows];
}

PynLabelCounts
pyn_count_labels(const PynTraining *training)
{
	PynLabelCounts counts = {0};

	for (int row = 0; training->labels != NULL && row < training->rows + training->extra_rows; row++)
	{
		PynLabel	label = label_of(training, row);

		counts.anomalies += pyn_label_is_anomaly(label);
		counts.found += label == PYN_LABEL_FOUND;
		counts.ordinary += label == PYN_LABEL_ORDINARY;
		counts.false_alarms += label == PYN_LABEL_FALSE_ALARM;
	}
	return counts;
}

/* The regression's data: numbers[column * rows + row], each column of mean 0 and deviation 1 but the first, the score. */
typedef struct Regression
{
	int			rows;
	int			columns;
	float	   *numbers;
	double	   *weights;		/* of the rows */
	bool	   *anomalous;
	double	   *means;			/* of the columns before */
	double	   *factors;		/* 1 / deviation; 0: the column says nothing */
	double	   *coefficients;
	double		intercept;
	double		expected;		/* the score's coefficient without labels: the penalty is on what it differs by */
} Regression;

/* What the rows that are learnt from say: each group has a weight in all, which its rows share. */
typedef enum Group
{
	ANOMALOUS,
	ORDINARY,					/* by their label; where there are none so labelled, those without a label */
	CLEARED						/* false alarms, beside those without a label */
} Group;

#define GROUPS (CLEARED + 1)

/*
 * Chooses the rows that are learnt from, and their weights.  Anomalies weigh as much as all others together, PENALTY × rows / 2.
 *
 * People label what was flagged.  Their anomalies and false alarms both score high: to tell these apart only would teach nothing
 * of rows that look ordinary, or even that these are the odd ones.  So unless rows of a label column are known to be ordinary,
 * those without a label stand for them beside the false alarms, of which each counts as much as an anomaly, and all as much as
 * the others at most.  PENALTY then counts the labelled rows only: what has no label is no evidence, however much there is of it.
 * And the score is trusted beforehand, since among flagged rows it seems to tell less than it does: with a coefficient of 0 to begin
 * from, labels lost up to 0.14 of ROC-AUC, with 0.5 at most 0.05 (docs/adr/0009-auto.md).
 */
static void
choose_rows(const PynTraining *training, Regression *regression, int *rows)
{
	PynLabelCounts counts = pyn_count_labels(training);
	bool		of_people = counts.found + counts.false_alarms > 0;
	Group	   *groups = pyn_new(Group, training->rows + training->extra_rows);
	double		total[GROUPS] = {0};
	double		share[GROUPS] = {1, 1, 0};
	double		strength;

	regression->rows = 0;
	for (int row = 0; row < training->rows + training->extra_rows; row++)
	{
		PynLabel	label = label_of(training, row);
		double		weight = row < training->rows ? (double) training->weights[row] : 1.0;
		int			place = regression->rows;

		if (label == PYN_LABEL_UNKNOWN && counts.ordinary > 0)
			continue;
		groups[place] = pyn_label_is_anomaly(label) ? ANOMALOUS :
			label == PYN_LABEL_FALSE_ALARM && counts.ordinary == 0 ? CLEARED : ORDINARY;
		regression->anomalous[place] = groups[place] == ANOMALOUS;
		regression->weights[place] = weight;
		total[groups[place]] += weight;
		rows[regression->rows++] = row;
	}
	strength = total[ANOMALOUS] + total[ORDINARY] + total[CLEARED];
	if (of_people && counts.ordinary == 0)
	{
		strength = total[ANOMALOUS] + total[CLEARED];
		regression->expected = regression->coefficients[0] = EXPECTED;
	}
	if (total[CLEARED] > 0)
	{
		double		cleared = Min(total[CLEARED] / total[ANOMALOUS], 1.0);

		share[CLEARED] = cleared / (1.0 + cleared);
		share[ORDINARY] = 1.0 / (1.0 + cleared);
	}
	for (int i = 0; i < regression->rows; i++)
		regression->weights[i] *= share[groups[i]] * (PENALTY * 0.5 * strength / total[groups[i]]);
	pfree(groups);
}

/* Gives a column mean 0 and deviation 1. */
static void
standardise(Regression *regression, int column)
{
	float	   *numbers = regression->numbers + (Size) column * regression->rows;
	double		mean = 0;
	double		square = 0;
	double		factor;

	for (int i = 0; i < regression->rows; i++)
		mean += numbers[i];
	mean /= regression->rows;
	for (int i = 0; i < regression->rows; i++)
		square += (numbers[i] - mean) * (numbers[i] - mean);
	factor = square > 1e-9 * regression->rows ? 1.0 / sqrt(square / regression->rows) : 0.0;
	for (int i = 0; i < regression->rows; i++)
		numbers[i] = (float) ((numbers[i] - mean) * factor);
	regression->means[column] = mean;
	regression->factors[column] = factor;
}

/* One sweep over the coordinates of the quadratic function; `residuals` are its gradient by row.  The largest change. */
static double
sweep(Regression *regression, double *residuals, const double *curvatures, double total_weight)
{
	double		largest = 0;
	double		sum = 0;
	double		change;

	for (int i = 0; i < regression->rows; i++)
		sum += residuals[i];
	change = total_weight > 0 ? sum / (0.25 * total_weight) : 0;
	regression->intercept += change;
	largest = fabs(change);
	for (int i = 0; i < regression->rows; i++)
		residuals[i] -= 0.25 * regression->weights[i] * change;
	for (int column = 0; column < regression->columns; column++)
	{
		const float *numbers = regression->numbers + (Size) column * regression->rows;
		double		gradient = (column == 0 ? regression->expected : 0.0) - regression->coefficients[column];

		if (!(curvatures[column] > 0))
			continue;
		for (int i = 0; i < regression->rows; i++)
			gradient += residuals[i] * numbers[i];
		change = gradient / (1.0 + curvatures[column]);
		regression->coefficients[column] += change;
		largest = Max(largest, fabs(change));
		for (int i = 0; i < regression->rows; i++)
			residuals[i] -= 0.25 * regression->weights[i] * numbers[i] * change;
	}
	return largest;
}

static void
climb(Regression *regression)
{
	double	   *residuals = pyn_new(double, regression->rows);
	double	   *curvatures = pyn_new0(double, regression->columns);
	double	   *predictors = pyn_new(double, regression->rows);
	double		total_weight = 0;

	for (int i = 0; i < regression->rows; i++)
		total_weight += regression->weights[i];
	for (int column = 0; column < regression->columns; column++)
		for (int i = 0; i < regression->rows; i++)
		{
			double		number = regression->numbers[(Size) column * regression->rows + i];

			curvatures[column] += 0.25 * regression->weights[i] * number * number;
		}
	for (int step = 0; step < MOST_STEPS; step++)
	{
		CHECK_FOR_INTERRUPTS();
		for (int i = 0; i < regression->rows; i++)
			predictors[i] = regression->intercept;
		for (int column = 0; column < regression->columns; column++)
			for (int i = 0; i < regression->rows; i++)
				predictors[i] += regression->coefficients[column] * regression->numbers[(Size) column * regression->rows + i];
		for (int i = 0; i < regression->rows; i++)
			residuals[i] = regression->weights[i] *
				((regression->anomalous[i] ? 1.0 : 0.0) - 1.0 / (1.0 + pyn_exp(-predictors[i])));
		if (sweep(regression, residuals, curvatures, total_weight) < ENOUGH)
			break;
		(void) sweep(regression, residuals, curvatures, total_weight);
	}
	pfree(residuals);
	pfree(curvatures);
	pfree(predictors);
}

static void
write_model(const PynLabelModel *model, PynWriter *writer)
{
	pyn_scaling_write(&model->scaling, writer);
	pyn_calibration_write(&model->score.calibration, writer);
	pyn_write_f64(writer, model->intercept);
	pyn_write_f64(writer, model->score_weight);
	for (int feature = 0; feature < model->features; feature++)
	{
		pyn_write_f64(writer, model->linear[feature]);
		pyn_write_f64(writer, model->absolute[feature]);
		pyn_write_f64(writer, model->offsets[feature]);
	}
}

/*
 * Appends: scaling, calibration, f64 intercept, f64 weight of the score, then of each feature f64 linear, absolute, offset.
 */
void
pyn_label_model_fit(const PynTraining *training, const double *scores, PynWriter *writer)
{
	int			features = training->features;
	PynLabelModel *model = palloc0(sizeof(PynLabelModel));
	int			most = training->rows + training->extra_rows;
	int		   *rows = pyn_new(int, most);
	Regression	regression = {
		.columns = 1 + 2 * features,
		.weights = pyn_new(double, most),
		.anomalous = pyn_new(bool, most),
		.means = pyn_new0(double, 1 + 2 * features),
		.factors = pyn_new0(double, 1 + 2 * features),
		.coefficients = pyn_new0(double, 1 + 2 * features),
	};

	model->features = features;
	pyn_scaling_fit(training, NULL, PYN_SCALE_TAILS, &model->scaling);
	pyn_calibration_fit(&model->score.calibration, scores, NULL, training->weights, training->rows);
	choose_rows(training, &regression, rows);
	regression.numbers = pyn_new(float, (Size) regression.columns * regression.rows);
	for (int i = 0; i < regression.rows; i++)
		regression.numbers[i] = (float) pyn_common_score(&model->score, PYN_RANKS, scores[rows[i]]);
	for (int feature = 0; feature < features; feature++)
	{
		float	   *linear = regression.numbers + (Size) (1 + 2 * feature) * regression.rows;
		float	   *absolute = linear + regression.rows;

		CHECK_FOR_INTERRUPTS();
		for (int i = 0; i < regression.rows; i++)
		{
			int			extra = rows[i] - training->rows;
			double		value = extra < 0 ? training->values[(Size) feature * training->rows + rows[i]] :
				training->extra_values[(Size) feature * training->extra_rows + extra];

			linear[i] = (float) cut(pyn_scaled(&model->scaling, feature, value));
			absolute[i] = fabsf(linear[i]);
		}
		standardise(&regression, 1 + 2 * feature);
		standardise(&regression, 2 + 2 * feature);
	}
	climb(&regression);

	/* From standardised columns back to features. */
	model->intercept = regression.intercept;
	model->score_weight = regression.coefficients[0];
	model->linear = pyn_new(double, features);
	model->absolute = pyn_new(double, features);
	model->offsets = pyn_new(double, features);
	for (int feature = 0; feature < features; feature++)
	{
		int			column = 1 + 2 * feature;

		model->linear[feature] = regression.coefficients[column] * regression.factors[column];
		model->absolute[feature] = regression.coefficients[column + 1] * regression.factors[column + 1];
		model->offsets[feature] = model->linear[feature] * regression.means[column] +
			model->absolute[feature] * regression.means[column + 1];
	}
	write_model(model, writer);
	pfree(rows);
	pfree(regression.numbers);
	pfree(regression.weights);
	pfree(regression.anomalous);
	pfree(regression.means);
	pfree(regression.factors);
	pfree(regression.coefficients);
}

/* ---------------------------------------------------------------- read */

static bool
is_coefficient(double number)
{
	return fabs(number) <= MOST_COEFFICIENT;
}

const char *
pyn_label_model_read(PynReader *reader, int features, PynLabelModel **result)
{
	PynLabelModel *model = palloc0(sizeof(PynLabelModel));
	const char *problem;

	model->features = features;
	if ((problem = pyn_scaling_read(reader, features, &model->scaling)) != NULL ||
		(problem = pyn_calibration_read(&model->score.calibration, reader)) != NULL)
		return problem;
	model->intercept = pyn_read_f64(reader);
	model->score_weight = pyn_read_f64(reader);
	if (!pyn_reader_has(reader, features, 3 * sizeof(double)))
		return "the coefficients are cut off";
	model->linear = pyn_new(double, features);
	model->absolute = pyn_new(double, features);
	model->offsets = pyn_new(double, features);
	for (int feature = 0; feature < features; feature++)
	{
		model->linear[feature] = pyn_read_f64(reader);
		model->absolute[feature] = pyn_read_f64(reader);
		model->offsets[feature] = pyn_read_f64(reader);
		if (!is_coefficient(model->linear[feature]) || !is_coefficient(model->absolute[feature]) ||
			!is_coefficient(model->offsets[feature]))
			return "a coefficient is impossible";
	}
	if (!is_coefficient(model->intercept) || !is_coefficient(model->score_weight))
		return "a coefficient is impossible";
	*result = model;
	return NULL;
}
