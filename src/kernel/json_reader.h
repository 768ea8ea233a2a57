/*
 * json_reader.h
 *		Reads members of jsonb objects, and the few writers that json_writer.h lacks.
 *
 * A member that is missing or null gives NULL, or what the caller says; one of another type is an error (22023).
 */
#ifndef PYN_JSON_READER_H
#define PYN_JSON_READER_H

#include "postgres.h"
#include "utils/array.h"
#include "utils/jsonb.h"

#include "kernel/json_writer.h"

extern char *pyn_json_get_text(Jsonb *object, const char *name);
extern int64 pyn_json_get_integer(Jsonb *object, const char *name, int64 missing);
extern double pyn_json_get_number(Jsonb *object, const char *name, double missing);
extern bool pyn_json_get_boolean(Jsonb *object, const char *name, bool missing);
extern Jsonb *pyn_json_get(Jsonb *object, const char *name);	/* any value */
extern ArrayType *pyn_json_get_names(Jsonb *object, const char *name);	/* name[] of an array of strings */
extern bytea *pyn_json_get_digest(Jsonb *object, const char *name);	/* 32 bytes of 64 hexadecimal digits */

/* Texts of a digest and of a name[] in JSON. */
extern void pyn_json_digest(PynJson *json, const char *name, bytea *digest);
extern void pyn_json_names(PynJson *json, const char *name, ArrayType *names);

/* A whole value as a member; and all members of an object as members of the open one. */
extern void pyn_json_jsonb(PynJson *json, const char *name, Jsonb *value);
extern void pyn_json_members(PynJson *json, Jsonb *object);

/* The value of the writer, whose outermost object or array was closed. */
extern Jsonb *pyn_json_finish(PynJson *json);

#endif							/* PYN_JSON_READER_H */
