/*
 * json_schema.h
 *		Compiles a subset of JSON Schema and checks jsonb against it.
 *
 * The subset, with the meaning of draft 2020-12:
 *
 *	type					a name, or an array of names, among object, array, string, number, integer, boolean, null
 *	properties				an object of schemas
 *	required				an array of different names
 *	additionalProperties	true, false or a schema: what holds for members that properties does not name
 *	items					one schema for all elements
 *	enum					an array of at least one value of any kind; 1 and 1.0 are equal
 *	minimum, maximum		inclusive, compared as numeric
 *	format					"uuid" or "date-time" (RFC 3339); unlike the standard's default, it is checked, on strings
 *	title, description		texts, ignored
 *
 * A schema is an object; schemas nest at most PYN_JSON_SCHEMA_DEPTH deep. As in the standard, a keyword that does not
 * concern a value's kind accepts it: {"minimum": 3} accepts any string.
 */
#ifndef PYN_JSON_SCHEMA_H
#define PYN_JSON_SCHEMA_H

#include "postgres.h"
#include "utils/jsonb.h"

#define PYN_JSON_SCHEMA_DEPTH 32

typedef struct PynJsonSchema PynJsonSchema;

/*
 * Compiles the schema into the current memory context; the result does not need `schema` any longer. Raises 22023,
 * with the path of the offending place, for anything outside the subset.
 */
extern PynJsonSchema *pyn_json_schema_compile(Jsonb *schema);

/* What is checked, for messages: its kind, such as "data of event type", and name. */
typedef struct PynChecked
{
	const char *kind;
	const char *name;
	const char *hint;			/* or NULL */
} PynChecked;

/*
 * Raises 22023 if the data does not match. The error tells where, what was expected and what kind of value was found. It
 * shows names of members, never their values, which may be secret. Leaves nothing allocated and does not change the
 * compiled schema.
 */
extern void pyn_json_schema_check(const PynJsonSchema *schema, Jsonb *data, const PynChecked *what);

#endif							/* PYN_JSON_SCHEMA_H */
