/* sources: src/kernel/bytes.c src/kernel/hash.c src/sketch/sketch.c src/sketch/column.c src/sketch/sample.c src/sketch/quantiles.c src/sketch/distinct.c src/sketch/heavy_hitters.c src/sketch/sketch_format.c detectors */
/*
 * hostile_bytes.c
 *		Feeds mutated sketch and model bytes to their parsers: an error or a valid value, never a crash.
 *
 * Every input lies in a malloc'd buffer of its exact size, so that under AddressSanitizer a read past its end ends the
 * program.  Most mutations get a right digest again, else the checksum would hide what comes after it.  What is
 * accepted is used: a sketch is asked for quantiles, merged and written again, and models are
 * fitted from it; a model scores and explains rows.
 */
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kernel/port.h"
#include "kernel/hash.h"
#include "detectors/counterfactual.h"
#include "detectors/model.h"
#include "sketch/sketch.h"
#include "tap.h"

#define REASONS_OF 3			/* of so many rows one is explained */
#define CHANGES_OF 67			/* and one asked for what would turn its verdict */
#define MUTATIONS 100000		/* of each detector's default model */
#define VARIANT_MUTATIONS 5000 /* of one with another choice */
#define ROWS 128
#define FITTED_OF 16			/* of so many accepted sketches one is fitted, each by another detector */
#define MOST_TARGETS 200

/* ---------------------------------------------------------------- good values to begin with */

/* `grouped`: every other row lies far from the rest in all of its numbers. */
static PynSketch *
make_sketch(bool sample_text, bool grouped)
{
	static const char *const texts[] = {"red", "green", "blau", "Ελλάδα", "", "a text longer than thirty-two bytes, cut"};
	PynSketch  *sketch = pyn_sketch_create(5, PYN_DEFAULT_SEED, sample_text);
	PynRandom	random = {7};

	pyn_sketch_set_column(sketch, 0, "amount", PYN_KIND_NUMBER, false);
	pyn_sketch_set_column(sketch, 1, "colour", PYN_KIND_TEXT, false);
	pyn_sketch_set_column(sketch, 2, "at", PYN_KIND_TIMESTAMPTZ, false);
	pyn_sketch_set_column(sketch, 3, "count", PYN_KIND_INTEGER, false);
	pyn_sketch_set_column(sketch, 4, "id", PYN_KIND_INTEGER, true);
	pyn_sketch_ready(sketch);
	for (int row = 0; row < ROWS; row++)
	{
		PynCell		cells[5];
		PynText		values[5];
		uint64		key = pyn_random_next(&random);
		double		away = grouped && row % 2 == 0 ? 1.0 : 0.0;
		const char *text = texts[pyn_random_below(&random, row % 50 == 0 ? 6 : 3)];

		cells[0].number = pyn_random_double(&random) * 100 + 3000 * away;
		values[1].data = text;
		values[1].length = (int32) strlen(text);
		cells[1].hash = row % 17 == 0 ? 0 : pyn_hash_bytes(text, strlen(text), 0) | 1;
		cells[2].number = 1.7e9 + 3600.0 * row + 1e9 * away;
		cells[3].number = row % 9 + 300 * away;
		if (row % 23 == 0)
			cells[3].hash = PYN_NULL_BITS;
		cells[4].number = row;
		pyn_sketch_add(sketch, &key, cells, values);
	}
	return sketch;
}

static PynWriter
sketch_bytes(bool sample_text)
{
	PynWriter	writer;

	pyn_writer_init(&writer, 1024);
	pyn_sketch_write(make_sketch(sample_text, false), &writer);
	return writer;
}

/* A plan whose whole numbers are small, so that fitting and opening take little time. */
static void
plan_small(PynPlan *plan, const PynDetector *detector, double most)
{
	pyn_plan_defaults(plan, detector);
	for (int i = 0; i < detector->parameter_count; i++)
		if (detector->parameters[i].kind == PYN_PARAMETER_INTEGER)
			plan->settings[i] = Max(detector->parameters[i].minimum, Min(plan->settings[i], most));
}

/* Labels that people have given, of rows that the sample has and has not, and of one that is of another relation. */
static void
label_rows(const PynSketch *sketch, PynFitOptions *options)
{
	PynRowLabel *labels = pyn_new0(PynRowLabel, 4);

	for (int i = 0; i < 4; i++)
	{
		labels[i].is_anomaly = i % 2 == 0;
		labels[i].count = i == 3 ? 1 : sketch->column_count;
		labels[i].names = pyn_new(char *, sketch->column_count);
		labels[i].kinds = pyn_new(PynKind, sketch->column_count);
		labels[i].cells = pyn_new(PynCell, sketch->column_count);
		for (int column = 0; column < sketch->column_count; column++)
		{
			labels[i].names[column] = sketch->columns[column].name;
			labels[i].kinds[column] = sketch->columns[column].kind;
			labels[i].cells[column] = pyn_sample_cell(&sketch->sample, i, column);
		}
		if (i == 2)
			labels[i].cells[0].number = 12345;
	}
	options->row_labels = labels;
	options->row_label_count = 4;
}

