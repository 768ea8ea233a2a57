/*
 * sketch_format.c
 *		The flat bytes of a sketch, and their full validation.
 *
 *	u32 magic, u16 version, u16 flags, u64 × 2 digest of all that follows,
 *	u64 seed, u64 rows, u32 columns,
 *	per column: text name, u8 kind, u8 flags, then sections of u8 tag, u32 length, bytes, ended by tag 0,
 *	then sections of the relation in the same form, ended by tag 0.
 *
 * Sections let the format grow: a later version adds tags.  This version refuses tags that it does not know, and every
 * value that its own writer could not have written as far as it can be told: a sketch read is as good as one made here.
 */
#include "kernel/port.h"
#include "kernel/hash.h"
#include "sketch/sketch.h"

#define FLAG_SAMPLE_TEXT 1
#define COLUMN_FLAG_KEY 1

#define SECTION_END 0
#define SECTION_COUNTS 1
#define SECTION_MOMENTS 2
#define SECTION_EXTREMES 3
#define SECTION_DISTINCT 4
#define SECTION_HITTERS 5
#define SECTION_SAMPLE 16

#define BODY_START 24			/* what the digest covers begins here */

static Size
begin_section(PynWriter *writer, uint8 tag)
{
	pyn_write_u8(writer, tag);
	pyn_write_u32(writer, 0);
	return writer->length;
}

static void
end_section(PynWriter *writer, Size start)
{
	uint32		length = (uint32) (writer->length - start);

	for (int i = 0; i < 4; i++)
		writer->data[start - 4 + i] = (uint8) (length >> (8 * i));
}

static void
write_extremes(PynWriter *writer, const PynExtremes *extremes)
{
	pyn_write_u32(writer, extremes->count);
	for (int i = 0; i < extremes->count; i++)
		pyn_write_f64(writer, extremes->values[i]);
}

static void
write_column(PynWriter *writer, const PynColumn *column)
{
	Size		start;

	pyn_write_text(writer, column->name);
	pyn_write_u8(writer, (uint8) column->kind);
	pyn_write_u8(writer, column->is_key ? COLUMN_FLAG_KEY : 0);

	start = begin_section(writer, SECTION_COUNTS);
	pyn_write_u64(writer, column->nulls);
	pyn_write_u64(writer, column->zeros);
	pyn_write_u64(writer, column->negatives);
	pyn_write_u64(writer, column->nans);
	pyn_write_u64(writer, column->positive_infinities);
	pyn_write_u64(writer, column->negative_infinities);
	pyn_write_u64(writer, column->empties);
	end_section(writer, start);

	start = begin_section(writer, SECTION_MOMENTS);
	pyn_write_u64(writer, column->count);
	pyn_write_f64(writer, column->minimum);
	pyn_write_f64(writer, column->maximum);
	pyn_write_f64(writer, column->mean);
	pyn_write_f64(writer, column->m2);
	pyn_write_f64(writer, column->m3);
	pyn_write_f64(writer, column->m4);
	end_section(writer, start);

	start = begin_section(writer, SECTION_EXTREMES);
	write_extremes(writer, &column->lowest);
	write_extremes(writer, &column->highest);
	end_section(writer, start);

	start = begin_section(writer, SECTION_DISTINCT);
	pyn_distinct_write(&column->distinct, writer);
	end_section(writer, start);

	start = begin_section(writer, SECTION_HITTERS);
	pyn_heavy_hitters_write(&column->hitters, writer);
	end_section(writer, start);

	pyn_write_u8(writer, SECTION_END);
}

static void
write_sample(PynWriter *writer, const PynSketch *sketch)
{
	const PynSample *sample = &sketch->sample;
	Size		text_start = sizeof(PynCell) * sketch->column_count;

	pyn_write_u32(writer, sample->count);
	for (uint32 row = 0; row < sample->count; row++)
	{
		pyn_write_u64(writer, sample->rows[row].hash);
		pyn_write_u64(writer, sample->rows[row].row_hash);
		pyn_write_u64(writer, sample->rows[row].weight);
	}
	for (uint32 row = 0; row < sample->count; row++)
		for (int column = 0; column < sketch->column_count; column++)
			pyn_write_u64(writer, pyn_sample_cell(sample, row, column).hash);
	if (!sketch->sample_text)
		return;
	for (uint32 row = 0; row < sample->count; row++)
	{
		const uint8 *text = pyn_sample_slot(sample, row) + text_start;

		for (int i = 0; i < sketch->text_count; i++)
		{
			pyn_write_bytes(writer, text, 1 + *text);
			text += 1 + PYN_SAMPLE_TEXT;
		}
	}
}

