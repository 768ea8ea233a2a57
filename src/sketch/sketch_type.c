/*
 * sketch_type.c
 *		The SQL type pynomaly.sketch: input, output and the expanded object.
 *
 * As the state of an aggregate a sketch is an expanded object, so a row is added in place.  It is flattened only when it
 * leaves the process or is stored.  Flat bytes are validated in full whenever they become a working state, wherever they
 * come from.
 */
#include "kernel/port.h"

#include "common/base64.h"
#include "libpq/pqformat.h"
#include "utils/builtins.h"

#include "sketch/sketch_type.h"

#define EXPANDED_SKETCH_MAGIC 0x50594E53
#define TEXT_PREFIX "pynomaly.sketch"

int			pyn_work_mem = 256 * 1024;

PG_FUNCTION_INFO_V1(pyn_sketch_in);
PG_FUNCTION_INFO_V1(pyn_sketch_out);
PG_FUNCTION_INFO_V1(pyn_sketch_recv);
PG_FUNCTION_INFO_V1(pyn_sketch_send);

static Size get_flat_size(ExpandedObjectHeader *header);
static void flatten_into(ExpandedObjectHeader *header, void *result, Size allocated);

static const ExpandedObjectMethods sketch_methods = {get_flat_size, flatten_into};

static Size
get_flat_size(ExpandedObjectHeader *header)
{
	PynExpandedSketch *expanded = (PynExpandedSketch *) header;

	Assert(expanded->magic == EXPANDED_SKETCH_MAGIC);
	if (expanded->flat == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(header->eoh_context);
		PynWriter	writer;

		pyn_writer_init(&writer, 4096);
		pyn_sketch_write(expanded->sketch, &writer);
		if (writer.length > MaxAllocSize - VARHDRSZ)
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("sketch of %zu bytes is too large for a value", writer.length)));
		expanded->flat = writer.data;
		expanded->flat_length = writer.length;
		MemoryContextSwitchTo(old);
	}
	return VARHDRSZ + expanded->flat_length;
}

static void
flatten_into(ExpandedObjectHeader *header, void *result, Size allocated)
{
	PynExpandedSketch *expanded = (PynExpandedSketch *) header;

	Assert(expanded->flat != NULL && allocated == VARHDRSZ + expanded->flat_length);
	SET_VARSIZE(result, allocated);
	memcpy(VARDATA(result), expanded->flat, expanded->flat_length);
}

PynExpandedSketch *
pyn_expanded_sketch_create(MemoryContext parent)
{
	MemoryContext context = AllocSetContextCreate(parent, "pynomaly sketch", ALLOCSET_DEFAULT_SIZES);
	PynExpandedSketch *expanded = MemoryContextAllocZero(context, sizeof(PynExpandedSketch));

	EOH_init_header(&expanded->header, &sketch_methods, context);
	expanded->magic = EXPANDED_SKETCH_MAGIC;
	return expanded;
}

/* Makes a working state of a flat datum, in the current memory context. */
static PynSketch *
read_flat(Datum value)
{
	struct varlena *flat = PG_DETOAST_DATUM_PACKED(value);
	PynSketch  *sketch;
	const char *problem = pyn_sketch_read(VARDATA_ANY(flat), VARSIZE_ANY_EXHDR(flat), &sketch);

	if (problem != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("invalid sketch: %s", problem)));
	if ((Pointer) flat != DatumGetPointer(value))
		pfree(flat);
	return sketch;
}

PynExpandedSketch *
pyn_sketch_for_update(Datum value, MemoryContext parent)
{
	PynExpandedSketch *expanded;
	MemoryContext old;

	if (VARATT_IS_EXTERNAL_EXPANDED_RW(DatumGetPointer(value)))
	{
		expanded = (PynExpandedSketch *) DatumGetEOHP(value);
		Assert(expanded->magic == EXPANDED_SKETCH_MAGIC);
		if (expanded->flat != NULL)
			pfree(expanded->flat);
		expanded->flat = NULL;
		return expanded;
	}
	expanded = pyn_expanded_sketch_create(parent);
	old = MemoryContextSwitchTo(expanded->header.eoh_context);
	expanded->sketch = read_flat(value);
	MemoryContextSwitchTo(old);
	return expanded;
}

PynSketch *
pyn_sketch_from_datum(Datum value)
{
	if (VARATT_IS_EXTERNAL_EXPANDED(DatumGetPointer(value)))
	{
		PynExpandedSketch *expanded = (PynExpandedSketch *) DatumGetEOHP(value);
		MemoryContext old = MemoryContextSwitchTo(expanded->header.eoh_context);

		/* Settling counts what waits; it changes the state's form, not what it says. */
		pyn_sketch_settle(expanded->sketch);
		MemoryContextSwitchTo(old);
		return expanded->sketch;
	}
	return read_flat(value);
}

