/*
 * evaluation.c
 *		pynomaly.evaluate and pynomaly.compare: what models are worth on labelled rows.
 *
 * The source is read once, as the caller, for all models; rows are scored in blocks, and of each labelled row its raw
 * scores, label and flags stay in memory: with what the measures need, BYTES_PER_ROW and BYTES_PER_MODEL more for each
 * model, bounded by pynomaly.work_mem.  Nothing is written.
 */
#include "kernel/port.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

#include "detectors/metrics.h"
#include "detectors/score_rows.h"
#include "kernel/options.h"
#include "sketch/sketch_type.h"

#define BYTES_PER_ROW 46
#define BYTES_PER_MODEL 22
#define MOST_MODELS 8
#define MOST_ROWS 1000000000
#define ROW_MEMORY (64 * 1024)	/* what reading values may take before it is freed */
#define CONFIDENCE 0.95
#define REPLICATES 1000

PG_FUNCTION_INFO_V1(pyn_evaluate_value);
PG_FUNCTION_INFO_V1(pyn_evaluate_name);
PG_FUNCTION_INFO_V1(pyn_compare_value);
PG_FUNCTION_INFO_V1(pyn_compare_name);

/* One model and what it says of the rows. */
typedef struct Judge
{
	PynModel   *model;
	const char *name;
	int		   *positions;		/* of the model's columns among the source's */
	PynCell    *cells;			/* of the block, column-major */
	double	   *features;
	double	   *row_features;
	double		block_raw[PYN_SCORE_BLOCK];
	double	   *raw;			/* of the labelled rows */
	bool	   *flagged;
} Judge;

typedef struct Evaluation
{
	PynSource  *source;
	int			label;			/* its place among the source's columns */
	const char *label_name;
	int			judge_count;
	Judge	   *judges;
	PynCell    *row_cells;
	MemoryContext row_context;
	int			block_rows;
	bool		block_positive[PYN_SCORE_BLOCK];
	int64		rows;			/* read */
	int64		unlabelled;
	int64		missing;		/* labelled, but without a value that a model can score */
	int			count;			/* of rows with a label and scores */
	int			capacity;
	bool	   *positive;
	int			positives;
} Evaluation;

/* ---------------------------------------------------------------- the source */

static int
find_name(Datum *names, int count, const char *name)
{
	for (int i = 0; i < count; i++)
		if (strcmp(NameStr(*DatumGetName(names[i])), name) == 0)
			return i;
	return -1;
}

static bool
kinds_agree(PynKind given, PynKind wanted)
{
	return given == wanted || ((given == PYN_KIND_INTEGER || given == PYN_KIND_NUMBER) &&
							   (wanted == PYN_KIND_INTEGER || wanted == PYN_KIND_NUMBER));
}

/* A model that was shown the answer is not evaluated by it. */
static void
refuse_label_as_feature(const Evaluation *evaluation)
{
	for (int i = 0; i < evaluation->judge_count; i++)
	{
		const PynModel *model = evaluation->judges[i].model;

		for (int column = 0; column < model->column_count; column++)
			if (evaluation->judges[i].positions[column] == evaluation->label && model->columns[column].use == PYN_USED)
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("label column \"%s\" is a feature of the model%s%s", evaluation->label_name,
								evaluation->judges[i].name[0] != 0 ? " " : "", evaluation->judges[i].name),
						 errhint("Fit it with the option label_column.")));
	}
}

static void
require_kinds(const Evaluation *evaluation)
{
	const PynSource *source = evaluation->source;
	PynKind		kind = source->columns[evaluation->label].reader.kind;

	if (kind != PYN_KIND_BOOLEAN && kind != PYN_KIND_INTEGER && kind != PYN_KIND_NUMBER)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("label column \"%s\" of %s is of kind %s", evaluation->label_name, source->description,
						pyn_kind_name(kind)),
				 errhint("It must be boolean, or numbers 0 and 1; NULL is no label.")));
	for (int i = 0; i < evaluation->judge_count; i++)
	{
		const Judge *judge = &evaluation->judges[i];

		for (int column = 0; column < judge->model->column_count; column++)
		{
			const PynSourceColumn *given = &source->columns[judge->positions[column]];

			if (!kinds_agree(given->reader.kind, judge->model->columns[column].kind))
				ereport(ERROR,
						(errcode(ERRCODE_DATATYPE_MISMATCH),
						 errmsg("column \"%s\" of %s is of kind %s, and of kind %s in the model", given->name,
								source->description, pyn_kind_name(given->reader.kind),
								pyn_kind_name(judge->model->columns[column].kind))));
		}
	}
}

