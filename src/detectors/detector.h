/*
 * detector.h
 *		The one interface behind which every detector stands.
 *
 * A detector sees numbers only: rows of features, NaN where a value is missing.  It is fitted from the sample, writes
 * its parameters as portable bytes, and scores one row or a block of rows with the same bits.  It knows neither columns
 * nor SQL; encoding.c made the features, calibration.c gives the scores their meaning.
 */
#ifndef PYN_DETECTOR_H
#define PYN_DETECTOR_H

#include "kernel/bytes.h"

#define PYN_MAX_FEATURES 8192	/* a column gives up to four features */
#define PYN_MAX_PARAMETERS 12
#define PYN_MAX_MEMBERS 16		/* of an ensemble */
#define PYN_MAX_NESTING 2		/* an ensemble of ensembles of detectors that are none */
#define PYN_SCORE_BLOCK 1024	/* rows scored at a time */

/* What is known of a training row. */
typedef enum PynLabel
{
	PYN_LABEL_UNKNOWN = -1,
	PYN_LABEL_ORDINARY = 0,
	PYN_LABEL_ANOMALY = 1,
	PYN_LABEL_FALSE_ALARM = 2,	/* ordinary, said by somebody since a model had flagged it: no ordinary row like others */
	PYN_LABEL_FOUND = 3			/* anomalous, said by somebody of what a model had flagged */
} PynLabel;

#define pyn_label_is_anomaly(label) ((label) == PYN_LABEL_ANOMALY || (label) == PYN_LABEL_FOUND)

/* What a detector is fitted from. */
typedef struct PynTraining
{
	int			rows;
	int			features;
	const double *values;		/* column-major: values[feature * rows + row]; NaN: missing */
	const int64 *weights;		/* per row: how many rows of the relation it stands for, at least 1 */
	int64		total_weight;
	const double *centres;		/* per feature: the median of what is not missing, 0 when all is */
	const int8 *labels;			/* per row: a PynLabel; NULL: there are none */

	/* Rows for learning from labels alone: those that people have labelled and that are not among the others.  Column-major. */
	int			extra_rows;
	const double *extra_values;
	const int8 *extra_labels;
	uint64		seed;
} PynTraining;

typedef enum PynParameterKind
{
	PYN_PARAMETER_INTEGER,
	PYN_PARAMETER_NUMBER,
	PYN_PARAMETER_CHOICE		/* its value is the place of a name in `choices` */
} PynParameterKind;

/* A parameter that users may set in options. */
typedef struct PynParameter
{
	const char *name;
	double		initial;
	double		minimum;
	double		maximum;
	const char *description;
	PynParameterKind kind;
	const char *choices;		/* "a, b, c" */
} PynParameter;

/* What to fit: a detector with its parameters' values, and what it combines, where it is an ensemble. */
typedef struct PynPlan
{
	const struct PynDetector *detector;
	double		settings[PYN_MAX_PARAMETERS];
	double		weight;			/* in an ensemble */
	int			member_count;
	struct PynPlan *members;
} PynPlan;

/* What has part in a score, with its share in this row's; for explanations. */
typedef struct PynPart
{
	const struct PynDetector *detector;
	const void *state;
	double		share;			/* not negative */
} PynPart;

/* Of a detector whose score is the mean of its members' by weights that can be changed afterwards. */
typedef struct PynWeighing
{
	/* Says the weights, up to PYN_MAX_MEMBERS, and returns how many; 0: this one combines in another way. */
	int			(*weights) (const void *state, double *weights);

	/* The members' scores of a block of rows: scores[member * rows + row]. */
	void		(*scores) (const void *state, const double *values, int stride, int rows, double *scores);

	/* Appends the parameters with other weights; they are those that were opened. */
	void		(*reweigh) (const uint8 *parameters, Size length, const double *weights, PynWriter *writer);
} PynWeighing;

