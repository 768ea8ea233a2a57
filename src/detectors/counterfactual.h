/*
 * counterfactual.h
 *		The smallest change of a row that turns its verdict.
 */
#ifndef PYN_COUNTERFACTUAL_H
#define PYN_COUNTERFACTUAL_H

#include "detectors/model.h"

#define PYN_MOST_CHANGED 8		/* features that are tried */
#define PYN_MOST_PAIRED 4		/* of those, in pairs */
#define PYN_MOST_EVALUATIONS 2600	/* rows scored for one answer, beside its contributions */

typedef enum PynChangeKind
{
	PYN_CHANGE_RANGE,			/* the value is at least low, at most high */
	PYN_CHANGE_ONE_OF,			/* the weekdays in `days`; the categories at least, at most so frequent */
	PYN_CHANGE_PRESENT,			/* a value is there: in the range */
	PYN_CHANGE_MISSING			/* there is no value */
} PynChangeKind;

/* What a feature would have to be. */
typedef struct PynChange
{
	int			feature;
	PynChangeKind kind;
	bool		has_low;
	bool		has_high;
	double		low;			/* of a category: its rarity */
	double		high;
	double		example;		/* a value that was tried and turns the verdict; of a category its rarity */
	bool		unseen;			/* a category never seen does it, too */
	uint8		days;			/* bit 1 << day, 1 for Sunday to 7 */
} PynChange;

typedef struct PynCounterfactual
{
	PynVerdict	verdict;
	int			count;			/* single changes, the feature first that counts most */
	PynChange	changes[PYN_MOST_CHANGED];
	int			pair_count;		/* 0 or 1: only where no single change will do */
	PynChange	pair[2];
	double	   *pulls;			/* per feature, of a row not flagged: its part in that; they sum to 1, or are 0 */
	int			evaluations;
} PynCounterfactual;

extern void pyn_find_changes(const PynModel *model, const PynCell *cells, PynCounterfactual *found);

#endif							/* PYN_COUNTERFACTUAL_H */
