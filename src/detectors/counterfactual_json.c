/*
 * counterfactual_json.c
 *		What would turn a row's verdict, as jsonb and as sentences.
 *
 *		{score, p_value, is_anomaly, severity, threshold, distance, changes, evaluations}, of a row not flagged `pulls`, too
 *
 * A change is {feature, value, normal_if | flagged_if, text}; where only two together will do, {features, changes, text}.
 */
#include "kernel/port.h"

#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/numeric.h"

#include "detectors/counterfactual.h"
#include "detectors/model_type.h"
#include "numeric/math.h"
#include "sketch/cell.h"

static const char *const day_names[] = {
	"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday",
};

/* The kind of the values that a change's bounds are. */
static PynKind
kind_of(const PynModel *model, const PynChange *change)
{
	const PynFeature *feature = &model->features[change->feature];

	return feature->encoding == PYN_ENCODE_VALUE ? model->columns[feature->column].kind : PYN_KIND_NUMBER;
}

static void
put_number(PynJson *json, const char *name, PynKind kind, double number)
{
	JsonbValue	value;

	pyn_cell_to_jsonb_value(kind, number, &value);
	pyn_json_value(json, name, &value);
}

static char *
number_text(PynKind kind, double number)
{
	JsonbValue	value;

	pyn_cell_to_jsonb_value(kind, number, &value);
	switch (value.type)
	{
		case jbvBool:
			return pstrdup(value.val.boolean ? "true" : "false");
		case jbvString:
			return pnstrdup(value.val.string.val, value.val.string.len);
		default:
			return DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value.val.numeric)));
	}
}

/* The share of rows that a rarity in bits stands for, to four digits. */
static double
share_of(double rarity)
{
	return strtod(psprintf("%.4g", pyn_exp2(-rarity)), NULL);
}

/* The most frequent category, when it is one of those that the change allows and its text is known. */
static const char *
commonest_of(const PynFeature *feature, const PynChange *change)
{
	if (feature->commonest_text[0] == 0 || feature->centre < change->low || feature->centre > change->high)
		return NULL;
	return pyn_utf8_to_server(feature->commonest_text, strlen(feature->commonest_text));
}

static void
put_condition(PynJson *json, const PynModel *model, const PynChange *change)
{
	const PynFeature *feature = &model->features[change->feature];
	PynKind		kind = kind_of(model, change);
	const char *commonest;

	switch (change->kind)
	{
		case PYN_CHANGE_MISSING:
			pyn_json_boolean(json, "missing", true);
			return;
		case PYN_CHANGE_PRESENT:
			pyn_json_boolean(json, "missing", false);
			put_number(json, "example", kind, change->example);
			/* FALLTHROUGH */
		case PYN_CHANGE_RANGE:
			if (change->has_low && change->has_high && change->low == change->high)
			{
				put_number(json, "=", kind, change->low);
				return;
			}
			if (change->has_low)
				put_number(json, ">=", kind, change->low);
			if (change->has_high)
				put_number(json, "<=", kind, change->high);
			return;
		case PYN_CHANGE_ONE_OF:
			break;
	}
	if (feature->encoding == PYN_ENCODE_WEEKDAY)
	{
		pyn_json_open_array(json, "in");
		for (int day = 1; day <= 7; day++)
			if (change->days & (1 << day))
				pyn_json_text(json, NULL, day_names[day - 1]);
		pyn_json_close_array(json);
		return;
	}
	commonest = commonest_of(feature, change);
	if (commonest != NULL)
	{
		pyn_json_open_array(json, "in");
		pyn_json_text(json, NULL, commonest);
		pyn_json_close_array(json);
	}
	pyn_json_number(json, "least_share", change->has_high || !change->unseen ? share_of(change->high) : 0);
	if (change->has_low)
		pyn_json_number(json, "most_share", share_of(change->low));
	pyn_json_boolean(json, "unseen", change->unseen);
}

/* A condition in words: what has to be so. */
static void
append_condition(StringInfo text, const PynModel *model, const PynChange *change)
{
	const PynFeature *feature = &model->features[change->feature];
	char	   *name = pyn_feature_name(model, feature);
	PynKind		kind = kind_of(model, change);
	const char *separator = "";
	const char *commonest;

	appendStringInfoString(text, name);
	switch (change->kind)
	{
		case PYN_CHANGE_MISSING:
			appendStringInfoString(text, " were missing");
			return;
		case PYN_CHANGE_PRESENT:
			appendStringInfo(text, " had a value such as %s", number_text(kind, change->example));
			return;
		case PYN_CHANGE_RANGE:
			if (change->has_low && change->has_high && change->low == change->high)
				appendStringInfo(text, " = %s", number_text(kind, change->low));
			else if (change->has_low && change->has_high)
				appendStringInfo(text, " between %s and %s", number_text(kind, change->low), number_text(kind, change->high));
			else
				appendStringInfo(text, " %s %s", change->has_low ? ">=" : "<=",
								 number_text(kind, change->has_low ? change->low : change->high));
			return;
		case PYN_CHANGE_ONE_OF:
			break;
	}
	if (feature->encoding == PYN_ENCODE_WEEKDAY)
	{
		appendStringInfoString(text, " in (");
		for (int day = 1; day <= 7; day++)
			if (change->days & (1 << day))
			{
				appendStringInfo(text, "%s%s", separator, day_names[day - 1]);
				separator = ", ";
			}
		appendStringInfoChar(text, ')');
		return;
	}
	commonest = commonest_of(feature, change);
	if (commonest != NULL)
		appendStringInfo(text, " in (%s) or another value", quote_literal_cstr(commonest));
	else
		appendStringInfoString(text, " were a value");
	if (change->unseen && !change->has_high)
		appendStringInfo(text, " of at most %g %% of rows, or a new one", 100 * share_of(change->low));
	else if (change->has_low)
		appendStringInfo(text, " of %g to %g %% of rows", 100 * share_of(change->high), 100 * share_of(change->low));
	else
		appendStringInfo(text, " of at least %g %% of rows", 100 * share_of(change->high));
}

