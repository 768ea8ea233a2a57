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
#define PYN_MAX_PARAMETERS 8
#define PYN_SCORE_BLOCK 1024	/* rows scored at a time */

/* What a detector is fitted from. */
typedef struct PynTraining
{
	int			rows;
	int			features;
	const double *values;		/* column-major: values[feature * rows + row]; NaN: missing */
	const int64 *weights;		/* per row: how many rows of the relation it stands for, at least 1 */
	int64		total_weight;
	const double *centres;		/* per feature: the median of what is not missing, 0 when all is */
	uint64		seed;
} PynTraining;

/* A whole-number parameter that users may set in options. */
typedef struct PynParameter
{
	const char *name;
	double		initial;
	double		minimum;
	double		maximum;
	const char *description;
} PynParameter;

typedef struct PynDetector
{
	const char *name;
	const char *description;
	const char *source;			/* the paper */
	int			parameter_count;
	const PynParameter *parameters;

	/* Writes the parameters learnt; `settings` has a value for each parameter. */
	void		(*fit) (const PynTraining *training, const double *settings, PynWriter *writer);

	/* Reads and validates parameters; returns NULL and sets *state, or says what is wrong.  Reads all its bytes. */
	const char *(*open) (PynReader *reader, int features, void **state);

	/* Raw score of a row: the larger, the odder.  `row` has one value per feature. */
	double		(*score_row) (const void *state, const double *row);

	/*
	 * Raw scores of a block of up to PYN_SCORE_BLOCK rows: values[feature * stride + row].
	 */
	void		(*score_block) (const void *state, const double *values, int stride, int rows, double *scores);

	/* Each feature's part in a row's raw score, or NULL: it is then found by replacing features one at a time. */
	void		(*contribute) (const void *state, const double *row, double *contributions);
} PynDetector;

extern const PynDetector pyn_isolation_forest;
extern const PynDetector pyn_ecod;

/* algorithms.c */
extern const PynDetector *const pyn_detectors[];
extern const int pyn_detector_count;
extern const PynDetector *pyn_find_detector(const char *name);	/* NULL when there is none */

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
