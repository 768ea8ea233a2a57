/*
 * model_format.c
 *		The flat bytes of a model, and their full validation.
 *
 *	u32 magic, u16 version, u16 flags (0), u64 × 2 digest of all that follows,
 *	text detector, u64 seed, f64 contamination, u8 threshold method, f64 threshold,
 *	text how the threshold came about, u64 rows, u32 training rows, text time zone,
 *	u16 columns:  text name, u8 kind, u8 use,
 *	u16 features: u16 column, u8 encoding, f64 centre, low, high; for rarities: u32 count, f64 unseen, u64 commonest,
 *				  text of the commonest, count × (u64 hash, f64 rarity),
 *	calibration, u32 length and bytes of the detector's parameters; rules of suppression, if there are any (suppression.c).
 *
 * The digest stands for the value: call sites recognise a model by its length and digest without looking further.
 */
#include "kernel/port.h"
#include "detectors/model.h"

static bool
is_rarity(PynEncoding encoding)
{
	return encoding == PYN_ENCODE_RARITY || encoding == PYN_ENCODE_WEEKDAY;
}

static void
write_feature(const PynFeature *feature, PynWriter *writer)
{
	pyn_write_u16(writer, (uint16) feature->column);
	pyn_write_u8(writer, (uint8) feature->encoding);
	pyn_write_f64(writer, feature->centre);
	pyn_write_f64(writer, feature->low);
	pyn_write_f64(writer, feature->high);
	if (!is_rarity(feature->encoding))
		return;
	pyn_write_u32(writer, (uint32) feature->category_count);
	pyn_write_f64(writer, feature->unseen);
	pyn_write_u64(writer, feature->commonest);
	pyn_write_text(writer, feature->commonest_text);
	for (int i = 0; i < feature->category_count; i++)
	{
		pyn_write_u64(writer, feature->hashes[i]);
		pyn_write_f64(writer, feature->rarities[i]);
	}
}

/* Everything but calibration, parameters and rules. */
static void
write_head(const PynModel *model, PynWriter *writer)
{
	pyn_write_u32(writer, PYN_MODEL_MAGIC);
	pyn_write_u16(writer, PYN_MODEL_VERSION);
	pyn_write_u16(writer, 0);
	pyn_write_u64(writer, 0);
	pyn_write_u64(writer, 0);
	pyn_write_text(writer, model->detector->name);
	pyn_write_u64(writer, model->seed);
	pyn_write_f64(writer, model->contamination);
	pyn_write_u8(writer, (uint8) model->threshold_method);
	pyn_write_f64(writer, model->threshold);
	pyn_write_text(writer, model->threshold_reason);
	pyn_write_u64(writer, (uint64) model->rows);
	pyn_write_u32(writer, model->training_rows);
	pyn_write_text(writer, model->zone_name);
	pyn_write_u16(writer, (uint16) model->column_count);
	for (int i = 0; i < model->column_count; i++)
	{
		pyn_write_text(writer, model->columns[i].name);
		pyn_write_u8(writer, (uint8) model->columns[i].kind);
		pyn_write_u8(writer, (uint8) model->columns[i].use);
	}
	pyn_write_u16(writer, (uint16) model->feature_count);
	for (int i = 0; i < model->feature_count; i++)
		write_feature(&model->features[i], writer);
}

/*
 * pyn_model_write appends a model with these parameters of its detector.
 */
void
pyn_model_write(const PynModel *model, const uint8 *parameters, Size length, PynWriter *writer)
{
	Size		origin = writer->length;
	PynDigest	digest;

	write_head(model, writer);
	pyn_calibration_write(&model->calibration, writer);
	pyn_write_u32(writer, (uint32) length);
	pyn_write_bytes(writer, parameters, length);
	pyn_rules_write(model, writer);
	digest = pyn_digest(writer->data + origin + PYN_MODEL_BODY, writer->length - origin - PYN_MODEL_BODY);
	pyn_write_u64_at(writer, origin + PYN_MODEL_DIGEST, digest.low);
	pyn_write_u64_at(writer, origin + PYN_MODEL_DIGEST + 8, digest.high);
}

