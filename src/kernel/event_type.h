/*
 * event_type.h
 *		Registered types of events.
 */
#ifndef PYN_EVENT_TYPE_H
#define PYN_EVENT_TYPE_H

#include "postgres.h"

#include "kernel/json_schema.h"

/* A type as each backend keeps it. */
typedef struct PynEventType
{
	PynJsonSchema *schema;
	int16		priority;
	bool		builtin;
	char	   *source;			/* the domain that it belongs to */
	int			domain_count;	/* whose workers have subscribed to it */
	NameData   *domains;
} PynEventType;

extern const PynEventType *pyn_event_type(const char *name);
extern bool pyn_type_matches(const char *pattern, const char *type);
extern void pyn_check_type_pattern(const char *pattern);

#endif							/* PYN_EVENT_TYPE_H */
