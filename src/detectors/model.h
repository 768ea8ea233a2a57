/*
 * model.h
 *		The model: a value that says how rows become features, how a detector scores them, and what the score means.
 *
 * Free of SQL.  model_format.c reads and writes the bytes, encoding.c makes features of cells, model_fit.c fits a model
 * from a sketch; model_type.c wraps it as an SQL type.
 */
#ifndef PYN_MODEL_H
#define PYN_MODEL_H

#include "detectors/calibration.h"
#include "detectors/detector.h"
#include "detectors/threshold.h"
#include "kernel/hash.h"
#include "sketch/sketch.h"

#define PYN_MODEL_MAGIC 0x4D4E5950	/* "PYNM" */
#define PYN_MODEL_VERSION 1
#define PYN_MODEL_DIGEST 8		/* where its digest lies */
#define PYN_MODEL_BODY 24		/* and where what it covers begins */
#define PYN_ZONE_SIZE 64
#define PYN_MAX_CATEGORIES 4096 /* kept per column; rarer ones count as unseen */
#define PYN_FEW_CATEGORIES 1000 /* text with more is left out unless it was named */
#define PYN_NAMES_TEXT 32		/* bytes of a category's text */
#define PYN_REFERENCE_LOW 0.01	/* the normal range is that of the central 98 % of the training rows */

/* How a column becomes a number; stored, so the numbers stay. */
typedef enum PynEncoding
{
	PYN_ENCODE_VALUE = 1,		/* the number itself; times in seconds */
	PYN_ENCODE_HOUR = 2,		/* time of day in hours, 0 to 24 */
	PYN_ENCODE_WEEKDAY = 3,		/* rarity of the day of the week */
	PYN_ENCODE_RARITY = 4,		/* rarity of a category: -log2 of its share, in quarters of a bit */
	PYN_ENCODE_MISSING = 5,		/* 1 where the column has no finite value, else 0 */
	PYN_ENCODE_LAST = PYN_ENCODE_MISSING
} PynEncoding;

/* Why a column takes part or not. */
typedef enum PynColumnUse
{
	PYN_USED = 0,
	PYN_CONSTANT = 1,
	PYN_ALL_MISSING = 2,
	PYN_MANY_CATEGORIES = 3,
	PYN_COLUMN_USE_LAST = PYN_MANY_CATEGORIES
} PynColumnUse;

typedef struct PynModelColumn
{
	char		name[PYN_NAME_SIZE];	/* UTF-8 */
	PynKind		kind;
	PynColumnUse use;
	int			origin;			/* while it is fitted: the sketch's column */
} PynModelColumn;

typedef struct PynFeature
{
	int			column;
	PynEncoding encoding;
	double		centre;			/* median; of a category the rarity of the most frequent one */
	double		low;			/* the normal range */
	double		high;

	/* Of rarities: the categories by rising hash (weekdays: 1 for Sunday to 7), and what any other has. */
	int			category_count;
	uint64	   *hashes;
	double	   *rarities;
	double		unseen;
	uint64		commonest;
	char		commonest_text[PYN_NAMES_TEXT + 1];	/* UTF-8; empty when it is not known */
} PynFeature;

/* A rule of suppression: which deviations of a column do not alarm. */
typedef enum PynDirection
{
	PYN_DIRECTION_BOTH,
	PYN_DIRECTION_UP,			/* only values above the normal one alarm */
	PYN_DIRECTION_DOWN,
	PYN_DIRECTION_LAST = PYN_DIRECTION_DOWN
} PynDirection;

typedef struct PynRule
{
	char		name[PYN_NAME_SIZE];	/* of the column, in UTF-8 */
	int			column;			/* of the model */
	PynDirection direction;
	double		minimum_absolute;	/* a deviation alarms when it reaches both minimums */
	double		minimum_relative;	/* as a share of the normal value's size */
} PynRule;

typedef struct PynModel
{
	PynDigest	digest;
	Size		length;			/* of the flat bytes */
	const PynDetector *detector;
	void	   *state;			/* the detector's */
	uint64		seed;
	double		contamination;
	PynThresholdMethod threshold_method;
	double		threshold;		/* of a method that learns: the raw score, else the score; NaN: by p-value ≤ contamination */
	char		threshold_reason[PYN_THRESHOLD_REASON]; /* ASCII; of a method that learns */
	int64		rows;			/* of the relation */
	uint32		training_rows;	/* of the sample */
	char		zone_name[PYN_ZONE_SIZE];
	int			column_count;
	PynModelColumn *columns;
	int			feature_count;
	PynFeature *features;
	PynCalibration calibration;
	int			rule_count;
	PynRule    *rules;			/* by rising column */

	/* Seconds east of UTC of the model's time zone at a moment; NULL: UTC.  Set by the server. */
	int64		(*zone_offset) (const void *zone, int64 unix_seconds);
	const void *zone;
	Size		parameter_bytes;
	const uint8 *parameters;	/* the detector's bytes, where they were read: as long as these are there */
} PynModel;

