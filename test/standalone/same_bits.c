/* sources: src/kernel/bytes.c src/kernel/hash.c src/sketch/sketch.c src/sketch/column.c src/sketch/sample.c src/sketch/quantiles.c src/sketch/distinct.c src/sketch/heavy_hitters.c src/sketch/sketch_format.c detectors */
/*
 * same_bits.c
 *		Every detector gives a row the same raw score by itself and in blocks of any size.
 *
 * With the argument `digest` it prints instead, for each detector and table, a digest of model, scores and contributions:
 * test/tap/008_compilers.pl compares those of differently compiled programs.
 */
#include "kernel/port.h"
#include "kernel/hash.h"
#include "detectors/model.h"
#include "sketch/sketch.h"
#include "tap.h"

#define NEW_ROWS 300			/* scored beside those of the training */
#define MOST_ROWS 2000
#define MOST_COLUMNS 64

/* A table of numbers. */
typedef struct Table
{
	const char *name;
	int			rows;
	int			columns;
	int			shape;
} Table;

static const Table tables[] = {
	{"correlated", 1500, 8, 0},
	{"with tails, duplicates and missing values", 1100, 5, 1},
	{"wider than long", 40, 60, 2},
	{"of few values", 700, 3, 3},
	{"of huge values", 300, 4, 4},
	{"in separated groups, of which one is small", 1500, 6, 5},
};

static double
normal(PynRandom *random)
{
	double		sum = -6;

	for (int i = 0; i < 12; i++)
		sum += pyn_random_double(random);
	return sum;
}

static double
cell(const Table *table, int column, double shared, PynRandom *random)
{
	double		z = normal(random);

	switch (table->shape)
	{
		case 0:
			return 10 * column + 0.9 * shared + 0.5 * z;
		case 1:
			if (pyn_random_below(random, 20) == 0)
				return pyn_nan();
			return column == 0 ? (double) pyn_random_below(random, 3) : z * z * z * 100;
		case 2:
			return z + shared;
		case 3:
			return (double) pyn_random_below(random, column + 2);
		case 5:
			return z + (shared < 0 ? -8 : shared < 1.7 ? 8 : column % 2 == 0 ? 30 : -30);
		default:
			return z * 1e307;
	}
}

static PynWriter
fit(const PynDetector *detector, int choice, int value, const PynSketch *sketch)
{
	PynFitOptions options = {.seed = 7, .contamination = 0.02, .zone_name = "UTC"};
	PynModel   *model;
	PynWriter	writer;
	const char *problem;

	options.threshold = pyn_nan();
	pyn_plan_defaults(&options.plan, detector);
	if (choice >= 0)
		options.plan.settings[choice] = value;
	pyn_writer_init(&writer, 1024);
	problem = pyn_model_fit(sketch, &options, &model, &writer);
	if (problem != NULL)
	{
		printf("Bail out! %s: %s\n", detector->name, problem);
		exit(1);
	}
	return writer;
}

/* Scores in blocks of this many rows; features[feature * MOST_ROWS + row]. */
static void
score_blocks(const PynModel *model, const double *features, int rows, int size, double *scores)
{
	for (int first = 0; first < rows; first += size)
		model->detector->score_block(model->state, features + first, MOST_ROWS, Min(size, rows - first), scores + first);
}

