/*
 * group_search.c
 *		Whether ordinary rows fall into clearly separated groups, and which these are.
 *
 * Most tables have no such groups, and where there are none nothing must be made of them; so three things are asked.  Rows that a
 * random sample of the training data has dense groups of (linkage.c) are where the search starts.  Each group is then
 * a centre and a covariance, fitted to the rows that are nearest to it of all, without the farthest quarter of them,
 * again and again until rows change no more: a trimmed classification likelihood (Garcia-Escudero, Gordaliza, Matran and
 * Mayo-Iscar, "A General Trimming Approach to Robust Cluster Analysis", Annals of Statistics 36, 2008).  Two groups that are
 * not separated become one: on the line that tells them apart best, Fisher's discriminant, the distance of their centres
 * must be SEPARATION times the sum of how far each reaches towards the other, its standard deviation if it is normal.  And in the features'
 * own scale centres may not lie nearer to each other than typical rows of both to theirs: else the days of a time of which the hour is a
 * feature, too, were groups, as parallel lines are, and each new day far from all.
 *
 * Anomalies that are alike form groups, too.  So a group that has less than ORDINARY_SHARE of the rows is kept, but not taken for
 * ordinary.  Nothing is found unless two ordinary ones remain, each with ROWS_A_FEATURE rows for each feature, which Rousseeuw
 * and van Zomeren ("Unmasking Multivariate Outliers and Leverage Points", JASA 85, 1990) ask for of a covariance.
 *
 * Time: a few hundredths of a second where no groups are dense, else some tenths; at most 4,096 rows are looked at, of at most
 * MOST_FEATURES features.
 */
#include "kernel/port.h"
#include "kernel/hash.h"

#include <math.h>

#include "detectors/groups.h"
#include "detectors/linkage.h"
#include "detectors/reference_sets.h"
#include "numeric/matrix.h"
#include "numeric/selection.h"

#define LEAST_ROWS 100
#define MOST_ROWS 4096
#define MOST_NUMBERS (1 << 17)	/* rows × features of the sample */
#define MOST_FEATURES 64
#define LINKED_ROWS 1024		/* of the sample, whose density is looked at */
#define NEIGHBOURS 10			/* that make a place dense */
#define SMALLEST_SHARE 0.03		/* of the rows, of any group */
#define ORDINARY_SHARE 0.08
#define ROWS_A_FEATURE 5
#define SEPARATION 3.0
#define MOST_SEPARATION 1e6
#define NORMAL_TENTH 1.2815515655446004	/* a tenth of the standard normal distribution lies above */
#define KEPT 0.75				/* share of a group's rows that its covariance is fitted to */
#define LEAST_MEMBERS 10
#define MOST_STEPS 10
#define MOST_SCALED 1e6			/* numbers are cut here, so that no fourth power overflows */
#define LEAST_MEDIAN 0.1		/* where most rows of a group are equal */

typedef struct Search
{
	int			rows;			/* of the sample */
	int			features;
	int			varying;
	double	   *values;			/* [row][feature], scaled */
	double	   *weights;		/* which rows a covariance is fitted to */
	double	   *squares;		/* squared distance to the nearest group */
	double	   *work;
	double	   *copy;
	int		   *nearest;
	double	   *factor;			/* of a sum of two covariances */
	uint64		seed;
	PynGroups  *groups;
} Search;

/* Draws the sample. */
static void
draw_sample(Search *search, const PynTraining *training, const PynScaling *scaling)
{
	PynRandom	random = {pyn_hash_u64(UINT64CONST(0x67726F757073), training->seed)};
	PynPool		pool;
	int		   *drawn;

	pyn_pool_init(&pool, training, NULL, training->rows);
	search->rows = (int) Min(pool.total, Min(MOST_ROWS, MOST_NUMBERS / training->features));
	drawn = pyn_new(int, search->rows);
	pyn_pool_draw(&pool, search->rows, &random, drawn);
	/* What is linked are the first of them: no order must be left. */
	for (int i = search->rows - 1; i > 0; i--)
	{
		int			other = (int) pyn_random_below(&random, (uint32) i + 1);
		int			row = drawn[i];

		drawn[i] = drawn[other];
		drawn[other] = row;
	}
	search->values = pyn_new(double, (Size) search->rows * search->features);
	for (int feature = 0; feature < search->features; feature++)
		for (int i = 0; i < search->rows; i++)
		{
			double		z = pyn_scaled(scaling, feature, training->values[(Size) feature * training->rows + drawn[i]]);

			search->values[(Size) i * search->features + feature] = Max(-MOST_SCALED, Min(z, MOST_SCALED));
		}
	pfree(pool.cumulative);
	pfree(drawn);
}

