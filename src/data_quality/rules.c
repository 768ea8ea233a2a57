/*
 * rules.c
 *		Rules: what a user has said that must hold of a source.
 *
 * Each kind is answered exactly from the sketch, or says in its message how far the sketch can tell (see
 * uniqueness.c). A rule takes the place of the bound that history would give to the same check, and has its own
 * severity.  A run obeys the rules of its owner and of the roles that the owner is a member of.  That a superuser is
 * taken for a member of every role does not count here, or anybody could make the superuser's runs fail.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"

#include "data_quality/data_quality.h"
#include "kernel/access.h"
#include "kernel/json_reader.h"
#include "kernel/statement.h"

#define MAX_SOURCE 1024			/* bytes: it is the subject of events */

PG_FUNCTION_INFO_V1(pyn_quality_add_rule);
PG_FUNCTION_INFO_V1(pyn_quality_drop_rule);

typedef enum BoundUse
{
	BOUND_NONE,
	BOUND_OPTIONAL,				/* at least one of the two is needed */
	BOUND_NEEDED
} BoundUse;

static const struct
{
	const char *name;
	PynQualityDimension dimension;
	bool		of_column;
	BoundUse	low;
	BoundUse	high;
	bool		negative;		/* bounds may be below 0 */
}			kinds[PYN_RULE_KINDS] = {
	[PYN_RULE_COMPLETENESS] = {"completeness", PYN_COMPLETENESS, true, BOUND_NEEDED, BOUND_NONE, false},
	[PYN_RULE_UNIQUE] = {"unique", PYN_UNIQUENESS, true, BOUND_NONE, BOUND_NONE, false},
	[PYN_RULE_RANGE] = {"range", PYN_VALIDITY, true, BOUND_OPTIONAL, BOUND_OPTIONAL, true},
	[PYN_RULE_ROW_COUNT] = {"row_count", PYN_COMPLETENESS, false, BOUND_OPTIONAL, BOUND_OPTIONAL, false},
	[PYN_RULE_FRESHNESS] = {"freshness", PYN_TIMELINESS, true, BOUND_NONE, BOUND_NEEDED, false},
	[PYN_RULE_DISTINCT_COUNT] = {"distinct_count", PYN_UNIQUENESS, true, BOUND_OPTIONAL, BOUND_OPTIONAL, false},
};

static bool
kind_of(const char *name, PynQualityRuleKind *kind)
{
	for (int i = 0; i < PYN_RULE_KINDS; i++)
	{
		if (strcmp(kinds[i].name, name) != 0)
			continue;
		*kind = i;
		return true;
	}
	return false;
}

/*
 * pyn_quality_rules_load reads the rules that the run must obey.  The caller is the extension's owner and connected
 * to SPI.
 */
void
pyn_quality_rules_load(PynQualityAnalysis *analysis)
{
	static PynStatement select_rules = PYN_INDEX_STATEMENT(
		"SELECT id, owner, kind, column_name, low, high, severity FROM pynomaly_data_quality.rule "
		"WHERE source = $1 ORDER BY id",
		TEXTOID);
	Datum		values[] = {CStringGetTextDatum(analysis->source)};
	uint64		count = pyn_execute(&select_rules, values, NULL, 0);

	analysis->rules = palloc(sizeof(PynQualityRule) * Max(count, 1));
	for (uint64 row = 0; row < count; row++)
	{
		PynQualityRule		rule;
		Datum		low;
		Datum		high;
		bool		no_low;
		bool		no_high;

		if (!is_member_of_role_nosuper(analysis->owner, DatumGetObjectId(pyn_field(row, 2, NULL))))
			continue;
		low = pyn_field(row, 5, &no_low);
		high = pyn_field(row, 6, &no_high);
		rule.id = DatumGetInt64(pyn_field(row, 1, NULL));
		rule.column = pyn_text_field(row, 4);
		rule.low = no_low ? pyn_nan() : DatumGetFloat8(low);
		rule.high = no_high ? pyn_nan() : DatumGetFloat8(high);
		if (!kind_of(pyn_text_field(row, 3), &rule.kind) ||
			!pyn_quality_severity_of(pyn_text_field(row, 7), &rule.severity))
			elog(ERROR, "rule " INT64_FORMAT " is of an unknown kind or severity", rule.id);
		analysis->rules[analysis->rule_count++] = rule;
	}
}