/* What a row's score means. */
typedef enum PynSeverity
{
	PYN_SEVERITY_NONE,
	PYN_SEVERITY_LOW,
	PYN_SEVERITY_MEDIUM,
	PYN_SEVERITY_HIGH,
	PYN_SEVERITY_CRITICAL
} PynSeverity;

typedef struct PynVerdict
{
	double		raw;
	double		score;
	double		p_value;
	bool		is_anomaly;
	bool		is_suppressed;	/* it would be, but for the model's rules */
	PynSeverity severity;
} PynVerdict;

/* encoding.c */
extern double pyn_encode_cell(const PynModel *model, const PynFeature *feature, PynCell cell);
extern uint64 pyn_weekday(const PynModel *model, const PynFeature *feature, PynCell cell);
extern void pyn_encode_row(const PynModel *model, const PynCell *cells, double *features);

/* cells[column * stride + row] → features[feature * stride + row] */
extern void pyn_encode_block(const PynModel *model, const PynCell *cells, int stride, int rows, double *features);
extern void pyn_choose_features(PynModel *model, const PynSketch *sketch, bool all_text);

/* row_labels.c: what people have said of rows that were flagged, with the values that these had */
typedef struct PynRowLabel
{
	bool		is_anomaly;		/* false: a false alarm */
	int			count;			/* of the columns; 0: the values are not known */
	char	  **names;			/* UTF-8 */
	PynKind    *kinds;			/* PYN_KIND_NONE: it had no value */
	PynCell    *cells;
} PynRowLabel;

/* What became of such labels. */
typedef struct PynRowLabelUse
{
	int			anomalies;
	int			false_alarms;
	int			left_out;		/* the row does not have the columns that the model uses, or no value in any */
} PynRowLabelUse;

/* model_fit.c */
typedef struct PynFitOptions
{
	PynPlan		plan;
	uint64		seed;
	double		contamination;
	double		threshold;		/* a score that the user has set; NaN: none */
	PynThresholdRule rule;
	const char *zone_name;
	int64		(*zone_offset) (const void *zone, int64 unix_seconds);
	const void *zone;
	const char *label;			/* a column that is never a feature (UTF-8), or NULL */
	const PynRowLabel *row_labels;	/* for what learns from labels; of a row that has another label, these count */
	int			row_label_count;
	PynRowLabelUse *label_use;		/* is set if there are such; may be NULL */
	bool		all_text;		/* text takes part however many categories it has */
	const PynRule *rules;		/* by name */
	int			rule_count;
} PynFitOptions;

extern void pyn_add_row_labels(const PynModel *model, const PynFitOptions *options, PynTraining *training);

/* Fits a model and appends its bytes; `sketch` is settled.  *model gives what was chosen, also when NULL is not returned. */
extern const char *pyn_model_fit(const PynSketch *sketch, const PynFitOptions *options, PynModel **model,
								 PynWriter *writer);
extern void pyn_override_threshold(PynModel *model, double contamination, double threshold);	/* NaN: stays */
extern double pyn_threshold_score(const PynModel *model);

/* The rows that a model was fitted from, out of its sketch; false if this is another one. */
extern bool pyn_training_again(PynModel *model, const PynSketch *sketch, PynTraining *training);
extern PynVerdict pyn_judge(const PynModel *model, double raw);
extern bool pyn_all_missing(const PynModel *model, const PynCell *cells, int stride);

/* model_format.c */
extern void pyn_model_write(const PynModel *model, const uint8 *parameters, Size length, PynWriter *writer);
extern const char *pyn_model_read(const void *data, Size length, PynModel **model);

/* suppression.c */
extern const PynRule *pyn_muting_rule(const PynModel *model, int feature, double value);
extern void pyn_suppress(const PynModel *model, const double *row, PynVerdict *verdict);
extern const char *pyn_check_rule(const PynRule *rule, PynKind kind);
extern void pyn_set_rules(PynModel *model, const PynRule *rules, int count);
extern void pyn_rules_write(const PynModel *model, PynWriter *writer);
extern const char *pyn_rules_read(PynModel *model, PynReader *reader);

/* explanation.c: each feature's share of what makes a row odd; they sum to 1. */
extern void pyn_contributions(const PynModel *model, const PynCell *cells, double *shares);

#endif							/* PYN_MODEL_H */
