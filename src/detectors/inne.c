/*
 * inne.c
 *		Isolation using nearest-neighbour ensembles: Bandaragoda, Ting, Albrecht, Liu, Zhu and Wells, "Isolation-based anomaly
 *		detection using nearest-neighbor ensembles", Computational Intelligence 2018.
 *
 * Each of many estimators draws a few rows.  Around each of these is a ball that reaches to its nearest neighbour among
 * them.  A row's isolation score is 1 outside of all balls, else 1 - r(n)/r(c) for the smallest ball c around it and n the
 * nearest neighbour of c's centre: how much smaller the balls are next to it.  The raw score is the mean over the estimators,
 * so it is local as LOF is, at linear cost.  Rows outside of all balls of all estimators score 1 alike.
 *
 * A centre equal to the row does not count, once in an estimator (leave-one-out).  Rows are scaled float4; PYN_LANES
 * rows of a block, or estimators for a single row, lie side by side, and each pair's distance is summed in the same order.
 *
 * Size of a model: 4 bytes a number, at most 16 MB (51 kB for 200 estimators of 8 rows of 8 features); opened thrice that.
 */
#include "kernel/port.h"

#include <math.h>

#include "detectors/reference_sets.h"
#include "numeric/vector.h"

#define MAX_SIZE 256
#define MOST_NUMBERS (4 * 1024 * 1024)	/* of all estimators */
#define LANES PYN_LANES

typedef float Vector __attribute__((vector_size(4 * LANES)));
typedef int32 Mask __attribute__((vector_size(4 * LANES)));

enum
{
	SETTING_ESTIMATORS,
	SETTING_SIZE,
	SETTING_SCALE,
	SETTING_COUNT
};

static const PynParameter parameters[SETTING_COUNT] = {
	{.name = "n_estimators",.initial = 200,.minimum = 1,.maximum = PYN_MAX_SETS,.description = "number of estimators"},
	{.name = "max_samples",.initial = 8,.minimum = 2,.maximum = MAX_SIZE,.description = "rows that each estimator draws"},
	PYN_SCALE_PARAMETER(PYN_CHOOSE_ROBUST),
};

typedef struct Inne
{
	PynScaling	scaling;
	PynReferenceSets sets;		/* the centres, those of the largest balls first */
	float	   *squares;		/* [set][ball]: squared radius */
	float	   *isolation;		/* [set][ball]: score inside of the ball */
	float	   *lane_squares;	/* the same [set / lanes][ball][lane] */
	float	   *lane_isolation;
} Inne;

/* ---------------------------------------------------------------- fit */

static void
inne_fit(const PynTraining *training, const PynPlan *plan, PynWriter *writer)
{
	int			features = training->features;
	PynScaling	scaling;
	PynPool		pool;
	int			estimators;
	int			size;
	int		   *drawn;
	float	   *centres;
	float	   *next;

	pyn_scaling_fit(training, NULL, pyn_chosen_scale(plan->settings[SETTING_SCALE]), &scaling);
	pyn_scaling_write(&scaling, writer);
	pyn_pool_init(&pool, training, NULL, training->rows);
	size = (int) Min(pool.total, Min((int64) plan->settings[SETTING_SIZE], MOST_NUMBERS / features));
	estimators = Max(1, Min((int) plan->settings[SETTING_ESTIMATORS], MOST_NUMBERS / features / size));
	drawn = pyn_new(int, size);
	next = centres = pyn_new(float, (Size) estimators * size * features);
	for (int estimator = 0; estimator < estimators; estimator++)
	{
		/* Each estimator has random numbers of its own, so that it does not depend on how many there are. */
		PynRandom	random = {pyn_hash_u64(estimator, training->seed)};

		CHECK_FOR_INTERRUPTS();
		pyn_pool_draw(&pool, size, &random, drawn);
		for (int i = 0; i < size; i++)
			for (int feature = 0; feature < features; feature++)
				*next++ = pyn_scaled_float(&scaling, feature, training->values[(Size) feature * training->rows + drawn[i]]);
	}
	pyn_reference_sets_write(centres, estimators, size, features, writer);
	pfree(pool.cumulative);
	pfree(drawn);
	pfree(centres);
}

/* ---------------------------------------------------------------- open */

/* A centre's ball. */
typedef struct Ball
{
	float		square;
	float		isolation;
	int			centre;
} Ball;

