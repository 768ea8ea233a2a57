/*
 * feedback.h
 *		What people's verdicts on flagged rows teach a model that is fitted already.
 */
#ifndef PYN_FEEDBACK_H
#define PYN_FEEDBACK_H

#include "detectors/model.h"

#define PYN_MOST_VERDICTS 1000	/* that one model learns from */

/* What somebody said of a row, with the scores that it had. */
typedef struct PynHumanVerdict
{
	bool		is_anomaly;		/* false: a false alarm */
	double		raw;
	int			members;		/* 0: the score is no weighted mean */
	double		scores[PYN_MAX_MEMBERS];
} PynHumanVerdict;

typedef struct PynLearned
{
	int			anomalies;		/* verdicts that were heard */
	int			false_alarms;
	int			silenced;		/* false alarms that are no longer flagged */
	double		p_before;		/* where rows were flagged as it was fitted */
	double		p_value;		/* and where they are now */
	int			members;		/* 0: there are no weights, or none was changed */
	double		weights_before[PYN_MAX_MEMBERS];
	double		weights[PYN_MAX_MEMBERS];
} PynLearned;

/* The weights that a detector's score is a mean by, as it was opened; returns how many, 0: it is no weighted mean. */
extern int	pyn_weights(const PynModel *model, double *weights);

/* The members' scores of one row, of which the score is the mean by these weights. */
extern void pyn_member_scores(const PynModel *model, const double *row, double *scores);

/*
 * Appends the model with weights and threshold as the verdicts suggest.  `sketch`, settled, is what it was fitted from, or
 * NULL: weights stay then.  The bytes that the model was read from must still be there.
 */
extern void pyn_model_learn(PynModel *model, const PynHumanVerdict *verdicts, int count, const PynSketch *sketch,
							PynWriter *writer, PynLearned *learned);

#endif							/* PYN_FEEDBACK_H */
