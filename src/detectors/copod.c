/*
 * copod.c
 *		COPOD: Li, Zhao, Botta, Ionescu and Hu, "COPOD: Copula-Based Outlier Detection", ICDM 2020.
 *
 * The empirical copula's tail probability of a row is, in logarithms, a sum over features.  With F(x) the share of rows up
 * to x and G(x) that from x on, a feature's part is the larger of the tail to which the feature is skewed, -ln F(x) to the
 * left and -ln G(x) to the right (both where it has no skew), and the mean of the two tails; the raw score is the sum of
 * the parts.  (So the authors' implementation does; the paper's text takes the larger one of the sums.)  Unlike ECOD it
 * pays little heed to a tail on the side to which a feature is not skewed.
 *
 * The distribution functions are those of marginal.c: exact up to 511 distinct values, at knots beyond that.  A missing
 * value adds nothing: it has a feature of its own.  A model takes at most 12 kB a feature, an open one 20 kB more.
 */
#include "kernel/port.h"
#include "detectors/marginal.h"
#include "numeric/math.h"

static double
copod_part(double up_to, double from, int skew)
{
	double		left = -pyn_log(up_to);
	double		right = -pyn_log(from);
	double		skewed = skew < 0 ? left : skew > 0 ? right : left + right;

	return Max(skewed, 0.5 * (left + right));
}

static const char *
copod_open(PynReader *reader, int features, void **state)
{
	return pyn_distributions_open(reader, features, copod_part, state);
}

const PynDetector pyn_copod = {
	.name = "copod",
	.description = "sum over columns of how far out in the tail to which a column is skewed each value is; no parameters, fast",
	.source = "Li, Zhao, Botta, Ionescu and Hu: COPOD. ICDM 2020",
	.fit = pyn_distributions_fit,
	.open = copod_open,
	.score_row = pyn_curves_score_row,
	.score_block = pyn_curves_score_block,
	.contribute = pyn_curves_contribute,
};