/* A model of a detector; `choice` is the place of a parameter that takes `value` instead of its default, or -1. */
static PynWriter
model_bytes(const PynDetector *detector, int choice, int value, bool grouped)
{
	PynSketch  *sketch = make_sketch(true, grouped);
	PynRule		rules[] = {
		{.name = "amount", .minimum_absolute = 5, .direction = PYN_DIRECTION_UP},
		{.name = "count", .minimum_relative = 0.5},
	};
	PynFitOptions options = {
		.seed = 1, .contamination = 0.02, .zone_name = "UTC", .rules = rules, .rule_count = lengthof(rules)
	};
	PynModel   *model;
	PynWriter	writer;
	const char *problem;

	pyn_sketch_settle(sketch);
	options.threshold = pyn_nan();
	plan_small(&options.plan, detector, 32);
	if (detector->learns)
	{
		options.label = "count";	/* some of its values are 0 or 1 */
		label_rows(sketch, &options);
	}
	if (choice >= 0)
		options.plan.settings[choice] = value;
	pyn_writer_init(&writer, 1024);
	problem = pyn_model_fit(sketch, &options, &model, &writer);
	if (problem != NULL)
	{
		printf("Bail out! %s\n", problem);
		exit(1);
	}
	return writer;
}

/* ---------------------------------------------------------------- parse and use */

static bool
try_sketch(const uint8 *data, Size length)
{
	static int	accepted;
	PynFitOptions options = {.contamination = 0.02, .zone_name = "UTC"};
	PynSketch  *sketch;
	PynSketch  *other;
	PynModel   *model;
	PynWriter	writer;

	if (pyn_sketch_read(data, length, &sketch) != NULL)
		return false;
	for (int column = 0; column < sketch->column_count; column++)
	{
		PynQuantiles quantiles;

		(void) pyn_distinct_count(&sketch->columns[column].distinct);
		if (pyn_kind_is_text(sketch->columns[column].kind))
			continue;
		pyn_quantiles_open(&quantiles, sketch, column);
		for (double share = 0; share <= 1; share += 0.125)
			(void) pyn_quantile(&quantiles, share);
	}
	if (accepted++ % FITTED_OF == 0)
	{
		plan_small(&options.plan, pyn_detectors[accepted / FITTED_OF % pyn_detector_count], 4);
		options.threshold = pyn_nan();
		pyn_writer_init(&writer, 1024);
		if (pyn_model_fit(sketch, &options, &model, &writer) == NULL &&
			pyn_model_read(writer.data, writer.length, &model) != NULL)
			abort();			/* what fit writes, read accepts */
	}
	pyn_writer_init(&writer, 1024);
	pyn_sketch_write(sketch, &writer);
	if (pyn_sketch_read(data, length, &other) != NULL || pyn_sketch_merge(sketch, other) != NULL)
		abort();
	return true;
}

/* Each accepted model is used on one row, the next one of a few; of some rows reasons and changes are asked for, too. */
static bool
try_model(const uint8 *data, Size length)
{
	static const double numbers[] = {0, 1.5, -1e308, 1e308, 1.7e9};
	static int	used;
	int			kind = used++ % (int) lengthof(numbers);
	PynModel   *model;
	PynCell    *cells;
	double	   *features;
	double		block_raw;
	double		raw;
	PynVerdict	verdict;

	if (pyn_model_read(data, length, &model) != NULL)
		return false;
	cells = pyn_new(PynCell, model->column_count);
	features = pyn_new(double, model->feature_count);
	for (int column = 0; column < model->column_count; column++)
	{
		if (pyn_kind_is_text(model->columns[column].kind))
			cells[column].hash = (uint64) kind * 77;
		else
			cells[column].number = numbers[(kind + column) % (int) lengthof(numbers)];
	}
	pyn_encode_row(model, cells, features);
	raw = model->detector->score_row(model->state, features);
	model->detector->score_block(model->state, features, 1, 1, &block_raw);
	if (memcmp(&raw, &block_raw, sizeof(raw)) != 0 && raw == raw)
		abort();
	verdict = pyn_judge(model, raw);
	pyn_suppress(model, features, &verdict);
	if (verdict.is_anomaly && verdict.is_suppressed)
		abort();
	if (used % REASONS_OF == 0)
		pyn_contributions(model, cells, pyn_new(double, model->feature_count));
	if (used % CHANGES_OF == 0)
	{
		PynCounterfactual found;

		pyn_find_changes(model, cells, &found);
		if (found.evaluations > PYN_MOST_EVALUATIONS)
			abort();
	}
	return true;
}

