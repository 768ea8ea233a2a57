/*
 * source.c
 *		Opens a relation or a query to be read as the caller: columns, key, privileges.  source_scan.c reads the rows.
 *
 * Everything goes through SPI with the caller's privileges, row-level security and snapshot, read-only, so the pure
 * calls work on standbys.
 *
 * The relation's query is made of quoted, qualified names and nothing else, no operator or function, so search_path
 * cannot change its meaning.  The relation stays locked (ACCESS SHARE) until the transaction ends, so it cannot be
 * dropped or altered between the two scans.
 */
#include "kernel/port.h"

#include "access/relation.h"
#include "access/table.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/plancache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "sketch/source.h"

#define NO_POSITION (-1)

/* The names of an array argument; NULL elements and repetitions are errors. */
static List *
name_list(ArrayType *array, const char *what)
{
	Datum	   *elements;
	bool	   *nulls;
	int			count;
	List	   *names = NIL;

	deconstruct_array(array, NAMEOID, NAMEDATALEN, false, TYPALIGN_CHAR, &elements, &nulls, &count);
	if (count == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s is an empty list", what),
				 errhint("Leave it out or give NULL for the default.")));
	for (int i = 0; i < count; i++)
	{
		ListCell   *cell;

		CHECK_FOR_INTERRUPTS();
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("%s has a NULL element", what)));
		foreach(cell, names)
			if (strcmp(lfirst(cell), NameStr(*DatumGetName(elements[i]))) == 0)
				ereport(ERROR,
						(errcode(ERRCODE_DUPLICATE_COLUMN),
						 errmsg("column \"%s\" is named twice in %s", (char *) lfirst(cell), what)));
		names = lappend(names, pstrdup(NameStr(*DatumGetName(elements[i]))));
	}
	return names;
}

static bool
name_in(List *names, const char *name)
{
	ListCell   *cell;

	foreach(cell, names)
		if (strcmp(lfirst(cell), name) == 0)
			return true;
	return false;
}

/* What will be read, as it is found out. */
typedef struct Selection
{
	List	   *columns;		/* names of the columns that take part, NIL: all usable */
	List	   *keys;			/* names of the key's columns */
	const PynSourceOptions *options;
} Selection;

/* True when a column is that of the labels, and they are to be read. */
static bool
is_label(const Selection *selection, const char *name)
{
	return selection->options->label != PYN_LABEL_IGNORED && selection->options->except != NULL &&
		strcmp(name, selection->options->except) == 0;
}

/* True when a column of the source has to be read. */
static bool
is_wanted(const Selection *selection, const char *name)
{
	return selection->options->whole_row || selection->columns == NIL || name_in(selection->columns, name) ||
		name_in(selection->keys, name) || is_label(selection, name);
}

static void
leave_out(PynSource *source, const char *name, const char *why)
{
	source->left_out = lappend(source->left_out, psprintf("\"%s\" (%s)", name, why));
}

/* Finds the column of labels among the rows' columns. */
static void
choose_label(PynSource *source, const Selection *selection)
{
	TupleDesc	row_type = source->row_type;
	PynSourceColumn *label = pyn_new0(PynSourceColumn, 1);

	label->position = NO_POSITION;
	for (int i = 0; i < source->row_columns; i++)
		if (is_label(selection, NameStr(TupleDescAttr(row_type, i)->attname)))
			label->position = i;
	if (label->position == NO_POSITION)
		return;
	label->name = pstrdup(selection->options->except);
	if (pyn_cell_reader(TupleDescAttr(row_type, label->position)->atttypid, true, &label->reader) &&
		(label->reader.kind == PYN_KIND_BOOLEAN || label->reader.kind == PYN_KIND_INTEGER ||
		 label->reader.kind == PYN_KIND_NUMBER))
		source->label = label;
	else if (selection->options->label == PYN_LABEL_READ)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("label column \"%s\" of %s has type %s, which cannot be a label", label->name, source->description,
						format_type_be(TupleDescAttr(row_type, label->position)->atttypid)),
				 errhint("A label is true or 1 for an anomaly, false or 0 for an ordinary row, and NULL where that is not known.")));
}

