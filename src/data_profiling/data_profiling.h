/*
 * data_profiling.h
 *		What the files of this domain share: a column's statistics, stored profiles, and how two of them differ.
 *
 * Everything is answered from a sketch; no relation of users is read here.
 */
#ifndef PYN_DATA_PROFILING_H
#define PYN_DATA_PROFILING_H

#include "kernel/port.h"

#include "nodes/execnodes.h"
#include "nodes/pg_list.h"
#include "utils/jsonb.h"

#include "kernel/access.h"
#include "sketch/sketch.h"

#define PYN_TOP_VALUES 10		/* frequent values shown */
#define PYN_HISTOGRAM_BINS 50	/* at most */
#define PYN_PROFILES_KEPT 100	/* of one owner and dataset */

/* The shares of a column's quantiles, as they stand in PynColumnStatistics. */
enum
{
	PYN_Q01,
	PYN_Q05,
	PYN_Q25,
	PYN_MEDIAN,
	PYN_Q75,
	PYN_Q95,
	PYN_Q99,
	PYN_QUANTILES
};

/* The finite values of a column in the row sample, in order, with the rows that each stands for. */
typedef struct PynSampledValues
{
	int			count;
	double	   *values;
	int64	   *weights;
	int64		total;			/* of the weights */
} PynSampledValues;

typedef struct PynHistogram
{
	int			bins;			/* 0: there is none */
	bool		is_sturges;		/* the number of bins is by Sturges' rule, not by Freedman and Diaconis' */
	bool		is_exact;		/* the sample has all values */
	double		edges[PYN_HISTOGRAM_BINS + 1];
	int64		counts[PYN_HISTOGRAM_BINS];
} PynHistogram;

typedef struct PynFrequentValue
{
	uint64		hash;
	double		number;			/* of a column that is no text */
	char	   *text;			/* of text: its beginning, NULL when no sampled row has it */
	int64		count;			/* at least */
	int64		at_most;
} PynFrequentValue;

/* What deserves a look; alerts.c says when each is raised. */
typedef enum PynAlert
{
	PYN_ALERT_CONSTANT,
	PYN_ALERT_ALL_MISSING,
	PYN_ALERT_MISSING,
	PYN_ALERT_NOT_A_NUMBER,
	PYN_ALERT_INFINITE,
	PYN_ALERT_UNIQUE,
	PYN_ALERT_HIGH_CARDINALITY,
	PYN_ALERT_ZEROS,
	PYN_ALERT_SKEWED,
	PYN_ALERT_UNIFORM,
	PYN_ALERTS
} PynAlert;

/* One column's statistics.  NaN stands for what is not defined. */
typedef struct PynColumnStatistics
{
	const PynColumn *column;	/* of the sketch: name, kind and counts */
	int64		rows;
	int64		present;		/* values that are not NULL */
	int64		distinct;
	bool		distinct_is_exact;
	double		mean;
	double		standard_deviation;
	double		skewness;
	double		kurtosis;
	double		quantiles[PYN_QUANTILES];
	double		median_absolute_deviation;
	int			top_count;
	PynFrequentValue top[PYN_TOP_VALUES];
	PynHistogram histogram;
	bool		alerts[PYN_ALERTS];
} PynColumnStatistics;

/* A stored column, as far as comparisons need it. */
typedef struct PynStoredColumn
{
	char	   *name;
	PynKind		kind;
	int64		present;
	double		null_share;
	double		distinct;
	bool		distinct_is_exact;
	double		minimum;
	double		maximum;
	double		mean;
	double		standard_deviation;
	double		q25;
	double		median;
	double		q75;
	Jsonb	   *top_values;
} PynStoredColumn;

typedef struct PynStoredProfile
{
	int64		id;
	int64		rows;
	int			column_count;
	PynStoredColumn *columns;
} PynStoredProfile;

/* One difference between two profiles; texts may be NULL, the difference NaN. */
typedef struct PynChange
{
	const char *column;			/* NULL: of the whole table */
	const char *property;
	char	   *before;
	char	   *after;
	double		difference;
} PynChange;

/* What is to be profiled, and for whom. */
typedef struct PynProfileTask
{
	Oid			owner;
	int64		dataset;
	char	   *source;
	bytea	   *sketch;			/* its digest */
	char	   *request;		/* NULL: the profile is no step of a request */
} PynProfileTask;

/* column_statistics.c */
extern void pyn_column_statistics(const PynSketch *sketch, int index, PynColumnStatistics *statistics);
extern int64 pyn_sampled_rows(const PynSketch *sketch);

/* histogram.c */
extern void pyn_histogram(const PynColumn *column, const PynSampledValues *sample, double quartile_range,
						  PynHistogram *histogram);

/* frequent_values.c */
extern int	pyn_frequent_values(const PynSketch *sketch, int index, PynFrequentValue *values, int limit);

/* alerts.c */
extern void pyn_column_alerts(const PynSketch *sketch, int index, PynColumnStatistics *statistics);
extern const char *pyn_alert_name(PynAlert alert);

/* comparison.c: a list of PynChange */
extern List *pyn_compare_profiles(const PynStoredProfile *before, const PynStoredProfile *after);

/* profile_json.c */
extern Jsonb *pyn_column_json(const PynColumnStatistics *statistics, int position);

/* profile_store.c: all but the first is called between the first two, as the extension's owner and connected to SPI. */
extern void pyn_profile_begin(PynAccess *access);
extern void pyn_profile_end(const PynAccess *access);
extern bool pyn_profile_of_request(Oid owner, const char *request);
extern int64 pyn_profile_insert(const PynProfileTask *task, const PynSketch *sketch, int64 *previous);
extern void pyn_profile_insert_column(int64 profile, Oid owner, const PynColumnStatistics *statistics, int position);
extern void pyn_profile_insert_changes(int64 profile, Oid owner, List *changes);
extern void pyn_profile_set_seconds(int64 profile, double seconds);
extern void pyn_profile_remove_old(Oid owner, int64 dataset);
extern void pyn_profile_discard(Oid owner, const char *request);
extern bool pyn_profile_load(int64 id, PynStoredProfile *profile);
extern bool pyn_profile_visible(int64 id, Oid reader);
extern int64 pyn_profile_before(int64 id);
extern void pyn_profile_put_columns(int64 id, ReturnSetInfo *result);
extern Jsonb *pyn_profile_json(const int64 *id, const char *request, Oid reader, MemoryContext context);

#endif							/* PYN_DATA_PROFILING_H */