static float
square_between(const float *a, const float *b, int features)
{
	float		sum = 0;

	for (int feature = 0; feature < features; feature++)
	{
		float		difference = a[feature] - b[feature];
		float		product = difference * difference;

		sum += product;
	}
	return sum;
}

/* Measures the balls of one estimator and sorts them by falling radius, equal ones as they were drawn. */
static void
measure_balls(const float *centres, int size, int features, Ball *balls, int *nearest)
{
	Ball		sorted[MAX_SIZE];

	for (int i = 0; i < size; i++)
	{
		balls[i].square = INFINITY;
		balls[i].centre = i;
		nearest[i] = i;
		for (int j = 0; j < size; j++)
		{
			float		square = j != i ? square_between(centres + (Size) i * features, centres + (Size) j * features, features) : INFINITY;

			if (square < balls[i].square)
			{
				balls[i].square = square;
				nearest[i] = j;
			}
		}
	}
	for (int i = 0; i < size; i++)
	{
		int			place = i;

		balls[i].isolation = balls[i].square > 0 ? 1.0f - sqrtf(balls[nearest[i]].square / balls[i].square) : 0.0f;
		for (; place > 0 && sorted[place - 1].square < balls[i].square; place--)
			sorted[place] = sorted[place - 1];
		sorted[place] = balls[i];
	}
	memcpy(balls, sorted, sizeof(Ball) * size);
}

static const char *
inne_open(PynReader *reader, int features, void **state)
{
	Inne	   *inne = palloc0(sizeof(Inne));
	const char *problem;
	PynReferenceSets drawn;
	Ball		balls[MAX_SIZE];
	int			nearest[MAX_SIZE];
	Size		balls_of_all;
	float	   *sorted;

	if ((problem = pyn_scaling_read(reader, features, &inne->scaling)) != NULL ||
		(problem = pyn_reference_sets_read(reader, features, &drawn)) != NULL)
		return problem;
	if (drawn.size < 2 || drawn.size > MAX_SIZE)
		return "an estimator has an impossible number of rows";
	balls_of_all = (Size) (drawn.sets + LANES - 1) / LANES * LANES * drawn.size;
	inne->squares = pyn_new0(float, balls_of_all);
	inne->isolation = pyn_new0(float, balls_of_all);
	inne->lane_squares = pyn_new0(float, balls_of_all);
	inne->lane_isolation = pyn_new0(float, balls_of_all);
	sorted = pyn_new(float, (Size) drawn.sets * drawn.size * features);
	for (int set = 0; set < drawn.sets; set++)
	{
		const float *centres = drawn.values + (Size) set * drawn.padded * features;

		CHECK_FOR_INTERRUPTS();
		measure_balls(centres, drawn.size, features, balls, nearest);
		for (int i = 0; i < drawn.size; i++)
		{
			Size		ball = (Size) set * drawn.size + i;
			Size		lane = ((Size) (set / LANES) * drawn.size + i) * LANES + set % LANES;

			inne->squares[ball] = inne->lane_squares[lane] = balls[i].square;
			inne->isolation[ball] = inne->lane_isolation[lane] = balls[i].isolation;
			memcpy(sorted + ((Size) set * drawn.size + i) * features, centres + (Size) balls[i].centre * features, sizeof(float) * features);
		}
	}
	pyn_reference_sets_make(&inne->sets, sorted, drawn.sets, drawn.size, features, true);
	pfree(drawn.values);
	pfree(drawn.lanes);
	pfree(sorted);
	*state = inne;
	return NULL;
}

/* ---------------------------------------------------------------- score */

/*
 * One ball more, in each lane: the last ball that a row is in is the smallest.  A row equal to a centre is taken to be outside
 * of its ball, the first time.
 */
static PYN_INLINE void
meet_ball(const Vector *distances, const Vector *squares, const Vector *isolation, Mask *passed, Vector *scores)
{
	Mask		equal = (*distances == 0.0f) & ~*passed;
	Mask		inside = (*distances <= *squares) & ~equal;

	*passed |= equal;
	*scores = (Vector) (((Mask) *isolation & inside) | ((Mask) *scores & ~inside));
}

