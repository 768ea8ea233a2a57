/*
 * suppression.c
 *		Rules that keep deviations which nobody cares about from alarming, in the units of the column.
 *
 * What is rare is not always what matters: a fee one cent above all others is an anomaly to a detector and none to people.
 * A rule says how far a column's value has to be from its normal one, and on which side.  Where a flagged row's value is not
 * that far its column is muted: the row is scored again with that value at the normal one, and stays flagged only if it is
 * an anomaly even so.  So the alarm is lost only if it was the muted columns that made it; what is odd in another column,
 * or in how the others go together, is still told.  Scores and p-values are those of the row as it is.
 *
 * Asking the detector again is better than subtracting contributions: it holds for every detector, the judgement is the
 * one by threshold or p-value that flagged the row, and it costs one more score for flagged rows only.
 *
 * In the bytes, at the end of the model, only where there are rules: u8 section (1), u16 count, and for each rule by rising
 * column u16 column, u8 direction, f64 minimum_absolute, f64 minimum_relative.
 */
#include "kernel/port.h"
#include "detectors/model.h"

#define SECTION_RULES 1

/* The feature that is the column's value itself, or -1: a column that does not vary or that is no number. */
static int
value_feature(const PynModel *model, int column)
{
	for (int i = 0; i < model->feature_count; i++)
		if (model->features[i].column == column && model->features[i].encoding == PYN_ENCODE_VALUE)
			return i;
	return -1;
}

/* Whether a rule asks for more than the value's distance from the normal one; of a missing value it says nothing. */
static bool
mutes(const PynRule *rule, double value, double normal)
{
	double		distance = value - normal;
	double		size = distance < 0 ? -distance : distance;
	double		scale = normal < 0 ? -normal : normal;

	if (value != value)
		return false;
	if ((rule->direction == PYN_DIRECTION_UP && distance <= 0) || (rule->direction == PYN_DIRECTION_DOWN && distance >= 0))
		return true;
	return size < rule->minimum_absolute || size < rule->minimum_relative * scale;
}

/*
 * pyn_muting_rule gives the rule that mutes a feature of a row, or NULL.
 */
const PynRule *
pyn_muting_rule(const PynModel *model, int feature, double value)
{
	if (model->features[feature].encoding != PYN_ENCODE_VALUE)
		return NULL;
	for (int i = 0; i < model->rule_count; i++)
		if (model->rules[i].column == model->features[feature].column)
			return mutes(&model->rules[i], value, model->features[feature].centre) ? &model->rules[i] : NULL;
	return NULL;
}

/*
 * pyn_suppress takes the alarm back where rules say so.  `row` is the encoded row that the verdict is about.
 */
void
pyn_suppress(const PynModel *model, const double *row, PynVerdict *verdict)
{
	double	   *quiet;
	int			muted = 0;

	if (!verdict->is_anomaly || model->rule_count == 0)
		return;
	quiet = pyn_new(double, model->feature_count);
	memcpy(quiet, row, sizeof(double) * model->feature_count);
	for (int i = 0; i < model->rule_count; i++)
	{
		int			feature = value_feature(model, model->rules[i].column);

		if (feature >= 0 && mutes(&model->rules[i], row[feature], model->features[feature].centre))
		{
			quiet[feature] = model->features[feature].centre;
			muted++;
		}
	}
	if (muted > 0 && !pyn_judge(model, model->detector->score_row(model->state, quiet)).is_anomaly)
	{
		verdict->is_anomaly = false;
		verdict->is_suppressed = true;
		verdict->severity = PYN_SEVERITY_NONE;
	}
	pfree(quiet);
}

/*
 * pyn_check_rule says what is wrong with a rule for a column of this kind, or NULL.
 */
const char *
pyn_check_rule(const PynRule *rule, PynKind kind)
{
	if (pyn_kind_is_text(kind) || kind == PYN_KIND_BOOLEAN)
		return "the column holds no quantity";
	if (!(rule->minimum_absolute >= 0) || !(rule->minimum_relative >= 0) || !pyn_is_finite(rule->minimum_absolute) ||
		!pyn_is_finite(rule->minimum_relative))
		return "a minimum is negative or not finite";
	if (rule->minimum_absolute == 0 && rule->minimum_relative == 0 && rule->direction == PYN_DIRECTION_BOTH)
		return "the rule has no condition";
	if (rule->minimum_relative > 0 && kind != PYN_KIND_INTEGER && kind != PYN_KIND_NUMBER)
		return "a share of a time is no quantity";
	return NULL;
}

/*
 * pyn_set_rules gives the model rules, whose columns are found by name; the caller has checked them.
 */
void
pyn_set_rules(PynModel *model, const PynRule *rules, int count)
{
	model->rules = pyn_new0(PynRule, Max(count, 1));
	model->rule_count = 0;
	for (int column = 0; column < model->column_count; column++)
		for (int i = 0; i < count; i++)
			if (strcmp(rules[i].name, model->columns[column].name) == 0)
			{
				model->rules[model->rule_count] = rules[i];
				model->rules[model->rule_count++].column = column;
			}
}

void
pyn_rules_write(const PynModel *model, PynWriter *writer)
{
	if (model->rule_count == 0)
		return;
	pyn_write_u8(writer, SECTION_RULES);
	pyn_write_u16(writer, (uint16) model->rule_count);
	for (int i = 0; i < model->rule_count; i++)
	{
		pyn_write_u16(writer, (uint16) model->rules[i].column);
		pyn_write_u8(writer, (uint8) model->rules[i].direction);
		pyn_write_f64(writer, model->rules[i].minimum_absolute);
		pyn_write_f64(writer, model->rules[i].minimum_relative);
	}
}

/*
 * pyn_rules_read reads what pyn_rules_write has written, if there is anything.
 */
const char *
pyn_rules_read(PynModel *model, PynReader *reader)
{
	int			count;

	if (pyn_reader_left(reader) == 0)
		return NULL;
	if (pyn_read_u8(reader) != SECTION_RULES)
		return "its parameters have the wrong length";
	count = pyn_read_u16(reader);
	if (count < 1 || count > model->column_count || !pyn_reader_has(reader, count, 19))
		return "it has an impossible number of rules";
	model->rules = pyn_new0(PynRule, count);
	for (int i = 0; i < count; i++)
	{
		PynRule    *rule = &model->rules[i];
		uint8		direction;

		rule->column = pyn_read_u16(reader);
		direction = pyn_read_u8(reader);
		rule->minimum_absolute = pyn_read_f64(reader);
		rule->minimum_relative = pyn_read_f64(reader);
		if (rule->column >= model->column_count || (i > 0 && rule->column <= rule[-1].column) ||
			direction > PYN_DIRECTION_LAST)
			return "a rule is damaged";
		rule->direction = (PynDirection) direction;
		if (pyn_check_rule(rule, model->columns[rule->column].kind) != NULL)
			return "a rule is impossible";
		memcpy(rule->name, model->columns[rule->column].name, PYN_NAME_SIZE);
	}
	model->rule_count = count;
	return NULL;
}
