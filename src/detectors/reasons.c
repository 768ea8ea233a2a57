/*
 * reasons.c
 *		Why a row is odd, as jsonb: [{feature, value, expected, low, high, contribution}, ...], the strongest first; of a
 *		row that rules keep from being flagged, `suppressed_by` says which.
 */
#include "kernel/port.h"

#include <math.h>

#include "detectors/model_type.h"
#include "sketch/cell.h"

#define MOST_REASONS 20			/* further features are summed up in one entry */
#define CONTRIBUTION_UNITS 10000	/* contributions are given to four decimals, and still sum to 1 */

const char *
pyn_severity_name(PynSeverity severity)
{
	static const char *const names[] = {
		[PYN_SEVERITY_NONE] = "none",
		[PYN_SEVERITY_LOW] = "low",
		[PYN_SEVERITY_MEDIUM] = "medium",
		[PYN_SEVERITY_HIGH] = "high",
		[PYN_SEVERITY_CRITICAL] = "critical",
	};

	return names[severity];
}

typedef struct Reason
{
	int			feature;
	double		share;
	int			units;			/* of 1 / CONTRIBUTION_UNITS */
	const PynRule *rule;		/* that mutes it */
} Reason;

static int
compare_shares(const void *a, const void *b)
{
	const Reason *x = a;
	const Reason *y = b;

	if (x->share != y->share)
		return x->share > y->share ? -1 : 1;
	return x->feature - y->feature;
}

/* Rounds shares so that they still sum to 1: what rounding down leaves goes to the largest, which are first. */
static void
round_shares(Reason *reasons, int count)
{
	int			left = CONTRIBUTION_UNITS;

	for (int i = 0; i < count; i++)
	{
		reasons[i].units = (int) floor(reasons[i].share * CONTRIBUTION_UNITS);
		left -= reasons[i].units;
	}
	for (int i = 0; left > 0 && count > 0; i = (i + 1) % count, left--)
		reasons[i].units++;
}

static void
put_contribution(PynJson *json, int units)
{
	pyn_json_number(json, "contribution", (double) units / CONTRIBUTION_UNITS);
}

static void
put_rule(PynJson *json, const PynRule *rule)
{
	pyn_json_open_object(json, "suppressed_by");
	pyn_put_rule(json, rule);
	pyn_json_close_object(json);
}

/*
 * pyn_feature_name gives the name under which people know a feature: its column's, and which part of a time.
 */
char *
pyn_feature_name(const PynModel *model, const PynFeature *feature)
{
	const char *column = model->columns[feature->column].name;
	char	   *name = pyn_utf8_to_server(column, strlen(column));

	if (feature->encoding == PYN_ENCODE_HOUR)
		name = psprintf("%s.hour", name);
	else if (feature->encoding == PYN_ENCODE_WEEKDAY)
		name = psprintf("%s.weekday", name);
	return name;
}

static void
put_number(PynJson *json, const char *name, PynKind kind, double number)
{
	JsonbValue	value;

	pyn_cell_to_jsonb_value(kind, number, &value);
	pyn_json_value(json, name, &value);
}

static void
put_range(PynJson *json, const PynFeature *feature, PynKind kind)
{
	put_number(json, "expected", kind, feature->centre);
	put_number(json, "low", kind, feature->low);
	put_number(json, "high", kind, feature->high);
}

static void
put_no_range(PynJson *json)
{
	pyn_json_null(json, "low");
	pyn_json_null(json, "high");
}

static void
put_commonest(PynJson *json, const PynFeature *feature)
{
	if (feature->commonest == 0 || feature->commonest_text[0] == 0)
		pyn_json_null(json, "expected");
	else
		pyn_json_text(json, "expected", pyn_utf8_to_server(feature->commonest_text, strlen(feature->commonest_text)));
	put_no_range(json);
}

/* The day as the model numbers it, or NULL when the value is no moment. */
static const char *
weekday_name(const PynModel *model, const PynFeature *feature, PynCell cell, uint64 day)
{
	static const char *const names[] = {
		"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday",
	};

	if (day == 0)
		day = pyn_weekday(model, feature, cell);
	return day >= 1 && day <= 7 ? names[day - 1] : NULL;
}

static void
put_day(PynJson *json, const char *member, const char *name)
{
	if (name != NULL)
		pyn_json_text(json, member, name);
	else
		pyn_json_null(json, member);
}

