/*
 * label_model.h
 *		What labels teach, beside a score that was found without them.
 */
#ifndef PYN_LABEL_MODEL_H
#define PYN_LABEL_MODEL_H

#include "detectors/members.h"
#include "detectors/scaling.h"

/*
 * A linear predictor: intercept + score_weight × (Gaussian rank of the score) + for each feature
 * linear × z + absolute × |z| - offset, z its scaled value.
 */
typedef struct PynLabelModel
{
	int			features;
	PynScaling	scaling;
	PynMember	score;			/* only its calibration is used: that of the score found without labels */
	double		intercept;
	double		score_weight;
	double	   *linear;
	double	   *absolute;
	double	   *offsets;
} PynLabelModel;

/* How many rows of the training data are labelled, those beside the sample included. */
typedef struct PynLabelCounts
{
	int			anomalies;
	int			found;			/* those of them that people have labelled */
	int			ordinary;		/* not by people */
	int			false_alarms;
} PynLabelCounts;

extern PynLabelCounts pyn_count_labels(const PynTraining *training);

/* Learns from labels, of which at least one is of an anomaly; `scores` are those found without, of the rows and then the extra ones. */
extern void pyn_label_model_fit(const PynTraining *training, const double *scores, PynWriter *writer);
extern const char *pyn_label_model_read(PynReader *reader, int features, PynLabelModel **model);

/* The predictor of a row, and of a block of rows whose scores it replaces. */
extern double pyn_label_model_row(const PynLabelModel *model, double score, const double *row);
extern void pyn_label_model_block(const PynLabelModel *model, const double *values, int stride, int rows, double *scores);

/* The share in what makes a row odd that the features have directly, not through the score. */
extern double pyn_label_model_share(const PynLabelModel *model, double score, const double *row);

/* Explains that share: a detector whose state is a PynLabelModel and that can do nothing else. */
extern const PynDetector pyn_label_part;

#endif							/* PYN_LABEL_MODEL_H */