static void
put_change(PynJson *json, const PynModel *model, const PynCounterfactual *found, const PynChange *change,
		   const PynCell *cells, const PynText *texts)
{
	const PynFeature *feature = &model->features[change->feature];
	StringInfoData text;

	pyn_json_open_object(json, NULL);
	pyn_json_text(json, "feature", pyn_feature_name(model, feature));
	pyn_put_value(json, model, feature, cells[feature->column], &texts[feature->column]);
	pyn_json_open_object(json, found->verdict.is_anomaly ? "normal_if" : "flagged_if");
	put_condition(json, model, change);
	pyn_json_close_object(json);
	initStringInfo(&text);
	appendStringInfoString(&text, found->verdict.is_anomaly ? "would be normal if " : "would be flagged if ");
	append_condition(&text, model, change);
	pyn_json_text(json, "text", text.data);
	pyn_json_close_object(json);
}

static void
put_pair(PynJson *json, const PynModel *model, const PynCounterfactual *found, const PynCell *cells, const PynText *texts)
{
	StringInfoData text;

	pyn_json_open_object(json, NULL);
	pyn_json_open_array(json, "features");
	for (int i = 0; i < 2; i++)
		pyn_json_text(json, NULL, pyn_feature_name(model, &model->features[found->pair[i].feature]));
	pyn_json_close_array(json);
	pyn_json_open_array(json, "changes");
	for (int i = 0; i < 2; i++)
		put_change(json, model, found, &found->pair[i], cells, texts);
	pyn_json_close_array(json);
	initStringInfo(&text);
	appendStringInfoString(&text, found->verdict.is_anomaly ? "would be normal if " : "would be flagged if ");
	append_condition(&text, model, &found->pair[0]);
	appendStringInfoString(&text, " and ");
	append_condition(&text, model, &found->pair[1]);
	pyn_json_text(json, "text", text.data);
	pyn_json_close_object(json);
}

/* What keeps a row from being flagged, the strongest first. */
static void
put_pulls(PynJson *json, const PynModel *model, const PynCounterfactual *found, const PynCell *cells, const PynText *texts)
{
	double		last = 2;
	int			last_feature = -1;

	pyn_json_open_array(json, "pulls");
	for (;;)
	{
		int			next = -1;

		for (int i = 0; i < model->feature_count; i++)
			if (found->pulls[i] > 0 && (found->pulls[i] < last || (found->pulls[i] == last && i > last_feature)) &&
				(next < 0 || found->pulls[i] > found->pulls[next]))
				next = i;
		if (next < 0)
			break;
		pyn_json_open_object(json, NULL);
		pyn_json_text(json, "feature", pyn_feature_name(model, &model->features[next]));
		pyn_put_value(json, model, &model->features[next], cells[model->features[next].column],
					  &texts[model->features[next].column]);
		pyn_json_number(json, "share", strtod(psprintf("%.4f", found->pulls[next]), NULL));
		pyn_json_close_object(json);
		last = found->pulls[next];
		last_feature = next;
	}
	pyn_json_close_array(json);
}

/*
 * pyn_put_normal_if appends, of a flagged row, the conditions under which it would be normal, in words.
 */
void
pyn_put_normal_if(PynJson *json, const PynModel *model, const PynCell *cells)
{
	PynCounterfactual found;

	pyn_find_changes(model, cells, &found);
	pyn_json_open_array(json, "normal_if");
	for (int i = 0; i < found.count + found.pair_count; i++)
	{
		StringInfoData text;

		initStringInfo(&text);
		append_condition(&text, model, i < found.count ? &found.changes[i] : &found.pair[0]);
		if (i >= found.count)
		{
			appendStringInfoString(&text, " and ");
			append_condition(&text, model, &found.pair[1]);
		}
		pyn_json_text(json, NULL, text.data);
	}
	pyn_json_close_array(json);
}

/*
 * pyn_counterfactual gives what would turn the verdict of a row that has something to score.
 */
Jsonb *
pyn_counterfactual(const PynModel *model, const PynCell *cells, const PynText *texts)
{
	PynCounterfactual found;
	PynJson		json = {0};
	double		threshold = pyn_threshold_score(model);

	pyn_find_changes(model, cells, &found);
	pyn_json_open_object(&json, NULL);
	pyn_json_number(&json, "score", found.verdict.score);
	pyn_json_number(&json, "p_value", found.verdict.p_value);
	pyn_json_boolean(&json, "is_anomaly", found.verdict.is_anomaly);
	pyn_json_text(&json, "severity", pyn_severity_name(found.verdict.severity));
	pyn_json_number(&json, "threshold", threshold);
	pyn_json_number(&json, "distance", found.verdict.score - threshold);
	if (found.verdict.is_suppressed)
		pyn_json_boolean(&json, "is_suppressed", true);
	pyn_json_open_array(&json, "changes");
	for (int i = 0; i < found.count; i++)
		put_change(&json, model, &found, &found.changes[i], cells, texts);
	if (found.pair_count > 0)
		put_pair(&json, model, &found, cells, texts);
	pyn_json_close_array(&json);
	if (!found.verdict.is_anomaly)
		put_pulls(&json, model, &found, cells, texts);
	pyn_json_integer(&json, "evaluations", found.evaluations);
	pyn_json_close_object(&json);
	return JsonbValueToJsonb(json.result);
}
