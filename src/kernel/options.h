/*
 * options.h
 *		Reads an options jsonb strictly: each name known, each value of its type and in its range.
 */
#ifndef PYN_OPTIONS_H
#define PYN_OPTIONS_H

#include "postgres.h"
#include "utils/jsonb.h"

typedef enum PynOptionType
{
	PYN_OPTION_INTEGER,
	PYN_OPTION_NUMBER,
	PYN_OPTION_BOOLEAN,
	PYN_OPTION_TEXT,
	PYN_OPTION_JSON				/* any value, as it is given */
} PynOptionType;

/* One known option: the caller fills the first part, with the default as the value, and finds the answer in the second. */
typedef struct PynOption
{
	const char *name;
	PynOptionType type;
	double		minimum;		/* of numbers, inclusive */
	double		maximum;
	const char *choices;		/* of text: "a, b, c"; NULL: any text */

	bool		given;
	double		number;			/* booleans: 0 or 1 */
	char	   *text;
	Jsonb	   *json;			/* NULL: not given */
} PynOption;

/* `what` names the options' owner in messages, such as "sketch_of". A JSON null leaves the default. */
extern void pyn_options_read(Jsonb *options, PynOption *known, int count, const char *what);

#endif							/* PYN_OPTIONS_H */
