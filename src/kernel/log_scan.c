/*
 * log_scan.c
 *		Reads the log by its indexes.
 *
 * A worker looks for new events each time that it is woken.  Through the executor, a query on eight member tables takes
 * longer to set up than all that follows; and its plan would be of a time when the members were of another size.  So the
 * members are read here directly, those that are open or closed but not the empty ones.
 *
 * Which members those are is read under the snapshot of the scan: who published into a member saw that it was opened, so
 * if his event is visible, so is that.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relscan.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/typcache.h"
#include "utils/uuid.h"
#include "utils/xid8.h"

#include "kernel/access.h"
#include "kernel/event_log.h"
#include "kernel/log_scan.h"
#include "kernel/port.h"

/* Columns of pynomaly_kernel.event_member. */
enum
{
	MEMBER_MEMBER = 1,
	MEMBER_OPENED_AT
};

/* A member with one of its indexes, open for scans. */
typedef struct MemberScan
{
	Relation	table;
	Relation	index;
	IndexScanDesc scan;
	TupleTableSlot *slot;
} MemberScan;

static void
begin_member(MemberScan *member, int number, const char *index, int keys)
{
	char		name[NAMEDATALEN];

	snprintf(name, sizeof(name), "event_%d", number);
	member->table = table_open(pyn_relation(name), AccessShareLock);
	snprintf(name, sizeof(name), "event_%d_%s", number, index);
	member->index = index_open(pyn_relation(name), AccessShareLock);
	member->slot = table_slot_create(member->table, NULL);
	member->scan = index_beginscan(member->table, member->index, GetActiveSnapshot(), keys, 0);
}

static void
end_member(MemberScan *member)
{
	index_endscan(member->scan);
	ExecDropSingleTupleTableSlot(member->slot);
	index_close(member->index, NoLock);
	table_close(member->table, NoLock);
}