typedef struct PynDetector
{
	const char *name;
	const char *description;
	const char *source;			/* the paper */
	int			parameter_count;
	const PynParameter *parameters;

	/* Of a detector that decides by itself: the raw score from which on it calls a row an outlier.  0: it does not. */
	double		cutoff;

	/* Writes the parameters learnt; the plan's settings have a value for each parameter. */
	void		(*fit) (const PynTraining *training, const PynPlan *plan, PynWriter *writer);

	/* Reads and validates parameters; returns NULL and sets *state, or says what is wrong.  Reads all its bytes. */
	const char *(*open) (PynReader *reader, int features, void **state);

	/* Raw score of a row: the larger, the odder.  `row` has one value per feature. */
	double		(*score_row) (const void *state, const double *row);

	/*
	 * Raw scores of a block of up to PYN_SCORE_BLOCK rows: values[feature * stride + row].
	 */
	void		(*score_block) (const void *state, const double *values, int stride, int rows, double *scores);

	/*
	 * Raw scores of the training rows as if each had not been one, not below those that score_block gives.  False, or NULL:
	 * they are the same or nearly so.
	 */
	bool		(*score_left_out) (const void *state, const PynTraining *training, double *scores);

	/* Each feature's part in a row's raw score, or NULL: it is then found by replacing features one at a time. */
	void		(*contribute) (const void *state, const double *row, double *contributions);

	/*
	 * An ensemble's members, up to PYN_MAX_MEMBERS, and the part that each has in a row's score: the row is explained by
	 * theirs.  Returns how many; NULL: it has none.
	 */
	int			(*parts) (const void *state, const double *row, PynPart *parts);

	/* It learns from labels. */
	bool		learns;

	/* Its plan may name members; and whether it uses their weights. */
	bool		combines;
	bool		(*weighs) (const PynPlan *plan);

	const PynWeighing *weighing;	/* NULL: it has no such weights */

	/* What it has chosen by itself and why, as text in the current memory context; NULL: it makes no choices. */
	char	   *(*decisions) (const void *state);
} PynDetector;

extern const PynDetector pyn_auto;
extern const PynDetector pyn_isolation_forest;

/* Settings of pyn_isolation_forest, for those who combine it with others. */
typedef enum PynForestSetting
{
	PYN_FOREST_TREES,
	PYN_FOREST_SAMPLE_SIZE,
	PYN_FOREST_SPLITS,			/* a PynForestSplits */
	PYN_FOREST_DIMENSIONS,
	PYN_FOREST_TRIES,
	PYN_FOREST_SETTINGS
} PynForestSetting;

typedef enum PynForestSplits
{
	PYN_SPLITS_PLAIN,
	PYN_SPLITS_EXTENDED,
	PYN_SPLITS_POOLED_GAIN,
	PYN_SPLITS_AVERAGED_GAIN,
	PYN_SPLITS_LAST = PYN_SPLITS_AVERAGED_GAIN
} PynForestSplits;

extern const PynDetector pyn_ecod;
extern const PynDetector pyn_knn;
extern const PynDetector pyn_lof;
extern const PynDetector pyn_inne;
extern const PynDetector pyn_cblof;
extern const PynDetector pyn_cleaned_neighbours;
extern const PynDetector pyn_ensemble;
extern const PynDetector pyn_copod;
extern const PynDetector pyn_zscore;
extern const PynDetector pyn_mad;
extern const PynDetector pyn_iqr;
extern const PynDetector pyn_mahalanobis;
extern const PynDetector pyn_gesd;
extern const PynDetector pyn_hbos;
extern const PynDetector pyn_mcd;
extern const PynDetector pyn_pca;
extern const PynDetector pyn_loda;
extern const PynDetector pyn_ocsvm;

/* algorithms.c */
extern const PynDetector *const pyn_detectors[];
extern const int pyn_detector_count;
extern const PynDetector *pyn_find_detector(const char *name);	/* NULL when there is none */
extern bool pyn_plan_learns(const PynPlan *plan);	/* whether it or a member learns from labels */
extern void pyn_score_training(const PynDetector *detector, const void *state, const PynTraining *training, double *scores);
extern void pyn_plan_defaults(PynPlan *plan, const PynDetector *detector);

/* A number's order-preserving key: keys compare as the numbers, rounded to float4, do.  Missing is the centre, 0. */
static inline int32
pyn_order_key(double value)
{
	union
	{
		float		number;
		int32		bits;
	}			u;

	if (value != value)
		value = 0.0;
	if (value > 3.4028234663852886e38)
		value = 3.4028234663852886e38;
	if (value < -3.4028234663852886e38)
		value = -3.4028234663852886e38;
	u.number = (float) value + 0.0f;	/* one zero, not two */
	return u.bits ^ ((u.bits >> 31) & 0x7FFFFFFF);
}

static inline float
pyn_key_number(int32 key)
{
	union
	{
		float		number;
		int32		bits;
	}			u;

	u.bits = key ^ ((key >> 31) & 0x7FFFFFFF);
	return u.number;
}

#endif							/* PYN_DETECTOR_H */
