/*
 * scout.c
 *		Reads, in some database, which databases are to be served.
 *
 * pg_db_role_setting is a shared catalog, but only a process that is in a database can read it.  A scout goes there for
 * some milliseconds when the launcher has started, and now and then.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/pg_db_role_setting.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"

#include "kernel/consumer.h"
#include "kernel/doorbell.h"
#include "kernel/scout.h"

/* True if a row of pg_db_role_setting turns the setting on. */
static bool
says_autostart(HeapTuple tuple, TupleDesc descriptor)
{
	bool		is_null;
	Datum		settings = heap_getattr(tuple, Anum_pg_db_role_setting_setconfig, descriptor, &is_null);
	Datum	   *values;
	int			count;

	if (is_null)
		return false;
	deconstruct_array(DatumGetArrayTypeP(settings), TEXTOID, -1, false, TYPALIGN_INT, &values, NULL, &count);
	for (int i = 0; i < count; i++)
	{
		char	   *setting = TextDatumGetCString(values[i]);
		bool		on;

		if (strncmp(setting, "pynomaly.autostart=", strlen("pynomaly.autostart=")) == 0 &&
			parse_bool(strchr(setting, '=') + 1, &on))
			return on;
	}
	return false;
}

/*
 * pyn_databases reads which databases are to be served: all, or `only` that one; a list in the current memory context.
 */
List *
pyn_databases(Oid only)
{
	List	   *databases = NIL;
	Relation	relation = table_open(DbRoleSettingRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_db_role_setting_setdatabase, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(only));
	scan = systable_beginscan(relation, DbRoleSettingDatidRolidIndexId, true, NULL, OidIsValid(only) ? 1 : 0, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_db_role_setting form = (Form_pg_db_role_setting) GETSTRUCT(tuple);

		if (OidIsValid(form->setdatabase) && !OidIsValid(form->setrole) &&
			says_autostart(tuple, RelationGetDescr(relation)))
			databases = lappend_oid(databases, form->setdatabase);
	}
	systable_endscan(scan);
	table_close(relation, AccessShareLock);
	return databases;
}

/* Sends away the workers of databases that are not served any more, and gives their slots up. */
static void
release_slots(PynShared *shared, List *databases)
{
	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < PYN_SLOTS; i++)
	{
		PynSlot    *slot = &shared->slots[i];

		if (!OidIsValid(slot->database) || list_member_oid(databases, slot->database))
			slot->leave = slot->leave && slot->pid != 0;
		else if (slot->pid != 0)
		{
			slot->leave = true;
			SetLatch(slot->latch);
		}
		else if (!slot->starting)
			memset(slot, 0, sizeof(*slot));
	}
	LWLockRelease(&shared->lock);
}

/*
 * pyn_scout_main is a scout; its argument is the database to go to.
 */
void
pyn_scout_main(Datum argument)
{
	PynShared  *shared = pyn_shared();
	List	   *databases;
	ListCell   *cell;

	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(DatumGetObjectId(argument), InvalidOid, 0);
	if (shared == NULL)
		proc_exit(1);
	shared->look = false;
	StartTransactionCommand();
	databases = pyn_databases(InvalidOid);
	foreach(cell, databases)
		(void) pyn_slot_want(lfirst_oid(cell), PYN_HOST_DOMAIN);
	release_slots(shared, databases);
	CommitTransactionCommand();
	proc_exit(0);
}