/* The members that may hold events, as the active snapshot sees them. */
static int
read_members(int *members)
{
	Relation	relation = table_open(pyn_relation("event_member"), AccessShareLock);
	TupleTableSlot *slot = table_slot_create(relation, NULL);
	TableScanDesc scan = table_beginscan(relation, GetActiveSnapshot(), 0, NULL);
	int			count = 0;

	while (table_scan_getnextslot(scan, ForwardScanDirection, slot) && count < PYN_LOG_MEMBERS)
	{
		bool		is_null;

		(void) slot_getattr(slot, MEMBER_OPENED_AT, &is_null);
		if (!is_null)
			members[count++] = DatumGetInt16(slot_getattr(slot, MEMBER_MEMBER, &is_null));
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	table_close(relation, NoLock);
	return count;
}

static int
by_id(const void *a, const void *b)
{
	int64		first = ((const PynFound *) a)->waiting.id;
	int64		second = ((const PynFound *) b)->waiting.id;

	return first < second ? -1 : first > second;
}

static int
type_index(PynLogScan *scan, Datum type)
{
	text	   *name = DatumGetTextPP(type);
	int			length = VARSIZE_ANY_EXHDR(name);

	for (int i = scan->type_count - 1; i >= 0; i--)
		if (strlen(scan->types[i]) == length && memcmp(scan->types[i], VARDATA_ANY(name), length) == 0)
			return i;
	if (scan->types == NULL)
		scan->types = pyn_new(char *, 1);
	else
		scan->types = repalloc(scan->types, (scan->type_count + 1) * sizeof(char *));
	scan->types[scan->type_count] = text_to_cstring(name);
	return scan->type_count++;
}

/* Sorts by id and keeps the first `limit`. */
static void
cut(PynLogScan *scan, int limit)
{
	qsort(scan->found, scan->count, sizeof(PynFound), by_id);
	if (scan->count > limit)
	{
		scan->count = limit;
		scan->cut = true;
	}
}

/* What is wanted of the events between two snapshots. */
typedef struct Wanted
{
	Datum		target;
	int64		after_id;
	TimestampTz since;
	int			limit;
} Wanted;

/* Takes the events that an index scan gives, as far as they are wanted. */
static void
collect(PynLogScan *scan, MemberScan *member, int number, const Wanted *wanted)
{
	while (index_getnext_slot(member->scan, ForwardScanDirection, member->slot))
	{
		TupleTableSlot *slot = member->slot;
		PynFound   *found = &scan->found[scan->count];
		bool		is_null;

		CHECK_FOR_INTERRUPTS();
		found->waiting.id = DatumGetInt64(slot_getattr(slot, PYN_EVENT_ID, &is_null));
		if (found->waiting.id <= wanted->after_id ||
			!DatumGetBool(DirectFunctionCall2(pg_visible_in_snapshot, slot_getattr(slot, PYN_EVENT_XID, &is_null),
											  wanted->target)) ||
			DatumGetTimestampTz(slot_getattr(slot, PYN_EVENT_TIME, &is_null)) < wanted->since)
			continue;
		found->waiting.priority = DatumGetInt16(slot_getattr(slot, PYN_EVENT_PRIORITY, &is_null));
		found->waiting.member = (int16) number;
		found->type = type_index(scan, slot_getattr(slot, PYN_EVENT_TYPE, &is_null));
		if (++scan->count == 2 * wanted->limit)
			cut(scan, wanted->limit);
		else if ((scan->count & (scan->count - 1)) == 0 && scan->count >= 64)
			scan->found = pyn_repalloc_huge(scan->found, (Size) 2 * scan->count * sizeof(PynFound));
	}
}

/* The transactions that a snapshot knows as running: numbers in the current memory context. */
static int
running_transactions(Datum snapshot, uint64 **running)
{
	char	   *text = DatumGetCString(DirectFunctionCall1(pg_snapshot_out, snapshot));
	char	   *list = strchr(strchr(text, ':') + 1, ':') + 1;
	int			count = 0;

	*running = pyn_new(uint64, strlen(list) / 2 + 1);
	while (*list != 0)
	{
		(*running)[count++] = strtou64(list, &list, 10);
		if (*list == ',')
			list++;
	}
	pfree(text);
	return count;
}

/*
 * pyn_log_scan finds the events that became visible between two snapshots, with ids after one and published since a
 * time: of the transactions that the first snapshot does not know, and of those that it knew as running.  It gives
 * those with the lowest ids, at most `limit`, by id.  The active snapshot is not older than `target`.
 */
void
pyn_log_scan(PynLogScan *scan, Datum done, Datum target, int64 after_id, TimestampTz since, int limit)
{
	Wanted		wanted = {target, after_id, since, limit};
	Datum		from = DirectFunctionCall1(pg_snapshot_xmax, done);
	Datum		to = DirectFunctionCall1(pg_snapshot_xmax, target);
	uint64	   *running;
	int			running_count = running_transactions(done, &running);
	int			members[PYN_LOG_MEMBERS];
	int			member_count = read_members(members);

	memset(scan, 0, sizeof(*scan));
	scan->found = pyn_new(PynFound, 64);
	for (int i = 0; i < member_count; i++)
	{
		MemberScan	member;
		ScanKeyData keys[2];

		begin_member(&member, members[i], "xid_idx", 2);
		ScanKeyInit(&keys[0], 1, BTGreaterEqualStrategyNumber, F_XID8GE, from);
		ScanKeyInit(&keys[1], 1, BTLessStrategyNumber, F_XID8LT, to);
		index_rescan(member.scan, keys, 2, NULL, 0);
		collect(scan, &member, members[i], &wanted);
		for (int j = 0; j < running_count; j++)
		{
			Datum		xid = FullTransactionIdGetDatum(FullTransactionIdFromU64(running[j]));

			/* Still running: none of its events is visible. */
			if (!DatumGetBool(DirectFunctionCall2(pg_visible_in_snapshot, xid, target)))
				continue;
			ScanKeyInit(&keys[0], 1, BTGreaterEqualStrategyNumber, F_XID8GE, xid);
			ScanKeyInit(&keys[1], 1, BTLessEqualStrategyNumber, F_XID8LE, xid);
			index_rescan(member.scan, keys, 2, NULL, 0);
			collect(scan, &member, members[i], &wanted);
		}
		end_member(&member);
	}
	cut(scan, limit);
}

static char *
text_of(TupleTableSlot *slot, int column)
{
	bool		is_null;
	Datum		value = slot_getattr(slot, column, &is_null);

	return is_null ? NULL : TextDatumGetCString(value);
}

static void
read_event(PynEvent *event, TupleTableSlot *slot, TupleDesc descriptor)
{
	bool		is_null;
	bool		should_free;
	HeapTuple	tuple = ExecFetchSlotHeapTuple(slot, false, &should_free);

	event->row = heap_copy_tuple_as_datum(tuple, descriptor);
	event->id = DatumGetInt64(slot_getattr(slot, PYN_EVENT_ID, &is_null));
	event->type = text_of(slot, PYN_EVENT_TYPE);
	event->source = text_of(slot, PYN_EVENT_SOURCE);
	event->subject = text_of(slot, PYN_EVENT_SUBJECT);
	event->publisher = DatumGetObjectId(slot_getattr(slot, PYN_EVENT_PUBLISHER, &is_null));
	event->time = DatumGetTimestampTz(slot_getattr(slot, PYN_EVENT_TIME, &is_null));
	event->cause.id = event->id;
	event->cause.correlation_id = *DatumGetUUIDP(slot_getattr(slot, PYN_EVENT_CORRELATION_ID, &is_null));
	event->cause.traceparent = text_of(slot, PYN_EVENT_TRACEPARENT);
}

/*
 * pyn_log_fetch reads events into the current memory context, in the order given.  One that is not there is left out.
 */
PynEvent *
pyn_log_fetch(const PynWaiting *waiting, int count, int *found)
{
	Relation	parent = table_open(pyn_relation("event"), AccessShareLock);
	PynEvent   *events = pyn_new0(PynEvent, count + 1);
	MemberScan	member;
	int			open_member = -1;

	*found = 0;
	for (int i = 0; i < count; i++)
	{
		ScanKeyData key;

		if (waiting[i].member != open_member)
		{
			if (open_member >= 0)
				end_member(&member);
			open_member = waiting[i].member;
			begin_member(&member, open_member, "pkey", 1);
		}
		ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(waiting[i].id));
		index_rescan(member.scan, &key, 1, NULL, 0);
		if (index_getnext_slot(member.scan, ForwardScanDirection, member.slot))
			read_event(&events[(*found)++], member.slot, RelationGetDescr(parent));
	}
	if (open_member >= 0)
		end_member(&member);
	table_close(parent, NoLock);
	return events;
}