/*
 * pyn_sketch_write settles the sketch and appends its flat bytes.
 */
void
pyn_sketch_write(PynSketch *sketch, PynWriter *writer)
{
	Size		origin = writer->length;
	Size		start;
	PynDigest	digest;

	pyn_sketch_settle(sketch);
	pyn_write_u32(writer, PYN_SKETCH_MAGIC);
	pyn_write_u16(writer, PYN_SKETCH_VERSION);
	pyn_write_u16(writer, sketch->sample_text ? FLAG_SAMPLE_TEXT : 0);
	pyn_write_u64(writer, 0);
	pyn_write_u64(writer, 0);
	pyn_write_u64(writer, sketch->seed);
	pyn_write_u64(writer, sketch->rows);
	pyn_write_u32(writer, sketch->column_count);
	for (int column = 0; column < sketch->column_count; column++)
		write_column(writer, &sketch->columns[column]);
	start = begin_section(writer, SECTION_SAMPLE);
	write_sample(writer, sketch);
	end_section(writer, start);
	pyn_write_u8(writer, SECTION_END);

	digest = pyn_digest(writer->data + origin + BODY_START, writer->length - origin - BODY_START);
	pyn_write_u64_at(writer, origin + 8, digest.low);
	pyn_write_u64_at(writer, origin + 16, digest.high);
}

/*
 * pyn_check_name says what is wrong with a column's name, NULL when nothing is: not empty, valid UTF-8.
 */
const char *
pyn_check_name(const char *name)
{
	const uint8 *p = (const uint8 *) name;

	if (*p == 0)
		return "a column has no name";
	while (*p != 0)
	{
		uint32		code;
		int			more = *p < 0x80 ? 0 : *p < 0xC2 ? -1 : *p < 0xE0 ? 1 : *p < 0xF0 ? 2 : *p < 0xF5 ? 3 : -1;

		if (more < 0)
			return "a column's name is not valid UTF-8";
		code = more == 0 ? *p : *p & (0x3F >> more);
		p++;
		for (int i = 0; i < more; i++, p++)
		{
			if ((*p & 0xC0) != 0x80)
				return "a column's name is not valid UTF-8";
			code = code << 6 | (*p & 0x3F);
		}
		if ((more == 2 && (code < 0x800 || (code >= 0xD800 && code < 0xE000))) ||
			(more == 3 && (code < 0x10000 || code > 0x10FFFF)))
			return "a column's name is not valid UTF-8";
	}
	return NULL;
}

static bool
read_count(PynReader *reader, int64 *count)
{
	uint64		value = pyn_read_u64(reader);

	*count = (int64) value;
	return value <= (uint64) PYN_MAX_ROWS;
}

static const char *
read_counts(PynReader *reader, PynColumn *column)
{
	bool		good = true;

	good &= read_count(reader, &column->nulls);
	good &= read_count(reader, &column->zeros);
	good &= read_count(reader, &column->negatives);
	good &= read_count(reader, &column->nans);
	good &= read_count(reader, &column->positive_infinities);
	good &= read_count(reader, &column->negative_infinities);
	good &= read_count(reader, &column->empties);
	return good ? NULL : "a count is out of range";
}

static const char *
read_moments(PynReader *reader, PynColumn *column)
{
	bool		good = read_count(reader, &column->count);

	column->minimum = pyn_read_f64(reader);
	column->maximum = pyn_read_f64(reader);
	column->mean = pyn_read_f64(reader);
	column->m2 = pyn_read_f64(reader);
	column->m3 = pyn_read_f64(reader);
	column->m4 = pyn_read_f64(reader);
	if (!good)
		return "a count is out of range";
	if (column->count == 0)
		return column->minimum > column->maximum && column->mean == 0 ? NULL : "an empty column has moments";
	if (!pyn_is_finite(column->minimum) || !pyn_is_finite(column->maximum) || !pyn_is_finite(column->mean) ||
		column->minimum > column->maximum)
		return "minimum, mean and maximum do not fit";
	return NULL;
}

static const char *
read_extremes(PynReader *reader, PynExtremes *extremes, int64 values)
{
	uint32		count = pyn_read_u32(reader);

	if (reader->failed || count != (uint32) Min(values, PYN_EXTREMES) || !pyn_reader_has(reader, count, sizeof(double)))
		return "the number of extremes is wrong";
	for (uint32 i = 0; i < count; i++)
	{
		double		value = pyn_read_f64(reader);

		if (!pyn_is_finite(value) || (i > 0 && value < extremes->values[i - 1]))
			return "the extremes are not in order";
		pyn_extremes_add(extremes, value);
	}
	pyn_extremes_settle(extremes);
	return NULL;
}

