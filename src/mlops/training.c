/*
 * training.c
 *		Fits a model from a stored sketch.
 *
 * The relation is not read again: its sketch holds the row sample and all else that a detector learns from, but for what people
 * have said of its anomalies, which is an artifact, too.  What is fitted depends on these two, the options and the code alone, so
 * whoever has them can make the same bytes.
 */
#include "mlops/mlops.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "detectors/model_type.h"
#include "detectors/row_values.h"
#include "kernel/artifact.h"
#include "kernel/json_reader.h"
#include "sketch/cell.h"
#include "sketch/sketch_store.h"

/* The object without a member. */
static Jsonb *
without(Jsonb *object, const char *name)
{
	return DatumGetJsonbP(DirectFunctionCall2(jsonb_delete, JsonbPGetDatum(object), CStringGetTextDatum(name)));
}

/*
 * pyn_mlops_read_options reads the order's options as pynomaly.fit does, so that a misspelt one is refused before a
 * long scan.  A NaN for the contamination means what the options say.  With named columns all text plays a part, as
 * in pynomaly.detect.  What only the scan needs was checked there; a journey's options are those of detect.
 */
void
pyn_mlops_read_options(PynTrainingOrder *order, const char *algorithm, double contamination,
					   bool columns_named, bool of_journey)
{
	Jsonb	   *options = order->options;

	if (options != NULL)
		options = without(options, "sample_text");
	if (options != NULL && of_journey)
		options = without(options, "explain");
	order->call = palloc(sizeof(PynCallOptions));
	pyn_call_options(algorithm != NULL ? algorithm : "auto", options, false, order->call);
	if (!isnan(contamination))
		pyn_set_contamination(order->call, contamination);
	order->call->fit.all_text = columns_named;
}

/* The names of the columns that play a part, in the order of the model's. */
static ArrayType *
used_columns(const PynModel *model)
{
	Datum	   *names = palloc(sizeof(Datum) * Max(model->column_count, 1));
	int			count = 0;

	for (int i = 0; i < model->column_count; i++)
	{
		const PynModelColumn *column = &model->columns[i];
		Name		name;

		if (column->use != PYN_USED)
			continue;
		name = palloc0(NAMEDATALEN);
		namestrcpy(name, pyn_utf8_to_server(column->name, strlen(column->name)));
		names[count++] = NameGetDatum(name);
	}
	return construct_array(names, count, NAMEOID, NAMEDATALEN, false, TYPALIGN_CHAR);
}

/*
 * pyn_mlops_learns_labels says whether what was ordered, whose options are read, would learn from labels.
 */
bool
pyn_mlops_learns_labels(const PynTrainingOrder *order)
{
	return pyn_plan_learns(&order->call->fit.plan);
}

/* Hands what people have said of rows to the fit. */
static void
read_labels(const PynTrainingOrder *order, PynFitOptions *fit, PynRowLabelUse *use)
{
	bytea	   *bytes = pyn_artifact_get(order->labels, order->owner);
	Datum		json = DirectFunctionCall1(jsonb_in, CStringGetDatum(text_to_cstring((text *) bytes)));

	fit->row_labels = pyn_read_row_labels(DatumGetJsonbP(json), &fit->row_label_count);
	fit->label_use = use;
}

static Jsonb *
describe_labels(const PynTrainingOrder *order, const PynRowLabelUse *use)
{
	PynJson		json = {0};

	pyn_json_open_object(&json, NULL);
	pyn_json_digest(&json, "digest", order->labels);
	pyn_json_integer(&json, "anomalies", use->anomalies);
	pyn_json_integer(&json, "false_alarms", use->false_alarms);
	pyn_json_integer(&json, "left_out", use->left_out);
	pyn_json_close_object(&json);
	return pyn_json_finish(&json);
}

/*
 * pyn_mlops_fit fits the model that was ordered; what it gives is in the current memory context.
 */
void
pyn_mlops_fit(const PynTrainingOrder *order, PynTrained *trained)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext context = AllocSetContextCreate(caller, "pynomaly training", ALLOCSET_DEFAULT_SIZES);
	const char *what = order->source != NULL ? psprintf("relation %s", order->source) : "the sketch";
	PynFitOptions fit = order->call->fit;
	bool		labelled = order->labels != NULL && pyn_mlops_learns_labels(order);
	PynRowLabelUse use = {0};
	PynSketch  *sketch;
	PynModel   *model;
	Datum		value;

	MemoryContextSwitchTo(context);
	sketch = pyn_sketch_load(order->sketch, order->owner);
	if (labelled)
		read_labels(order, &fit, &use);
	MemoryContextSwitchTo(caller);
	value = pyn_fit_sketch(sketch, &fit, what);
	MemoryContextReset(context);

	MemoryContextSwitchTo(context);
	model = pyn_model_from_datum(value);
	MemoryContextSwitchTo(caller);
	trained->bytes = DatumGetByteaPP(value);
	trained->algorithm = model->detector->name;
	trained->contamination = model->contamination;
	trained->rows = model->rows;
	trained->training_rows = model->training_rows;
	trained->seed = (int64) model->seed;
	trained->columns = used_columns(model);
	trained->labels = labelled ? describe_labels(order, &use) : NULL;
	MemoryContextDelete(context);
}
