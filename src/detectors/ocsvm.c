/*
 * ocsvm.c
 *		One-class support vector machine: Schölkopf, Platt, Shawe-Taylor, Smola and Williamson, "Estimating the support of a
 *		high-dimensional distribution", Neural Computation 13 (2001).
 *
 * With the kernel k(x, y) = exp(-gamma |x - y|²), the weights α_i of n training rows minimise ½ Σ α_i α_j k(x_i, x_j) under
 * 0 ≤ α_i ≤ 1 and Σ α_i = nu n.  The raw score is rho - Σ α_i k(x_i, x), above 0 outside of the support; rows far from all
 * others score rho alike.  Features are on the scale with logarithmic tails (scaling.c), or a few extreme values would set what
 * near means where gamma goes by the variance.  At most a share nu of the training rows lies outside, and at least that share keeps a weight: the
 * support vectors, which are the model.
 *
 * The first support vector equal to the row does not count: its own weight would make a training row less odd than a new one
 * of the same distribution (with 30 normal columns and 1,000 rows the threshold of 5 % flags 6.1 % of new rows, without 5.1 %).
 *
 * The kernel is computed in float4 by sums and products only, so that the bits are the same on any CPU: LANES rows of a block, or
 * support vectors for a single row, lie side by side.  Products are summed by LANES support vectors in float4, these in float8.
 *
 * Size of a model: 4 bytes for each feature and 4 more, of each support vector: 32 kB for the 1,000 of 2,000 rows of 7 features, 16
 * MB at most (MOST_NUMBERS); opened twice that.  Fitting takes 4 n² bytes for the kernel's matrix: 16 MB for 2,000 rows, 64 MB
 * for 4,000.
 */
#include "kernel/port.h"

#include <math.h>

#include "detectors/ocsvm_solver.h"
#include "detectors/reference_sets.h"
#include "numeric/vector.h"

#define MAX_ROWS 4000
#define MOST_NUMBERS (4 * 1024 * 1024)	/* of all rows drawn */
#define LOG2_E 1.44269504088896338700
#define LEAST_FACTOR 1e-30
#define MOST_FACTOR 1e30
#define MOST_OFFSET 1e6			/* of rho, which no sum of weights passes */
#define LANES PYN_LANES


typedef PynFloats Vector;
typedef int32 Mask __attribute__((vector_size(4 * LANES)));

enum
{
	SETTING_NU,
	SETTING_GAMMA,
	SETTING_ROWS,
	SETTING_SCALE,
	SETTING_COUNT
};

static const PynParameter parameters[SETTING_COUNT] = {
	{.name = "nu",.initial = 0.5,.minimum = 0.0001,.maximum = 1,.kind = PYN_PARAMETER_NUMBER,
	.description = "share of the training rows that may lie outside, and that at least are support vectors"},
	{.name = "gamma",.initial = 0,.minimum = 0,.maximum = 1e6,.kind = PYN_PARAMETER_NUMBER,
	.description = "of the kernel exp(-gamma |x - y|²); 0: 1 / (features × variance of the scaled numbers)"},
	{.name = "max_rows",.initial = 2000,.minimum = 2,.maximum = MAX_ROWS,.description = "rows drawn to learn from"},
	PYN_SCALE_PARAMETER(PYN_CHOOSE_TAILS),
};

typedef struct Machine
{
	PynScaling	scaling;
	double		offset;			/* rho */
	float		factor;			/* k is 2^(-factor |x - y|²) */
	PynReferenceSets vectors;	/* one set, of the support vectors */
	float	   *weights;		/* of each; 0 for those that only pad */
} Machine;

/* ---------------------------------------------------------------- kernel */

/*
 * 2 to numbers up to 0: the whole part goes into the exponent, a Taylor series takes the rest, at most ½ in size.  The series is right
 * to 2e-7; below 2^LEAST the result is that, nothing beside rho.
 */
#define LEAST -64.0f
#define ROUND 12582912.0f		/* 1.5 × 2^23: what is added to it is rounded to a whole number */
#define ROUND_BITS 0x4B400000

