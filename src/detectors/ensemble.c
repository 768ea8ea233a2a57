/*
 * ensemble.c
 *		Several detectors as one: Aggarwal and Sathe, "Theoretical Foundations and Algorithms for Outlier Ensembles",
 *		ACM SIGKDD Explorations 17(1), 2015.
 *
 * No detector sees every kind of anomaly.  Averaging several lowers the variance of their scores; the maximum lowers the
 * bias towards what only one of them sees, and raises the variance.  The paper's average of maximum stands between: the
 * members are dealt to groups, the maximum is taken in each group and the average over the groups.  The median is not
 * moved by one member that errs.  What is combined are not raw scores but what they mean (members.c).
 *
 * Size and time are the sums of the members'.  Members may be ensembles themselves, nested so deeply as detector.h says.
 */
#include "kernel/port.h"
#include "detectors/members.h"

enum
{
	SETTING_COMBINE,
	SETTING_SCORES,
	SETTING_GROUPS,
	SETTING_COUNT
};

typedef enum Combination
{
	AVERAGE,
	MAXIMUM,
	MEDIAN,
	AVERAGE_OF_MAXIMUM,
	COMBINATION_LAST = AVERAGE_OF_MAXIMUM
} Combination;

static const PynParameter parameters[SETTING_COUNT] = {
	{.name = "combine",.initial = AVERAGE,.maximum = COMBINATION_LAST,.kind = PYN_PARAMETER_CHOICE,
		.choices = "average, maximum, median, average_of_maximum",
	.description = "what is made of the members' scores; the average is weighted by the members' weights"},
	{.name = "scores",.initial = PYN_RANKS,.maximum = PYN_COMMON_SCALE_LAST,.kind = PYN_PARAMETER_CHOICE,.choices = "calibrated, ranks",
	.description = "on which scale: the negative logarithm of the p-value, or Gaussian ranks"},
	{.name = "groups",.initial = 2,.minimum = 1,.maximum = PYN_MAX_MEMBERS,
	.description = "of average_of_maximum: the members are dealt to so many groups in turn"},
};

/*
 * Where none are named: one of each family, with its defaults, which see different things.  A forest, single columns, distances,
 * and how columns go together.
 */
static const PynDetector *const usual_members[] = {&pyn_isolation_forest, &pyn_hbos, &pyn_knn, &pyn_mahalanobis};

typedef struct Ensemble
{
	Combination combination;
	PynCommonScale scale;
	int			groups;			/* 1 to count */
	int			count;
	PynMember  *members;
	double		total_weight;
} Ensemble;

/* u8 combination, u8 scale, u8 groups, u8 members, then the members. */
static void
ensemble_fit(const PynTraining *training, const PynPlan *plan, PynWriter *writer)
{
	int			count = plan->member_count > 0 ? plan->member_count : (int) lengthof(usual_members);

	pyn_write_u8(writer, (uint8) plan->settings[SETTING_COMBINE]);
	pyn_write_u8(writer, (uint8) plan->settings[SETTING_SCORES]);
	pyn_write_u8(writer, (uint8) Min(plan->settings[SETTING_GROUPS], count));
	pyn_write_u8(writer, (uint8) count);
	for (int i = 0; i < count; i++)
	{
		PynPlan		usual;

		if (plan->member_count == 0)
			pyn_plan_defaults(&usual, usual_members[i]);
		pyn_member_fit(training, plan->member_count > 0 ? &plan->members[i] : &usual, i, writer);
	}
}

const char *
pyn_ensemble_open(PynReader *reader, int features, int nesting, void **state)
{
	Ensemble   *ensemble = palloc0(sizeof(Ensemble));
	uint8		combination = pyn_read_u8(reader);
	uint8		scale = pyn_read_u8(reader);

	ensemble->groups = pyn_read_u8(reader);
	ensemble->count = pyn_read_u8(reader);
	if (combination > COMBINATION_LAST || scale > PYN_COMMON_SCALE_LAST)
		return "an ensemble combines in an unknown way";
	if (ensemble->count < 1 || ensemble->count > PYN_MAX_MEMBERS || ensemble->groups < 1 ||
		ensemble->groups > ensemble->count)
		return "an ensemble has an impossible number of members";
	ensemble->combination = (Combination) combination;
	ensemble->scale = (PynCommonScale) scale;
	ensemble->members = pyn_new0(PynMember, ensemble->count);
	for (int i = 0; i < ensemble->count; i++)
	{
		const char *problem = pyn_member_read(reader, features, nesting, &ensemble->members[i]);

		if (problem != NULL)
			return problem;
		ensemble->total_weight += ensemble->members[i].weight;
	}
	*state = ensemble;
	return NULL;
}

static const char *
ensemble_open(PynReader *reader, int features, void **state)
{
	return pyn_ensemble_open(reader, features, PYN_MAX_NESTING - 1, state);
}

/* Sorted in place; there are few. */
static double
median_of(double *scores, int count)
{
	for (int i = 1; i < count; i++)
	{
		double		score = scores[i];
		int			place = i;

		for (; place > 0 && scores[place - 1] > score; place--)
			scores[place] = scores[place - 1];
		scores[place] = score;
	}
	return 0.5 * (scores[(count - 1) / 2] + scores[count / 2]);
}

/* The largest score of each `step`-th member. */
static double
maximum_of(const double *scores, int first, int step, int count)
{
	double		largest = scores[first];

	for (int i = first + step; i < count; i += step)
		largest = Max(largest, scores[i]);
	return largest;
}

