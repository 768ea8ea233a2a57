/*
 * row_values.h
 *		A flagged row's values as JSON, and labels that come with such.
 */
#ifndef PYN_ROW_VALUES_H
#define PYN_ROW_VALUES_H

#include "detectors/model_type.h"

/* Appends {column: value}: the cells of the model's columns, in their order. */
extern void pyn_put_row_values(PynJson *json, const char *name, const PynModel *model, const PynCell *cells);

/* Reads [{"label": "anomaly" or "false_alarm", "row": what the other has written, or null}]. */
extern PynRowLabel *pyn_read_row_labels(Jsonb *labels, int *count);

#endif							/* PYN_ROW_VALUES_H */