/*
 * Sorts the columns of the rows into features and key.  `row_type` is what the plan gives; dropped columns are none.
 */
static void
choose_columns(PynSource *source, const Selection *selection, bool complain)
{
	TupleDesc	row_type = source->row_type;
	const char *except = selection->options->except;
	ListCell   *cell;

	source->columns = pyn_new0(PynSourceColumn, row_type->natts);
	source->keys = pyn_new0(PynKeyColumn, Max(1, list_length(selection->keys)));

	/* Features follow the order in which they were named, else that of the rows. */
	for (int i = 0; i < (selection->columns ? list_length(selection->columns) : source->row_columns); i++)
	{
		PynSourceColumn *column = &source->columns[source->column_count];
		int			position = NO_POSITION;
		const char *name;
		Form_pg_attribute attribute;
		bool		is_key;

		if (selection->columns)
		{
			name = list_nth(selection->columns, i);
			for (int j = 0; j < source->row_columns && position == NO_POSITION; j++)
				if (strcmp(NameStr(TupleDescAttr(row_type, j)->attname), name) == 0)
					position = j;
			if (position == NO_POSITION)
				ereport(ERROR,
						(errcode(ERRCODE_UNDEFINED_COLUMN),
						 errmsg("column \"%s\" of %s does not exist", name, source->description)));
		}
		else
			position = i;
		attribute = TupleDescAttr(row_type, position);
		name = NameStr(attribute->attname);
		is_key = name_in(selection->keys, name);
		if (except != NULL && strcmp(name, except) == 0)
			continue;
		if (is_key && (selection->columns ? false : !selection->options->keep_key))
			continue;
		if (!pyn_cell_reader(attribute->atttypid, true, &column->reader))
		{
			if (selection->columns)
				ereport(ERROR,
						(errcode(ERRCODE_DATATYPE_MISMATCH),
						 errmsg("column \"%s\" of %s has type %s, which cannot take part", name, source->description,
								format_type_be(attribute->atttypid)),
						 errhint("Numbers, booleans, dates, times, timestamps, text, uuid and enums can.")));
			if (complain)
				leave_out(source, name, format_type_be(attribute->atttypid));
			continue;
		}
		column->name = pstrdup(name);
		column->position = position;
		column->is_key = is_key && !selection->columns;
		source->column_count++;
	}

	foreach(cell, selection->keys)
	{
		PynKeyColumn *key = &source->keys[source->key_count];
		int			position = NO_POSITION;

		for (int j = 0; j < source->row_columns && position == NO_POSITION; j++)
			if (strcmp(NameStr(TupleDescAttr(row_type, j)->attname), lfirst(cell)) == 0)
				position = j;
		if (position == NO_POSITION)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("key column \"%s\" of %s does not exist", (char *) lfirst(cell), source->description)));
		key->name = lfirst(cell);
		key->position = position;
		key->type = getBaseType(TupleDescAttr(row_type, position)->atttypid);
		source->key_count++;
	}
	choose_label(source, selection);
}

/* Two columns of a query may have one name; a column that takes part or is of the key may not. */
static void
refuse_ambiguous_name(const PynSource *source, const char *name, int position)
{
	TupleDesc	row_type = source->row_type;

	for (int i = 0; i < row_type->natts; i++)
		if (i != position && strcmp(NameStr(TupleDescAttr(row_type, i)->attname), name) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_AMBIGUOUS_COLUMN),
					 errmsg("%s has two columns named \"%s\"", source->description, name),
					 errhint("Give each column a name of its own with AS.")));
}