/* One row's score, of those of its members on the common scale, which may be reordered. */
static double
combine(const Ensemble *ensemble, double *scores)
{
	double		sum = 0;

	switch (ensemble->combination)
	{
		case AVERAGE:
			for (int i = 0; i < ensemble->count; i++)
				sum += ensemble->members[i].weight * scores[i];
			return sum / ensemble->total_weight;
		case MAXIMUM:
			return maximum_of(scores, 0, 1, ensemble->count);
		case MEDIAN:
			return median_of(scores, ensemble->count);
		case AVERAGE_OF_MAXIMUM:
			for (int group = 0; group < ensemble->groups; group++)
				sum += maximum_of(scores, group, ensemble->groups, ensemble->count);
			return sum / ensemble->groups;
	}
	return 0;
}

/* The same of rows: all[member * rows + row]. */
static void
combine_all(const Ensemble *ensemble, const double *all, int rows, double *scores)
{
	for (int row = 0; row < rows; row++)
	{
		double		own[PYN_MAX_MEMBERS];

		for (int i = 0; i < ensemble->count; i++)
			own[i] = all[(Size) i * rows + row];
		scores[row] = combine(ensemble, own);
	}
}

static double
ensemble_score_row(const void *state, const double *row)
{
	const Ensemble *ensemble = state;
	double		scores[PYN_MAX_MEMBERS];

	for (int i = 0; i < ensemble->count; i++)
		scores[i] = pyn_member_row(&ensemble->members[i], ensemble->scale, row);
	return combine(ensemble, scores);
}

/* scores[member * rows + row] */
static void
ensemble_member_scores(const void *state, const double *values, int stride, int rows, double *scores)
{
	const Ensemble *ensemble = state;

	for (int i = 0; i < ensemble->count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		pyn_member_block(&ensemble->members[i], ensemble->scale, values, stride, rows, scores + (Size) i * rows);
	}
}

static void
ensemble_score_block(const void *state, const double *values, int stride, int rows, double *scores)
{
	const Ensemble *ensemble = state;
	double	   *all = pyn_new(double, (Size) ensemble->count * rows);

	ensemble_member_scores(state, values, stride, rows, all);
	combine_all(ensemble, all, rows, scores);
	pfree(all);
}

static bool
ensemble_score_left_out(const void *state, const PynTraining *training, double *scores)
{
	const Ensemble *ensemble = state;
	double	   *all;
	bool		differs = false;

	for (int i = 0; i < ensemble->count; i++)
		differs |= ensemble->members[i].detector->score_left_out != NULL;
	if (!differs)
		return false;
	all = pyn_new(double, (Size) ensemble->count * training->rows);
	for (int i = 0; i < ensemble->count; i++)
		pyn_member_left_out(&ensemble->members[i], ensemble->scale, training, all + (Size) i * training->rows);
	combine_all(ensemble, all, training->rows, scores);
	pfree(all);
	return true;
}

/*
 * A member answers for a row by what it says of it: those that find the row odd explain it, in proportion to their weight
 * and to how far their score is above the ordinary, and with the maximum the one that decides.
 */
static int
ensemble_parts(const void *state, const double *row, PynPart *parts)
{
	const Ensemble *ensemble = state;
	double		largest = 0;

	for (int i = 0; i < ensemble->count; i++)
	{
		const PynMember *member = &ensemble->members[i];

		parts[i].detector = member->detector;
		parts[i].state = member->state;
		parts[i].share = Max(pyn_member_row(member, ensemble->scale, row), 0.0);
		largest = Max(largest, parts[i].share);
	}
	for (int i = 0; i < ensemble->count; i++)
	{
		if (ensemble->combination == AVERAGE)
			parts[i].share *= ensemble->members[i].weight;
		else if (ensemble->combination == MAXIMUM && parts[i].share < largest)
			parts[i].share = 0;
		if (!(largest > 0))
			parts[i].share = ensemble->members[i].weight;	/* all find it ordinary: each as it counts */
	}
	return ensemble->count;
}

static bool
ensemble_weighs(const PynPlan *plan)
{
	return plan->settings[SETTING_COMBINE] == AVERAGE;
}

static int
ensemble_weights(const void *state, double *weights)
{
	const Ensemble *ensemble = state;

	for (int i = 0; i < ensemble->count; i++)
		weights[i] = ensemble->members[i].weight;
	return ensemble->combination == AVERAGE ? ensemble->count : 0;
}

static void
ensemble_reweigh(const uint8 *parameters, Size length, const double *weights, PynWriter *writer)
{
	PynReader	reader;
	Size		origin = writer->length;
	int			count;

	pyn_write_bytes(writer, parameters, length);
	pyn_reader_init(&reader, parameters, length);
	(void) pyn_read_bytes(&reader, 3);
	count = pyn_read_u8(&reader);
	for (int i = 0; i < count; i++)
	{
		Size		place = pyn_member_skip(&reader);
		uint64		bits;

		memcpy(&bits, &weights[i], sizeof(bits));
		pyn_write_u64_at(writer, origin + place, bits);
	}
}

static const PynWeighing weighing = {ensemble_weights, ensemble_member_scores, ensemble_reweigh};

const PynDetector pyn_ensemble = {
	.name = "ensemble",
	.description = "several detectors' scores as one; options.members names them, each with its own options and a weight",
	.source = "Aggarwal and Sathe: Theoretical Foundations and Algorithms for Outlier Ensembles. SIGKDD Explorations 2015",
	.parameter_count = SETTING_COUNT,
	.parameters = parameters,
	.fit = ensemble_fit,
	.open = ensemble_open,
	.score_row = ensemble_score_row,
	.score_block = ensemble_score_block,
	.score_left_out = ensemble_score_left_out,
	.parts = ensemble_parts,
	.combines = true,
	.weighs = ensemble_weighs,
	.weighing = &weighing,
};
