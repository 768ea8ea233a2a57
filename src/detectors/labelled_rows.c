/*
 * labelled_rows.c
 *		Reads the labelled rows of a source and what models say of them.
 *
 * The source is read once, as the caller, for all models; rows are scored in blocks, and of each labelled row its raw
 * scores, label and flags stay in memory: with what the measures need, BYTES_PER_ROW and BYTES_PER_MODEL more for each
 * model, bounded by pynomaly.work_mem.  Nothing is written.
 */
#include "kernel/port.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "detectors/labelled_rows.h"
#include "sketch/sketch_type.h"

#define BYTES_PER_ROW 46
#define BYTES_PER_MODEL 22
#define ROW_MEMORY (64 * 1024)	/* what reading values may take before it is freed */

/* ---------------------------------------------------------------- the source */

static int
find_name(Datum *names, int count, const char *name)
{
	for (int i = 0; i < count; i++)
		if (strcmp(NameStr(*DatumGetName(names[i])), name) == 0)
			return i;
	return -1;
}

/* A model that was shown the answer is not evaluated by it. */
static void
refuse_label_as_feature(const PynEvaluation *evaluation)
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
require_kinds(const PynEvaluation *evaluation)
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
		const PynJudge *judge = &evaluation->judges[i];

		for (int column = 0; column < judge->model->column_count; column++)
		{
			const PynSourceColumn *given = &source->columns[judge->positions[column]];

			if (!pyn_kinds_agree(given->reader.kind, judge->model->columns[column].kind))
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
open_source(PynEvaluation *evaluation, Oid relation)
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
		PynJudge	   *judge = &evaluation->judges[i];

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

/* Rows come while the source's query runs, whose memory goes with it. */
static void
grow(PynEvaluation *evaluation)
{
	MemoryContext old = MemoryContextSwitchTo(evaluation->context);
	Size		wanted = evaluation->capacity == 0 ? 8192 : (Size) evaluation->capacity * 2;
	Size		bytes = BYTES_PER_ROW + (Size) BYTES_PER_MODEL * evaluation->judge_count;
	Size		most = Min((Size) PYN_MOST_LABELLED_ROWS, (Size) pyn_work_mem * 1024 / bytes);

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
		PynJudge	   *judge = &evaluation->judges[i];

		judge->raw = evaluation->capacity == 0 ? pyn_new(double, wanted) :
			pyn_repalloc_huge(judge->raw, wanted * sizeof(double));
		judge->flagged = evaluation->capacity == 0 ? pyn_new(bool, wanted) :
			pyn_repalloc_huge(judge->flagged, wanted * sizeof(bool));
	}
	evaluation->capacity = (int) wanted;
	MemoryContextSwitchTo(old);
}

static bool
is_flagged(const PynJudge *judge, int row)
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
flush_block(PynEvaluation *evaluation)
{
	CHECK_FOR_INTERRUPTS();
	for (int i = 0; i < evaluation->judge_count; i++)
	{
		PynJudge	   *judge = &evaluation->judges[i];

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
			PynJudge	   *judge = &evaluation->judges[i];

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
	PynEvaluation *evaluation = state;
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
		PynJudge	   *judge = &evaluation->judges[i];

		for (int column = 0; column < judge->model->column_count; column++)
			judge->cells[(Size) column * PYN_SCORE_BLOCK + evaluation->block_rows] =
				evaluation->row_cells[judge->positions[column]];
	}
	if (++evaluation->block_rows == PYN_SCORE_BLOCK)
		flush_block(evaluation);
}

/*
 * pyn_read_labelled_rows reads and scores all rows; raises 55000 unless both labels are there.
 */
void
pyn_read_labelled_rows(PynEvaluation *evaluation, Oid relation)
{
	open_source(evaluation, relation);
	evaluation->row_cells = pyn_new(PynCell, evaluation->source->column_count);
	evaluation->context = CurrentMemoryContext;
	evaluation->row_context = AllocSetContextCreate(CurrentMemoryContext, "pynomaly evaluation row",
													ALLOCSET_DEFAULT_SIZES);
	for (int i = 0; i < evaluation->judge_count; i++)
	{
		PynJudge	   *judge = &evaluation->judges[i];

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