static PYN_INLINE void
powers_of_two(Vector *exponents)
{
	Mask		low = *exponents < LEAST;
	Vector		least = (Vector) {0} + LEAST;
	Vector		x = (Vector) (((Mask) least & low) | ((Mask) *exponents & ~low));
	Vector		shifted = x + ROUND;
	Vector		series;

	x -= shifted - ROUND;
	series = x * 1.5403530393e-4f + 1.3333558146e-3f;
	series = series * x + 9.6181291076e-3f;
	series = series * x + 5.5504108665e-2f;
	series = series * x + 2.4022650696e-1f;
	series = series * x + 6.9314718056e-1f;
	series = series * x + 1.0f;
	*exponents = series * (Vector) (((Mask) shifted - (ROUND_BITS - 127)) << 23);
}

/*
 * The kernel of rows `first` to `first` + LANES - 1 and all rows from `first` on, by row and by column.
 */
static PYN_ANY_CPU void
fill_matrix(const float *rows, const float *columns, int padded, int features, float factor, int first, float *matrix)
{
	for (int other = first; other < padded; other += 4)
	{
		Vector		kernel[4];

		pyn_four_distances(rows + (Size) other * features, features, columns + first, padded, kernel);
		for (int i = 0; i < 4; i++)
		{
			kernel[i] *= -factor;
			powers_of_two(&kernel[i]);
			memcpy(matrix + (Size) (other + i) * padded + first, &kernel[i], sizeof(Vector));
			for (int lane = 0; lane < LANES; lane++)
				matrix[(Size) (first + lane) * padded + other + i] = kernel[i][lane];
		}
	}
}

/* ---------------------------------------------------------------- fit */

/* The drawn rows, scaled, [row][feature]; filled up to `padded` rows with zeros. */
static float *
draw_rows(const PynTraining *training, const PynScaling *scaling, int count, int padded)
{
	int			features = training->features;
	float	   *rows = pyn_new0(float, (Size) padded * features);
	int		   *drawn = pyn_new(int, count);
	PynRandom	random = {pyn_hash_u64(0, training->seed)};
	PynPool		pool;

	pyn_pool_init(&pool, training, NULL, training->rows);
	pyn_pool_draw(&pool, count, &random, drawn);
	for (int i = 0; i < count; i++)
		for (int feature = 0; feature < features; feature++)
			rows[(Size) i * features + feature] =
				pyn_scaled_float(scaling, feature, training->values[(Size) feature * training->rows + drawn[i]]);
	pfree(pool.cumulative);
	pfree(drawn);
	return rows;
}

/* Gamma in powers of two: that of the user, or by the variance of all numbers, whichever their feature. */
static float
choose_factor(double gamma, const float *rows, Size numbers, int features)
{
	double		mean = 0;
	double		variance = 0;

	for (Size i = 0; i < numbers; i++)
		mean += rows[i];
	mean /= (double) numbers;
	for (Size i = 0; i < numbers; i++)
		variance += (rows[i] - mean) * (rows[i] - mean);
	variance /= (double) numbers;
	if (gamma == 0)
		gamma = variance > 0 ? 1.0 / (features * variance) : 1.0;
	return (float) Max(Min(gamma * LOG2_E, MOST_FACTOR), LEAST_FACTOR);
}

static float *
compute_matrix(const float *rows, int padded, int features, float factor)
{
	float	   *columns = pyn_new(float, (Size) padded * features);
	float	   *matrix = pyn_new(float, (Size) padded * padded);

	for (int row = 0; row < padded; row++)
		for (int feature = 0; feature < features; feature++)
			columns[(Size) feature * padded + row] = rows[(Size) row * features + feature];
	for (int first = 0; first < padded; first += LANES)
	{
		CHECK_FOR_INTERRUPTS();
		fill_matrix(rows, columns, padded, features, factor, first, matrix);
	}
	pfree(columns);
	return matrix;
}

