/*
 * bytes.c
 *		Portable bytes: little-endian integers and floats.
 */
#include "kernel/bytes.h"

void
pyn_writer_init(PynWriter *writer, Size capacity)
{
	writer->data = palloc(capacity);
	writer->length = 0;
	writer->capacity = capacity;
}

/* Where the next bytes go; there is room for them. */
static inline uint8 *
make_room(PynWriter *writer, Size length)
{
	if (writer->capacity - writer->length < length)
	{
		Size		capacity = Max(writer->capacity * 2, writer->length + length);

		writer->data = pyn_repalloc_huge(writer->data, capacity);
		writer->capacity = capacity;
	}
	writer->length += length;
	return (uint8 *) writer->data + writer->length - length;
}

void
pyn_write_bytes(PynWriter *writer, const void *data, Size length)
{
	uint8	   *place = make_room(writer, length);

	if (length > 0)
		memcpy(place, data, length);
}

static inline void
write_little_endian(PynWriter *writer, uint64 value, int size)
{
	uint8	   *place = make_room(writer, size);

	for (int i = 0; i < size; i++)
		place[i] = (uint8) (value >> (8 * i));
}

void
pyn_write_u8(PynWriter *writer, uint8 value)
{
	write_little_endian(writer, value, 1);
}

void
pyn_write_u16(PynWriter *writer, uint16 value)
{
	write_little_endian(writer, value, 2);
}

void
pyn_write_u32(PynWriter *writer, uint32 value)
{
	write_little_endian(writer, value, 4);
}

void
pyn_write_u64(PynWriter *writer, uint64 value)
{
	write_little_endian(writer, value, 8);
}

void
pyn_write_f32(PynWriter *writer, float value)
{
	uint32		bits;

	memcpy(&bits, &value, sizeof(bits));
	pyn_write_u32(writer, bits);
}

void
pyn_write_f64(PynWriter *writer, double value)
{
	uint64		bits;

	memcpy(&bits, &value, sizeof(bits));
	pyn_write_u64(writer, bits);
}

void
pyn_write_text(PynWriter *writer, const char *text)
{
	Size		length = strlen(text);

	Assert(length <= UINT16_MAX);
	pyn_write_u16(writer, (uint16) length);
	pyn_write_bytes(writer, text, length);
}

/* Overwrites eight bytes that were written before. */
void
pyn_write_u64_at(PynWriter *writer, Size position, uint64 value)
{
	Assert(position + 8 <= writer->length);
	for (int i = 0; i < 8; i++)
		writer->data[position + i] = (uint8) (value >> (8 * i));
}

void
pyn_reader_init(PynReader *reader, const void *data, Size length)
{
	reader->data = data;
	reader->length = length;
	reader->position = 0;
	reader->failed = false;
}

const uint8 *
pyn_read_bytes(PynReader *reader, Size length)
{
	const uint8 *bytes;

	if (reader->failed || length > reader->length - reader->position)
	{
		reader->failed = true;
		return NULL;
	}
	bytes = reader->data + reader->position;
	reader->position += length;
	return bytes;
}

static uint64
read_little_endian(PynReader *reader, int size)
{
	const uint8 *bytes = pyn_read_bytes(reader, size);
	uint64		value = 0;

	if (bytes == NULL)
		return 0;
	for (int i = 0; i < size; i++)
		value |= (uint64) bytes[i] << (8 * i);
	return value;
}

uint8
pyn_read_u8(PynReader *reader)
{
	return (uint8) read_little_endian(reader, 1);
}

uint16
pyn_read_u16(PynReader *reader)
{
	return (uint16) read_little_endian(reader, 2);
}

uint32
pyn_read_u32(PynReader *reader)
{
	return (uint32) read_little_endian(reader, 4);
}

uint64
pyn_read_u64(PynReader *reader)
{
	return read_little_endian(reader, 8);
}

float
pyn_read_f32(PynReader *reader)
{
	uint32		bits = pyn_read_u32(reader);
	float		value;

	memcpy(&value, &bits, sizeof(value));
	return value;
}

double
pyn_read_f64(PynReader *reader)
{
	uint64		bits = pyn_read_u64(reader);
	double		value;

	memcpy(&value, &bits, sizeof(value));
	return value;
}

/*
 * pyn_read_text reads what pyn_write_text wrote into `text`, NUL-terminated.
 */
bool
pyn_read_text(PynReader *reader, char *text, Size size)
{
	uint16		length = pyn_read_u16(reader);
	const uint8 *bytes = pyn_read_bytes(reader, length);

	if (bytes == NULL || length >= size || memchr(bytes, 0, length) != NULL)
	{
		reader->failed = true;
		text[0] = 0;
		return false;
	}
	memcpy(text, bytes, length);
	text[length] = 0;
	return true;
}
