/* sources: src/kernel/bytes.c src/kernel/hash.c src/sketch/sketch.c src/sketch/column.c src/sketch/sample.c src/sketch/quantiles.c src/sketch/distinct.c src/sketch/heavy_hitters.c src/sketch/sketch_format.c detectors */
/*
 * columns.c
 *		Detectors of single columns where their tables are not exact, and Student's t against scipy.
 *
 * A distribution of more values than it has knots is compared with ECOD and COPOD computed from all values.
 */
#include <math.h>

#include "detectors/detector.h"
#include "kernel/hash.h"
#include "kernel/port.h"
#include "numeric/math.h"
#include "numeric/student.h"
#include "tap.h"

#define ROWS 30000

static int
compare_numbers(const void *a, const void *b)
{
	return (*(const double *) a > *(const double *) b) - (*(const double *) a < *(const double *) b);
}

/* How many of the sorted values are below x, or up to it. */
static int
count_up_to(const double *sorted, double x, bool with_equal)
{
	int			low = 0;
	int			high = ROWS;

	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (sorted[middle] < x || (with_equal && sorted[middle] == x))
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static void *
open_fitted(const PynDetector *detector, const double *values)
{
	static int64 weights[ROWS];
	double		centre = 0;
	PynTraining training = {.rows = ROWS,.features = 1,.values = values,.weights = weights,.total_weight = ROWS,.centres = &centre,.seed = 1};
	PynPlan		plan;
	PynWriter	writer;
	PynReader	reader;
	void	   *state;

	for (int i = 0; i < ROWS; i++)
		weights[i] = 1;
	pyn_plan_defaults(&plan, detector);
	pyn_writer_init(&writer, 1024);
	detector->fit(&training, &plan, &writer);
	pyn_reader_init(&reader, writer.data, writer.length);
	if (detector->open(&reader, 1, &state) != NULL)
		abort();
	return state;
}

/* Largest and mean difference of a detector's raw scores from what its formula gives of all values. */
static void
compare(const char *shape, const double *values, int sign)
{
	static double sorted[ROWS];
	void	   *ecod = open_fitted(&pyn_ecod, values);
	void	   *copod = open_fitted(&pyn_copod, values);
	double		worst = 0;
	double		worst_copod = 0;
	double		sum = 0;
	char		sentence[200];

	memcpy(sorted, values, sizeof(sorted));
	qsort(sorted, ROWS, sizeof(double), compare_numbers);
	for (int i = 0; i < ROWS; i++)
	{
		double		left = -log(count_up_to(sorted, values[i], true) / (double) ROWS);
		double		right = -log(1.0 - count_up_to(sorted, values[i], false) / (double) ROWS);
		double		off = fabs(fmax(left, right) - pyn_ecod.score_row(ecod, &values[i]));

		sum += off;
		worst = fmax(worst, off);
		worst_copod = fmax(worst_copod, fabs(fmax(sign > 0 ? right : left, (left + right) / 2) - pyn_copod.score_row(copod, &values[i])));
	}
	printf("# %s: ecod off by %.4f at most, %.5f in the mean; copod by %.4f at most\n", shape, worst, sum / ROWS, worst_copod);
	snprintf(sentence, sizeof(sentence), "ecod and copod of %s are those of all values, nearly", shape);
	ok(worst < 0.05 && sum / ROWS < 0.003 && worst_copod < 0.05, sentence);
}

/* Quantiles of Student's t: roots of scipy's incomplete beta function (test/fixtures/columns.py). */
static void
compare_student(void)
{
	static const double known[][3] = {
		{1, 0.25, 1},
		{1, 0.1, 3.07768353717525},
		{1, 0.025, 12.7062047361747},
		{1, 0.001, 318.308838985551},
		{1, 1e-06, 318309.886182744},
		{1, 1e-09, 318309886.183791},
		{2, 0.25, 0.816496580927726},
		{2, 0.1, 1.88561808316413},
		{2, 0.025, 4.30265272974946},
		{2, 0.001, 22.3271247701199},
		{2, 1e-06, 707.105720525934},
		{2, 1e-09, 22360.6797414569},
		{3, 0.25, 0.764892328404345},
		{3, 0.1, 1.63774435369621},
		{3, 0.025, 3.18244630528371},
		{3, 0.001, 10.2145318524074},
		{3, 1e-06, 103.299467780419},
		{3, 1e-09, 1033.10967450381},
		{7, 0.25, 0.711141778081786},
		{7, 0.1, 1.41492392765051},
		{7, 0.025, 2.36462425159279},
		{7, 0.001, 4.78528962863833},
		{7, 1e-06, 14.2414696519814},
		{7, 1e-09, 38.7059806432316},
		{10, 0.25, 0.699812061312431},
		{10, 0.1, 1.37218364111034},
		{10, 0.025, 2.22813885198627},
		{10, 0.001, 4.14370049404659},
		{10, 1e-06, 9.75199549094058},
		{10, 1e-09, 20.144697766674},
		{33, 0.25, 0.681996978441279},
		{33, 0.1, 1.30773712445088},
		{33, 0.025, 2.03451529744934},
		{33, 0.001, 3.35633727936363},
		{33, 1e-06, 5.75253492115271},
		{33, 1e-09, 8.16424290051417},
		{100, 0.25, 0.676951043011474},
		{100, 0.1, 1.29007476134652},
		{100, 0.025, 1.98397151852355},
		{100, 0.001, 3.17373949373878},
		{100, 1e-06, 5.04883087722834},
		{100, 1e-09, 6.59893982065553},
		{1000, 0.25, 0.67473516460727},
		{1000, 0.1, 1.28239872146071},
		{1000, 0.025, 1.96233908082626},
		{1000, 0.001, 3.09840216391283},
		{1000, 1e-06, 4.78160862045828},
		{1000, 1e-09, 6.05369027207977},
		{65533, 0.25, 0.674493493928546},
		{65533, 0.1, 1.28156448410833},
		{65533, 0.025, 1.96000018482595},
		{65533, 0.001, 3.09035667753461},
		{65533, 1e-06, 4.75385220799082},
		{65533, 1e-09, 5.99865310756304}
	};
	double		worst = 0;

	for (int i = 0; i < (int) lengthof(known); i++)
		worst = fmax(worst, fabs(pyn_student_quantile(known[i][1], known[i][0]) / known[i][2] - 1.0));
	printf("# worst relative error of a quantile of Student's t: %g\n", worst);
	ok(worst < 1e-9, "Student's t has the quantiles that scipy gives");
	ok(pyn_student_tail(0, 5) == 0.5 && fabs(pyn_student_tail(1, 1) - 0.25) < 1e-15 && pyn_student_tail(1e200, 3) < 1e-300,
	   "Student's t at its borders");
}

int
main(void)
{
	static double values[ROWS];
	PynRandom	random = {5};

	for (int i = 0; i < ROWS; i++)
		values[i] = exp(pyn_normal_quantile(pyn_random_double(&random)));
	compare("a skewed distribution", values, 1);
	for (int i = 0; i < ROWS; i++)
		values[i] = -exp(pyn_normal_quantile(pyn_random_double(&random)));
	compare("one skewed to the left", values, -1);
	for (int i = 0; i < ROWS; i++)
		values[i] = floor(1e4 * pyn_random_double(&random) * pyn_random_double(&random)) + (i % 2 ? 0 : i % 3 * 1e6);
	compare("one of heaps, ties and gaps", values, 1);
	compare_student();
	return done();
}
