/*
 * data_quality.h
 *		What the files of this domain share: checks, rules, history and the analysis that brings them together.
 *
 * Everything is answered from a sketch; the domain reads no relation of users.  An analysis lives in one memory
 * context, which its caller deletes; texts in it are in the server's encoding.
 */
#ifndef PYN_DATA_QUALITY_H
#define PYN_DATA_QUALITY_H

#include "kernel/port.h"

#include "datatype/timestamp.h"
#include "pgtime.h"
#include "utils/hsearch.h"
#include "utils/jsonb.h"
#include "utils/uuid.h"

#include "sketch/sketch.h"

#define PYN_QUALITY_HISTORY 30	/* earlier runs that bounds are taken from, at most */
#define PYN_QUALITY_HISTORY_NEEDED 3	/* and at least: before that nothing is judged by history */
#define PYN_QUALITY_RUNS_KEPT 400	/* of a dataset; older ones are removed */

/* The dimensions of data quality, in the order in which they are shown. */
typedef enum PynQualityDimension
{
	PYN_COMPLETENESS,
	PYN_UNIQUENESS,
	PYN_VALIDITY,
	PYN_CONSISTENCY,
	PYN_TIMELINESS,
	PYN_ACCURACY,				/* whether values are true: no sketch can tell, so it is never judged */
	PYN_DIMENSIONS
} PynQualityDimension;

/* What the failure of a check means. */
typedef enum PynQualitySeverity
{
	PYN_CHECK_INFO,
	PYN_CHECK_WARN,
	PYN_CHECK_ERROR
} PynQualitySeverity;

typedef enum PynQualityOutcome
{
	PYN_NOT_JUDGED,				/* the value is recorded, nothing tells what it should be */
	PYN_PASSED,
	PYN_FAILED
} PynQualityOutcome;

/* One answer.  NaN stands for a value or bound that there is not. */
typedef struct PynQualityCheck
{
	PynQualityDimension dimension;
	const char *name;
	const char *column;			/* NULL: of the whole dataset */
	double		value;
	double		low;
	double		high;
	PynQualityOutcome outcome;
	PynQualitySeverity severity;
	double		measure;		/* what it adds to the score: 1 for a pass, less the worse the failure */
	char	   *message;		/* without values of users' data */
} PynQualityCheck;

/* Kinds of rules, by their place in the table of rules.c. */
typedef enum PynQualityRuleKind
{
	PYN_RULE_COMPLETENESS,
	PYN_RULE_UNIQUE,
	PYN_RULE_RANGE,
	PYN_RULE_ROW_COUNT,
	PYN_RULE_FRESHNESS,
	PYN_RULE_DISTINCT_COUNT,
	PYN_RULE_KINDS
} PynQualityRuleKind;

typedef struct PynQualityRule
{
	int64		id;
	PynQualityRuleKind kind;
	char	   *column;			/* NULL: of the whole dataset */
	double		low;			/* NaN: none */
	double		high;
	PynQualitySeverity severity;
} PynQualityRule;

/* An earlier run of the same owner and dataset. */
typedef struct PynEarlierRun
{
	int64		id;
	double		rows;
	double		checked_at;		/* seconds since 1970-01-01 UTC */
	bool	   *same_kind;		/* of each column of the sketch: the run had it, with the kind that it has now */
	double	   *spread;			/* of each column of the sketch: its interquartile range then, or NaN */
} PynEarlierRun;

/* A column of the run before, for the comparison of schemas. */
typedef struct PynEarlierColumn
{
	char	   *name;
	char	   *kind;
} PynEarlierColumn;

typedef struct PynQualityHistory
{
	int			run_count;
	PynEarlierRun runs[PYN_QUALITY_HISTORY];	/* oldest first */
	int			column_count;	/* of the last run */
	PynEarlierColumn *columns;
	HTAB	   *values;			/* by check and column; see history.c */
} PynQualityHistory;