/* scaling, f64 rho, f32 factor, the support vectors as a reference set, and their weights, f32 each. */
static void
ocsvm_fit(const PynTraining *training, const PynPlan *plan, PynWriter *writer)
{
	int			features = training->features;
	int			most = Min((int) plan->settings[SETTING_ROWS], MOST_NUMBERS / features);
	int			count = (int) Min(training->total_weight, (int64) most);
	int			padded = (count + LANES - 1) / LANES * LANES;
	double	   *weights = pyn_new(double, count);
	int			kept = 0;
	double		offset;
	float		factor;
	float	   *rows;
	float	   *matrix;
	PynScaling	scaling;

	pyn_scaling_fit(training, NULL, pyn_chosen_scale(plan->settings[SETTING_SCALE]), &scaling);
	rows = draw_rows(training, &scaling, count, padded);
	factor = choose_factor(plan->settings[SETTING_GAMMA], rows, (Size) count * features, features);
	matrix = compute_matrix(rows, padded, features, factor);
	offset = pyn_solve_one_class(matrix, padded, count, plan->settings[SETTING_NU], weights);
	pfree(matrix);
	for (int i = 0; i < count; i++)
		if ((float) weights[i] > 0)
		{
			memmove(rows + (Size) kept * features, rows + (Size) i * features, sizeof(float) * features);
			weights[kept++] = weights[i];
		}
	pyn_scaling_write(&scaling, writer);
	pyn_write_f64(writer, offset);
	pyn_write_f32(writer, factor);
	pyn_reference_sets_write(rows, 1, kept, features, writer);
	for (int i = 0; i < kept; i++)
		pyn_write_f32(writer, (float) weights[i]);
	pfree(rows);
	pfree(weights);
}

/* ---------------------------------------------------------------- open */

static const char *
ocsvm_open(PynReader *reader, int features, void **state)
{
	Machine    *machine = palloc0(sizeof(Machine));
	const char *problem = pyn_scaling_read(reader, features, &machine->scaling);

	if (problem != NULL)
		return problem;
	machine->offset = pyn_read_f64(reader);
	machine->factor = pyn_read_f32(reader);
	if (!(fabs(machine->offset) <= MOST_OFFSET))
		return "a margin is impossible";
	if (!(machine->factor >= LEAST_FACTOR / 2 && machine->factor <= MOST_FACTOR * 2))
		return "a kernel's width is impossible";
	if ((problem = pyn_reference_sets_read(reader, features, &machine->vectors)) != NULL)
		return problem;
	if (machine->vectors.sets != 1 || !pyn_reader_has(reader, machine->vectors.size, sizeof(float)))
		return "the support vectors' weights are cut off";
	machine->weights = pyn_new0(float, machine->vectors.padded);
	for (int i = 0; i < machine->vectors.size; i++)
	{
		machine->weights[i] = pyn_read_f32(reader);
		if (!(machine->weights[i] >= 0 && machine->weights[i] <= 1))
			return "a support vector's weight is impossible";
	}
	*state = machine;
	return NULL;
}

/* ---------------------------------------------------------------- score */

/* What LANES rows score. */
static PYN_ANY_CPU void
score_lanes(const Machine *machine, const float *rows, int stride, double *scores)
{
	int			features = machine->vectors.features;
	const float *vectors = machine->vectors.values;
	const float *weights = machine->weights;
	Mask		passed = {0};

	for (int lane = 0; lane < LANES; lane++)
		scores[lane] = 0;
	for (int first = 0; first < machine->vectors.padded; first += LANES)
	{
		Vector		part = {0};

		for (int i = first; i < first + LANES; i += 4)
		{
			Vector		kernel[4];

			pyn_four_distances(vectors + (Size) i * features, features, rows, stride, kernel);
			for (int j = 0; j < 4; j++)
			{
				Mask		own = (kernel[j] == 0.0f) & ~passed;

				passed |= own;
				kernel[j] *= -machine->factor;
				powers_of_two(&kernel[j]);
				kernel[j] *= weights[i + j];
				part += (Vector) ((Mask) kernel[j] & ~own);
			}
		}
		for (int lane = 0; lane < LANES; lane++)
			scores[lane] += part[lane];
	}
	for (int lane = 0; lane < LANES; lane++)
		scores[lane] = machine->offset - scores[lane];
}

