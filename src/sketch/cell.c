/*
 * cell.c
 *		From SQL values to cells and back to what people read.
 */
#include "kernel/port.h"

#include <math.h>

#include "access/htup_details.h"
#include "catalog/pg_enum.h"
#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/bytea.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/float.h"
#include "utils/guc.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "kernel/hash.h"
#include "kernel/json_writer.h"
#include "sketch/cell.h"

#define UNIX_EPOCH_SECONDS ((double) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY)
#define UNIX_EPOCH_MICROSECONDS ((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY)
#define END_OF_DATES ((double) (DATE_END_JULIAN - UNIX_EPOCH_JDATE) * SECS_PER_DAY)
#define TEXT_HASH_SEED 0

/*
 * pyn_cell_reader finds how values of a type are read.
 */
bool
pyn_cell_reader(Oid type, bool allow_enum, PynCellReader *reader)
{
	Oid			base = getBaseType(type);

	reader->type = base;
	reader->is_enum = false;
	switch (base)
	{
		case INT2OID:
		case INT4OID:
		case INT8OID:
			reader->kind = PYN_KIND_INTEGER;
			return true;
		case FLOAT4OID:
		case FLOAT8OID:
		case NUMERICOID:
			reader->kind = PYN_KIND_NUMBER;
			return true;
		case BOOLOID:
			reader->kind = PYN_KIND_BOOLEAN;
			return true;
		case DATEOID:
			reader->kind = PYN_KIND_DATE;
			return true;
		case TIMEOID:
			reader->kind = PYN_KIND_TIME;
			return true;
		case TIMESTAMPOID:
			reader->kind = PYN_KIND_TIMESTAMP;
			return true;
		case TIMESTAMPTZOID:
			reader->kind = PYN_KIND_TIMESTAMPTZ;
			return true;
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
		case NAMEOID:
			reader->kind = PYN_KIND_TEXT;
			return true;
		case UUIDOID:
			reader->kind = PYN_KIND_UUID;
			return true;
		default:
			reader->kind = PYN_KIND_TEXT;
			reader->is_enum = allow_enum && type_is_enum(base);
			return reader->is_enum;
	}
}

const char *
pyn_kind_name(PynKind kind)
{
	static const char *const names[] = {
		[PYN_KIND_NONE] = "none",
		[PYN_KIND_INTEGER] = "integer",
		[PYN_KIND_NUMBER] = "number",
		[PYN_KIND_BOOLEAN] = "boolean",
		[PYN_KIND_DATE] = "date",
		[PYN_KIND_TIME] = "time",
		[PYN_KIND_TIMESTAMP] = "timestamp",
		[PYN_KIND_TIMESTAMPTZ] = "timestamptz",
		[PYN_KIND_TEXT] = "text",
		[PYN_KIND_UUID] = "uuid",
	};

	return names[kind];
}

/* Seconds since 1970 of microseconds since 2000, infinities kept. */
static double
unix_seconds(Timestamp timestamp)
{
	if (TIMESTAMP_IS_NOBEGIN(timestamp))
		return -get_float8_infinity();
	if (TIMESTAMP_IS_NOEND(timestamp))
		return get_float8_infinity();
	return ((double) timestamp + (double) UNIX_EPOCH_MICROSECONDS) / 1e6;
}

static double
read_number(Oid type, Datum value)
{
	switch (type)
	{
		case BOOLOID:
			return DatumGetBool(value) ? 1.0 : 0.0;
		case INT2OID:
			return DatumGetInt16(value);
		case INT4OID:
			return DatumGetInt32(value);
		case INT8OID:
			return (double) DatumGetInt64(value);
		case FLOAT4OID:
			return DatumGetFloat4(value);
		case FLOAT8OID:
			return DatumGetFloat8(value);
		case NUMERICOID:
			return DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow, value));
		case DATEOID:
			{
				DateADT		date = DatumGetDateADT(value);

				if (DATE_IS_NOBEGIN(date))
					return -get_float8_infinity();
				if (DATE_IS_NOEND(date))
					return get_float8_infinity();
				return (double) date * SECS_PER_DAY + UNIX_EPOCH_SECONDS;
			}
		case TIMEOID:
			return (double) DatumGetTimeADT(value) / 1e6;
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			return unix_seconds(DatumGetTimestamp(value));
		default:
			elog(ERROR, "type %u is not read as a number", type);
			return 0;
	}
}

