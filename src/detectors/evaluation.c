/*
 * evaluation.c
 *		pynomaly.evaluate and pynomaly.compare: what models are worth on labelled rows.
 *
 * labelled_rows.c reads the rows, once for all models; metrics.c computes the measures.  Nothing is written.
 */
#include "kernel/port.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

#include "detectors/labelled_rows.h"
#include "detectors/metrics.h"
#include "detectors/score_rows.h"
#include "kernel/options.h"
#include "sketch/sketch_type.h"

#define MOST_MODELS 8
#define CONFIDENCE 0.95
#define REPLICATES 1000

PG_FUNCTION_INFO_V1(pyn_evaluate_value);
PG_FUNCTION_INFO_V1(pyn_evaluate_name);
PG_FUNCTION_INFO_V1(pyn_compare_value);
PG_FUNCTION_INFO_V1(pyn_compare_name);

static Oid
read_source(FunctionCallInfo fcinfo, int source, int label, PynEvaluation *evaluation)
{
	if (PG_ARGISNULL(source) || PG_ARGISNULL(label))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s is NULL", PG_ARGISNULL(source) ? "source" : "label_column")));
	evaluation->label_name = pstrdup(NameStr(*PG_GETARG_NAME(label)));
	return PG_GETARG_OID(source);
}

/* ---------------------------------------------------------------- evaluate */

enum
{
	OPTION_K,
	OPTION_REPLICATES,
	OPTION_CONFIDENCE,
	OPTION_SEED,
	OPTION_CONTAMINATION,
	OPTION_THRESHOLD,
	OPTION_COUNT
};

static void
put_metric(ReturnSetInfo *info, const char *name, double value, PynInterval interval)
{
	Datum		values[4] = {CStringGetTextDatum(name), Float8GetDatum(value), Float8GetDatum(interval.low),
	Float8GetDatum(interval.high)};
	bool		nulls[4] = {false, isnan(value), isnan(value) || isnan(interval.low), isnan(value) || isnan(interval.high)};

	tuplestore_putvalues(info->setResult, info->setDesc, values, nulls);
}

static void
put_count(ReturnSetInfo *info, const char *name, double value)
{
	PynInterval none = {NAN, NAN};

	put_metric(info, name, value, none);
}

static void
put_evaluation(ReturnSetInfo *info, const PynEvaluation *evaluation, const PynOption *options)
{
	static const char *const names[PYN_METRIC_COUNT] = {
		[PYN_ROC_AUC] = "roc_auc",
		[PYN_AVERAGE_PRECISION] = "average_precision",
		[PYN_PRECISION_AT_K] = "precision_at_k",
		[PYN_PRECISION] = "precision",
		[PYN_RECALL] = "recall",
		[PYN_F1] = "f1",
	};
	const PynJudge *judge = &evaluation->judges[0];
	PynLabelled *rows = pyn_new(PynLabelled, evaluation->count);
	PynBin	   *bins = pyn_new(PynBin, evaluation->count);
	double		k = options[OPTION_K].given ? options[OPTION_K].number : evaluation->positives;
	PynInterval intervals[PYN_METRIC_COUNT];
	PynRanking	ranking;
	int			count;

	for (int row = 0; row < evaluation->count; row++)
	{
		rows[row].raw = judge->raw[row];
		rows[row].positive = evaluation->positive[row];
		rows[row].flagged = judge->flagged[row];
	}
	count = pyn_make_bins(rows, evaluation->count, bins);
	pyn_rank(bins, count, k, &ranking);
	pyn_bootstrap(bins, count, k, (int) options[OPTION_REPLICATES].number, options[OPTION_CONFIDENCE].number,
				  (uint64) options[OPTION_SEED].number, intervals);
	for (int metric = 0; metric < PYN_METRIC_COUNT; metric++)
		put_metric(info, names[metric], ranking.metrics[metric], intervals[metric]);
	put_count(info, "k", k);
	put_count(info, "true_positives", ranking.true_positives);
	put_count(info, "false_positives", ranking.false_positives);
	put_count(info, "false_negatives", ranking.positives - ranking.true_positives);
	put_count(info, "true_negatives", ranking.negatives - ranking.false_positives);
	put_count(info, "rows", (double) evaluation->rows);
	put_count(info, "anomalies", ranking.positives);
	put_count(info, "unlabelled", (double) evaluation->unlabelled);
	put_count(info, "missing", (double) evaluation->missing);
}

