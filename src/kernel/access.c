/*
 * access.c
 *		Rights: pynomaly's own tables are touched as the extension's owner, everything of users' as the user.
 *
 * No role has a privilege on the kernel's tables.  The C functions that write them, whom roles may EXECUTE, become the
 * extension's owner for the length of fixed statements whose values are parameters.  Handlers of users become that user.
 * Both are security-restricted operations: no SET ROLE, no temporary tables, no deferred triggers that would run at
 * commit as whoever commits.  And both have their own search_path, or a caller's could put functions and operators of
 * his own before PostgreSQL's.
 *
 * An error needs no pyn_access_end: the end of the (sub)transaction puts user and settings back.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_namespace.h"
#include "jit/jit.h"
#include "miscadmin.h"
#include "tcop/utility.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rls.h"
#include "utils/syscache.h"

#include "kernel/access.h"

#define KERNEL_SCHEMA "pynomaly_kernel"

/*
 * pyn_owner finds the role that owns the kernel's schema and so the extension; an error where it is not installed.
 */
Oid
pyn_owner(void)
{
	HeapTuple	tuple = SearchSysCache1(NAMESPACENAME, CStringGetDatum(KERNEL_SCHEMA));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("pynomaly is not installed in this database"),
				 errhint("Run CREATE EXTENSION pynomaly.")));
	owner = ((Form_pg_namespace) GETSTRUCT(tuple))->nspowner;
	ReleaseSysCache(tuple);
	return owner;
}

/*
 * pyn_relation finds a relation of the kernel's schema.
 */
Oid
pyn_relation(const char *name)
{
	Oid			relation = get_relname_relid(name, get_namespace_oid(KERNEL_SCHEMA, true));

	if (!OidIsValid(relation))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation %s.%s does not exist", KERNEL_SCHEMA, name),
				 errhint("The extension pynomaly is damaged or of another version than its library.")));
	return relation;
}

/*
 * pyn_access_begin makes `role` the current user of a security-restricted operation with a search_path of its own.
 * Settings that are made from here on end with it.
 */
void
pyn_access_begin(PynAccess *access, Oid role)
{
	GetUserIdAndSecContext(&access->user, &access->security_context);
	SetUserIdAndSecContext(role, access->security_context |
						   SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);
	access->guc_level = NewGUCNestLevel();
	if (strcmp(namespace_search_path, PYN_SEARCH_PATH) != 0)
		(void) set_config_option("search_path", PYN_SEARCH_PATH, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0,
								 false);
	/* Who does work for others may have switched it off for himself. */
	if (!row_security)
		(void) set_config_option("row_security", "on", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	/* Our own statements are short, but the planner guesses many rows where it cannot know, and would have them compiled. */
	if (jit_enabled && role == pyn_owner())
		(void) set_config_option("jit", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

/*
 * pyn_access_end puts back the user and the settings that were there before.
 */
void
pyn_access_end(const PynAccess *access)
{
	AtEOXact_GUC(false, access->guc_level);
	SetUserIdAndSecContext(access->user, access->security_context);
}

/*
 * pyn_check_writable refuses read-only transactions, standbys and parallel workers, naming the function.
 */
void
pyn_check_writable(const char *what)
{
	PreventCommandDuringRecovery(what);
	PreventCommandIfReadOnly(what);
	PreventCommandIfParallelMode(what);
}

/*
 * pyn_check_person refuses to act as one of the roles that are there to be granted: whatever belonged to such a role would
 * be everybody's who has it.
 */
void
pyn_check_person(Oid role)
{
	static const char *const granted[] = {
		"pynomaly_viewer", "pynomaly_analyst", "pynomaly_data_scientist", "pynomaly_admin", "pynomaly_service"
	};
	char	   *name = GetUserNameFromId(role, true);

	for (int i = 0; name != NULL && i < lengthof(granted); i++)
		if (strcmp(name, granted[i]) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("role \"%s\" is there to be granted, and nothing can belong to it", name),
					 errhint("RESET ROLE, or SET ROLE to a role of your team.")));
}
