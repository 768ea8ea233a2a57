/*
 * groups.c
 *		How far rows lie from the nearest of several separated groups of ordinary rows, in that group's own units.
 *
 * Where ordinary rows fall into groups, a row may lie far outside its group and still near to all that is ordinary, as distances that
 * have one scale for all groups measure it: a local anomaly.  The score is the Mahalanobis distance to the nearest group by the
 * group's own covariance, as a multiple of the median distance of its own rows, so that groups whose rows scatter in
 * another way than normal ones count alike.  Its logarithm is measured from its median in units of its median absolute deviation.
 *
 * Small groups may be rare ordinary rows or anomalies of one kind, and nothing here tells which.  So rows nearest to
 * one have no score (NaN).  group_search.c finds the groups, if there are any.
 *
 * Model: 4 d² + 36 d bytes a group for d features: some 2 kB for 3 groups of 8 features, at most 0.3 MB.  Time: half d²
 * multiplications a row and group.
 */
#include "kernel/port.h"

#include <math.h>

#include "detectors/groups.h"
#include "numeric/math.h"

#define LEAST_SHARE 0.01		/* of a group's median distance, added before the logarithm */
#define LARGEST_MEDIAN 1e150

/* ---------------------------------------------------------------- score */

/* From a row's distance to each group, distances[group * stride]; says the nearest ordinary group where it is asked for. */
static double
score_of(const PynGroups *groups, const double *distances, int stride, int *nearest)
{
	double		least = INFINITY;
	double		least_ordinary = INFINITY;

	for (int number = 0; number < groups->count; number++)
	{
		const PynGroup *group = &groups->group[number];
		double		distance = distances[(Size) number * stride] / group->median;

		least = Min(least, distance);
		if (group->ordinary && distance < least_ordinary)
		{
			least_ordinary = distance;
			if (nearest != NULL)
				*nearest = number;
		}
	}
	if (least < least_ordinary)
		return NAN;
	return (pyn_log(least_ordinary + LEAST_SHARE) - groups->median) * groups->factor;
}

static double
row_score(const PynGroups *groups, const double *row, int *nearest)
{
	double		distances[PYN_MOST_GROUPS];

	for (int number = 0; number < groups->count; number++)
		distances[number] = pyn_distance(&groups->group[number].ellipsoid, &groups->scaling, row);
	return score_of(groups, distances, 1, nearest);
}

double
pyn_groups_row(const PynGroups *groups, const double *row)
{
	return row_score(groups, row, NULL);
}

void
pyn_groups_block(const PynGroups *groups, const double *values, int stride, int rows, double *scores)
{
	double	   *distances = pyn_new(double, (Size) groups->count * rows);

	for (int number = 0; number < groups->count; number++)
		pyn_distances(&groups->group[number].ellipsoid, &groups->scaling, values, stride, rows, distances + (Size) number * rows);
	for (int row = 0; row < rows; row++)
		scores[row] = score_of(groups, distances + row, rows, NULL);
	pfree(distances);
}

static void
groups_contribute(const void *state, const double *row, double *contributions)
{
	const PynGroups *groups = state;
	int			nearest = 0;

	(void) row_score(groups, row, &nearest);
	pyn_distance_parts(&groups->group[nearest].ellipsoid, &groups->scaling, row, contributions);
}

/* ---------------------------------------------------------------- bytes */

/*
 * u8 outcome, f64 separation; where groups were found: their scaling, u8 their number, for each its f64 median distance, f64
 * share of the rows, u8 whether it is ordinary, ellipsoid.
 */
static void
write_groups(const PynGroups *groups, PynWriter *writer)
{
	pyn_write_u8(writer, (uint8) groups->outcome);
	pyn_write_f64(writer, groups->separation);
	if (groups->outcome != PYN_GROUPS_FOUND)
		return;
	pyn_scaling_write(&groups->scaling, writer);
	pyn_write_u8(writer, (uint8) groups->count);
	for (int number = 0; number < groups->count; number++)
	{
		pyn_write_f64(writer, groups->group[number].median);
		pyn_write_f64(writer, groups->group[number].share);
		pyn_write_u8(writer, groups->group[number].ordinary);
		pyn_ellipsoid_write(&groups->group[number].ellipsoid, writer);
	}
}

static const char *
read_found(PynReader *reader, PynGroups *groups)
{
	const char *problem;
	bool		ordinary = false;

	if ((problem = pyn_scaling_read(reader, groups->features, &groups->scaling)) != NULL)
		return problem;
	groups->count = pyn_read_u8(reader);
	if (groups->count < 1 || groups->count > PYN_MOST_GROUPS)
		return "an impossible number of groups";
	for (int number = 0; number < groups->count; number++)
	{
		PynGroup   *group = &groups->group[number];
		uint8		kind;

		group->median = pyn_read_f64(reader);
		group->share = pyn_read_f64(reader);
		kind = pyn_read_u8(reader);
		group->ordinary = kind == 1;
		ordinary |= group->ordinary;
		if (!(group->median >= 1e-3 && group->median <= LARGEST_MEDIAN) || !(group->share >= 0 && group->share <= 1) || kind > 1)
			return "a group is impossible";
		if ((problem = pyn_ellipsoid_read(reader, groups->features, &group->ellipsoid)) != NULL)
			return problem;
	}
	return ordinary ? NULL : "no group is ordinary";
}

