/*
 * model_fit.c
 *		Fits a model from a sketch, and judges raw scores by it.
 */
#include "kernel/port.h"
#include "detectors/model.h"

#define MOST_ROWS (INT64CONST(1) << 52) /* half a row of more is lost in a double */

/* The model's columns are the sketch's, without the key's and the label. */
static void
set_columns(PynModel *model, const PynSketch *sketch, const char *label)
{
	model->columns = pyn_new0(PynModelColumn, sketch->column_count);
	for (int i = 0; i < sketch->column_count; i++)
	{
		PynModelColumn *column = &model->columns[model->column_count];

		if (sketch->columns[i].is_key || (label != NULL && strcmp(sketch->columns[i].name, label) == 0))
			continue;
		memcpy(column->name, sketch->columns[i].name, PYN_NAME_SIZE);
		column->kind = sketch->columns[i].kind;
		column->origin = i;
		model->column_count++;
	}
}

/* Anything but 1 and 0 says nothing. */
static int8
label_of(double number)
{
	return number == 1.0 ? PYN_LABEL_ANOMALY : number == 0.0 ? PYN_LABEL_ORDINARY : PYN_LABEL_UNKNOWN;
}

/* Encodes the sampled rows.  Rows without any value are left out: they are not scored either. */
static void
make_training(const PynModel *model, const PynSketch *sketch, int label, PynTraining *training)
{
	const PynSample *sample = &sketch->sample;
	int			rows = 0;
	PynCell    *cells = pyn_new(PynCell, model->column_count);
	double	   *row_values = pyn_new(double, model->feature_count);
	double	   *values = pyn_new(double, (Size) model->feature_count * sample->count);
	int64	   *weights = pyn_new(int64, sample->count);
	double	   *centres = pyn_new(double, model->feature_count);
	int8	   *labels = label >= 0 ? pyn_new(int8, sample->count) : NULL;

	training->total_weight = 0;
	for (uint32 sampled = 0; sampled < sample->count; sampled++)
	{
		if (sampled % 1024 == 0)
			CHECK_FOR_INTERRUPTS();
		for (int column = 0; column < model->column_count; column++)
			cells[column] = pyn_sample_cell(sample, sampled, model->columns[column].origin);
		if (pyn_all_missing(model, cells, 1))
			continue;
		pyn_encode_row(model, cells, row_values);
		for (int feature = 0; feature < model->feature_count; feature++)
			values[(Size) feature * sample->count + rows] = row_values[feature];
		weights[rows] = sample->rows[sampled].weight;
		if (labels != NULL)
			labels[rows] = label_of(pyn_sample_cell(sample, sampled, label).number);
		training->total_weight += weights[rows];
		rows++;
	}

	/* Close the gaps that rows left out have made between the features. */
	if (rows < (int) sample->count)
		for (int feature = 1; feature < model->feature_count; feature++)
			memmove(values + (Size) feature * rows, values + (Size) feature * sample->count, sizeof(double) * rows);
	for (int feature = 0; feature < model->feature_count; feature++)
		centres[feature] = model->features[feature].centre;
	training->rows = rows;
	training->features = model->feature_count;
	training->values = values;
	training->weights = weights;
	training->centres = centres;
	training->labels = labels;
	pfree(cells);
	pfree(row_values);
}

/*
 * pyn_training_again gives the rows that a model was fitted from.  Without their labels: what is made of these rows, weights of
 * members and a calibration, rests on scores, and where labels have taught the model something, that is in its parameters.
 */
bool
pyn_training_again(PynModel *model, const PynSketch *sketch, PynTraining *training)
{
	for (int i = 0; i < model->column_count; i++)
	{
		int			origin = 0;

		while (origin < sketch->column_count && strcmp(sketch->columns[origin].name, model->columns[i].name) != 0)
			origin++;
		if (origin == sketch->column_count || sketch->columns[origin].kind != model->columns[i].kind)
			return false;
		model->columns[i].origin = origin;
	}
	make_training(model, sketch, -1, training);
	return training->rows > 0;
}

/*
 * Learns from which raw score on rows are flagged, where the user's rule wants that.  The contamination is then the p-value
 * there: by it severities are graded.
 */
static void
learn_threshold(PynModel *model, const PynThresholdRule *rule, const PynTraining *training, const double *scores)
{
	model->threshold_method = rule->method;
	if (rule->method == PYN_THRESHOLD_CONTAMINATION && !rule->contamination_given && model->detector->cutoff > 0)
	{
		model->threshold_method = PYN_THRESHOLD_DETECTOR;
		model->threshold = model->detector->cutoff;
		strcpy(model->threshold_reason, "what the algorithm itself calls an outlier");
	}
	else if (rule->method <= PYN_THRESHOLD_SCORE)
		return;
	else
		model->threshold = pyn_threshold_fit(rule, &model->calibration, scores, training->weights, training->rows,
										 model->threshold_reason);
	model->contamination = Min(pyn_p_value(&model->calibration, model->threshold), 0.5);
}

/* Scores the training rows and learns what scores mean. */
static void
calibrate(PynModel *model, const PynThresholdRule *rule, const PynTraining *training)
{
	double	   *scores = pyn_new(double, training->rows);

	pyn_calibrate(&model->calibration, model->detector, model->state, training, scores);
	learn_threshold(model, rule, training, scores);
	pfree(scores);
}

/*
 * pyn_model_fit fits a model to a settled sketch and appends its bytes.  Returns NULL, or why it cannot.
 */