static const char *
read_columns(PynReader *reader, PynModel *model)
{
	int			used = 0;

	model->column_count = pyn_read_u16(reader);
	if (model->column_count < 1 || model->column_count > PYN_MAX_COLUMNS)
		return "it has an impossible number of columns";
	model->columns = pyn_new0(PynModelColumn, model->column_count);
	for (int i = 0; i < model->column_count; i++)
	{
		PynModelColumn *column = &model->columns[i];
		const char *problem;
		uint8		kind;
		uint8		use;

		if (!pyn_read_text(reader, column->name, sizeof(column->name)))
			return "a column's name is too long or cut off";
		if ((problem = pyn_check_name(column->name)) != NULL)
			return problem;
		for (int j = 0; j < i; j++)
			if (strcmp(column->name, model->columns[j].name) == 0)
				return "two columns have the same name";
		kind = pyn_read_u8(reader);
		use = pyn_read_u8(reader);
		if (kind == PYN_KIND_NONE || kind > PYN_KIND_LAST || use > PYN_COLUMN_USE_LAST)
			return "a column is of an unknown kind";
		column->kind = (PynKind) kind;
		column->use = (PynColumnUse) use;
		used += use == PYN_USED;
	}
	return used > 0 ? NULL : "no column is used";
}

static bool
encoding_fits(PynEncoding encoding, PynKind kind)
{
	switch (encoding)
	{
		case PYN_ENCODE_RARITY:
			return pyn_kind_is_text(kind);
		case PYN_ENCODE_HOUR:
			return kind == PYN_KIND_TIMESTAMP || kind == PYN_KIND_TIMESTAMPTZ;
		case PYN_ENCODE_WEEKDAY:
			return kind == PYN_KIND_TIMESTAMP || kind == PYN_KIND_TIMESTAMPTZ || kind == PYN_KIND_DATE;
		default:
			return !pyn_kind_is_text(kind);
	}
}

static const char *
read_categories(PynReader *reader, PynFeature *feature)
{
	uint32		count = pyn_read_u32(reader);

	feature->unseen = pyn_read_f64(reader);
	feature->commonest = pyn_read_u64(reader);
	if (!pyn_read_text(reader, feature->commonest_text, sizeof(feature->commonest_text)) ||
		(feature->commonest_text[0] != 0 && pyn_check_name(feature->commonest_text) != NULL))
		return "a category's text is damaged";
	if (count < 1 || count > PYN_MAX_CATEGORIES || !pyn_reader_has(reader, count, 16))
		return "a column has an impossible number of categories";
	if (!(feature->unseen >= 0 && feature->unseen < 100))
		return "a category's rarity is impossible";
	feature->category_count = (int) count;
	feature->hashes = pyn_new(uint64, count);
	feature->rarities = pyn_new(double, count);
	for (uint32 i = 0; i < count; i++)
	{
		feature->hashes[i] = pyn_read_u64(reader);
		feature->rarities[i] = pyn_read_f64(reader);
		if (i > 0 && feature->hashes[i] <= feature->hashes[i - 1])
			return "the categories are not in order";
		if (!(feature->rarities[i] >= 0 && feature->rarities[i] < 100))
			return "a category's rarity is impossible";
	}
	return NULL;
}

static const char *
read_features(PynReader *reader, PynModel *model)
{
	model->feature_count = pyn_read_u16(reader);
	if (model->feature_count < 1 || model->feature_count > PYN_MAX_FEATURES ||
		!pyn_reader_has(reader, model->feature_count, 27))
		return "it has an impossible number of features";
	model->features = pyn_new0(PynFeature, model->feature_count);
	for (int i = 0; i < model->feature_count; i++)
	{
		PynFeature *feature = &model->features[i];
		uint8		encoding;
		const char *problem;

		feature->column = pyn_read_u16(reader);
		encoding = pyn_read_u8(reader);
		if (feature->column >= model->column_count || encoding < PYN_ENCODE_VALUE || encoding > PYN_ENCODE_LAST ||
			!encoding_fits((PynEncoding) encoding, model->columns[feature->column].kind) ||
			model->columns[feature->column].use != PYN_USED)
			return "a feature does not fit its column";
		feature->encoding = (PynEncoding) encoding;
		if (i > 0 && (feature->column < feature[-1].column ||
					  (feature->column == feature[-1].column && feature->encoding <= feature[-1].encoding)))
			return "the features are not in order";
		feature->centre = pyn_read_f64(reader);
		feature->low = pyn_read_f64(reader);
		feature->high = pyn_read_f64(reader);
		if (!pyn_is_finite(feature->centre) || !pyn_is_finite(feature->low) || !pyn_is_finite(feature->high) ||
			feature->low > feature->high)
			return "a feature's range is impossible";
		if (is_rarity(feature->encoding) && (problem = read_categories(reader, feature)) != NULL)
			return problem;
	}
	return NULL;
}

