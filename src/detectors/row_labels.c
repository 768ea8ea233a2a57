/*
 * row_labels.c
 *		Brings what people have said of flagged rows to the rows that a model is fitted from.
 *
 * A label comes with the values that its row had when it was flagged.  Where the sample has a row that gives the same features,
 * that one is labelled; else the label is about a row that was not sampled, or has changed since, and is added beside the
 * sample, for learning from labels only: what is found without labels, and what scores mean, stays that of a uniform sample.
 * So no row counts twice.  Two labels of equal rows go to two rows.
 *
 * A row that does not have a column which the model uses, or has it as another type, cannot be encoded and is left out.
 */
#include "kernel/port.h"
#include "detectors/model.h"

/* Where the rows' columns are in the model, by their place in the row labelled last: mostly all rows have the same. */
typedef struct Places
{
	int			room;
	int		   *columns;
	int			next;			/* where the search begins */
} Places;

static int
find_place(const PynModel *model, Places *places, const PynRowLabel *row, int i)
{
	int			column = i < places->room ? places->columns[i] : -1;

	if (column >= 0 && strcmp(model->columns[column].name, row->names[i]) == 0)
		return column;
	for (int step = 0; step < model->column_count; step++)
	{
		column = (places->next + step) % model->column_count;
		if (strcmp(model->columns[column].name, row->names[i]) == 0)
		{
			places->next = column + 1;
			if (i < places->room)
				places->columns[i] = column;
			return column;
		}
	}
	return -1;
}

static bool
kinds_fit(PynKind given, PynKind wanted)
{
	bool		given_number = given == PYN_KIND_INTEGER || given == PYN_KIND_NUMBER;

	return given == PYN_KIND_NONE || given == wanted ||
		(given_number && (wanted == PYN_KIND_INTEGER || wanted == PYN_KIND_NUMBER));
}

/* Puts a row's values into the model's columns; false if one that the model uses is missing or of another type. */
static bool
take_cells(const PynModel *model, Places *places, const PynRowLabel *row, PynCell *cells, bool *given)
{
	memset(given, 0, sizeof(bool) * model->column_count);
	for (int i = 0; i < model->column_count; i++)
		cells[i] = pyn_null_cell(model->columns[i].kind);
	for (int i = 0; i < row->count; i++)
	{
		int			column = find_place(model, places, row, i);

		if (column < 0 || !kinds_fit(row->kinds[i], model->columns[column].kind))
			continue;
		given[column] = true;
		if (row->kinds[i] != PYN_KIND_NONE)
			cells[column] = row->cells[i];
	}
	for (int i = 0; i < model->feature_count; i++)
		if (!given[model->features[i].column])
			return false;
	return true;
}

/* Missing values are alike, and both zeros. */
static uint64
bits_of(double value)
{
	uint64		bits;

	if (value != value)
		return PYN_NAN_BITS;
	value += 0.0;
	memcpy(&bits, &value, sizeof(bits));
	return bits;
}

static uint64
hash_features(const double *values, Size stride, int features)
{
	uint64		hash = 0;

	for (int i = 0; i < features; i++)
		hash = pyn_hash_combine(hash, bits_of(values[i * stride]));
	return hash;
}

static bool
is_same(const PynTraining *training, int row, const double *features)
{
	for (int i = 0; i < training->features; i++)
		if (bits_of(training->values[(Size) i * training->rows + row]) != bits_of(features[i]))
			return false;
	return true;
}

/* The first row of the sample that gives these features and that nobody has labelled; -1: none. */
static int
find_row(const PynTraining *training, const uint64 *hashes, const int8 *labels, const double *features)
{
	uint64		hash = hash_features(features, 1, training->features);

	for (int row = 0; row < training->rows; row++)
		if (hashes[row] == hash && labels[row] < PYN_LABEL_FALSE_ALARM && is_same(training, row, features))
			return row;
	return -1;
}

/*
 * pyn_add_row_labels adds the options' labels to those of the training rows.
 */
void
pyn_add_row_labels(const PynModel *model, const PynFitOptions *options, PynTraining *training)
{
	int			count = options->row_label_count;
	PynRowLabelUse use = {0};
	Places		places = {.room = model->column_count,.columns = pyn_new(int, model->column_count)};
	PynCell    *cells = pyn_new(PynCell, model->column_count);
	bool	   *given = pyn_new(bool, model->column_count);
	double	   *features = pyn_new(double, model->feature_count);
	uint64	   *hashes = pyn_new(uint64, training->rows);
	int8	   *labels = (int8 *) training->labels;
	double	   *extra_values = pyn_new(double, (Size) model->feature_count * count);
	int8	   *extra_labels = pyn_new(int8, count);

	for (int i = 0; i < model->column_count; i++)
		places.columns[i] = -1;
	if (labels == NULL)
	{
		labels = pyn_new(int8, training->rows);
		memset(labels, PYN_LABEL_UNKNOWN, training->rows);
	}
	for (int row = 0; row < training->rows; row++)
	{
		if (row % 1024 == 0)
			CHECK_FOR_INTERRUPTS();
		hashes[row] = hash_features(training->values + row, training->rows, training->features);
	}
	for (int i = 0; i < count; i++)
	{
		const PynRowLabel *said = &options->row_labels[i];
		int8		label = said->is_anomaly ? PYN_LABEL_FOUND : PYN_LABEL_FALSE_ALARM;
		int			row;

		CHECK_FOR_INTERRUPTS();
		if (!take_cells(model, &places, said, cells, given) || pyn_all_missing(model, cells, 1))
		{
			use.left_out++;
			continue;
		}
		use.anomalies += said->is_anomaly;
		use.false_alarms += !said->is_anomaly;
		pyn_encode_row(model, cells, features);
		row = find_row(training, hashes, labels, features);
		if (row >= 0)
		{
			labels[row] = label;
			continue;
		}
		for (int j = 0; j < model->feature_count; j++)
			extra_values[(Size) j * count + training->extra_rows] = features[j];
		extra_labels[training->extra_rows++] = label;
	}

	/* Close the gaps that rows have left which were in the sample. */
	for (int j = 1; j < model->feature_count; j++)
		memmove(extra_values + (Size) j * training->extra_rows, extra_values + (Size) j * count,
				sizeof(double) * training->extra_rows);
	training->labels = labels;
	training->extra_values = extra_values;
	training->extra_labels = extra_labels;
	if (training->extra_rows == 0)
	{
		pfree(extra_values);
		pfree(extra_labels);
	}
	if (options->label_use != NULL)
		*options->label_use = use;
	pfree(places.columns);
	pfree(cells);
	pfree(given);
	pfree(features);
	pfree(hashes);
}