static void
fit_group(const Search *search, PynGroup *group)
{
	pyn_ellipsoid_fit(&group->ellipsoid, search->values, search->rows, search->features, search->weights, PYN_ESTIMATE_SHRINKAGE, search->seed);
}

static void
drop_group(PynGroups *groups, int dropped)
{
	pyn_ellipsoid_free(&groups->group[dropped].ellipsoid);
	groups->group[dropped] = groups->group[--groups->count];
}

/* The first groups: where the rows are dense.  False when there are not two or more than can be kept. */
static bool
start_groups(Search *search)
{
	int			linked = Min(search->rows, LINKED_ROWS);
	double	   *columns = pyn_new(double, (Size) linked * search->features);
	int		   *labels = pyn_new(int, linked);
	int			least = Max((int) ceil(SMALLEST_SHARE * linked), 2 * NEIGHBOURS);
	int			found;

	/* Far-off values are drawn in, so that a few of them do not make one column all that counts. */
	for (int feature = 0; feature < search->features; feature++)
		for (int i = 0; i < linked; i++)
			columns[(Size) feature * linked + i] = pyn_asinh(search->values[(Size) i * search->features + feature]);
	found = pyn_dense_groups(columns, linked, search->features, NEIGHBOURS, least, labels);
	if (found >= 2 && found <= PYN_MOST_GROUPS)
	{
		search->groups->count = found;
		for (int number = 0; number < found; number++)
		{
			for (int i = 0; i < search->rows; i++)
				search->weights[i] = i < linked && labels[i] == number ? 1.0 : 0.0;
			fit_group(search, &search->groups->group[number]);
		}
	}
	pfree(columns);
	pfree(labels);
	return search->groups->count > 0;
}

/* Gives each row to the group under whose normal distribution it is likeliest; false when none has changed. */
static bool
assign(Search *search)
{
	const PynGroups *groups = search->groups;
	double		volumes[PYN_MOST_GROUPS];
	bool		changed = false;

	for (int number = 0; number < groups->count; number++)
		volumes[number] = pyn_log_determinant(groups->group[number].ellipsoid.factor, search->features);
	for (int row = 0; row < search->rows; row++)
	{
		double		best = INFINITY;
		int			nearest = 0;

		if (row % 64 == 0)
			CHECK_FOR_INTERRUPTS();
		for (int number = 0; number < groups->count; number++)
		{
			double		square = pyn_squared_distance(&groups->group[number].ellipsoid, search->values + (Size) row * search->features, search->work);

			if (square + volumes[number] < best)
			{
				best = square + volumes[number];
				nearest = number;
				search->squares[row] = square;
			}
		}
		changed |= nearest != search->nearest[row];
		search->nearest[row] = nearest;
	}
	return changed;
}

/* A number below which a share of a group's rows lie: numbers[row], of which a copy is made. */
static double
within_group(const Search *search, const double *numbers, int number, double share, int *members)
{
	int			count = 0;
	double		limit;

	for (int row = 0; row < search->rows; row++)
		if (search->nearest[row] == number)
			search->copy[count++] = numbers[row];
	limit = count > 0 ? pyn_select(search->copy, count, (int) (share * (count - 1))) : 0.0;
	if (members != NULL)
		*members = count;
	return limit;
}

/* Fits each group to the nearest of its rows, until rows change no more. */
static void
refine(Search *search)
{
	PynGroups  *groups = search->groups;

	for (int row = 0; row < search->rows; row++)
		search->nearest[row] = -1;
	for (int step = 0; assign(search) && step < MOST_STEPS; step++)
		for (int number = groups->count - 1; number >= 0; number--)
		{
			int			members;
			double		within = within_group(search, search->squares, number, KEPT, &members);

			if (members < LEAST_MEMBERS)
			{
				int			last = groups->count - 1;

				/* The last group takes its place; the rows are given away in the next step. */
				for (int row = 0; row < search->rows; row++)
					search->nearest[row] = search->nearest[row] == number ? -1 : search->nearest[row] == last ? number : search->nearest[row];
				drop_group(groups, number);
				continue;
			}
			for (int row = 0; row < search->rows; row++)
				search->weights[row] = search->nearest[row] == number && search->squares[row] <= within ? 1.0 : 0.0;
			pyn_ellipsoid_free(&groups->group[number].ellipsoid);
			fit_group(search, &groups->group[number]);
		}
}