static void
refuse_ambiguous_names(const PynSource *source)
{
	for (int i = 0; i < source->column_count; i++)
		refuse_ambiguous_name(source, source->columns[i].name, source->columns[i].position);
	for (int i = 0; i < source->key_count; i++)
		refuse_ambiguous_name(source, source->keys[i].name, source->keys[i].position);
	if (source->label != NULL)
		refuse_ambiguous_name(source, source->label->name, source->label->position);
}

static void
require_column(const PynSource *source)
{
	StringInfoData reasons;
	ListCell   *cell;

	if (source->column_count > PYN_MAX_COLUMNS)
		ereport(ERROR,
				(errcode(ERRCODE_TOO_MANY_COLUMNS),
				 errmsg("%s has %d columns, and at most %d can take part", source->description, source->column_count,
						PYN_MAX_COLUMNS),
				 errhint("Name the columns that matter in \"columns\".")));
	if (source->column_count > 0)
		return;
	initStringInfo(&reasons);
	foreach(cell, source->left_out)
		appendStringInfo(&reasons, "%s%s", reasons.len ? ", " : "", (char *) lfirst(cell));
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("%s has no usable column", source->description),
			 reasons.len ? errdetail("Left out: %s.", reasons.data) : 0,
			 errhint("Numbers, booleans, dates, times, timestamps, text, uuid and enums can take part; the key does not.")));
}

static void
refuse_unknown_label(const PynSource *source, const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("label column \"%s\" of %s does not exist", name, source->description)));
}

/* Prepares a query that may only read. */
static void
prepare(PynSource *source, const char *query)
{
	SPIPrepareOptions options = {.parseMode = RAW_PARSE_DEFAULT, .cursorOptions = 0};
	List	   *plans;
	CachedPlanSource *plan_source;

	source->plan = SPI_prepare_extended(query, &options);
	if (source->plan == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("could not prepare %s: %s", source->description, SPI_result_code_string(SPI_result))));
	plans = SPI_plan_get_plan_sources(source->plan);
	plan_source = list_length(plans) == 1 ? linitial(plans) : NULL;
	if (plan_source == NULL || plan_source->commandTag != CMDTAG_SELECT || plan_source->resultDesc == NULL ||
		list_length(plan_source->query_list) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the query is not a single SELECT"),
				 errhint("Give one SELECT statement that returns the rows to be looked at.")));
	if (linitial_node(Query, plan_source->query_list)->hasModifyingCTE ||
		linitial_node(Query, plan_source->query_list)->rowMarks != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the query does more than read"),
				 errhint("Give a SELECT without data-modifying parts and without FOR UPDATE or FOR SHARE.")));
	source->row_type = CreateTupleDescCopy(plan_source->resultDesc);
}

/* True when the caller may read the column. */
static bool
may_read(Oid relation, AttrNumber number, bool whole)
{
	return whole || pg_attribute_aclcheck(relation, number, GetUserId(), ACL_SELECT) == ACLCHECK_OK;
}

static const char *
relation_description(Relation relation)
{
	return psprintf("relation \"%s\"", RelationGetRelationName(relation));
}

/* The names of the primary key's columns, in the index's order. */
static List *
primary_key(Relation relation)
{
	Oid			index_id = RelationGetPrimaryKeyIndex(relation);
	List	   *names = NIL;
	HeapTuple	tuple;
	Form_pg_index index;

	/* A partitioned table's or an invalid index is not in rd_pkindex; look through the index list then. */
	if (!OidIsValid(index_id))
	{
		List	   *indexes = RelationGetIndexList(relation);
		ListCell   *cell;

		foreach(cell, indexes)
		{
			tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(lfirst_oid(cell)));
			if (!HeapTupleIsValid(tuple))
				continue;
			index = (Form_pg_index) GETSTRUCT(tuple);
			if (index->indisprimary && index->indisvalid)
				index_id = lfirst_oid(cell);
			ReleaseSysCache(tuple);
		}
		if (!OidIsValid(index_id))
			return NIL;
	}
	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(index_id));
	if (!HeapTupleIsValid(tuple))
		return NIL;
	index = (Form_pg_index) GETSTRUCT(tuple);
	for (int i = 0; i < index->indnkeyatts; i++)
		names = lappend(names, pstrdup(NameStr(TupleDescAttr(relation->rd_att, index->indkey.values[i] - 1)->attname)));
	ReleaseSysCache(tuple);
	return names;
}

