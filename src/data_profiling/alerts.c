/*
 * alerts.c
 *		What about a column deserves a look.
 *
 * Thresholds are fixed, so that the same alert means the same everywhere; each stands with its reason here and in the
 * README.
 */
#include "kernel/port.h"

#include <math.h>

#include "data_profiling/data_profiling.h"

/* Missing: more than one row in twenty is NULL. */
#define MISSING_SHARE 0.05

/* Zeros: more than half of the numbers. */
#define ZERO_SHARE 0.5

/* High cardinality: more texts than anybody reads, and most of them only once or twice. */
#define HIGH_CARDINALITY_VALUES 50
#define HIGH_CARDINALITY_SHARE 0.5

/* Skewed: more than an exponential distribution, whose skewness is 2; Bulmer (1979) calls more than 1 highly skewed. */
#define SKEWNESS 2.0
#define SKEWNESS_VALUES 30		/* of fewer values the skewness says little */

/* Uniform: no quantile is further than this share of the range from where a uniform distribution has it. */
#define UNIFORM_DISTANCE 0.02
#define UNIFORM_VALUES 100		/* finite values at least */
#define UNIFORM_DISTINCT 20		/* and different ones */

/* Three standard errors of the estimated number of different values. */
#define DISTINCT_ERROR (3 * 0.0081)

static const char *const alert_names[PYN_ALERTS] = {
	[PYN_ALERT_CONSTANT] = "constant",
	[PYN_ALERT_ALL_MISSING] = "all_missing",
	[PYN_ALERT_MISSING] = "missing",
	[PYN_ALERT_NOT_A_NUMBER] = "not_a_number",
	[PYN_ALERT_INFINITE] = "infinite",
	[PYN_ALERT_UNIQUE] = "unique",
	[PYN_ALERT_HIGH_CARDINALITY] = "high_cardinality",
	[PYN_ALERT_ZEROS] = "zeros",
	[PYN_ALERT_SKEWED] = "skewed",
	[PYN_ALERT_UNIFORM] = "uniform",
};

/*
 * pyn_alert_name gives an alert's name as users see it.
 */
const char *
pyn_alert_name(PynAlert alert)
{
	return alert_names[alert];
}

#define ST_SORT sort_cells
#define ST_ELEMENT_TYPE uint64
#define ST_COMPARE(a, b) ((*(a) > *(b)) - (*(a) < *(b)))
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

/* Whether some value stands twice in the sample. */
static bool
sample_repeats(const PynSketch *sketch, int index)
{
	const PynSample *sample = &sketch->sample;
	PynKind		kind = sketch->columns[index].kind;
	uint64	   *cells = pyn_new(uint64, sample->count);
	int			count = 0;
	bool		repeats = false;

	for (uint32 row = 0; row < sample->count && !repeats; row++)
	{
		PynCell		cell = pyn_sample_cell(sample, row, index);

		if (pyn_cell_is_null(kind, cell))
			continue;
		repeats = sample->rows[row].weight > 1;
		cells[count++] = cell.hash;
	}
	if (!repeats)
	{
		sort_cells(cells, count);
		for (int i = 1; i < count && !repeats; i++)
			repeats = cells[i] == cells[i - 1];
	}
	pfree(cells);
	return repeats;
}

/*
 * Whether all values differ.  Past the exact count, where the estimate allows it, and neither the counted values nor the
 * sample show one twice.
 */
static bool
is_unique(const PynSketch *sketch, int index, const PynColumnStatistics *statistics)
{
	if (statistics->present < 2)
		return false;
	if (statistics->distinct_is_exact)
		return statistics->distinct == statistics->present;
	return (double) statistics->distinct >= (1 - DISTINCT_ERROR) * (double) statistics->present &&
		statistics->top_count == 0 && !sample_repeats(sketch, index);
}

/* Compares the quantiles with those of a uniform distribution over the column's range. */
static bool
is_uniform(const PynColumnStatistics *statistics)
{
	static const double shares[PYN_QUANTILES] = {0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99};
	const PynColumn *column = statistics->column;
	double		range = column->maximum - column->minimum;

	if (column->count < UNIFORM_VALUES || statistics->distinct < UNIFORM_DISTINCT || !(range > 0) || !isfinite(range))
		return false;
	for (int i = 0; i < PYN_QUANTILES; i++)
		if (!(fabs((statistics->quantiles[i] - column->minimum) / range - shares[i]) <= UNIFORM_DISTANCE))
			return false;
	return true;
}

/*
 * pyn_column_alerts raises the alerts of a column whose other statistics are known.
 */
void
pyn_column_alerts(const PynSketch *sketch, int index, PynColumnStatistics *statistics)
{
	const PynColumn *column = statistics->column;
	bool		is_text = pyn_kind_is_text(column->kind);
	bool		is_number = column->kind == PYN_KIND_INTEGER || column->kind == PYN_KIND_NUMBER;
	bool	   *alerts = statistics->alerts;

	alerts[PYN_ALERT_CONSTANT] = statistics->present > 1 && statistics->distinct == 1;
	alerts[PYN_ALERT_ALL_MISSING] = statistics->rows > 0 && statistics->present == 0;
	alerts[PYN_ALERT_MISSING] = statistics->present > 0 &&
		(double) column->nulls > MISSING_SHARE * (double) statistics->rows;
	alerts[PYN_ALERT_NOT_A_NUMBER] = column->nans > 0;
	alerts[PYN_ALERT_INFINITE] = column->positive_infinities > 0 || column->negative_infinities > 0;
	alerts[PYN_ALERT_UNIQUE] = is_unique(sketch, index, statistics);
	alerts[PYN_ALERT_HIGH_CARDINALITY] = is_text && !alerts[PYN_ALERT_UNIQUE] &&
		statistics->distinct > HIGH_CARDINALITY_VALUES &&
		(double) statistics->distinct > HIGH_CARDINALITY_SHARE * (double) statistics->present;
	alerts[PYN_ALERT_ZEROS] = is_number && !alerts[PYN_ALERT_CONSTANT] &&
		(double) column->zeros > ZERO_SHARE * (double) statistics->present;
	alerts[PYN_ALERT_SKEWED] = column->kind != PYN_KIND_BOOLEAN && column->count >= SKEWNESS_VALUES &&
		fabs(statistics->skewness) > SKEWNESS;
	alerts[PYN_ALERT_UNIFORM] = !is_text && column->kind != PYN_KIND_BOOLEAN && !column->is_key &&
		is_uniform(statistics);
}
