/*
 * unit.c
 *		A unit of a consumer's work: one transaction, as the extension's owner, connected to SPI.
 *
 * A worker begins and commits transactions itself; a session that runs CALL process_events() is in one always, and
 * commits through SPI.  Either way the extension is locked first, so that DROP EXTENSION waits for the unit and the next
 * one finds that there is nothing left to do.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/pg_extension.h"
#include "executor/spi.h"
#include "pgstat.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "kernel/access.h"
#include "kernel/consumer.h"

/* Reads the extension's OID and version, the latter in `context`; InvalidOid if it is not installed. */
static Oid
read_extension(MemoryContext context, char **version)
{
	Relation	relation = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	Oid			extension = InvalidOid;

	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ, CStringGetDatum("pynomaly"));
	scan = systable_beginscan(relation, ExtensionNameIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		bool		is_null;
		Datum		value = heap_getattr(tuple, Anum_pg_extension_extversion, RelationGetDescr(relation), &is_null);
		MemoryContext caller = MemoryContextSwitchTo(context);

		extension = ((Form_pg_extension) GETSTRUCT(tuple))->oid;
		*version = TextDatumGetCString(value);
		MemoryContextSwitchTo(caller);
	}
	systable_endscan(scan);
	table_close(relation, AccessShareLock);
	return extension;
}

/* Locks the extension until the transaction ends; false if it is not there, or of another version than at first. */
static bool
lock_extension(PynConsumer *consumer)
{
	char	   *version = NULL;

	if (consumer->version == NULL)
	{
		consumer->extension = read_extension(consumer->piece_context, &version);
		if (!OidIsValid(consumer->extension))
			return false;
		consumer->version = MemoryContextStrdup(consumer->context, version);
	}
	LockDatabaseObject(ExtensionRelationId, consumer->extension, 0, AccessShareLock);
	return read_extension(consumer->piece_context, &version) == consumer->extension &&
		strcmp(version, consumer->version) == 0;
}

/*
 * pyn_unit_begin begins a unit of work.  It gives false, and the consumer is `gone`, if the extension was dropped or is of
 * another version than when the consumer began; even then the unit must be committed.
 */
bool
pyn_unit_begin(PynConsumer *consumer)
{
	if (consumer->in_worker)
	{
		SetCurrentStatementStartTimestamp();
		StartTransactionCommand();
	}
	SPI_connect_ext(consumer->in_worker ? 0 : SPI_OPT_NONATOMIC);
	if (!consumer->keep_piece)
		MemoryContextReset(consumer->piece_context);
	consumer->keep_piece = false;
	MemoryContextSwitchTo(consumer->piece_context);
	consumer->access = palloc0(sizeof(PynAccess));
	if (!lock_extension(consumer))
	{
		consumer->gone = true;
		consumer->access = NULL;
		return false;
	}
	pyn_access_begin(consumer->access, pyn_owner());
	PushActiveSnapshot(GetTransactionSnapshot());
	return true;
}

/*
 * pyn_unit_commit commits it.
 */
void
pyn_unit_commit(PynConsumer *consumer)
{
	if (consumer->access != NULL)
	{
		PopActiveSnapshot();
		pyn_access_end(consumer->access);
		consumer->access = NULL;
	}
	if (!consumer->in_worker)
		SPI_commit();
	SPI_finish();
	if (consumer->in_worker)
	{
		CommitTransactionCommand();
		pgstat_report_stat(false);
	}
	MemoryContextSwitchTo(consumer->context);
}

/*
 * pyn_unit_keep commits it and keeps its memory for the next one.
 */
void
pyn_unit_keep(PynConsumer *consumer)
{
	pyn_unit_commit(consumer);
	consumer->keep_piece = true;
}
