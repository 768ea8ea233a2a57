/*
 * json_writer.h
 *		Writes jsonb objects and arrays, member by member.
 */
#ifndef PYN_JSON_WRITER_H
#define PYN_JSON_WRITER_H

#include "postgres.h"
#include "utils/jsonb.h"

typedef struct PynJson
{
	JsonbParseState *state;
	JsonbValue *result;			/* set when the outermost value is closed */
} PynJson;

/* With a NULL name the value is an array's element, else an object's member. Texts are in the server's encoding. */
extern void pyn_json_open_object(PynJson *json, const char *name);
extern void pyn_json_close_object(PynJson *json);
extern void pyn_json_open_array(PynJson *json, const char *name);
extern void pyn_json_close_array(PynJson *json);
extern void pyn_json_value(PynJson *json, const char *name, JsonbValue *value);
extern void pyn_json_null(PynJson *json, const char *name);
extern void pyn_json_number(PynJson *json, const char *name, double number);
extern void pyn_json_integer(PynJson *json, const char *name, int64 number);
extern void pyn_json_boolean(PynJson *json, const char *name, bool boolean);
extern void pyn_json_text(PynJson *json, const char *name, const char *text);

/* The value of a double: NaN and infinities, which JSON has not, as strings. */
extern void pyn_double_to_jsonb_value(double number, JsonbValue *value);

#endif							/* PYN_JSON_WRITER_H */
