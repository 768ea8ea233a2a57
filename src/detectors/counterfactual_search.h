/*
 * counterfactual_search.h
 *		The search for the values of one feature that turn a row's verdict.
 */
#ifndef PYN_COUNTERFACTUAL_SEARCH_H
#define PYN_COUNTERFACTUAL_SEARCH_H

#include "detectors/counterfactual.h"

#define PYN_MOST_POINTS 64

/* A value of a feature that is tried. */
typedef struct PynPoint
{
	double		at;
	bool		turns;
} PynPoint;

typedef struct PynSearch
{
	const PynModel *model;
	bool		flagged;		/* the row's verdict, which is to be turned */
	PynCell    *cells;			/* the row, while pairs are tried with one value changed */
	double	   *row;			/* its features */
	double	   *changed;		/* those of the row that is tried */
	int			evaluations;

	/* The feature under search. */
	const PynFeature *feature;
	PynKind		kind;
	double		own;			/* the row's value; NaN: missing */
	PynPoint		points[PYN_MOST_POINTS];
	int			count;
	double		best_raw;		/* of all points, in the direction that is wanted */
	double		best_at;
	double		sum_raw;		/* over the normal range */
	int			sum_count;
} PynSearch;

extern bool pyn_search_category(const PynSearch *search);
extern void pyn_search_choose(PynSearch *search, int feature);
extern PynCell pyn_search_cell(const PynSearch *search, double value);
extern bool pyn_search_turns(PynSearch *search, PynCell cell, double *raw);
extern bool pyn_search_feature(PynSearch *search, int feature, PynChange *change);

#endif							/* PYN_COUNTERFACTUAL_SEARCH_H */