static void
put_cell(PynJson *json, PynKind kind, PynCell cell)
{
	if (pyn_cell_is_null(kind, cell))
		pyn_json_null(json, "value");
	else
		put_number(json, "value", kind, cell.number);
}

/*
 * pyn_put_value appends what a row has in a feature.
 */
void
pyn_put_value(PynJson *json, const PynModel *model, const PynFeature *feature, PynCell cell, const PynText *text)
{
	double		hour;

	switch (feature->encoding)
	{
		case PYN_ENCODE_HOUR:
			hour = pyn_encode_cell(model, feature, cell);
			if (isnan(hour))
				pyn_json_null(json, "value");
			else
				pyn_json_number(json, "value", rint(hour * 100) / 100);
			break;
		case PYN_ENCODE_WEEKDAY:
			put_day(json, "value", weekday_name(model, feature, cell, 0));
			break;
		case PYN_ENCODE_RARITY:
			if (cell.hash == 0)
				pyn_json_null(json, "value");
			else
				pyn_json_text(json, "value", pyn_utf8_to_server(text->data, text->length));
			break;
		default:
			put_cell(json, model->columns[feature->column].kind, cell);
	}
}

static void
put_reason(PynJson *json, const PynModel *model, const PynFeature *feature, PynCell cell, const PynText *text)
{
	pyn_json_text(json, "feature", pyn_feature_name(model, feature));
	pyn_put_value(json, model, feature, cell, text);
	switch (feature->encoding)
	{
		case PYN_ENCODE_VALUE:
			put_range(json, feature, model->columns[feature->column].kind);
			break;
		case PYN_ENCODE_HOUR:
			pyn_json_number(json, "expected", rint(feature->centre * 100) / 100);
			pyn_json_number(json, "low", rint(feature->low * 100) / 100);
			pyn_json_number(json, "high", rint(feature->high * 100) / 100);
			break;
		case PYN_ENCODE_WEEKDAY:
			put_day(json, "expected", weekday_name(model, feature, cell, feature->commonest));
			put_no_range(json);
			break;
		case PYN_ENCODE_RARITY:
			put_commonest(json, feature);
			break;
		case PYN_ENCODE_MISSING:
			pyn_json_null(json, "expected");
			put_no_range(json);
			break;
	}
}

void
pyn_put_reasons(PynJson *json, const char *name, const PynModel *model, const PynCell *cells, const PynText *texts,
				bool suppressed)
{
	double	   *shares = pyn_new(double, model->feature_count);
	Reason	   *reasons = pyn_new(Reason, model->feature_count);
	int			count = 0;
	int			others = 0;
	int			other_units = 0;

	pyn_contributions(model, cells, shares);
	for (int i = 0; i < model->feature_count; i++)
	{
		const PynFeature *feature = &model->features[i];
		const PynRule *rule = NULL;

		if (suppressed)
			rule = pyn_muting_rule(model, i, pyn_encode_cell(model, feature, cells[feature->column]));
		if (shares[i] <= 0 && rule == NULL)
			continue;
		reasons[count].feature = i;
		reasons[count].share = shares[i];
		reasons[count].rule = rule;
		count++;
	}
	qsort(reasons, count, sizeof(Reason), compare_shares);
	round_shares(reasons, count);

	pyn_json_open_array(json, name);
	for (int i = 0; i < count; i++)
	{
		const PynFeature *feature = &model->features[reasons[i].feature];

		if (i >= MOST_REASONS && count > MOST_REASONS + 1 && reasons[i].rule == NULL)
		{
			others++;
			other_units += reasons[i].units;
			continue;
		}
		if (reasons[i].units == 0 && reasons[i].rule == NULL)
			continue;
		pyn_json_open_object(json, NULL);
		put_reason(json, model, feature, cells[feature->column], &texts[feature->column]);
		put_contribution(json, reasons[i].units);
		if (reasons[i].rule != NULL)
			put_rule(json, reasons[i].rule);
		pyn_json_close_object(json);
	}
	if (other_units > 0)
	{
		pyn_json_open_object(json, NULL);
		pyn_json_null(json, "feature");
		pyn_json_integer(json, "others", others);
		put_contribution(json, other_units);
		pyn_json_close_object(json);
	}
	pyn_json_close_array(json);
	pfree(shares);
	pfree(reasons);
}

Jsonb *
pyn_reasons(const PynModel *model, const PynCell *cells, const PynText *texts, bool suppressed)
{
	PynJson		json = {0};

	pyn_put_reasons(&json, NULL, model, cells, texts, suppressed);
	return JsonbValueToJsonb(json.result);
}