/* A primary key of which the caller may not read every column is none. */
static bool
may_read_all(Relation relation, List *names, bool whole)
{
	ListCell   *cell;

	foreach(cell, names)
		if (!may_read(RelationGetRelid(relation), get_attnum(RelationGetRelid(relation), lfirst(cell)), whole))
			return false;
	return true;
}

/*
 * True when the relation's rows lie in heaps alone, so that a second scan under the same snapshot gives the same rows and
 * each has a ctid.  Children are locked as a query would lock them.
 */
static bool
is_all_heap(Relation relation, bool *several)
{
	List	   *members;
	ListCell   *cell;
	bool		all_heap = true;

	*several = relation->rd_rel->relkind == RELKIND_PARTITIONED_TABLE || relation->rd_rel->relhassubclass;
	if (!*several)
		return (relation->rd_rel->relkind == RELKIND_RELATION || relation->rd_rel->relkind == RELKIND_MATVIEW) &&
			relation->rd_rel->relam == HEAP_TABLE_AM_OID;
	members = find_all_inheritors(RelationGetRelid(relation), AccessShareLock, NULL);
	foreach(cell, members)
	{
		Relation	member = table_open(lfirst_oid(cell), NoLock);

		if (member->rd_rel->relkind != RELKIND_PARTITIONED_TABLE &&
			(member->rd_rel->relkind != RELKIND_RELATION || member->rd_rel->relam != HEAP_TABLE_AM_OID))
			all_heap = false;
		table_close(member, NoLock);
	}
	return all_heap;
}

static void
require_select(Relation relation, bool *whole)
{
	Oid			id = RelationGetRelid(relation);

	*whole = pg_class_aclcheck(id, GetUserId(), ACL_SELECT) == ACLCHECK_OK;
	if (!*whole && pg_attribute_aclcheck_all(id, GetUserId(), ACL_SELECT, ACLMASK_ANY) != ACLCHECK_OK)
		aclcheck_error(ACLCHECK_NO_PRIV, get_relkind_objtype(relation->rd_rel->relkind),
					   RelationGetRelationName(relation));
}

/*
 * pyn_source_of_relation prepares the reading of a table, partitioned or foreign table, view or materialised view.
 * Columns that the caller may not read are left out, or refused when named.
 */