/* ---------------------------------------------------------------- mutate */

static uint64
odd_value(PynRandom *random)
{
	static const uint64 values[] = {
		0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x7FF0000000000000,
		0x7FF8000000000000, 0xFFF0000000000000, 0x7FEFFFFFFFFFFFFF, 0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF,
	};
	uint32		draw = pyn_random_below(random, (uint32) lengthof(values) + 4);

	return draw < lengthof(values) ? values[draw] : pyn_random_next(random);
}

/* Changes a copy of the bytes; returns its new length, at most `room`. */
static Size
mutate(uint8 *bytes, Size length, Size room, PynRandom *random)
{
	int			changes = 1 + (int) pyn_random_below(random, 3);

	for (int i = 0; i < changes && length > 0; i++)
	{
		/* Half of the changes hit the first bytes, where heads and lengths are. */
		Size		reach = pyn_random_below(random, 2) ? Min(length, 512) : length;
		Size		place = pyn_random_below(random, (uint32) reach);
		uint64		value = odd_value(random);
		Size		size = (Size) 1 << pyn_random_below(random, 4);
		Size		span = 1 + pyn_random_below(random, 64);

		switch (pyn_random_below(random, 6))
		{
			case 0:
				bytes[place] ^= (uint8) (1 << pyn_random_below(random, 8));
				break;
			case 1:
			case 2:
				for (Size j = 0; j < size && place + j < length; j++)
					bytes[place + j] = (uint8) (value >> (8 * j));
				break;
			case 3:
				length = place;
				break;
			case 4:
				/* Take a piece out. */
				span = Min(length - place, span);
				memmove(bytes + place, bytes + place + span, length - place - span);
				length -= span;
				break;
			case 5:
				/* Say a piece twice. */
				span = Min(Min(length - place, room - length), span);
				memmove(bytes + place + span, bytes + place, length - place);
				length += span;
				break;
		}
	}
	return length;
}

/* Both formats keep their digest at 8 and what it covers from 24 on. */
static void
mend_digest(uint8 *bytes, Size length)
{
	PynDigest	digest;

	if (length < PYN_MODEL_BODY)
		return;
	digest = pyn_digest(bytes + PYN_MODEL_BODY, length - PYN_MODEL_BODY);
	for (int i = 0; i < 8; i++)
	{
		bytes[PYN_MODEL_DIGEST + i] = (uint8) (digest.low >> (8 * i));
		bytes[PYN_MODEL_DIGEST + 8 + i] = (uint8) (digest.high >> (8 * i));
	}
}

/* One test; numbered by nobody, since the attacks run side by side. */
static void
say(bool passed, const char *format, const char *what)
{
	printf("%s - ", passed ? "ok" : "not ok");
	printf(format, what);
	printf("\n");
}

static void
attack(const char *what, PynWriter good, int mutations, bool (*try) (const uint8 *, Size))
{
	Size		room = good.length + 256;
	uint8	   *seed_bytes = malloc(good.length);
	uint8	   *work = malloc(room);
	PynRandom	random = {pyn_hash_bytes(what, strlen(what), 1)};
	int			accepted = 0;
	int			broken_accepted = 0;

	memcpy(seed_bytes, good.data, good.length);
	say(try(seed_bytes, good.length), "a good %s is accepted", what);
	for (int i = 0; i < mutations; i++)
	{
		bool		mend = pyn_random_below(&random, 16) != 0;
		Size		length;
		uint8	   *exact;
		bool		good_value;

		memcpy(work, seed_bytes, good.length);
		length = mutate(work, good.length, room, &random);
		if (mend)
			mend_digest(work, length);
		exact = malloc(length > 0 ? length : 1);
		memcpy(exact, work, length);
		good_value = try(exact, length);
		accepted += good_value;
		if (!mend && good_value && (length != good.length || memcmp(exact, seed_bytes, length) != 0))
			broken_accepted++;
		free(exact);
		pyn_standalone_reset();
	}
	printf("# %d of %d mutations of a %s of %zu bytes are valid values; %.0f s\n", accepted, mutations, what, (size_t) good.length,
		   (double) clock() / CLOCKS_PER_SEC);
	say(accepted > 0 && accepted < mutations, "all mutations of a %s are refused or are valid values", what);
	say(broken_accepted == 0, "the checksum finds every change of a %s that does not mend it", what);
	free(seed_bytes);
	free(work);
}

/* What is attacked. */
typedef struct Target
{
	char		what[128];
	const PynDetector *detector;	/* NULL: a sketch */
	int			choice;			/* the parameter that takes another value than its default; -1: none */
	int			value;
	bool		sample_text;	/* of a sketch */
	bool		grouped;		/* fitted from rows that fall into groups */
	FILE	   *output;			/* of the child that attacks it */
} Target;