/* The 36 characters of a UUID. */
static void
uuid_text(const pg_uuid_t *uuid, PynText *text)
{
	static const char digits[] = "0123456789abcdef";
	char	   *out = palloc(36);

	text->data = out;
	text->length = 36;
	for (int i = 0; i < UUID_LEN; i++)
	{
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*out++ = '-';
		*out++ = digits[uuid->data[i] >> 4];
		*out++ = digits[uuid->data[i] & 15];
	}
}

static void
enum_text(Oid label, PynText *text)
{
	HeapTuple	tuple = SearchSysCache1(ENUMOID, ObjectIdGetDatum(label));
	char	   *copy;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
				 errmsg("invalid internal value for enum: %u", label)));
	copy = pstrdup(NameStr(((Form_pg_enum) GETSTRUCT(tuple))->enumlabel));
	ReleaseSysCache(tuple);
	text->data = copy;
	text->length = strlen(copy);
}

/* Brings a text to UTF-8; the bytes of a SQL_ASCII database are taken as they are. */
static void
to_utf8(PynText *text)
{
	char	   *converted;

	if (likely(GetDatabaseEncoding() == PG_UTF8) || GetDatabaseEncoding() == PG_SQL_ASCII)
		return;
	converted = pg_server_to_any(text->data, text->length, PG_UTF8);
	if (converted != text->data)
	{
		text->data = converted;
		text->length = strlen(converted);
	}
}

static void
read_text(const PynCellReader *reader, Datum value, PynText *text)
{
	if (reader->is_enum)
		enum_text(DatumGetObjectId(value), text);
	else if (reader->type == UUIDOID)
		uuid_text(DatumGetUUIDP(value), text);
	else if (reader->type == NAMEOID)
	{
		text->data = NameStr(*DatumGetName(value));
		text->length = strlen(text->data);
	}
	else
	{
		struct varlena *packed = PG_DETOAST_DATUM_PACKED(value);

		text->data = VARDATA_ANY(packed);
		text->length = VARSIZE_ANY_EXHDR(packed);
		if (reader->type == BPCHAROID)
			text->length = bpchartruelen((char *) text->data, text->length);
	}
	to_utf8(text);
}

/* What is kept of a text that is no UTF-8: as many question marks in the place of the bytes that are no ASCII. */
static void
mask_text(PynText *text)
{
	char	   *masked = pnstrdup(text->data, text->length);

	for (int32 i = 0; i < text->length; i++)
		if (IS_HIGHBIT_SET(masked[i]))
			masked[i] = '?';
	text->data = masked;
}

/*
 * pyn_read_cell reads a value that is not NULL.  `text` receives the text where the kind is one; bytes that are no UTF-8
 * (possible in SQL_ASCII databases) are hashed as they are, and kept as question marks.
 */
PynCell
pyn_read_cell(const PynCellReader *reader, Datum value, PynText *text)
{
	PynCell		cell;

	if (!pyn_kind_is_text(reader->kind))
	{
		cell.number = read_number(reader->type, value);
		if (unlikely(cell.number != cell.number))
			cell.hash = PYN_NAN_BITS;
		else
			cell.number += 0.0; /* one zero, not two */
		return cell;
	}
	read_text(reader, value, text);
	cell.hash = pyn_hash_bytes(text->data, text->length, TEXT_HASH_SEED);
	cell.hash |= cell.hash == 0;
	if (unlikely(GetDatabaseEncoding() == PG_SQL_ASCII) &&
		!pg_verify_mbstr(PG_UTF8, text->data, text->length, true))
		mask_text(text);
	return cell;
}

uint64
pyn_hash_key_start(void)
{
	return UINT64CONST(0x70796E6B65793031);
}