/* Opens the relation with the columns of all models and the label. */
static void
open_source(Evaluation *evaluation, Oid relation)
{
	PynSourceOptions options = {0};
	Datum	   *names;
	int			most = 1;
	int			count = 0;
	NameData	label;

	for (int i = 0; i < evaluation->judge_count; i++)
		most += evaluation->judges[i].model->column_count;
	names = pyn_new(Datum, most);
	for (int i = 0; i < evaluation->judge_count; i++)
	{
		Judge	   *judge = &evaluation->judges[i];

		judge->positions = pyn_new(int, judge->model->column_count);
		for (int column = 0; column < judge->model->column_count; column++)
		{
			const char *text = judge->model->columns[column].name;
			char	   *name = pyn_utf8_to_server(text, strlen(text));
			Name		padded = palloc0(NAMEDATALEN);

			CHECK_FOR_INTERRUPTS();
			namestrcpy(padded, name);
			judge->positions[column] = find_name(names, count, NameStr(*padded));
			if (judge->positions[column] >= 0)
				continue;
			judge->positions[column] = count;
			names[count++] = NameGetDatum(padded);
		}
	}
	namestrcpy(&label, evaluation->label_name);
	evaluation->label = find_name(names, count, NameStr(label));
	if (evaluation->label < 0)
	{
		evaluation->label = count;
		names[count++] = NameGetDatum(&label);
	}
	options.columns = construct_array(names, count, NAMEOID, NAMEDATALEN, false, TYPALIGN_CHAR);
	evaluation->source = pyn_source_of_relation(relation, &options);
	require_kinds(evaluation);
	refuse_label_as_feature(evaluation);
}

/* ---------------------------------------------------------------- the scan */

static void
grow(Evaluation *evaluation)
{
	Size		wanted = evaluation->capacity == 0 ? 8192 : (Size) evaluation->capacity * 2;
	Size		bytes = BYTES_PER_ROW + (Size) BYTES_PER_MODEL * evaluation->judge_count;
	Size		most = Min((Size) MOST_ROWS, (Size) pyn_work_mem * 1024 / bytes);

	if (evaluation->count >= most)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("%s has more than %zu labelled rows, more than pynomaly.work_mem allows",
						evaluation->source->description, most),
				 errhint("Raise pynomaly.work_mem (%zu bytes a row), or evaluate a view of a sample.", bytes)));
	wanted = Min(wanted, most);
	evaluation->positive = evaluation->capacity == 0 ? pyn_new(bool, wanted) :
		pyn_repalloc_huge(evaluation->positive, wanted * sizeof(bool));
	for (int i = 0; i < evaluation->judge_count; i++)
	{
		Judge	   *judge = &evaluation->judges[i];

		judge->raw = evaluation->capacity == 0 ? pyn_new(double, wanted) :
			pyn_repalloc_huge(judge->raw, wanted * sizeof(double));
		judge->flagged = evaluation->capacity == 0 ? pyn_new(bool, wanted) :
			pyn_repalloc_huge(judge->flagged, wanted * sizeof(bool));
	}
	evaluation->capacity = (int) wanted;
}

static bool
is_flagged(const Judge *judge, int row)
{
	const PynModel *model = judge->model;
	PynVerdict	verdict = pyn_judge(model, judge->block_raw[row]);

	if (verdict.is_anomaly && model->rule_count > 0)
	{
		for (int i = 0; i < model->feature_count; i++)
			judge->row_features[i] = judge->features[(Size) i * PYN_SCORE_BLOCK + row];
		pyn_suppress(model, judge->row_features, &verdict);
	}
	return verdict.is_anomaly;
}

static void
flush_block(Evaluation *evaluation)
{
	CHECK_FOR_INTERRUPTS();
	for (int i = 0; i < evaluation->judge_count; i++)
	{
		Judge	   *judge = &evaluation->judges[i];

		pyn_encode_block(judge->model, judge->cells, PYN_SCORE_BLOCK, evaluation->block_rows, judge->features);
		judge->model->detector->score_block(judge->model->state, judge->features, PYN_SCORE_BLOCK,
											evaluation->block_rows, judge->block_raw);
	}
	for (int row = 0; row < evaluation->block_rows; row++)
	{
		bool		missing = false;

		for (int i = 0; i < evaluation->judge_count; i++)
			missing |= pyn_all_missing(evaluation->judges[i].model, evaluation->judges[i].cells + row, PYN_SCORE_BLOCK);
		if (missing)
		{
			evaluation->missing++;
			continue;
		}
		if (evaluation->count == evaluation->capacity)
			grow(evaluation);
		evaluation->positive[evaluation->count] = evaluation->block_positive[row];
		evaluation->positives += evaluation->block_positive[row];
		for (int i = 0; i < evaluation->judge_count; i++)
		{
			Judge	   *judge = &evaluation->judges[i];

			judge->raw[evaluation->count] = judge->block_raw[row];
			judge->flagged[evaluation->count] = is_flagged(judge, row);
		}
		evaluation->count++;
	}
	evaluation->block_rows = 0;
}

