/*
 * json_schema_tree.h
 *		The compiled form of a schema, and what compiling and checking share; for json_schema*.c only.
 */
#ifndef PYN_JSON_SCHEMA_TREE_H
#define PYN_JSON_SCHEMA_TREE_H

#include "postgres.h"
#include "lib/stringinfo.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"

#include "kernel/json_schema.h"

/* Longest name and longest list of choices in a message, in bytes: data may hold names of many kilobytes. */
#define SHOWN_NAME 64
#define SHOWN_CHOICES 200

typedef enum Kind
{
	KIND_OBJECT,
	KIND_ARRAY,
	KIND_STRING,
	KIND_NUMBER,
	KIND_INTEGER,				/* of schemas only: a value's kind is number */
	KIND_BOOLEAN,
	KIND_NULL,
	KIND_COUNT
} Kind;

#define KIND_BIT(kind) (1u << (kind))

/* What the kinds are called, in schemas and in messages. */
typedef struct KindName
{
	const char *name;
	const char *phrase;
} KindName;

extern const KindName pyn_json_kinds[KIND_COUNT];

/* A name from properties, from required, or from both. */
typedef struct Member
{
	const char *name;			/* not terminated */
	int			length;
	bool		required;
	PynJsonSchema *schema;		/* NULL: only required, so additionalProperties rules its value */
} Member;

/* Names, numbers and choices point into one copy of the source, which lives in the same context. */
struct PynJsonSchema
{
	uint32		kinds;			/* bits of the allowed kinds; 0: any */
	bool		closed;			/* additionalProperties is false */
	bool		(*has_format) (const char *text, int length);	/* NULL: any */
	Numeric		minimum;		/* NULL: none */
	Numeric		maximum;
	JsonbContainer *choice_list;	/* enum as it was given; NULL: none */
	JsonbValue *choices;		/* the same, taken apart */
	int			choice_count;
	Member	   *members;		/* sorted as jsonb sorts keys */
	int			member_count;
	PynJsonSchema *additional;	/* NULL: any */
	PynJsonSchema *items;		/* NULL: any */
};

/* Where we are in a schema or in data: a chain on the stack, made into text only for an error. */
typedef struct Place
{
	const struct Place *parent; /* NULL: the root */
	const char *name;			/* not terminated; NULL: an element */
	int			length;
	int			index;
} Place;

/* A walk over one container's children, not deeper. */
typedef struct Walk
{
	JsonbIterator *iterator;
	JsonbValue	value;			/* the current child; points into the container */
	Place		place;			/* of the current child */
} Walk;

/* The formats, see json_format.c. */
typedef struct JsonFormat
{
	const char *name;
	bool		(*has_format) (const char *text, int length);
	const char *phrase;
} JsonFormat;

#define PYN_JSON_FORMATS 2
extern const JsonFormat pyn_json_formats[PYN_JSON_FORMATS];

extern void pyn_append_clipped(StringInfo out, const char *text, int length, int limit);
extern char *pyn_clipped(const char *text, int length, int limit);
extern char *pyn_json_path(const Place *place);
extern void pyn_json_root(Jsonb *document, JsonbValue *value);

static inline void
start_walk(Walk *walk, JsonbContainer *container, const Place *parent)
{
	walk->iterator = JsonbIteratorInit(container);
	walk->place = (Place) {.parent = parent, .index = -1};
}

/* Moves to the next element or member; false after the last, when the iterator has freed itself. */
static inline bool
next_child(Walk *walk)
{
	for (;;)
		switch (JsonbIteratorNext(&walk->iterator, &walk->value, true))
		{
			case WJB_KEY:
				walk->place.name = walk->value.val.string.val;
				walk->place.length = walk->value.val.string.len;
				break;
			case WJB_ELEM:
				walk->place.index++;
				return true;
			case WJB_VALUE:
				return true;
			case WJB_DONE:
				return false;
			default:
				break;
		}
}

static inline Kind
kind_of(const JsonbValue *value)
{
	switch (value->type)
	{
		case jbvNull:
			return KIND_NULL;
		case jbvString:
			return KIND_STRING;
		case jbvNumeric:
			return KIND_NUMBER;
		case jbvBool:
			return KIND_BOOLEAN;
		case jbvBinary:
			return JsonContainerIsObject(value->val.binary.data) ? KIND_OBJECT : KIND_ARRAY;
		default:
			elog(ERROR, "unexpected jsonb value of type %d", (int) value->type);
	}
}

/* The order of keys in jsonb. */
static inline int
compare_names(const char *a, int a_length, const char *b, int b_length)
{
	if (a_length != b_length)
		return a_length < b_length ? -1 : 1;
	return memcmp(a, b, a_length);
}

#endif							/* PYN_JSON_SCHEMA_TREE_H */