const char *
pyn_model_fit(const PynSketch *sketch, const PynFitOptions *options, PynModel **result, PynWriter *writer)
{
	PynModel   *model = palloc0(sizeof(PynModel));
	PynTraining training = {.seed = options->seed};
	PynWriter	parameters;
	PynReader	reader;
	int			label = -1;
	const char *problem;

	*result = model;
	model->detector = options->plan.detector;
	model->seed = options->seed;
	model->contamination = options->contamination;
	model->threshold = options->threshold;
	model->rows = sketch->rows;
	model->training_rows = sketch->sample.count;
	model->zone_offset = options->zone_offset;
	model->zone = options->zone;
	Assert(strlen(options->zone_name) < PYN_ZONE_SIZE);
	strcpy(model->zone_name, options->zone_name);
	set_columns(model, sketch, options->label);
	pyn_set_rules(model, options->rules, options->rule_count);
	if (sketch->rows == 0)
		return "there are no rows";
	if (sketch->rows > MOST_ROWS)
		return "there are too many rows";
	pyn_choose_features(model, sketch, options->all_text);
	if (model->feature_count == 0)
		return "no column varies";
	if (model->feature_count > PYN_MAX_FEATURES)
		return "there are too many columns";

	if (options->label != NULL && pyn_plan_learns(&options->plan))
		label = pyn_sketch_find_column(sketch, options->label);
	if (label >= 0 && pyn_kind_is_text(sketch->columns[label].kind))
		return "the label is a text";
	make_training(model, sketch, label, &training);
	if (training.total_weight < 2)
		return "only one row has a value";
	if (options->row_label_count > 0 && pyn_plan_learns(&options->plan))
		pyn_add_row_labels(model, options, &training);
	pyn_writer_init(&parameters, 65536);
	model->detector->fit(&training, &options->plan, &parameters);
	pyn_reader_init(&reader, parameters.data, parameters.length);
	problem = model->detector->open(&reader, model->feature_count, &model->state);
	if (problem != NULL || pyn_reader_left(&reader) > 0)
		return problem != NULL ? problem : "the detector wrote more than it reads";
	model->parameter_bytes = parameters.length;
	calibrate(model, &options->rule, &training);

	pyn_model_write(model, parameters.data, parameters.length, writer);
	pfree(parameters.data);
	pfree((void *) training.values);
	pfree((void *) training.weights);
	pfree((void *) training.centres);
	if (training.labels != NULL)
		pfree((void *) training.labels);
	if (training.extra_rows > 0)
	{
		pfree((void *) training.extra_values);
		pfree((void *) training.extra_labels);
	}
	return NULL;
}

/*
 * pyn_override_threshold sets what a call with a given model asks for: a contamination by which it then flags, a score from
 * which on it does, or by both the one for severities and the other for flags.
 */
void
pyn_override_threshold(PynModel *model, double contamination, double threshold)
{
	if (contamination == contamination)
	{
		model->contamination = contamination;
		if (model->threshold_method > PYN_THRESHOLD_SCORE)
		{
			model->threshold_method = PYN_THRESHOLD_CONTAMINATION;
			model->threshold = pyn_nan();
		}
	}
	if (threshold == threshold)
	{
		model->threshold_method = PYN_THRESHOLD_SCORE;
		model->threshold = threshold;
	}
}

/*
 * pyn_threshold_score gives the score from which on rows are flagged.
 */
double
pyn_threshold_score(const PynModel *model)
{
	if (model->threshold_method == PYN_THRESHOLD_SCORE)
		return model->threshold;
	return pyn_score(&model->calibration, model->threshold_method > PYN_THRESHOLD_SCORE ? model->threshold :
					 pyn_raw_of_p(&model->calibration, model->contamination));
}

/*
 * pyn_judge gives a raw score its meaning under the model's contamination and threshold.
 */
PynVerdict
pyn_judge(const PynModel *model, double raw)
{
	PynVerdict	verdict;
	double		c = model->contamination;

	verdict.is_suppressed = false;
	verdict.raw = raw;
	verdict.score = pyn_score(&model->calibration, raw);
	verdict.p_value = pyn_p_value(&model->calibration, raw);
	if (model->threshold_method > PYN_THRESHOLD_SCORE)
		verdict.is_anomaly = raw >= model->threshold;
	else if (model->threshold_method == PYN_THRESHOLD_SCORE)
		verdict.is_anomaly = verdict.score >= model->threshold;
	else
		verdict.is_anomaly = verdict.p_value <= c;
	if (!verdict.is_anomaly)
		verdict.severity = verdict.p_value <= 3 * c ? PYN_SEVERITY_LOW : PYN_SEVERITY_NONE;
	else if (verdict.p_value <= c / 100)
		verdict.severity = PYN_SEVERITY_CRITICAL;
	else if (verdict.p_value <= c / 10)
		verdict.severity = PYN_SEVERITY_HIGH;
	else
		verdict.severity = PYN_SEVERITY_MEDIUM;
	return verdict;
}

/*
 * pyn_all_missing says whether a row has no value in any column that the model uses: there is nothing to score then.
 */
bool
pyn_all_missing(const PynModel *model, const PynCell *cells, int stride)
{
	for (int i = 0; i < model->feature_count; i++)
	{
		int			column = model->features[i].column;
		PynCell		cell = cells[(Size) column * stride];

		if (pyn_kind_is_text(model->columns[column].kind) ? cell.hash != 0 : pyn_is_finite(cell.number))
			return false;
	}
	return true;
}