typedef struct PynQualityAnalysis
{
	/* what is asked */
	Oid			owner;			/* for whom: owner of the history and of the new run */
	int64		dataset;
	const char *source;
	bytea	   *digest;
	const pg_uuid_t *request;	/* NULL: outside a journey */
	bool		columns_chosen;	/* others were not asked for */
	const char *time_zone;		/* in which times without one are read; NULL: the session's */

	/* what it is answered from */
	PynSketch  *sketch;
	const char **names;			/* of its columns */
	double	   *spreads;		/* interquartile ranges of its columns, or NaN */
	PynQualityHistory history;
	int			rule_count;
	PynQualityRule    *rules;
	TimestampTz checked_at;
	double		now;			/* seconds since 1970-01-01 UTC */
	double		wall_clock;		/* the same as times without a time zone show it */

	/* the answers */
	int			count;
	int			room;
	PynQualityCheck *checks;
	double		scores[PYN_DIMENSIONS]; /* 0 to 1; NaN where nothing was judged */
	double		score;			/* 0 to 100 */
	const char *grade;
	const char *verdict;
	int			failed;
	int64		run;			/* id, once stored */
	double		seconds;
} PynQualityAnalysis;

/* analysis.c */
extern void pyn_quality_analyze(PynQualityAnalysis *analysis);
extern PynQualityCheck *pyn_quality_add(PynQualityAnalysis *analysis, PynQualityDimension dimension, const char *name,
										int column);
extern PynQualityCheck **pyn_quality_in_order(const PynQualityAnalysis *analysis);

/* table_checks.c, column_checks.c, uniqueness.c, freshness.c */
extern void pyn_quality_check_table(PynQualityAnalysis *analysis);
extern void pyn_quality_check_column(PynQualityAnalysis *analysis, int column);
extern void pyn_quality_check_unique(PynQualityAnalysis *analysis, int column);
extern void pyn_quality_check_key(PynQualityAnalysis *analysis);
extern void pyn_quality_check_freshness(PynQualityAnalysis *analysis, int column);

/* quartiles.c */
extern void pyn_quality_quartiles(const PynSketch *sketch, int column, double quartiles[3]);

/* scoring.c */
extern void pyn_quality_judge(PynQualityCheck *check, double scale);
extern void pyn_quality_explain(PynQualityCheck *check, const char *format,...) pg_attribute_printf(2, 3);
extern void pyn_quality_score(PynQualityAnalysis *analysis);
extern const char *pyn_quality_dimension_name(PynQualityDimension dimension);
extern const char *pyn_quality_severity_name(PynQualitySeverity severity);
extern bool pyn_quality_severity_of(const char *name, PynQualitySeverity *severity);

/* rules.c */
extern void pyn_quality_rules_load(PynQualityAnalysis *analysis);
extern const PynQualityRule *pyn_quality_rule_next(const PynQualityAnalysis *analysis, PynQualityRuleKind kind,
												   const char *column, const PynQualityRule *after);
extern PynQualityCheck *pyn_quality_rule_unanswered(PynQualityAnalysis *analysis, const PynQualityRule *rule,
													const char *reason);
extern void pyn_quality_rule_not_asked(PynQualityAnalysis *analysis, const PynQualityRule *rule);

/* history.c */
extern void pyn_quality_history_load(PynQualityAnalysis *analysis);
extern int	pyn_quality_history_values(const PynQualityAnalysis *analysis, const char *name, int column,
									   double *values, double *times);
extern double pyn_quality_history_spread(const PynQualityAnalysis *analysis, int column);

/* expectation.c: what a series of numbers leads to expect of the next */
typedef struct PynExpectation
{
	int			count;			/* of the numbers */
	double		low;			/* where it is expected: one place, or a way that a trend may go */
	double		high;
	double		tolerance;		/* distance from there that is not surprising */
	bool		has_trend;
} PynExpectation;

extern double pyn_quality_median(double *values, int count);
extern bool pyn_quality_expect(const double *values, int count, bool may_have_trend, PynExpectation *expectation);

/* runs.c: stored runs */
extern bool pyn_quality_run_exists(Oid owner, const pg_uuid_t *request);
extern void pyn_quality_run_discard(Oid owner, const pg_uuid_t *request);
extern void pyn_quality_run_store(PynQualityAnalysis *analysis);

#endif							/* PYN_DATA_QUALITY_H */