/* Isolation scores of LANES rows by one estimator. */
static PYN_ANY_CPU void
isolate_rows(const Inne *inne, int set, const float *rows, int stride, float *scores)
{
	int			features = inne->sets.features;
	const float *centre = inne->sets.values + (Size) set * inne->sets.padded * features;
	const float *squares = inne->squares + (Size) set * inne->sets.size;
	const float *isolation = inne->isolation + (Size) set * inne->sets.size;
	Vector		score = (Vector) {0} + 1.0f;
	Mask		passed = {0};

	for (int i = 0; i < inne->sets.size; i++, centre += features)
	{
		Vector		sum = {0};
		Vector		square = sum + squares[i];
		Vector		here = sum + isolation[i];

		for (int feature = 0; feature < features; feature++)
		{
			Vector		difference;

			memcpy(&difference, rows + (Size) feature * stride, sizeof(difference));
			difference -= centre[feature];
			sum += difference * difference;
		}
		meet_ball(&sum, &square, &here, &passed, &score);
	}
	memcpy(scores, &score, sizeof(score));
}

static void
inne_score_block(const void *state, const double *values, int stride, int rows, double *scores)
{
	const Inne *inne = state;
	int			lanes = (rows + LANES - 1) / LANES * LANES;
	float	   *scaled = pyn_new(float, (Size) lanes * inne->sets.features);
	float		of_set[LANES];

	pyn_scale_block(&inne->scaling, values, stride, rows, scaled, lanes);
	memset(scores, 0, sizeof(double) * rows);
	for (int set = 0; set < inne->sets.sets; set++)
		for (int first = 0; first < rows; first += LANES)
		{
			isolate_rows(inne, set, scaled + first, lanes, of_set);
			for (int lane = 0; lane < Min(LANES, rows - first); lane++)
				scores[first + lane] += of_set[lane];
		}
	for (int row = 0; row < rows; row++)
		scores[row] /= inne->sets.sets;
	pfree(scaled);
}

/* The same of one row by LANES estimators from `first` on. */
static PYN_ANY_CPU void
isolate_row(const Inne *inne, int first, const float *row, float *scores)
{
	int			features = inne->sets.features;
	int			size = inne->sets.size;
	const float *centres = inne->sets.lanes + (Size) first * inne->sets.padded * features;
	const float *squares = inne->lane_squares + (Size) first * size;
	const float *isolation = inne->lane_isolation + (Size) first * size;
	Vector		score = (Vector) {0} + 1.0f;
	Mask		passed = {0};

	for (int i = 0; i < size; i++)
	{
		Vector		sum = {0};
		Vector		square;
		Vector		here;

		for (int feature = 0; feature < features; feature++, centres += LANES)
		{
			Vector		difference;

			memcpy(&difference, centres, sizeof(difference));
			difference = row[feature] - difference;
			sum += difference * difference;
		}
		memcpy(&square, squares + (Size) i * LANES, sizeof(square));
		memcpy(&here, isolation + (Size) i * LANES, sizeof(here));
		meet_ball(&sum, &square, &here, &passed, &score);
	}
	memcpy(scores, &score, sizeof(score));
}

static double
inne_score_row(const void *state, const double *row)
{
	const Inne *inne = state;
	float	   *scaled = pyn_new(float, inne->sets.features);
	float		of_sets[LANES];
	double		score = 0;

	pyn_scale_row(&inne->scaling, row, scaled);
	for (int first = 0; first < inne->sets.sets; first += LANES)
	{
		isolate_row(inne, first, scaled, of_sets);
		for (int lane = 0; lane < Min(LANES, inne->sets.sets - first); lane++)
			score += of_sets[lane];
	}
	pfree(scaled);
	return score / inne->sets.sets;
}

/* A feature's part is its share of the squared distance to the nearest centre of each estimator. */
static void
inne_contribute(const void *state, const double *row, double *contributions)
{
	const Inne *inne = state;
	float	   *scaled = pyn_new(float, inne->sets.features);

	pyn_scale_row(&inne->scaling, row, scaled);
	memset(contributions, 0, sizeof(double) * inne->sets.features);
	pyn_reference_shares(&inne->sets, scaled, 1, contributions);
	pfree(scaled);
}

const PynDetector pyn_inne = {
	.name = "inne",
	.description = "isolation by balls around a few random rows, many times; local densities at linear cost",
	.source = "Bandaragoda, Ting, Albrecht, Liu, Zhu and Wells. Computational Intelligence 2018",
	.parameter_count = SETTING_COUNT,
	.parameters = parameters,
	.fit = inne_fit,
	.open = inne_open,
	.score_row = inne_score_row,
	.score_block = inne_score_block,
	.contribute = inne_contribute,
};