PynSource *
pyn_source_of_relation(Oid relation_id, const PynSourceOptions *options)
{
	PynSource  *source = palloc0(sizeof(PynSource));
	Selection	selection = {.options = options};
	Relation	relation = try_relation_open(relation_id, AccessShareLock);
	StringInfoData query;
	bool		whole;
	bool		several;
	bool		has_ctid;

	if (relation == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relation_id)));
	switch (relation->rd_rel->relkind)
	{
		case RELKIND_RELATION:
		case RELKIND_PARTITIONED_TABLE:
		case RELKIND_FOREIGN_TABLE:
		case RELKIND_VIEW:
		case RELKIND_MATVIEW:
			break;
		default:
			ereport(ERROR,
					(errcode(ERRCODE_WRONG_OBJECT_TYPE),
					 errmsg("\"%s\" has no rows to read", RelationGetRelationName(relation)),
					 errhint("Give a table, partitioned table, foreign table, view or materialized view.")));
	}
	source->context = CurrentMemoryContext;
	source->description = (char *) relation_description(relation);
	require_select(relation, &whole);
	if (options->except != NULL && get_attnum(relation_id, options->except) <= 0)
		refuse_unknown_label(source, options->except);

	if (options->columns)
		selection.columns = name_list(options->columns, "columns");
	if (options->key)
		selection.keys = name_list(options->key, "key");
	else
	{
		selection.keys = primary_key(relation);
		if (!may_read_all(relation, selection.keys, whole))
			selection.keys = NIL;
	}
	source->rereads = is_all_heap(relation, &several);
	has_ctid = source->rereads && whole;	/* system columns are not for those who may read some columns only */
	source->key_kind = selection.keys != NIL ? PYN_KEY_COLUMNS : !has_ctid ? PYN_KEY_ROW_NUMBER :
		several ? PYN_KEY_PARTITION_CTID : PYN_KEY_CTID;

	/* A parent's primary key says nothing of its children's rows; its columns are no features all the same. */
	if (options->key == NULL && has_ctid && several && relation->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		source->key_kind = PYN_KEY_PARTITION_CTID;

	initStringInfo(&query);
	appendStringInfoString(&query, "SELECT ");
	for (int i = 0; i < relation->rd_att->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(relation->rd_att, i);
		const char *name = NameStr(attribute->attname);
		PynCellReader reader;

		if (attribute->attisdropped || !is_wanted(&selection, name))
			continue;

		/* A named column that is not readable is the executor's to refuse: 42501. */
		if (!may_read(relation_id, attribute->attnum, whole) && !name_in(selection.columns, name) &&
			!name_in(selection.keys, name) && !(options->label == PYN_LABEL_READ && is_label(&selection, name)))
		{
			if (selection.columns == NIL)
				leave_out(source, name, "no privilege");
			continue;
		}
		if (!options->whole_row && selection.columns == NIL && !name_in(selection.keys, name) && !is_label(&selection, name) &&
			!pyn_cell_reader(attribute->atttypid, true, &reader))
		{
			leave_out(source, name, format_type_be(attribute->atttypid));
			continue;
		}
		appendStringInfo(&query, "%st.%s", source->row_columns++ > 0 ? ", " : "", quote_identifier(name));
	}

	/* Names that do not exist are found by choose_columns; a row of no column is still a row. */
	if (source->row_columns == 0)
		appendStringInfoString(&query, "NULL::pg_catalog.int4 AS \" \"");
	if (source->key_kind == PYN_KEY_CTID || source->key_kind == PYN_KEY_PARTITION_CTID)
		appendStringInfoString(&query, ", t.ctid, t.tableoid");
	appendStringInfo(&query, " FROM %s AS t",
					 quote_qualified_identifier(get_namespace_name(RelationGetNamespace(relation)),
												RelationGetRelationName(relation)));
	prepare(source, query.data);
	choose_columns(source, &selection, options->whole_row);
	require_column(source);
	relation_close(relation, NoLock);
	return source;
}

/*
 * pyn_source_of_query prepares the reading of a SELECT.  Its rows are kept, since a second run might give others.
 */
PynSource *
pyn_source_of_query(const char *query, const PynSourceOptions *options)
{
	PynSource  *source = palloc0(sizeof(PynSource));
	Selection	selection = {.options = options};

	source->context = CurrentMemoryContext;
	source->description = "the query";
	if (options->columns)
		selection.columns = name_list(options->columns, "columns");
	if (options->key)
		selection.keys = name_list(options->key, "key");
	source->key_kind = selection.keys != NIL ? PYN_KEY_COLUMNS : PYN_KEY_ROW_NUMBER;
	prepare(source, query);
	source->row_columns = source->row_type->natts;
	if (options->except != NULL)
	{
		int			position = 0;

		while (position < source->row_columns &&
			   strcmp(NameStr(TupleDescAttr(source->row_type, position)->attname), options->except) != 0)
			position++;
		if (position == source->row_columns)
			refuse_unknown_label(source, options->except);
	}
	choose_columns(source, &selection, true);
	require_column(source);
	refuse_ambiguous_names(source);
	return source;
}
