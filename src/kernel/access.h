/*
 * access.h
 *		Rights: pynomaly's own tables are touched as the extension's owner, everything of users' as the user.
 */
#ifndef PYN_ACCESS_H
#define PYN_ACCESS_H

#include "postgres.h"

/* What pyn_access_end puts back. */
typedef struct PynAccess
{
	Oid			user;
	int			security_context;
	int			guc_level;
} PynAccess;

/* The search_path under which our own statements and users' handlers run. */
#define PYN_SEARCH_PATH "pg_catalog, pg_temp"

extern Oid	pyn_owner(void);
extern Oid	pyn_relation(const char *name);
extern void pyn_access_begin(PynAccess *access, Oid role);
extern void pyn_access_end(const PynAccess *access);
extern void pyn_check_writable(const char *what);
extern void pyn_check_person(Oid role);

#endif							/* PYN_ACCESS_H */