static bool
is_printable(const char *text)
{
	for (const char *p = text; *p != 0; p++)
		if ((uint8) *p < 0x20 || (uint8) *p > 0x7E)
			return false;
	return true;
}

static const char *
read_threshold(PynReader *reader, PynModel *model)
{
	uint8		method = pyn_read_u8(reader);

	model->threshold = pyn_read_f64(reader);
	if (method > PYN_THRESHOLD_LAST)
		return "its threshold is of an unknown method";
	model->threshold_method = (PynThresholdMethod) method;
	if (method == PYN_THRESHOLD_SCORE && !(model->threshold >= 0 && model->threshold <= 1))
		return "its threshold is outside [0, 1]";
	if (method > PYN_THRESHOLD_SCORE && !pyn_is_finite(model->threshold))
		return "its threshold is not finite";
	if (!pyn_read_text(reader, model->threshold_reason, sizeof(model->threshold_reason)) ||
		!is_printable(model->threshold_reason))
		return "how its threshold came about is damaged";
	return NULL;
}

static const char *
read_head(PynReader *reader, PynModel *model)
{
	char		name[64];
	uint64		rows;
	const char *problem;

	if (!pyn_read_text(reader, name, sizeof(name)) || (model->detector = pyn_find_detector(name)) == NULL)
		return "its algorithm is unknown";
	model->seed = pyn_read_u64(reader);
	model->contamination = pyn_read_f64(reader);
	if ((problem = read_threshold(reader, model)) != NULL)
		return problem;
	rows = pyn_read_u64(reader);
	model->training_rows = pyn_read_u32(reader);
	if (!(model->contamination > 0 && model->contamination <= 0.5))
		return "its contamination is outside (0, 0.5]";
	if (rows < 1 || rows > (uint64) PYN_MAX_ROWS || model->training_rows < 1)
		return "its number of rows is impossible";
	model->rows = (int64) rows;
	if (!pyn_read_text(reader, model->zone_name, sizeof(model->zone_name)) || !is_printable(model->zone_name))
		return "its time zone is damaged";
	return NULL;
}

/*
 * pyn_model_read makes a model of flat bytes, in the current memory context.  Returns NULL and sets *result, or says what
 * is wrong.  The time zone is set by name only.
 */
const char *
pyn_model_read(const void *data, Size length, PynModel **result)
{
	PynModel   *model = palloc0(sizeof(PynModel));
	PynReader	reader;
	PynReader	parameters;
	PynDigest	digest;
	const uint8 *bytes;
	const char *problem;
	uint32		parameter_length;
	uint16		version;
	uint16		flags;

	pyn_reader_init(&reader, data, length);
	if (pyn_read_u32(&reader) != PYN_MODEL_MAGIC || reader.failed)
		return "it does not begin like a model";
	version = pyn_read_u16(&reader);
	flags = pyn_read_u16(&reader);
	model->digest.low = pyn_read_u64(&reader);
	model->digest.high = pyn_read_u64(&reader);
	model->length = length;
	if (reader.failed || version != PYN_MODEL_VERSION || flags != 0)
		return "its format version is unknown";
	digest = pyn_digest((const uint8 *) data + PYN_MODEL_BODY, length - PYN_MODEL_BODY);
	if (digest.low != model->digest.low || digest.high != model->digest.high)
		return "its checksum does not match";
	if ((problem = read_head(&reader, model)) != NULL || (problem = read_columns(&reader, model)) != NULL ||
		(problem = read_features(&reader, model)) != NULL ||
		(problem = pyn_calibration_read(&model->calibration, &reader)) != NULL)
		return problem;
	parameter_length = pyn_read_u32(&reader);
	bytes = pyn_read_bytes(&reader, parameter_length);
	if (bytes == NULL)
		return "its parameters have the wrong length";
	if ((problem = pyn_rules_read(model, &reader)) != NULL)
		return problem;
	if (reader.failed || pyn_reader_left(&reader) > 0)
		return "it has something after its end";
	pyn_reader_init(&parameters, bytes, parameter_length);
	if ((problem = model->detector->open(&parameters, model->feature_count, &model->state)) != NULL)
		return problem;
	if (parameters.failed || pyn_reader_left(&parameters) > 0)
		return "its parameters have the wrong length";
	model->parameter_bytes = parameter_length;
	model->parameters = bytes;
	*result = model;
	return NULL;
}