static void
set_for_key(const char *setting, const char *value)
{
	(void) set_config_option(setting, value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

/*
 * A value's output text under PostgreSQL's own defaults, not under the session's settings: a key hashes alike in all.
 */
static char *
key_text(Oid type, Datum value)
{
	int			level;
	Oid			output;
	bool		is_varlena;
	char	   *text;

	if (type == NUMERICOID)		/* a frequent key, and no setting matters */
		return DatumGetCString(DirectFunctionCall1(numeric_out, value));
	level = NewGUCNestLevel();
	if (DateStyle != USE_ISO_DATES)
		set_for_key("datestyle", "ISO");
	if (IntervalStyle != INTSTYLE_POSTGRES)
		set_for_key("intervalstyle", "postgres");
	if (extra_float_digits != 1)
		set_for_key("extra_float_digits", "1");
	if (bytea_output != BYTEA_OUTPUT_HEX)
		set_for_key("bytea_output", "hex");
	if (strcmp(pg_get_timezone_name(session_timezone), "UTC") != 0)
		set_for_key("timezone", "UTC");
	getTypeOutputInfo(type, &output, &is_varlena);
	text = OidOutputFunctionCall(output, value);
	AtEOXact_GUC(true, level);
	return text;
}

/*
 * pyn_hash_key_next adds one column of a row's key.  Types without a reader are hashed by their output text, so any type
 * can be part of a key; whole numbers of different widths hash alike.
 */
uint64
pyn_hash_key_next(uint64 hash, Oid type, Datum value, bool is_null)
{
	PynCellReader reader;

	if (is_null)
		return pyn_hash_combine(hash, UINT64CONST(0x6E756C6C));
	switch (type)
	{
		case INT2OID:
			return pyn_hash_combine(hash, (uint64) (int64) DatumGetInt16(value));
		case INT4OID:
			return pyn_hash_combine(hash, (uint64) (int64) DatumGetInt32(value));
		case INT8OID:
			return pyn_hash_combine(hash, (uint64) DatumGetInt64(value));
		case OIDOID:
			return pyn_hash_combine(hash, (uint64) DatumGetObjectId(value));
		case CASHOID:			/* its output depends on lc_monetary */
			return pyn_hash_combine(hash, (uint64) DatumGetInt64(value));
		default:
			break;
	}
	if (type != NUMERICOID && pyn_cell_reader(type, true, &reader))
	{
		PynText		text;

		return pyn_hash_combine(hash, pyn_read_cell(&reader, value, &text).hash);
	}
	else
	{
		char	   *text = key_text(type, value);

		hash = pyn_hash_combine(hash, pyn_hash_bytes(text, strlen(text), TEXT_HASH_SEED));
		pfree(text);
		return hash;
	}
}

/* A column's name in UTF-8, palloc'd or the name itself. */
char *
pyn_name_to_utf8(const char *name)
{
	char	   *converted = (char *) name;

	if (GetDatabaseEncoding() != PG_SQL_ASCII)
		converted = pg_server_to_any(name, strlen(name), PG_UTF8);
	if (pyn_check_name(converted) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CHARACTER_NOT_IN_REPERTOIRE),
				 errmsg("column name \"%s\" cannot be written in UTF-8", name),
				 errhint("Give the column another name with AS or ALTER TABLE ... RENAME COLUMN.")));
	return converted;
}

/* UTF-8 in the server's encoding, NUL-terminated. */
char *
pyn_utf8_to_server(const char *text, int length)
{
	char	   *converted = pg_any_to_server(text, length, PG_UTF8);

	return converted == text ? pnstrdup(text, length) : converted;
}

static Datum
time_datum(PynKind kind, double number, Oid *type)
{
	if (kind == PYN_KIND_TIME)
	{
		*type = TIMEOID;
		return TimeADTGetDatum((TimeADT) Max(0.0, Min(rint(number * 1e6), (double) USECS_PER_DAY)));
	}
	if (kind == PYN_KIND_DATE)
	{
		*type = DATEOID;
		return DateADTGetDatum((DateADT) floor((number - UNIX_EPOCH_SECONDS) / SECS_PER_DAY));
	}
	*type = kind == PYN_KIND_TIMESTAMP ? TIMESTAMPOID : TIMESTAMPTZOID;
	return TimestampGetDatum((Timestamp) (rint(number * 1e6) - (double) UNIX_EPOCH_MICROSECONDS));
}

/*
 * pyn_cell_to_jsonb_value renders a number of a kind; times as ISO 8601, those with a zone in the session's.
 */
void
pyn_cell_to_jsonb_value(PynKind kind, double number, JsonbValue *value)
{
	Datum		datum;
	Oid			type;

	switch (kind)
	{
		case PYN_KIND_BOOLEAN:
			if (number != 0.0 && number != 1.0)
				break;
			value->type = jbvBool;
			value->val.boolean = number == 1.0;
			return;
		case PYN_KIND_DATE:
		case PYN_KIND_TIME:
		case PYN_KIND_TIMESTAMP:
		case PYN_KIND_TIMESTAMPTZ:
			/* What no time stands for, a damaged model could hold, is shown as the number. */
			if (!(number >= -210866803200.0 && number < (kind == PYN_KIND_DATE ? END_OF_DATES : 9224318016000.0)))
				break;
			datum = time_datum(kind, number, &type);
			value->type = jbvString;
			value->val.string.val = JsonEncodeDateTime(palloc(MAXDATELEN + 1), datum, type, NULL);
			value->val.string.len = strlen(value->val.string.val);
			return;
		default:
			break;
	}
	pyn_double_to_jsonb_value(number, value);
}