/* Reads a section's head and gives a reader of its own for the body. */
static const char *
read_section(PynReader *reader, uint8 *tag, PynReader *section)
{
	uint32		length;
	const uint8 *body;

	*tag = pyn_read_u8(reader);
	if (*tag == SECTION_END)
		return reader->failed ? "it ends early" : NULL;
	length = pyn_read_u32(reader);
	body = pyn_read_bytes(reader, length);
	if (body == NULL)
		return "it ends early";
	pyn_reader_init(section, body, length);
	return NULL;
}

static const char *
read_column_section(PynReader *section, uint8 tag, PynColumn *column)
{
	const char *problem;

	switch (tag)
	{
		case SECTION_COUNTS:
			return read_counts(section, column);
		case SECTION_MOMENTS:
			return read_moments(section, column);
		case SECTION_EXTREMES:
			problem = read_extremes(section, &column->lowest, column->count);
			return problem ? problem : read_extremes(section, &column->highest, column->count);
		case SECTION_DISTINCT:
			return pyn_distinct_read(&column->distinct, section);
		case SECTION_HITTERS:
			return pyn_heavy_hitters_read(&column->hitters, section);
		default:
			return "it has a section of an unknown kind";
	}
}

/* Each value of the column is counted once. */
static const char *
check_column(const PynColumn *column, int64 rows)
{
	int64		others = column->nans + column->positive_infinities + column->negative_infinities;

	if (column->nulls > rows || column->count > rows || others > rows || column->nulls + column->count + others != rows)
		return "a column's counts do not add up to the rows";
	if (column->zeros > column->count || column->negatives > column->count || column->empties > column->count)
		return "a column's counts do not fit";
	if (pyn_kind_is_text(column->kind) ? others + column->zeros + column->negatives > 0 : column->empties > 0)
		return "a column has counts that its kind cannot have";
	if (pyn_kind_is_text(column->kind) && column->count > 0 && column->minimum < 0)
		return "a text has a negative length";
	return NULL;
}

static const char *
read_column(PynReader *reader, PynSketch *sketch, int index)
{
	PynColumn  *column = &sketch->columns[index];
	char		name[PYN_NAME_SIZE];
	const char *problem;
	uint8		kind;
	uint8		flags;

	if (!pyn_read_text(reader, name, sizeof(name)))
		return "a column's name is too long or cut off";
	if ((problem = pyn_check_name(name)) != NULL)
		return problem;
	if (pyn_sketch_find_column(sketch, name) >= 0)
		return "two columns have the same name";
	kind = pyn_read_u8(reader);
	flags = pyn_read_u8(reader);
	if (kind == PYN_KIND_NONE || kind > PYN_KIND_LAST || flags > COLUMN_FLAG_KEY)
		return "a column is of an unknown kind";
	pyn_sketch_set_column(sketch, index, name, (PynKind) kind, flags == COLUMN_FLAG_KEY);

	/* Sections come in the order of their tags, each once. */
	for (uint8 expected = SECTION_COUNTS;; expected++)
	{
		PynReader	section;
		uint8		tag;

		if ((problem = read_section(reader, &tag, &section)) != NULL)
			return problem;
		if (tag == SECTION_END)
		{
			if (expected != SECTION_HITTERS + 1)
				return "a column lacks a section";
			return check_column(column, sketch->rows);
		}
		if (tag != expected)
			return "a column's sections are out of order";
		if ((problem = read_column_section(&section, tag, column)) != NULL)
			return problem;
		if (section.failed || pyn_reader_left(&section) > 0)
			return "a section has the wrong length";
	}
}

/* Reads the texts of one sampled row into its slot. */
static const char *
read_sample_text(PynReader *reader, PynSketch *sketch, uint8 *slot)
{
	uint8	   *place = slot + sizeof(PynCell) * sketch->column_count;

	for (int i = 0; i < sketch->text_count; i++)
	{
		uint8		length = pyn_read_u8(reader);
		const uint8 *text;

		if (length > PYN_SAMPLE_TEXT || (text = pyn_read_bytes(reader, length)) == NULL)
			return "a sampled text is too long or cut off";
		if (memchr(text, 0, length) != NULL)
			return "a sampled text has a zero byte";
		memset(place, 0, 1 + PYN_SAMPLE_TEXT);
		*place = length;
		memcpy(place + 1, text, length);
		if (length > 0)
		{
			char		copy[PYN_SAMPLE_TEXT + 1];

			memcpy(copy, text, length);
			copy[length] = 0;
			if (pyn_check_name(copy) != NULL)
				return "a sampled text is not valid UTF-8";
		}
		place += 1 + PYN_SAMPLE_TEXT;
	}
	return NULL;
}

