/*
 * row_values.c
 *		A flagged row's values as JSON, and labels that come with such.
 *
 * What is kept is what a model sees: numbers as they are, true and false, null where there is no value; all else as a string of
 * its kind and the cell, times in seconds and texts as their hash, so that a text cannot be read from it.  So a label can teach a
 * model that is fitted later, with other features, from a row that may have been mended or removed since.  A number comes back
 * with the same bits.
 */
#include "kernel/port.h"

#include "utils/builtins.h"
#include "utils/numeric.h"

#include "common/shortest_dec.h"
#include "detectors/row_values.h"
#include "kernel/json_reader.h"
#include "sketch/cell.h"

static void
put_value(PynJson *json, const char *name, PynKind kind, PynCell cell)
{
	bool		is_text = pyn_kind_is_text(kind);

	if (is_text ? cell.hash == 0 : !pyn_is_finite(cell.number))
		pyn_json_null(json, name);
	else if (kind == PYN_KIND_INTEGER || kind == PYN_KIND_NUMBER)
		pyn_json_number(json, name, cell.number);
	else if (kind == PYN_KIND_BOOLEAN)
		pyn_json_boolean(json, name, cell.number != 0);
	else if (is_text)
		pyn_json_text(json, name, psprintf("%s " UINT64_FORMAT, pyn_kind_name(kind), cell.hash));
	else
		pyn_json_text(json, name, psprintf("%s %s", pyn_kind_name(kind), double_to_shortest_decimal(cell.number)));
}

void
pyn_put_row_values(PynJson *json, const char *name, const PynModel *model, const PynCell *cells)
{
	pyn_json_open_object(json, name);
	for (int i = 0; i < model->column_count; i++)
		put_value(json, pyn_utf8_to_server(model->columns[i].name, strlen(model->columns[i].name)), model->columns[i].kind, cells[i]);
	pyn_json_close_object(json);
}

/* "kind cell"; no kind if it is nothing of ours, and so fits no column. */
static void
read_string(const JsonbValue *value, PynKind *kind, PynCell *cell)
{
	char	   *text = pnstrdup(value->val.string.val, value->val.string.len);
	char	   *rest = strchr(text, ' ');

	*kind = PYN_KIND_LAST + 1;
	if (rest == NULL)
		return;
	*rest++ = 0;
	for (PynKind known = PYN_KIND_DATE; known <= PYN_KIND_LAST; known++)
		if (strcmp(text, pyn_kind_name(known)) == 0)
			*kind = known;
	if (*kind > PYN_KIND_LAST)
		return;
	if (pyn_kind_is_text(*kind))
		cell->hash = strtoull(rest, NULL, 10);
	else
		cell->number = strtod(rest, NULL);
	if (pyn_kind_is_text(*kind) ? cell->hash == 0 : !pyn_is_finite(cell->number))
		*kind = PYN_KIND_NONE;
}

static void
read_value(const JsonbValue *value, PynKind *kind, PynCell *cell)
{
	switch (value->type)
	{
		case jbvNumeric:
			*kind = PYN_KIND_NUMBER;
			cell->number = DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow, NumericGetDatum(value->val.numeric)));
			break;
		case jbvBool:
			*kind = PYN_KIND_BOOLEAN;
			cell->number = value->val.boolean ? 1.0 : 0.0;
			break;
		case jbvString:
			read_string(value, kind, cell);
			break;
		default:
			*kind = PYN_KIND_NONE;
	}
}

static void
read_row(Jsonb *object, PynRowLabel *row)
{
	JsonbIterator *iterator = JsonbIteratorInit(&object->root);
	JsonbIteratorToken token;
	JsonbValue	value;
	int			room = JB_ROOT_COUNT(object);
	bool		in_row = false;

	row->names = palloc(sizeof(char *) * Max(room, 1));
	row->kinds = palloc(sizeof(PynKind) * Max(room, 1));
	row->cells = palloc(sizeof(PynCell) * Max(room, 1));
	while ((token = JsonbIteratorNext(&iterator, &value, in_row)) != WJB_DONE)
	{
		in_row = true;
		if (token == WJB_KEY)
			row->names[row->count] = pyn_name_to_utf8(pnstrdup(value.val.string.val, value.val.string.len));
		else if (token == WJB_VALUE)
		{
			read_value(&value, &row->kinds[row->count], &row->cells[row->count]);
			row->count++;
		}
	}
}

PynRowLabel *
pyn_read_row_labels(Jsonb *labels, int *count)
{
	PynRowLabel *rows;

	if (!JB_ROOT_IS_ARRAY(labels) || JB_ROOT_IS_SCALAR(labels))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("labels of rows must be an array")));
	*count = JB_ROOT_COUNT(labels);
	rows = palloc0(sizeof(PynRowLabel) * Max(*count, 1));
	for (int i = 0; i < *count; i++)
	{
		JsonbValue *element = getIthJsonbValueFromContainer(&labels->root, i);
		Jsonb	   *object = JsonbValueToJsonb(element);
		char	   *label;
		Jsonb	   *row;

		CHECK_FOR_INTERRUPTS();
		label = JB_ROOT_IS_OBJECT(object) ? pyn_json_get_text(object, "label") : NULL;
		if (label == NULL || (strcmp(label, "anomaly") != 0 && strcmp(label, "false_alarm") != 0))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("a row's label must be anomaly or false_alarm")));
		rows[i].is_anomaly = strcmp(label, "anomaly") == 0;
		row = pyn_json_get(object, "row");
		if (row != NULL && JB_ROOT_IS_OBJECT(row))
			read_row(row, &rows[i]);
	}
	return rows;
}