static void
collect_row(void *state, TupleTableSlot *slot)
{
	Evaluation *evaluation = state;
	const PynSourceColumn *label = &evaluation->source->columns[evaluation->label];
	MemoryContext old = MemoryContextSwitchTo(evaluation->row_context);
	PynCell		cell;

	pyn_source_cells(evaluation->source, slot, evaluation->row_cells, NULL);
	if (MemoryContextMemAllocated(evaluation->row_context, false) > ROW_MEMORY)
		MemoryContextReset(evaluation->row_context);
	MemoryContextSwitchTo(old);
	evaluation->rows++;
	cell = evaluation->row_cells[evaluation->label];
	if (pyn_cell_is_null(label->reader.kind, cell))
	{
		evaluation->unlabelled++;
		return;
	}
	if (cell.number != 0 && cell.number != 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("label column \"%s\" of %s has the value %g", evaluation->label_name,
						evaluation->source->description, cell.number),
				 errhint("It must be boolean, or numbers 0 and 1; NULL is no label.")));
	evaluation->block_positive[evaluation->block_rows] = cell.number == 1;
	for (int i = 0; i < evaluation->judge_count; i++)
	{
		Judge	   *judge = &evaluation->judges[i];

		for (int column = 0; column < judge->model->column_count; column++)
			judge->cells[(Size) column * PYN_SCORE_BLOCK + evaluation->block_rows] =
				evaluation->row_cells[judge->positions[column]];
	}
	if (++evaluation->block_rows == PYN_SCORE_BLOCK)
		flush_block(evaluation);
}

/* Reads and scores all rows; both labels must be there. */
static void
scan(Evaluation *evaluation, Oid relation)
{
	open_source(evaluation, relation);
	evaluation->row_cells = pyn_new(PynCell, evaluation->source->column_count);
	evaluation->row_context = AllocSetContextCreate(CurrentMemoryContext, "pynomaly evaluation row",
													ALLOCSET_DEFAULT_SIZES);
	for (int i = 0; i < evaluation->judge_count; i++)
	{
		Judge	   *judge = &evaluation->judges[i];

		judge->cells = pyn_new(PynCell, (Size) judge->model->column_count * PYN_SCORE_BLOCK);
		judge->features = pyn_new(double, (Size) judge->model->feature_count * PYN_SCORE_BLOCK);
		judge->row_features = pyn_new(double, judge->model->feature_count);
	}
	evaluation->source->rereads = true; /* there is no second scan to keep rows for */
	pyn_source_scan(evaluation->source, collect_row, evaluation);
	flush_block(evaluation);
	if (evaluation->positives == 0 || evaluation->positives == evaluation->count)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 evaluation->count == 0 ?
				 errmsg("%s has no row with a label in column \"%s\"", evaluation->source->description,
						evaluation->label_name) :
				 errmsg("all labels in column \"%s\" of %s are the same", evaluation->label_name,
						evaluation->source->description),
				 errhint("Rows of both kinds are needed: anomalies (true, 1) and ordinary ones (false, 0).")));
}

static Oid
read_source(FunctionCallInfo fcinfo, int source, int label, Evaluation *evaluation)
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
put_evaluation(ReturnSetInfo *info, const Evaluation *evaluation, const PynOption *options)
{
	static const char *const names[PYN_METRIC_COUNT] = {
		[PYN_ROC_AUC] = "roc_auc",
		[PYN_AVERAGE_PRECISION] = "average_precision",
		[PYN_PRECISION_AT_K] = "precision_at_k",
		[PYN_PRECISION] = "precision",
		[PYN_RECALL] = "recall",
		[PYN_F1] = "f1",
	};
	const Judge *judge = &evaluation->judges[0];
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
		[OPTION_K] = {"k", PYN_OPTION_INTEGER, 1, MOST_ROWS},
		[OPTION_REPLICATES] = {"replicates", PYN_OPTION_INTEGER, 0, 100000, .number = REPLICATES},
		[OPTION_CONFIDENCE] = {"confidence", PYN_OPTION_NUMBER, 0.5, 0.999999, .number = CONFIDENCE},
		[OPTION_SEED] = {"seed", PYN_OPTION_INTEGER, 0, 9007199254740991.0, .number = PYN_DEFAULT_SEED},
		[OPTION_CONTAMINATION] = {"contamination", PYN_OPTION_NUMBER, -INFINITY, INFINITY, .number = NAN},
		[OPTION_THRESHOLD] = {"threshold", PYN_OPTION_NUMBER, 0, 1, .number = NAN},
	};
	Judge		judge = {.name = ""};
	Evaluation	evaluation = {.judge_count = 1, .judges = &judge};
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
	scan(&evaluation, relation);
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
differ_in_flags(const Evaluation *evaluation, const Judge *model, const Judge *baseline)
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
put_comparison(ReturnSetInfo *info, const Evaluation *evaluation)
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
			const Judge *model = &evaluation->judges[i];
			const Judge *baseline = &evaluation->judges[j];
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
read_models(FunctionCallInfo fcinfo, int argument, bool by_name, Evaluation *evaluation)
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
	evaluation->judges = pyn_new0(Judge, count);
	evaluation->judge_count = count;
	for (int i = 0; i < count; i++)
	{
		Judge	   *judge = &evaluation->judges[i];

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
	Evaluation	evaluation = {0};
	Oid			relation = read_source(fcinfo, 0, 1, &evaluation);

	InitMaterializedSRF(fcinfo, 0);
	read_models(fcinfo, 2, by_name, &evaluation);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	scan(&evaluation, relation);
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