static const char *
read_sample(PynReader *reader, PynSketch *sketch)
{
	PynSample  *sample = &sketch->sample;
	uint32		count = pyn_read_u32(reader);
	int64		weights = 0;
	const uint8 *heads;
	PynReader	head;
	uint8	   *slot;

	if (reader->failed || count > sample->capacity || (int64) count > sketch->rows)
		return "the sample has too many rows";
	if (!pyn_reader_has(reader, count, 24 + sizeof(PynCell) * sketch->column_count))
		return "the sample is cut off";
	if (count < sample->capacity && count == 0 && sketch->rows > 0)
		return "the sample is empty";
	heads = pyn_read_bytes(reader, (Size) count * 24);
	pyn_reader_init(&head, heads, (Size) count * 24);
	pyn_sample_reserve(sample, count);
	slot = palloc0(sample->slot_bytes);
	for (uint32 row = 0; row < count; row++)
	{
		uint64		hash = pyn_read_u64(&head);
		uint64		row_hash = pyn_read_u64(&head);
		uint64		weight = pyn_read_u64(&head);

		if (row % 1024 == 0)
			CHECK_FOR_INTERRUPTS();
		if (row > 0)
		{
			PynSampleRow *last = &sample->rows[row - 1];

			if (hash < last->hash || (hash == last->hash && row_hash <= last->row_hash))
				return "the sample is not in order";
		}
		if (weight == 0 || weight > (uint64) (sketch->rows - weights))
			return "the sample's weights exceed the rows";
		weights += (int64) weight;
		for (int column = 0; column < sketch->column_count; column++)
		{
			uint64		bits = pyn_read_u64(reader);

			memcpy(slot + sizeof(PynCell) * column, &bits, sizeof(bits));
		}
		pyn_sample_add(sample, hash, row_hash, (int64) weight, slot);
	}
	pfree(slot);
	if (count < sample->capacity && weights != sketch->rows)
		return "the sample's weights do not add up to the rows";
	if (sketch->sample_text)
	{
		for (uint32 row = 0; row < count; row++)
		{
			const char *problem = read_sample_text(reader, sketch, pyn_sample_slot(sample, row));

			if (problem != NULL)
				return problem;
		}
	}
	pyn_sample_settle(sample);
	return NULL;
}

/*
 * pyn_sketch_read makes a working state of flat bytes.  Returns NULL and sets *sketch, or says what is wrong.
 */
const char *
pyn_sketch_read(const void *data, Size length, PynSketch **result)
{
	PynReader	reader;
	PynReader	section;
	PynSketch  *sketch;
	PynDigest	digest;
	const char *problem;
	uint64		low;
	uint64		high;
	uint64		seed;
	int64		rows;
	uint32		column_count;
	uint16		flags;
	uint8		tag;

	pyn_reader_init(&reader, data, length);
	if (pyn_read_u32(&reader) != PYN_SKETCH_MAGIC || reader.failed)
		return "it does not begin like a sketch";
	if (pyn_read_u16(&reader) != PYN_SKETCH_VERSION)
		return "its format version is unknown";
	flags = pyn_read_u16(&reader);
	low = pyn_read_u64(&reader);
	high = pyn_read_u64(&reader);
	if (reader.failed || flags > FLAG_SAMPLE_TEXT)
		return "its header is damaged";
	digest = pyn_digest((const uint8 *) data + BODY_START, length - BODY_START);
	if (digest.low != low || digest.high != high)
		return "its checksum does not match";
	seed = pyn_read_u64(&reader);
	if (!read_count(&reader, &rows))
		return "a count is out of range";
	column_count = pyn_read_u32(&reader);
	if (column_count == 0 || column_count > PYN_MAX_COLUMNS)
		return "it has an impossible number of columns";

	sketch = pyn_sketch_create((int) column_count, seed, flags == FLAG_SAMPLE_TEXT);
	sketch->rows = rows;
	for (int column = 0; column < sketch->column_count; column++)
		if ((problem = read_column(&reader, sketch, column)) != NULL)
			return problem;
	pyn_sketch_ready(sketch);

	if ((problem = read_section(&reader, &tag, &section)) != NULL)
		return problem;
	if (tag != SECTION_SAMPLE)
		return "it has no sample";
	if ((problem = read_sample(&section, sketch)) != NULL)
		return problem;
	if (section.failed || pyn_reader_left(&section) > 0)
		return "the sample has the wrong length";
	if (pyn_read_u8(&reader) != SECTION_END || reader.failed || pyn_reader_left(&reader) > 0)
		return "it has bytes past its end";
	*result = sketch;
	return NULL;
}