/* What write_groups wrote. */
static const char *
read_groups(PynReader *reader, int features, PynGroups *groups)
{
	uint8		outcome = pyn_read_u8(reader);

	if (outcome > PYN_GROUPS_LAST)
		return "a search for groups ended in an unknown way";
	groups->outcome = (PynGroupsOutcome) outcome;
	groups->features = features;
	groups->separation = pyn_read_f64(reader);
	if (!(groups->separation >= 0 && groups->separation <= 1e6))
		return "groups are separated by an impossible distance";
	return outcome == PYN_GROUPS_FOUND ? read_found(reader, groups) : NULL;
}

/* Median and scale of the training rows' logarithms, without those that have none. */
static void
standardise(PynGroups *groups, const PynTraining *training)
{
	PynWeighted *numbers = pyn_new(PynWeighted, training->rows);
	double	   *scores = pyn_new(double, PYN_SCORE_BLOCK);
	double		total = 0;
	int			count = 0;

	groups->median = 0.0;
	groups->factor = 1.0;
	for (int start = 0; start < training->rows; start += PYN_SCORE_BLOCK)
	{
		int			rows = Min(PYN_SCORE_BLOCK, training->rows - start);

		CHECK_FOR_INTERRUPTS();
		pyn_groups_block(groups, training->values + start, training->rows, rows, scores);
		for (int row = 0; row < rows; row++)
			if (scores[row] == scores[row])
			{
				numbers[count].value = scores[row];
				numbers[count].weight = (double) training->weights[start + row];
				total += numbers[count++].weight;
			}
	}
	if (count > 0)
		groups->factor = 1.0 / pyn_median_and_scale(numbers, count, total, &groups->median);
	pfree(numbers);
	pfree(scores);
}

/* What write_groups writes, then, where groups were found, f64 median and f64 factor. */
static void
groups_fit(const PynTraining *training, const PynPlan *plan, PynWriter *writer)
{
	PynGroups  *found = palloc0(sizeof(PynGroups));
	PynGroups  *groups = palloc0(sizeof(PynGroups));
	Size		start = writer->length;
	PynReader	reader;
	const char *problem;

	pyn_groups_search(training, found);
	write_groups(found, writer);
	if (found->outcome != PYN_GROUPS_FOUND)
		return;

	/* The scale is that of distances as they will be measured, from the bytes. */
	pyn_reader_init(&reader, writer->data + start, writer->length - start);
	problem = read_groups(&reader, training->features, groups);
	Assert(problem == NULL);
	(void) problem;
	standardise(groups, training);
	pyn_write_f64(writer, groups->median);
	pyn_write_f64(writer, groups->factor);
}

static const char *
groups_open(PynReader *reader, int features, void **state)
{
	PynGroups  *groups = palloc0(sizeof(PynGroups));
	const char *problem;

	*state = groups;
	if ((problem = read_groups(reader, features, groups)) != NULL)
		return problem;
	if (groups->outcome != PYN_GROUPS_FOUND)
		return NULL;
	groups->median = pyn_read_f64(reader);
	groups->factor = pyn_read_f64(reader);
	if (!(fabs(groups->median) <= 1e3) || !(groups->factor > 0 && groups->factor <= 1e6))
		return "the groups' scale is impossible";
	return NULL;
}

const PynDetector pyn_groups_part = {
	.name = "groups",
	.fit = groups_fit,
	.open = groups_open,
	.contribute = groups_contribute,
};

int
pyn_groups_describe(const PynGroups *groups, char *text, int size)
{
	static const char *const why[] = {
		[PYN_GROUPS_ONE] = "ordinary rows do not fall into groups",
		[PYN_GROUPS_CLOSE] = "ordinary rows do not fall into groups that are clearly separated",
		[PYN_GROUPS_THIN] = "the groups that rows fall into are too small to tell which are ordinary",
		[PYN_GROUPS_UNTRIED] = "there are too few rows or too many features to look for groups of them",
	};
	int			ordinary = 0;
	int			length;

	if (groups->outcome != PYN_GROUPS_FOUND)
		length = snprintf(text, size, "%s, so no distances are measured in a group's own units", why[groups->outcome]);
	else
	{
		for (int number = 0; number < groups->count; number++)
			ordinary += groups->group[number].ordinary;
		length = snprintf(text, size, "ordinary rows fall into %d clearly separated groups, so the distance to the nearest in its own units "
						  "counts as much as all before (the centres of any two lie at least %.1f times the sum of their deviations apart",
						  ordinary, groups->separation);
		if (ordinary < groups->count && length < size)
			length += snprintf(text + length, size - length, groups->count - ordinary == 1 ? "; %d smaller group may be ordinary or not" :
							   "; %d smaller groups may be ordinary or not", groups->count - ordinary);
		if (length < size)
			length += snprintf(text + length, size - length, ")");
	}
	return Min(length, size - 1);
}