static Target targets[MOST_TARGETS];
static int	target_count;

static Target *
add_target(const PynDetector *detector)
{
	Target	   *target = &targets[target_count++];

	Assert(target_count <= MOST_TARGETS);
	target->detector = detector;
	target->choice = -1;
	return target;
}

/* Both kinds of sketch, and of each detector the default model and one for each other choice of a parameter. */
static void
list_targets(void)
{
	add_target(NULL)->sample_text = true;
	strcpy(targets[0].what, "sketch");
	strcpy(add_target(NULL)->what, "sketch without text");
	for (int i = 0; i < pyn_detector_count; i++)
	{
		const PynDetector *detector = pyn_detectors[i];

		snprintf(add_target(detector)->what, sizeof(targets->what), "model of %s", detector->name);
		for (int j = 0; j < detector->parameter_count; j++)
			for (int value = 0; detector->parameters[j].kind == PYN_PARAMETER_CHOICE && value <= detector->parameters[j].maximum; value++)
			{
				Target	   *target;

				if (value == detector->parameters[j].initial)
					continue;
				target = add_target(detector);
				target->choice = j;
				target->value = value;
				snprintf(target->what, sizeof(target->what), "model of %s with %s %d", detector->name, detector->parameters[j].name,
						 value);
			}
	}
	add_target(&pyn_auto)->grouped = true;
	strcpy(targets[target_count - 1].what, "model of auto with groups");
}

static void
attack_target(const Target *target)
{
	if (target->detector == NULL)
		attack(target->what, sketch_bytes(target->sample_text), MUTATIONS, try_sketch);
	else
		attack(target->what, model_bytes(target->detector, target->choice, target->value, target->grouped),
			   target->choice < 0 ? MUTATIONS : VARIANT_MUTATIONS, try_model);
}

/* Begins a target's attack in a process of its own. */
static void
start_attack(Target *target)
{
	pid_t		child;

	fflush(stdout);
	target->output = tmpfile();
	child = target->output != NULL ? fork() : -1;
	if (child < 0)
	{
		printf("Bail out! no process for an attack\n");
		exit(1);
	}
	if (child > 0)
		return;
	dup2(fileno(target->output), STDOUT_FILENO);
	attack_target(target);
	fflush(stdout);
	_exit(0);
}

/* Waits for one attack; what killed it is a failure. */
static void
await_attack(void)
{
	int			status;

	if (wait(&status) > 0 && status != 0)
	{
		printf("not ok - an attack ended with status %d\n", status);
		tests++;
		failures++;
	}
}

/* Attacks those targets whose name contains `part`, as many at a time as there are processors; the program's status. */
static int
attack_all(const char *part)
{
	int			running = 0;
	long		most = sysconf(_SC_NPROCESSORS_ONLN);

	for (int i = 0; i < target_count; i++)
	{
		if (strstr(targets[i].what, part) == NULL)
			continue;
		if (running >= Max(most, 1))
			await_attack();
		else
			running++;
		start_attack(&targets[i]);
	}
	while (running-- > 0)
		await_attack();
	for (int i = 0; i < target_count; i++)
	{
		char		line[512];

		if (targets[i].output == NULL)
			continue;
		rewind(targets[i].output);
		while (fgets(line, sizeof(line), targets[i].output) != NULL)
		{
			tests += strncmp(line, "ok", 2) == 0 || strncmp(line, "not ok", 6) == 0;
			failures += strncmp(line, "not ok", 6) == 0;
			fputs(line, stdout);
		}
		fclose(targets[i].output);
	}
	return done();
}

/* Prints `count` mutations with right digests, as "<type> <hex>". */
static void
print_mutations(const char *type, PynWriter good, int count)
{
	Size		room = good.length + 256;
	uint8	   *work = malloc(room);
	PynRandom	random = {pyn_hash_bytes(type, strlen(type), 2)};

	for (int i = 0; i < count; i++)
	{
		Size		length;

		memcpy(work, good.data, good.length);
		length = mutate(work, good.length, room, &random);
		mend_digest(work, length);
		printf("%s ", type);
		for (Size j = 0; j < length; j++)
			printf("%02x", work[j]);
		printf("\n");
	}
	free(work);
}

/*
 * Without arguments the attack; `attack PART` attacks the targets whose name contains PART; `print N` prints N hostile
 * sketches, and as many models of each detector, for a server.
 */
int
main(int argc, char **argv)
{
	list_targets();
	if (argc == 3 && strcmp(argv[1], "print") == 0)
	{
		print_mutations("sketch", sketch_bytes(true), atoi(argv[2]));
		for (int i = 0; i < pyn_detector_count; i++)
			print_mutations("model", model_bytes(pyn_detectors[i], -1, 0, false), atoi(argv[2]));
		return 0;
	}
	return attack_all(argc == 3 ? argv[2] : "");
}