/*
 * pyn_quality_rule_next gives the rule of a kind and column (NULL: of the dataset) that follows `after`, or the first
 * for NULL; NULL when there is no more.
 */
const PynQualityRule *
pyn_quality_rule_next(const PynQualityAnalysis *analysis, PynQualityRuleKind kind, const char *column,
					  const PynQualityRule *after)
{
	const PynQualityRule *rule = after == NULL ? analysis->rules : after + 1;

	for (; rule < analysis->rules + analysis->rule_count; rule++)
		if (rule->kind == kind && (column == NULL ? rule->column == NULL :
								   rule->column != NULL && strcmp(rule->column, column) == 0))
			return rule;
	return NULL;
}

/*
 * pyn_quality_rule_not_asked adds the check of a rule on a column that was not among those asked for; it is not judged.
 */
void
pyn_quality_rule_not_asked(PynQualityAnalysis *analysis, const PynQualityRule *rule)
{
	PynQualityCheck *check = pyn_quality_add(analysis, kinds[rule->kind].dimension, kinds[rule->kind].name, -1);

	check->column = rule->column;
	check->low = rule->low;
	check->high = rule->high;
	check->severity = rule->severity;
	pyn_quality_explain(check, "rule " INT64_FORMAT " is not judged, since column \"%s\" was not asked for", rule->id,
						rule->column);
}

/*
 * pyn_quality_rule_unanswered adds the failed check of a rule that the data give no answer to.
 */
PynQualityCheck *
pyn_quality_rule_unanswered(PynQualityAnalysis *analysis, const PynQualityRule *rule, const char *reason)
{
	PynQualityCheck *check = pyn_quality_add(analysis, kinds[rule->kind].dimension, kinds[rule->kind].name, -1);

	check->column = rule->column;
	check->low = rule->low;
	check->high = rule->high;
	check->severity = rule->severity;
	check->outcome = PYN_FAILED;
	check->measure = 0;
	pyn_quality_explain(check, "rule " INT64_FORMAT " cannot be answered: %s", rule->id, reason);
	return check;
}

static void
refuse_kind(const char *kind)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < PYN_RULE_KINDS; i++)
		appendStringInfo(&list, "%s%s", i > 0 ? ", " : "", kinds[i].name);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown kind of rule \"%s\"", kind),
			 errhint("Known kinds: %s.", list.data)));
}

static void
check_bound(PynQualityRuleKind kind, const char *name, BoundUse use, double bound)
{
	if (isnan(bound) ? use == BOUND_NEEDED : use == BOUND_NONE)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a rule of kind \"%s\" %s \"%s\"", kinds[kind].name,
						use == BOUND_NEEDED ? "needs a number" : "takes no", name)));
	if (isinf(bound) || (bound < 0 && !kinds[kind].negative))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" of a rule of kind \"%s\" must be a number%s", name, kinds[kind].name,
						kinds[kind].negative ? " of double precision's range" : " from 0 on")));
}

/* Refuses a rule that could never be answered. */
static void
check_rule(const PynQualityRule *rule)
{
	const char *kind = kinds[rule->kind].name;

	if (kinds[rule->kind].of_column != (rule->column != NULL))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a rule of kind \"%s\" %s column", kind,
						kinds[rule->kind].of_column ? "needs a" : "takes no")));
	check_bound(rule->kind, "low", kinds[rule->kind].low, rule->low);
	check_bound(rule->kind, "high", kinds[rule->kind].high, rule->high);
	if (kinds[rule->kind].low == BOUND_OPTIONAL && isnan(rule->low) && isnan(rule->high))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a rule of kind \"%s\" needs \"low\", \"high\" or both", kind)));
	if (rule->low > rule->high)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"low\" of a rule is above its \"high\"")));
	if (rule->kind == PYN_RULE_COMPLETENESS && rule->low > 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"low\" of a rule of kind \"%s\" is a share from 0 to 1", kind)));
}

