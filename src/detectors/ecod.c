/*
 * ecod.c
 *		ECOD: Li, Zhao, Hu, Botta, Ionescu and Chen, "ECOD: Unsupervised Outlier Detection Using Empirical Cumulative
 *		Distribution Functions", IEEE TKDE 2022.
 *
 * A value is odd when it lies in a tail of its feature: with F(x) the share of rows up to x and G(x) that from x on, a
 * feature's part is max(-ln F(x), -ln G(x)), and the sum of both where the feature has no skew; the raw score is the sum
 * of the parts.  (The authors' implementation takes the larger tail per feature; the paper's text takes it of the sums.)
 *
 * The distribution functions are those of marginal.c: exact up to 511 distinct values, at knots beyond that.  A missing
 * value adds nothing: it has a feature of its own.  A model takes at most 12 kB a feature, an open one 20 kB more.
 */
#include "kernel/port.h"
#include "detectors/marginal.h"
#include "numeric/math.h"

static double
ecod_part(double up_to, double from, int skew)
{
	if (skew == 0)
		return -pyn_log(up_to) - pyn_log(from);
	return -pyn_log(Min(up_to, from));
}

static const char *
ecod_open(PynReader *reader, int features, void **state)
{
	return pyn_distributions_open(reader, features, ecod_part, state);
}

const PynDetector pyn_ecod = {
	.name = "ecod",
	.description = "sum over columns of how far out in a tail each value is; no parameters, fast, columns on their own",
	.source = "Li, Zhao, Hu, Botta, Ionescu and Chen: ECOD. IEEE TKDE 2022",
	.fit = pyn_distributions_fit,
	.open = ecod_open,
	.score_row = pyn_curves_score_row,
	.score_block = pyn_curves_score_block,
	.contribute = pyn_curves_contribute,
};