static void
compare(const PynDetector *detector, int choice, int value, const Table *table, bool digests)
{
	static PynCell cells[MOST_COLUMNS * MOST_ROWS];
	static double blocks[MOST_ROWS];
	static double others[MOST_ROWS];
	static double rows[MOST_ROWS];
	static const int sizes[] = {1, 3, 7, 64, 1000};
	PynSketch  *sketch = pyn_sketch_create(table->columns, PYN_DEFAULT_SEED, false);
	PynRandom	random = {(uint64) table->shape + 99};
	int			total = table->rows + NEW_ROWS;
	PynModel   *model;
	PynWriter	writer;
	double	   *all;
	double	   *features;
	double	   *shares;
	int			wrong = 0;
	char		sentence[200];

	for (int column = 0; column < table->columns; column++)
	{
		char		name[16];

		snprintf(name, sizeof(name), "c%d", column);
		pyn_sketch_set_column(sketch, column, name, PYN_KIND_NUMBER, false);
	}
	pyn_sketch_ready(sketch);
	for (int row = 0; row < total; row++)
	{
		PynCell		row_cells[MOST_COLUMNS];
		PynText		texts[MOST_COLUMNS];
		uint64		key = pyn_hash_u64(row, 5);
		double		shared = normal(&random);

		for (int column = 0; column < table->columns; column++)
		{
			row_cells[column].number = cell(table, column, shared, &random);
			cells[(Size) column * MOST_ROWS + row] = row_cells[column];
		}
		if (row < table->rows)
			pyn_sketch_add(sketch, &key, row_cells, texts);
	}
	pyn_sketch_settle(sketch);
	writer = fit(detector, choice, value, sketch);
	if (pyn_model_read(writer.data, writer.length, &model) != NULL)
		abort();
	all = pyn_new(double, (Size) model->feature_count * MOST_ROWS);
	pyn_encode_block(model, cells, MOST_ROWS, total, all);
	features = pyn_new(double, model->feature_count);
	shares = pyn_new(double, model->feature_count);
	score_blocks(model, all, total, PYN_SCORE_BLOCK, blocks);
	for (int i = 0; i < (int) lengthof(sizes); i++)
	{
		score_blocks(model, all, total, sizes[i], others);
		wrong += memcmp(blocks, others, sizeof(double) * total) != 0;
	}
	for (int row = 0; row < total; row++)
	{
		PynCell		row_cells[MOST_COLUMNS];

		for (int column = 0; column < table->columns; column++)
			row_cells[column] = cells[(Size) column * MOST_ROWS + row];
		pyn_encode_row(model, row_cells, features);
		rows[row] = model->detector->score_row(model->state, features);
		wrong += memcmp(&rows[row], &blocks[row], sizeof(double)) != 0;
		wrong += !(rows[row] > -1e300 && rows[row] < 1e300);
		if (row % 16 == 0)
		{
			pyn_contributions(model, row_cells, shares);
			pyn_write_bytes(&writer, shares, sizeof(double) * model->feature_count);
		}
	}
	pyn_write_bytes(&writer, rows, sizeof(double) * total);
	if (digests)
	{
		PynDigest	digest = pyn_digest(writer.data, writer.length);

		printf("%s %d %d %s: %016llx%016llx\n", detector->name, choice, value, table->name, (unsigned long long) digest.high,
			   (unsigned long long) digest.low);
	}
	else
	{
		snprintf(sentence, sizeof(sentence), "%s%s%s%.0d scores rows %s alike in blocks of any size, and finitely", detector->name,
				 choice < 0 ? "" : " with ", choice < 0 ? "" : detector->parameters[choice].name, choice < 0 ? 0 : value, table->name);
		ok(wrong == 0, sentence);
	}
	pyn_standalone_reset();
}

int
main(int argc, char **argv)
{
	bool		digests = argc == 2 && strcmp(argv[1], "digest") == 0;

	for (int i = 0; i < pyn_detector_count; i++)
		for (int t = 0; t < (int) lengthof(tables); t++)
		{
			const PynDetector *detector = pyn_detectors[i];

			compare(detector, -1, 0, &tables[t], digests);
			for (int j = 0; j < detector->parameter_count; j++)
				for (int value = 0; detector->parameters[j].kind == PYN_PARAMETER_CHOICE && value <= detector->parameters[j].maximum; value++)
					if (value != detector->parameters[j].initial)
						compare(detector, j, value, &tables[t], digests);
		}
	return digests ? 0 : done();
}