/* Reads and checks the arguments of add_rule. */
static void
read_rule(Jsonb *arguments, char **source, PynQualityRule *rule)
{
	char	   *kind = pyn_json_get_text(arguments, "kind");
	char	   *severity = pyn_json_get_text(arguments, "severity");

	*source = pyn_json_get_text(arguments, "source");
	if (*source == NULL || **source == 0 || strlen(*source) > MAX_SOURCE)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a rule needs a source of 1 to %d bytes", MAX_SOURCE)));
	if (kind == NULL || !kind_of(kind, &rule->kind))
		refuse_kind(kind == NULL ? "" : kind);
	rule->column = pyn_json_get_text(arguments, "column");
	if (rule->column != NULL && (rule->column[0] == 0 || strlen(rule->column) >= NAMEDATALEN))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a column's name has 1 to %d bytes, not %zu", NAMEDATALEN - 1, strlen(rule->column))));
	rule->low = pyn_json_get_number(arguments, "low", pyn_nan());
	rule->high = pyn_json_get_number(arguments, "high", pyn_nan());
	rule->severity = PYN_CHECK_ERROR;
	if (severity != NULL && !pyn_quality_severity_of(severity, &rule->severity))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unknown severity \"%s\"", severity),
				 errhint("Known severities: info, warn, error.")));
	check_rule(rule);
}

/* The whole result of an operation that gives one number or truth. */
static Jsonb *
scalar(JsonbValue value)
{
	return JsonbValueToJsonb(&value);
}

/*
 * pynomaly_data_quality.add_rule(arguments jsonb) → jsonb: the rule's id
 */
Datum
pyn_quality_add_rule(PG_FUNCTION_ARGS)
{
	static PynStatement insert_rule = PYN_STATEMENT(
		"INSERT INTO pynomaly_data_quality.rule (owner, source, column_name, kind, low, high, severity, created_at) "
		"VALUES ($1, $2, $3, $4, $5, $6, $7, now()) "
		"ON CONFLICT (owner, source, kind, (coalesce(column_name, ''))) DO NOTHING RETURNING id",
		REGROLEOID, TEXTOID, TEXTOID, TEXTOID, FLOAT8OID, FLOAT8OID, TEXTOID);
	Oid			owner = GetUserId();
	char		nulls[] = "       ";
	Datum		values[7];
	PynAccess	access;
	PynQualityRule		rule;
	char	   *source;

	pyn_check_writable("add_rule()");
	read_rule(PG_GETARG_JSONB_P(0), &source, &rule);
	values[0] = ObjectIdGetDatum(owner);
	values[1] = CStringGetTextDatum(source);
	values[2] = pyn_text_or_null(rule.column, &nulls[2]);
	values[3] = CStringGetTextDatum(kinds[rule.kind].name);
	values[4] = Float8GetDatum(rule.low);
	values[5] = Float8GetDatum(rule.high);
	values[6] = CStringGetTextDatum(pyn_quality_severity_name(rule.severity));
	nulls[4] = isnan(rule.low) ? 'n' : ' ';
	nulls[5] = isnan(rule.high) ? 'n' : ' ';

	pyn_access_begin(&access, pyn_owner());
	SPI_connect();
	if (pyn_execute(&insert_rule, values, nulls, 0) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 rule.column != NULL ?
				 errmsg("column \"%s\" of \"%s\" has a rule of kind \"%s\" already", rule.column, source,
						kinds[rule.kind].name) :
				 errmsg("\"%s\" has a rule of kind \"%s\" already", source, kinds[rule.kind].name),
				 errhint("Drop that rule first.")));
	rule.id = DatumGetInt64(pyn_field(0, 1, NULL));
	SPI_finish();
	pyn_access_end(&access);
	PG_RETURN_JSONB_P(scalar((JsonbValue) {.type = jbvNumeric,.val.numeric = int64_to_numeric(rule.id)}));
}

/*
 * pynomaly_data_quality.drop_rule(arguments jsonb) → jsonb: true
 */
Datum
pyn_quality_drop_rule(PG_FUNCTION_ARGS)
{
	static PynStatement delete_rule = PYN_STATEMENT(
		"DELETE FROM pynomaly_data_quality.rule WHERE id = $1 AND pg_has_role($2, owner, 'USAGE')",
		INT8OID, OIDOID);
	int64		id = pyn_json_get_integer(PG_GETARG_JSONB_P(0), "rule", 0);
	Datum		values[] = {Int64GetDatum(id), ObjectIdGetDatum(GetUserId())};
	PynAccess	access;

	pyn_check_writable("drop_rule()");
	pyn_access_begin(&access, pyn_owner());
	SPI_connect();
	if (pyn_execute(&delete_rule, values, NULL, 0) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("rule " INT64_FORMAT " does not exist", id)));
	SPI_finish();
	pyn_access_end(&access);
	PG_RETURN_JSONB_P(scalar((JsonbValue) {.type = jbvBool,.val.boolean = true}));
}