Datum
pyn_sketch_to_datum(PynSketch *sketch)
{
	PynWriter	writer;
	static const uint8 header[VARHDRSZ];

	/* About what the sample takes, so that the buffer need not be doubled and copied again and again. */
	pyn_writer_init(&writer, 65536 + (Size) sketch->sample.count * (24 + sketch->sample.slot_bytes));
	pyn_write_bytes(&writer, header, VARHDRSZ);
	pyn_sketch_write(sketch, &writer);
	if (writer.length > MaxAllocSize)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("sketch of %zu bytes is too large for a value", writer.length)));
	SET_VARSIZE(writer.data, writer.length);
	return PointerGetDatum(writer.data);
}

/*
 * pyn_require_sketch_memory raises an error when such a sketch could grow past pynomaly.work_mem.
 */
void
pyn_require_sketch_memory(int column_count, int text_count, bool sample_text)
{
	Size		needed = pyn_sketch_memory(column_count, text_count, sample_text);

	if (needed / 1024 > (Size) pyn_work_mem)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("a sketch of %d columns can take %zu MB, more than pynomaly.work_mem allows", column_count,
						needed / (1024 * 1024) + 1),
				 errhint("Raise pynomaly.work_mem or name fewer columns.")));
}

char *
pyn_bytes_to_text(const char *prefix, const void *data, Size length)
{
	Size		start = strlen(prefix) + 1;
	Size		room = start + pg_b64_enc_len((int) length) + 1;
	char	   *text;
	int			encoded;

	if (length > MaxAllocSize / 2)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("value of %zu bytes is too large for its text form", length),
				 errhint("Use the binary form, as COPY BINARY does.")));
	text = palloc(room);
	snprintf(text, room, "%s:", prefix);
	encoded = pg_b64_encode(data, (int) length, text + start, (int) (room - start));
	if (encoded < 0)
		elog(ERROR, "base64 encoding failed");
	text[start + encoded] = 0;
	return text;
}

/*
 * pyn_text_to_bytes undoes pyn_bytes_to_text; what else it is given is an invalid text representation of `type`.
 */
uint8 *
pyn_text_to_bytes(const char *prefix, const char *type, const char *text, Size *length)
{
	Size		start = strlen(prefix) + 1;
	Size		given = strlen(text);
	uint8	   *bytes;
	int			decoded = -1;

	if (given > start && strncmp(text, prefix, start - 1) == 0 && text[start - 1] == ':' && given - start <= INT_MAX / 2)
	{
		int			room = pg_b64_dec_len((int) (given - start)) + 1;

		bytes = palloc(room);
		decoded = pg_b64_decode(text + start, (int) (given - start), (char *) bytes, room);
	}
	if (decoded < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("invalid input syntax for type %s", type),
				 errhint("Its text form is \"%s:\" and base64, as the type's output gives it.", prefix)));
	*length = decoded;
	return bytes;
}

/* Validates bytes from outside and gives them as a datum, as they are: the writer's form is the only one. */
static Datum
checked_datum(const void *data, Size length, int error_code)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "pynomaly sketch check", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	PynSketch  *sketch;
	const char *problem = pyn_sketch_read(data, length, &sketch);
	struct varlena *result;

	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	if (problem != NULL)
		ereport(ERROR,
				(errcode(error_code),
				 errmsg("invalid sketch: %s", problem)));
	result = palloc(VARHDRSZ + length);
	SET_VARSIZE(result, VARHDRSZ + length);
	memcpy(VARDATA(result), data, length);
	return PointerGetDatum(result);
}

Datum
pyn_sketch_in(PG_FUNCTION_ARGS)
{
	Size		length;
	uint8	   *bytes = pyn_text_to_bytes(TEXT_PREFIX, "pynomaly.sketch", PG_GETARG_CSTRING(0), &length);

	PG_RETURN_DATUM(checked_datum(bytes, length, ERRCODE_INVALID_TEXT_REPRESENTATION));
}

Datum
pyn_sketch_out(PG_FUNCTION_ARGS)
{
	struct varlena *flat = PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(0));

	PG_RETURN_CSTRING(pyn_bytes_to_text(TEXT_PREFIX, VARDATA_ANY(flat), VARSIZE_ANY_EXHDR(flat)));
}

Datum
pyn_sketch_recv(PG_FUNCTION_ARGS)
{
	StringInfo	message = (StringInfo) PG_GETARG_POINTER(0);
	Size		length = message->len - message->cursor;
	const char *bytes = pq_getmsgbytes(message, length);

	PG_RETURN_DATUM(checked_datum(bytes, length, ERRCODE_INVALID_BINARY_REPRESENTATION));
}

Datum
pyn_sketch_send(PG_FUNCTION_ARGS)
{
	struct varlena *flat = PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(0));
	StringInfoData message;

	pq_begintypsend(&message);
	pq_sendbytes(&message, VARDATA_ANY(flat), VARSIZE_ANY_EXHDR(flat));
	PG_RETURN_BYTEA_P(pq_endtypsend(&message));
}