static Datum
evaluate(FunctionCallInfo fcinfo, bool by_name)
{
	PynOption	options[OPTION_COUNT] = {
		[OPTION_K] = {"k", PYN_OPTION_INTEGER, 1, PYN_MOST_LABELLED_ROWS},
		[OPTION_REPLICATES] = {"replicates", PYN_OPTION_INTEGER, 0, 100000, .number = REPLICATES},
		[OPTION_CONFIDENCE] = {"confidence", PYN_OPTION_NUMBER, 0.5, 0.999999, .number = CONFIDENCE},
		[OPTION_SEED] = {"seed", PYN_OPTION_INTEGER, 0, 9007199254740991.0, .number = PYN_DEFAULT_SEED},
		[OPTION_CONTAMINATION] = {"contamination", PYN_OPTION_NUMBER, -INFINITY, INFINITY, .number = NAN},
		[OPTION_THRESHOLD] = {"threshold", PYN_OPTION_NUMBER, 0, 1, .number = NAN},
	};
	PynJudge		judge = {.name = ""};
	PynEvaluation	evaluation = {.judge_count = 1, .judges = &judge};
	Oid			relation = read_source(fcinfo, 1, 2, &evaluation);

	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("model is NULL")));
	pyn_options_read(PG_ARGISNULL(3) ? NULL : PG_GETARG_JSONB_P(3), options, OPTION_COUNT, "evaluate");
	if (options[OPTION_CONTAMINATION].given)
		(void) pyn_check_contamination(options[OPTION_CONTAMINATION].number);
	judge.model = pyn_model_from_datum(by_name ? pyn_resolve_model(text_to_cstring(PG_GETARG_TEXT_PP(0))) :
									   PG_GETARG_DATUM(0));
	pyn_override_threshold(judge.model, options[OPTION_CONTAMINATION].number, options[OPTION_THRESHOLD].number);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	pyn_read_labelled_rows(&evaluation, relation);
	put_evaluation((ReturnSetInfo *) fcinfo->resultinfo, &evaluation, options);
	SPI_finish();
	return (Datum) 0;
}

/* ---------------------------------------------------------------- compare */

/* What is known of the difference of two models in one measure. */
typedef struct Difference
{
	const char *metric;
	double		value;
	double		baseline;
	PynInterval interval;
	double		p_value;
} Difference;

static void
put_difference(ReturnSetInfo *info, const char *model, const char *baseline, const Difference *difference)
{
	Datum		values[] = {
		CStringGetTextDatum(difference->metric), CStringGetTextDatum(model), CStringGetTextDatum(baseline),
		Float8GetDatum(difference->value), Float8GetDatum(difference->baseline),
		Float8GetDatum(difference->value - difference->baseline),
		Float8GetDatum(difference->interval.low), Float8GetDatum(difference->interval.high),
		Float8GetDatum(difference->p_value)
	};
	bool		nulls[lengthof(values)] = {false};

	nulls[6] = isnan(difference->interval.low);
	nulls[7] = isnan(difference->interval.high);
	nulls[8] = isnan(difference->p_value);
	tuplestore_putvalues(info->setResult, info->setDesc, values, nulls);
}

/* The interval and the probability by a normal distribution; two models that never differ are equal for certain. */
static void
judge_normal(Difference *difference, double variance)
{
	double		observed = difference->value - difference->baseline;
	double		deviation = sqrt(Max(variance, 0.0));

	if (isnan(variance))
		deviation = NAN;
	difference->interval.low = observed - 1.9599639845400545 * deviation;
	difference->interval.high = observed + 1.9599639845400545 * deviation;
	difference->p_value = deviation > 0 ? pyn_two_sided(observed / deviation) : observed == 0 ? 1.0 : NAN;
}

static Difference
differ_in_flags(const PynEvaluation *evaluation, const PynJudge *model, const PynJudge *baseline)
{
	Difference	difference = {.metric = "accuracy"};
	double		only_model = 0;
	double		only_baseline = 0;
	double		rows = evaluation->count;

	for (int row = 0; row < evaluation->count; row++)
	{
		bool		by_model = model->flagged[row] == evaluation->positive[row];
		bool		by_baseline = baseline->flagged[row] == evaluation->positive[row];

		difference.value += by_model;
		difference.baseline += by_baseline;
		only_model += by_model && !by_baseline;
		only_baseline += by_baseline && !by_model;
	}
	difference.value /= rows;
	difference.baseline /= rows;
	judge_normal(&difference, (only_model + only_baseline -
							   (only_model - only_baseline) * (only_model - only_baseline) / rows) / rows / rows);
	difference.p_value = pyn_mcnemar(only_model, only_baseline);
	return difference;
}

static Difference
differ_in_precision(const double *precisions, double **replicated, int replicates, int model, int baseline)
{
	Difference	difference = {"average_precision", precisions[model], precisions[baseline], {NAN, NAN}, NAN};
	double	   *differences = pyn_new(double, Max(replicates, 1));
	int			above = 0;
	int			below = 0;

	for (int i = 0; i < replicates; i++)
	{
		differences[i] = replicated[model][i] - replicated[baseline][i];
		above += differences[i] >= 0;
		below += differences[i] <= 0;
	}
	if (replicates < 2)
		return difference;
	difference.p_value = Min(1.0, 2.0 * (Min(above, below) + 1) / (replicates + 1));
	difference.interval = pyn_interval_of(differences, replicates, CONFIDENCE);
	pfree(differences);
	return difference;
}