static void
ocsvm_score_block(const void *state, const double *values, int stride, int rows, double *scores)
{
	const Machine *machine = state;
	int			lanes = (rows + LANES - 1) / LANES * LANES;
	float	   *scaled = pyn_new(float, (Size) lanes * machine->vectors.features);
	double		found[LANES];

	pyn_scale_block(&machine->scaling, values, stride, rows, scaled, lanes);
	for (int first = 0; first < rows; first += LANES)
	{
		CHECK_FOR_INTERRUPTS();
		score_lanes(machine, scaled + first, lanes, found);
		memcpy(scores + first, found, sizeof(double) * Min(LANES, rows - first));
	}
	pfree(scaled);
}

/* The same for one row, LANES support vectors side by side. */
static PYN_ANY_CPU double
score_scaled(const Machine *machine, const float *row)
{
	int			features = machine->vectors.features;
	const float *vectors = machine->vectors.lanes;
	double		sum = 0;
	bool		passed = false;

	for (int first = 0; first < machine->vectors.padded; first += LANES, vectors += (Size) features * LANES)
	{
		Vector		squares = {0};
		Vector		kernel;
		float		part = 0;

		for (int feature = 0; feature < features; feature++)
		{
			Vector		difference;

			memcpy(&difference, vectors + (Size) feature * LANES, sizeof(difference));
			difference = row[feature] - difference;
			squares += difference * difference;
		}
		kernel = squares * -machine->factor;
		powers_of_two(&kernel);
		for (int lane = 0; lane < LANES; lane++)
		{
			bool		own = squares[lane] == 0.0f && !passed;

			passed |= own;
			part += own ? 0.0f : kernel[lane] * machine->weights[first + lane];
		}
		sum += part;
	}
	return machine->offset - sum;
}

static double
ocsvm_score_row(const void *state, const double *row)
{
	const Machine *machine = state;
	float	   *scaled = pyn_new(float, machine->vectors.features);
	double		score;

	pyn_scale_row(&machine->scaling, row, scaled);
	score = score_scaled(machine, scaled);
	pfree(scaled);
	return score;
}

/*
 * A feature's part is its part in the squared distances to the support vectors, each counted by its share of the sum of kernels: what
 * the logarithm of that sum loses as the feature's scale grows.  Where the kernels of all are next to nothing, the nearest count.
 */
static void
ocsvm_contribute(const void *state, const double *row, double *contributions)
{
	const Machine *machine = state;
	const PynReferenceSets *vectors = &machine->vectors;
	int			features = vectors->features;
	float	   *scaled = pyn_new(float, features);
	double	   *distances = pyn_new(double, vectors->size);	/* squared; the first equal vector's is negative */
	double		nearest = INFINITY;
	bool		passed = false;

	memset(contributions, 0, sizeof(double) * features);
	pyn_scale_row(&machine->scaling, row, scaled);
	for (int i = 0; i < vectors->size; i++)
	{
		const float *vector = vectors->values + (Size) i * features;
		double		sum = 0;

		for (int feature = 0; feature < features; feature++)
			sum += ((double) scaled[feature] - vector[feature]) * ((double) scaled[feature] - vector[feature]);
		distances[i] = sum == 0 && !passed ? -1.0 : sum;
		passed |= sum == 0;
		if (machine->weights[i] > 0 && distances[i] >= 0)
			nearest = Min(nearest, sum);
	}
	for (int i = 0; i < vectors->size; i++)
	{
		const float *vector = vectors->values + (Size) i * features;
		double		share = distances[i] < 0 ? 0.0 : machine->weights[i] * pyn_exp2(machine->factor * (nearest - distances[i]));

		for (int feature = 0; feature < features && share > 0; feature++)
			contributions[feature] += share * ((double) scaled[feature] - vector[feature]) * ((double) scaled[feature] - vector[feature]);
	}
	pfree(scaled);
	pfree(distances);
}

const PynDetector pyn_ocsvm = {
	.name = "ocsvm",
	.description = "distance outside of a smooth border around the training rows; one-class support vector machine",
	.source = "Schölkopf, Platt, Shawe-Taylor, Smola and Williamson: Estimating the support of a high-dimensional distribution. 2001",
	.parameter_count = SETTING_COUNT,
	.parameters = parameters,
	.fit = ocsvm_fit,
	.open = ocsvm_open,
	.score_row = ocsvm_score_row,
	.score_block = ocsvm_score_block,
	.contribute = ocsvm_contribute,
};