/* matrix += the covariance whose factor the ellipsoid has. */
static void
add_covariance(const PynEllipsoid *ellipsoid, double *matrix)
{
	int			features = ellipsoid->features;

	for (int i = 0; i < features; i++)
		for (int j = 0; j <= i; j++)
		{
			double		sum = 0;

			/* Row k of the factor's upper triangle is column k of L; its diagonal is inverted. */
			for (int k = 0; k <= j; k++)
			{
				const double *line = ellipsoid->factor + (Size) k * features;
				double		a = k == i ? 1.0 / line[i] : line[i];
				double		b = k == j ? 1.0 / line[j] : line[j];

				sum += a * b;
			}
			matrix[(Size) i * features + j] += sum;
			if (i != j)
				matrix[(Size) j * features + i] += sum;
		}
}

/* How far a group's rows typically lie from its centre, in the features' common scale. */
static double
radius_of(const Search *search, int number)
{
	const double *centre = search->groups->group[number].ellipsoid.centre;

	for (int row = 0; row < search->rows; row++)
	{
		const double *values = search->values + (Size) row * search->features;
		double		square = 0;

		for (int i = 0; i < search->features; i++)
			square += (values[i] - centre[i]) * (values[i] - centre[i]);
		search->weights[row] = square;
	}
	return sqrt(within_group(search, search->weights, number, 0.5, NULL));
}

/* The standard deviation of a covariance in a direction: the length of L' × it. */
static double
deviation_along(const PynEllipsoid *ellipsoid, const double *direction)
{
	int			features = ellipsoid->features;
	double		sum = 0;

	for (int k = 0; k < features; k++)
	{
		const double *line = ellipsoid->factor + (Size) k * features;
		double		product = direction[k] / line[k];

		for (int i = k + 1; i < features; i++)
			product += direction[i] * line[i];
		sum += product * product;
	}
	return sqrt(sum);
}

/*
 * How far a group reaches along a direction, as a standard deviation: a tenth of a normal group's rows lie NORMAL_TENTH of it or
 * more from the centre.  No less than its covariance says, in which a feature that does not vary has the variance of all rows.
 */
static double
reach_along(const Search *search, int number, const double *direction)
{
	const PynEllipsoid *ellipsoid = &search->groups->group[number].ellipsoid;

	for (int row = 0; row < search->rows; row++)
	{
		const double *values = search->values + (Size) row * search->features;

		search->weights[row] = 0;
		for (int i = 0; i < search->features; i++)
			search->weights[row] += (values[i] - ellipsoid->centre[i]) * direction[i];
	}
	return Max(within_group(search, search->weights, number, 0.9, NULL) / NORMAL_TENTH, deviation_along(ellipsoid, direction));
}

/*
 * How clearly two groups are separated: the distance of their centres on Fisher's line through the sum of how far each reaches towards the other; or
 * SEPARATION times that of the distance in the features' scale through the smaller radius, where that is less.
 */
static double
separation_of(const Search *search, int a, int b, const double *radii)
{
	const PynEllipsoid *first = &search->groups->group[a].ellipsoid;
	const PynEllipsoid *second = &search->groups->group[b].ellipsoid;
	int			features = search->features;
	double	   *direction = search->work;
	double		square = 0;
	double		distance = 0;
	double		reaches;
	double		on_line;
	double		in_space;

	CHECK_FOR_INTERRUPTS();
	memset(search->factor, 0, sizeof(double) * features * features);
	add_covariance(first, search->factor);
	add_covariance(second, search->factor);
	if (!pyn_cholesky(search->factor, features))
		return 0.0;
	for (int i = 0; i < features; i++)
		direction[i] = second->centre[i] - first->centre[i];
	pyn_solve_lower(search->factor, features, direction);
	pyn_solve_upper(search->factor, features, direction);
	for (int i = 0; i < features; i++)
	{
		double		difference = second->centre[i] - first->centre[i];

		distance += direction[i] * difference;
		square += difference * difference;
	}
	reaches = reach_along(search, a, direction);
	for (int i = 0; i < features; i++)
		direction[i] = -direction[i];
	reaches += reach_along(search, b, direction);
	if (!(distance > 0))
		return 0.0;
	on_line = distance / Max(reaches, 1e-6 * distance);
	in_space = sqrt(square) / Max(Min(radii[a], radii[b]), 1e-6 * sqrt(square));
	return Min(Min(on_line, SEPARATION * in_space), MOST_SEPARATION);
}