static void
put_comparison(ReturnSetInfo *info, const PynEvaluation *evaluation)
{
	int			models = evaluation->judge_count;
	const double **scores = pyn_new(const double *, models);
	double	  **replicated = pyn_new(double *, models);
	double	   *areas = pyn_new(double, models);
	double	   *covariances = pyn_new(double, models * models);
	double	   *precisions = pyn_new(double, models);
	int			replicates;
	bool		few;

	for (int i = 0; i < models; i++)
	{
		scores[i] = evaluation->judges[i].raw;
		replicated[i] = pyn_new(double, REPLICATES);
	}
	pyn_delong(scores, models, evaluation->positive, evaluation->count, areas, covariances);
	/* Of one row of a kind nothing can be said. */
	few = evaluation->positives < 2 || evaluation->count - evaluation->positives < 2;
	replicates = pyn_paired_bootstrap(scores, models, evaluation->positive, evaluation->count, few ? 0 : REPLICATES,
									  PYN_DEFAULT_SEED, precisions, replicated);
	for (int i = 1; i < models; i++)
		for (int j = 0; j < i; j++)
		{
			const PynJudge *model = &evaluation->judges[i];
			const PynJudge *baseline = &evaluation->judges[j];
			Difference	difference = {.metric = "roc_auc", .value = areas[i], .baseline = areas[j]};

			judge_normal(&difference, covariances[i * models + i] + covariances[j * models + j] -
						 2 * covariances[i * models + j]);
			put_difference(info, model->name, baseline->name, &difference);
			difference = differ_in_precision(precisions, replicated, replicates, i, j);
			put_difference(info, model->name, baseline->name, &difference);
			difference = differ_in_flags(evaluation, model, baseline);
			put_difference(info, model->name, baseline->name, &difference);
		}
}

/* The models of the array argument, by value or by name. */
static void
read_models(FunctionCallInfo fcinfo, int argument, bool by_name, PynEvaluation *evaluation)
{
	Datum	   *elements;
	bool	   *nulls;
	int			count;

	if (PG_ARGISNULL(argument))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("models is NULL")));
	if (by_name)
		deconstruct_array(PG_GETARG_ARRAYTYPE_P(argument), TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &count);
	else
		deconstruct_array(PG_GETARG_ARRAYTYPE_P(argument), ARR_ELEMTYPE(PG_GETARG_ARRAYTYPE_P(argument)), -1, false,
						  TYPALIGN_DOUBLE, &elements, &nulls, &count);
	if (count < 2 || count > MOST_MODELS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%d models are given to compare", count),
				 errhint("Give 2 to %d.", MOST_MODELS)));
	evaluation->judges = pyn_new0(PynJudge, count);
	evaluation->judge_count = count;
	for (int i = 0; i < count; i++)
	{
		PynJudge	   *judge = &evaluation->judges[i];

		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("model %d is NULL", i + 1)));
		judge->name = by_name ? TextDatumGetCString(elements[i]) : psprintf("%d", i + 1);
		judge->model = pyn_model_from_datum(by_name ? pyn_resolve_model(judge->name) : elements[i]);
	}
}

static Datum
compare(FunctionCallInfo fcinfo, bool by_name)
{
	PynEvaluation	evaluation = {0};
	Oid			relation = read_source(fcinfo, 0, 1, &evaluation);

	InitMaterializedSRF(fcinfo, 0);
	read_models(fcinfo, 2, by_name, &evaluation);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	pyn_read_labelled_rows(&evaluation, relation);
	put_comparison((ReturnSetInfo *) fcinfo->resultinfo, &evaluation);
	SPI_finish();
	return (Datum) 0;
}

/*
 * evaluate(model, source regclass, label_column name, options jsonb) → TABLE(metric, value, low, high)
 */
Datum
pyn_evaluate_value(PG_FUNCTION_ARGS)
{
	return evaluate(fcinfo, false);
}

/*
 * evaluate(model text, source regclass, label_column name, options jsonb) → TABLE(metric, value, low, high)
 */
Datum
pyn_evaluate_name(PG_FUNCTION_ARGS)
{
	return evaluate(fcinfo, true);
}

/*
 * compare(source regclass, label_column name, VARIADIC models model[]) → TABLE(metric, model, baseline, ...)
 */
Datum
pyn_compare_value(PG_FUNCTION_ARGS)
{
	return compare(fcinfo, false);
}

/*
 * compare(source regclass, label_column name, VARIADIC models text[]) → TABLE(metric, model, baseline, ...)
 */
Datum
pyn_compare_name(PG_FUNCTION_ARGS)
{
	return compare(fcinfo, true);
}