/* Makes one of each two groups that are not separated, each at most once; false when all are. */
static bool
merge_close(Search *search)
{
	PynGroups  *groups = search->groups;
	double		radii[PYN_MOST_GROUPS];
	double		separations[PYN_MOST_GROUPS][PYN_MOST_GROUPS];
	bool		merged[PYN_MOST_GROUPS] = {false};
	bool		any = false;

	/* Those that become one do not take part again, so the others' separations stay. */
	for (int number = 0; number < groups->count; number++)
		radii[number] = radius_of(search, number);
	for (int a = 0; a < groups->count; a++)
		for (int b = a + 1; b < groups->count; b++)
			separations[a][b] = separation_of(search, a, b, radii);
	for (;;)
	{
		double		least = INFINITY;
		int			first = 0;
		int			second = 0;

		for (int a = 0; a < groups->count; a++)
			for (int b = a + 1; b < groups->count; b++)
			{
				if (merged[a] || merged[b] || separations[a][b] >= least)
					continue;
				least = separations[a][b];
				first = a;
				second = b;
			}
		if (!any)
			groups->separation = least < INFINITY ? least : 0.0;
		if (!(least < SEPARATION))
			break;
		CHECK_FOR_INTERRUPTS();
		for (int row = 0; row < search->rows; row++)
			search->weights[row] = search->nearest[row] == first || search->nearest[row] == second ? 1.0 : 0.0;
		pyn_ellipsoid_free(&groups->group[first].ellipsoid);
		fit_group(search, &groups->group[first]);
		groups->group[second].share = -1.0; /* it goes */
		merged[first] = merged[second] = any = true;
	}
	for (int number = groups->count - 1; number >= 0; number--)
		if (groups->group[number].share < 0)
			drop_group(groups, number);
	return any;
}

/* What is kept of the groups, and whether they are enough. */
static PynGroupsOutcome
judge(Search *search)
{
	PynGroups  *groups = search->groups;
	int			ordinary = 0;

	for (int number = 0; number < groups->count; number++)
	{
		PynGroup   *group = &groups->group[number];
		int			members;

		group->median = Max(sqrt(within_group(search, search->squares, number, 0.5, &members)), LEAST_MEDIAN);
		group->share = (double) members / search->rows;
		group->ordinary = group->share >= ORDINARY_SHARE;
		ordinary += group->ordinary;
		if (group->ordinary && members < ROWS_A_FEATURE * search->varying)
			return PYN_GROUPS_THIN;
	}
	return ordinary >= 2 ? PYN_GROUPS_FOUND : PYN_GROUPS_THIN;
}

void
pyn_groups_search(const PynTraining *training, PynGroups *groups)
{
	Search		search = {.features = training->features,.seed = training->seed,.groups = groups};

	memset(groups, 0, sizeof(*groups));
	groups->features = training->features;
	groups->outcome = PYN_GROUPS_UNTRIED;
	if (training->features > MOST_FEATURES || training->features < 1 || training->total_weight < LEAST_ROWS)
		return;
	pyn_scaling_fit(training, NULL, PYN_SCALE_ROBUST, &groups->scaling);
	for (int feature = 0; feature < search.features; feature++)
		search.varying += groups->scaling.factors[feature] > 0;
	draw_sample(&search, training, &groups->scaling);
	search.weights = pyn_new(double, search.rows);
	search.squares = pyn_new(double, search.rows);
	search.nearest = pyn_new(int, search.rows);
	search.copy = pyn_new(double, search.rows);
	search.work = pyn_new(double, search.features);
	search.factor = pyn_new(double, (Size) search.features * search.features);
	groups->outcome = PYN_GROUPS_ONE;
	if (start_groups(&search))
	{
		groups->outcome = PYN_GROUPS_CLOSE;
		refine(&search);
		while (groups->count >= 2 && merge_close(&search))
			refine(&search);
		if (groups->count >= 2)
			groups->outcome = judge(&search);
	}
	if (groups->outcome != PYN_GROUPS_FOUND)
		groups->count = 0;
	pfree(search.values);
	pfree(search.weights);
	pfree(search.squares);
	pfree(search.nearest);
	pfree(search.copy);
	pfree(search.work);
	pfree(search.factor);
}
