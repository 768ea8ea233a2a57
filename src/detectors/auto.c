/*
 * auto.c
 *		What is fitted when no algorithm is named.
 *
 * Two detectors that see different things, combined: distances to cleaned references (cleaned_neighbours.c), which see rows
 * that are far from all that is ordinary, also as a group and where only columns together are odd; and a forest, which sees
 * single columns among many that say nothing.  The choice was made by experiment on labelled tables and on planted anomalies
 * (docs/adr/0009-auto.md).  Each pass over references and the forest have a score, in logarithms, measured from its median
 * in units of its median absolute deviation; the largest of them, so that what one is sure of is not averaged away, counts
 * as one more, with half the weight of all others.  The raw score is their mean by weights, which feedback may change.  How
 * large the references are depends on the training data; what was chosen and why is kept in the model.
 *
 * Where the training rows fall into clearly separated groups, which few tables' do, those distances, of one scale for all groups, miss
 * what lies just outside one.  Then the distance to the nearest group in its own units (groups.c) counts as much as the others together.
 *
 * Where rows are labelled, a linear model learns from the labels what this score and the features say (label_model.c).
 *
 * Model: the sum of both, some 0.3 MB for 8 features.  Time: a row takes four to seven times that of a plain forest; fitting
 * 65,536 rows of 8 features takes about a second and a half, 2,000 rows of 1,500 features some seconds.
 */
#include "kernel/port.h"
#include "kernel/hash.h"

#include <math.h>

#include "detectors/cleaned_neighbours.h"
#include "detectors/forest.h"
#include "detectors/groups.h"
#include "detectors/label_model.h"
#include "detectors/members.h"
#include "detectors/scaling.h"
#include "numeric/math.h"

#define FOREST_WEIGHT 1.0
#define GROUPS_WEIGHT 1.0		/* of that of passes and forest together */
#define MOST_TEXT 1536
#define MAX_SCORES (PYN_MAX_PASSES + 3)	/* the forest, the groups, and the largest of all */

enum
{
	SETTING_TREES,
	SETTING_SAMPLE_SIZE,
	SETTING_COUNT
};

static const PynParameter parameters[SETTING_COUNT] = {
	{.name = "trees",.initial = 100,.minimum = 1,.maximum = PYN_FOREST_MAX_TREES,.description = "number of trees of its forest"},
	{.name = "sample_size",.initial = 128,.minimum = 2,.maximum = 1 << PYN_FOREST_MAX_HEIGHT,.description = "rows that each tree is grown from"},
};

/* What labels have done; stored, so the numbers stay. */
enum
{
	TAUGHT_NOTHING = 0,
	TAUGHT = 1,
	TAUGHT_BY_PEOPLE = 2		/* by their labels of flagged rows, and by those of a column where there is one */
};

typedef struct Auto
{
	int			features;
	uint32		rows;			/* that it was fitted from */
	void	   *neighbours;
	void	   *forest;
	double		forest_median;	/* of the training rows' logarithms */
	double		forest_factor;	/* 1 / their scale */
	PynGroups  *groups;
	int			passes;
	int			scores;			/* the passes', the forest's, the groups' where there are some, and the largest of these */
	double		weights[MAX_SCORES];
	double		total_weight;
	PynLabelModel *labels;		/* NULL: nothing was learnt from labels */
	uint32		anomalies;		/* labelled */
	uint32		ordinary;
	uint32		found;			/* those of the anomalies that people have labelled */
	uint32		false_alarms;
} Auto;

/* ---------------------------------------------------------------- score */

/* A forest's raw score is 2 to the power of what its trees say on average. */
static inline double
forest_score(const Auto *self, double raw)
{
	return (pyn_log(Max(raw, 1e-300)) - self->forest_median) * self->forest_factor;
}

/*
 * The scores' mean by weights, after the largest has been put behind the others: scores[i * stride].  Where the groups' part has no
 * score, it is what the passes and the forest say together.
 */
static inline double
combine(const Auto *self, double *scores, int stride)
{
	int			last = self->scores - 1;
	int			first_parts = self->passes + 1;
	double		largest = scores[0];
	double		weight = 0;
	double		sum = 0;

	for (int i = 0; i < first_parts; i++)
	{
		largest = Max(largest, scores[(Size) i * stride]);
		sum += self->weights[i] * scores[(Size) i * stride];
		weight += self->weights[i];
	}
	if (last > first_parts)
	{
		double	   *of_groups = scores + (Size) first_parts * stride;

		if (*of_groups != *of_groups)
			*of_groups = sum / weight;
		largest = Max(largest, *of_groups);
		sum += self->weights[first_parts] * *of_groups;
	}
	scores[(Size) last * stride] = largest;
	return (sum + self->weights[last] * largest) / self->total_weight;
}

/* The standardised scores of a row, before they are combined. */
static void
score_parts(const Auto *self, const double *row, double *scores)
{
	pyn_cleaned_row(self->neighbours, row, scores);
	scores[self->passes] = forest_score(self, pyn_isolation_forest.score_row(self->forest, row));
	if (self->groups->count > 0)
		scores[self->passes + 1] = pyn_groups_row(self->groups, row);
}

/* The same of a block, all[i * rows + row], and what they make together, scores[row]. */
static void
score_block_parts(const Auto *self, const double *values, int stride, int rows, double *all, double *scores)
{
	double	   *of_forest = all + (Size) self->passes * rows;

	CHECK_FOR_INTERRUPTS();
	pyn_cleaned_block(self->neighbours, values, stride, rows, all);
	pyn_isolation_forest.score_block(self->forest, values, stride, rows, of_forest);
	if (self->groups->count > 0)
		pyn_groups_block(self->groups, values, stride, rows, of_forest + rows);
	for (int row = 0; row < rows; row++)
	{
		of_forest[row] = forest_score(self, of_forest[row]);
		scores[row] = combine(self, all + row, rows);
	}
}

static void
unlabelled_block(const Auto *self, const double *values, int stride, int rows, double *scores)
{
	double	   *all = pyn_new(double, (Size) self->scores * rows);

	score_block_parts(self, values, stride, rows, all, scores);
	pfree(all);
}

static double
auto_score_row(const void *state, const double *row)
{
	const Auto *self = state;
	double		scores[MAX_SCORES];
	double		score;

	score_parts(self, row, scores);
	score = combine(self, scores, 1);
	return self->labels != NULL ? pyn_label_model_row(self->labels, score, row) : score;
}

static void
auto_score_block(const void *state, const double *values, int stride, int rows, double *scores)
{
	const Auto *self = state;

	unlabelled_block(self, values, stride, rows, scores);
	if (self->labels != NULL)
		pyn_label_model_block(self->labels, values, stride, rows, scores);
}

/* Each part explains a row as far as it finds it odd; what was learnt from labels explains its own part. */
static int
auto_parts(const void *state, const double *row, PynPart *parts)
{
	const Auto *self = state;
	double		scores[MAX_SCORES];
	double		of_labels = 0;
	double		shares[3] = {0};
	double		sum = 0;
	int			last = self->scores - 1;
	bool		none_of_groups;
	double		score;

	score_parts(self, row, scores);
	none_of_groups = self->groups->count > 0 && scores[last - 1] != scores[last - 1];
	score = combine(self, scores, 1);
	if (self->labels != NULL)
		of_labels = pyn_label_model_share(self->labels, score, row);
	for (int i = 0; i < last; i++)
	{
		double		part = (self->weights[i] + (scores[i] == scores[last] ? self->weights[last] : 0.0)) * Max(scores[i], 0.0);

		if (i == self->passes + 1 && none_of_groups)
			continue;
		sum += part;
		shares[i < self->passes ? 0 : i - self->passes + 1] += part;
	}
	parts[0] = (PynPart) {&pyn_cleaned_neighbours, self->neighbours, sum > 0 ? shares[0] / sum : 1.0};
	parts[1] = (PynPart) {&pyn_isolation_forest, self->forest, sum > 0 ? shares[1] / sum : 0.0};
	parts[2] = (PynPart) {&pyn_groups_part, self->groups, sum > 0 ? shares[2] / sum : 0.0};
	for (int i = 0; i < 3; i++)
		parts[i].share *= 1.0 - of_labels;
	parts[3] = (PynPart) {&pyn_label_part, self->labels, of_labels};
	return 4;
}

/* ---------------------------------------------------------------- fit */

/* Median and scale of the logarithms of the forest's scores of the training rows. */
static void
standardise_forest(Auto *self, const PynTraining *training)
{
	PynWeighted *numbers = pyn_new(PynWeighted, training->rows);
	double	   *scores = pyn_new(double, training->rows);
	double		total = (double) training->total_weight;

	pyn_score_training(&pyn_isolation_forest, self->forest, training, scores);
	for (int row = 0; row < training->rows; row++)
	{
		numbers[row].value = pyn_log(Max(scores[row], 1e-300));
		numbers[row].weight = (double) training->weights[row];
	}
	self->forest_factor = 1.0 / pyn_median_and_scale(numbers, training->rows, total, &self->forest_median);
	pfree(numbers);
	pfree(scores);
}

/* How many scores there are, and the passes' weights. */
static void
count_scores(Auto *self)
{
	self->passes = pyn_cleaned_passes(self->neighbours, self->weights);
	self->scores = self->passes + (self->groups->count > 0 ? 3 : 2);
}

/* Fits a detector, appends u32 length and bytes of its parameters, and opens it. */
static void *
fit_part(const PynTraining *training, const PynPlan *plan, PynWriter *writer)
{
	PynWriter	parameters;
	PynReader	reader;
	void	   *state = NULL;
	const char *problem;

	pyn_writer_init(&parameters, 65536);
	plan->detector->fit(training, plan, &parameters);
	pyn_reader_init(&reader, parameters.data, parameters.length);
	problem = plan->detector->open(&reader, training->features, &state);
	Assert(problem == NULL);
	(void) problem;
	pyn_write_u32(writer, (uint32) parameters.length);
	pyn_write_bytes(writer, parameters.data, parameters.length);
	pfree(parameters.data);
	return state;
}

/* Learns from labels, where there are such of anomalies. */
static void
fit_labels(const PynTraining *training, const Auto *self, PynWriter *writer)
{
	double	   *scores = pyn_new(double, training->rows + training->extra_rows);

	for (int start = 0; start < training->rows; start += PYN_SCORE_BLOCK)
		unlabelled_block(self, training->values + start, training->rows, Min(PYN_SCORE_BLOCK, training->rows - start),
						 scores + start);
	for (int start = 0; start < training->extra_rows; start += PYN_SCORE_BLOCK)
		unlabelled_block(self, training->extra_values + start, training->extra_rows,
						 Min(PYN_SCORE_BLOCK, training->extra_rows - start), scores + training->rows + start);
	pyn_label_model_fit(training, scores, writer);
	pfree(scores);
}

/*
 * u32 rows, u32 labelled anomalies and ordinary rows, the neighbours, the forest, the groups, f64 the forest's median and
 * factor, a f64 weight of each score, u8 whether labels taught something, and what.  Where people had labelled rows the u8
 * is 2, and u32 their anomalies and u32 false alarms precede that.
 */
static void
auto_fit(const PynTraining *training, const PynPlan *plan, PynWriter *writer)
{
	Auto		self = {.features = training->features};
	PynPlan		neighbours;
	PynPlan		forest;
	PynPlan		groups;
	PynLabelCounts counts = pyn_count_labels(training);
	bool		of_people = counts.found + counts.false_alarms > 0;

	pyn_write_u32(writer, (uint32) training->rows);
	pyn_write_u32(writer, (uint32) counts.anomalies);
	pyn_write_u32(writer, (uint32) counts.ordinary);
	pyn_plan_defaults(&neighbours, &pyn_cleaned_neighbours);
	self.neighbours = fit_part(training, &neighbours, writer);
	pyn_plan_defaults(&forest, &pyn_isolation_forest);
	forest.settings[PYN_FOREST_SPLITS] = PYN_SPLITS_POOLED_GAIN;
	forest.settings[PYN_FOREST_TREES] = plan->settings[SETTING_TREES];
	forest.settings[PYN_FOREST_SAMPLE_SIZE] = plan->settings[SETTING_SAMPLE_SIZE];
	self.forest = fit_part(training, &forest, writer);
	pyn_plan_defaults(&groups, &pyn_groups_part);
	self.groups = fit_part(training, &groups, writer);
	standardise_forest(&self, training);
	pyn_write_f64(writer, self.forest_median);
	pyn_write_f64(writer, self.forest_factor);
	count_scores(&self);
	self.weights[self.passes] = FOREST_WEIGHT;
	if (self.groups->count > 0)
		for (int i = 0; i <= self.passes; i++)
			self.weights[self.passes + 1] += GROUPS_WEIGHT * self.weights[i];
	for (int i = 0; i < self.scores - 1; i++)
		self.total_weight += self.weights[i];
	self.weights[self.scores - 1] = PYN_LARGEST_WEIGHT * self.total_weight;
	self.total_weight += self.weights[self.scores - 1];
	for (int i = 0; i < self.scores; i++)
		pyn_write_f64(writer, self.weights[i]);
	pyn_write_u8(writer, counts.anomalies == 0 ? TAUGHT_NOTHING : of_people ? TAUGHT_BY_PEOPLE : TAUGHT);
	if (counts.anomalies == 0)
		return;
	if (of_people)
	{
		pyn_write_u32(writer, (uint32) counts.found);
		pyn_write_u32(writer, (uint32) counts.false_alarms);
	}
	fit_labels(training, &self, writer);
}

/* ---------------------------------------------------------------- open */

static const char *
read_part(PynReader *reader, int features, const PynDetector *detector, void **state)
{
	uint32		length = pyn_read_u32(reader);
	const uint8 *bytes = pyn_read_bytes(reader, length);
	PynReader	parameters;
	const char *problem;

	if (bytes == NULL)
		return "a part is cut off";
	pyn_reader_init(&parameters, bytes, length);
	if ((problem = detector->open(&parameters, features, state)) != NULL)
		return problem;
	if (parameters.failed || pyn_reader_left(&parameters) > 0)
		return "a part has the wrong length";
	return NULL;
}

static const char *
auto_open(PynReader *reader, int features, void **state)
{
	Auto	   *self = palloc0(sizeof(Auto));
	void	   *groups;
	const char *problem;

	self->features = features;
	self->rows = pyn_read_u32(reader);
	self->anomalies = pyn_read_u32(reader);
	self->ordinary = pyn_read_u32(reader);
	if ((problem = read_part(reader, features, &pyn_cleaned_neighbours, &self->neighbours)) != NULL ||
		(problem = read_part(reader, features, &pyn_isolation_forest, &self->forest)) != NULL ||
		(problem = read_part(reader, features, &pyn_groups_part, &groups)) != NULL)
		return problem;
	self->groups = groups;
	self->forest_median = pyn_read_f64(reader);
	self->forest_factor = pyn_read_f64(reader);
	if (!(fabs(self->forest_median) <= 1e3) || !(self->forest_factor > 0 && self->forest_factor <= 1e6))
		return "the forest's scale is impossible";
	count_scores(self);
	for (int i = 0; i < self->scores; i++)
	{
		self->weights[i] = pyn_read_f64(reader);
		if (!(self->weights[i] > 0 && self->weights[i] <= 1e6))
			return "a score's weight is impossible";
		self->total_weight += self->weights[i];
	}
	switch (pyn_read_u8(reader))
	{
		case TAUGHT_NOTHING:
			break;
		case TAUGHT_BY_PEOPLE:
			self->found = pyn_read_u32(reader);
			self->false_alarms = pyn_read_u32(reader);
			/* FALLTHROUGH */
		case TAUGHT:
			if ((problem = pyn_label_model_read(reader, features, &self->labels)) != NULL)
				return problem;
			break;
		default:
			return "what labels taught is in an unknown form";
	}
	*state = self;
	return NULL;
}

/* ---------------------------------------------------------------- weights */

/* With labels in the model the score is not their mean any more. */
static int
auto_weights(const void *state, double *weights)
{
	const Auto *self = state;

	memcpy(weights, self->weights, sizeof(double) * self->scores);
	return self->labels == NULL ? self->scores : 0;
}

static void
auto_member_scores(const void *state, const double *values, int stride, int rows, double *scores)
{
	double	   *together = pyn_new(double, rows);

	score_block_parts(state, values, stride, rows, scores, together);
	pfree(together);
}

/* The parts are passed over; the weights follow the forest's median and factor. */
static void
auto_reweigh(const uint8 *parameters, Size length, const double *weights, PynWriter *writer)
{
	PynReader	reader;
	Size		origin = writer->length;
	Size		place;

	pyn_write_bytes(writer, parameters, length);
	pyn_reader_init(&reader, parameters, length);
	(void) pyn_read_bytes(&reader, 3 * sizeof(uint32));
	for (int part = 0; part < 3; part++)
		(void) pyn_read_bytes(&reader, pyn_read_u32(&reader));
	(void) pyn_read_bytes(&reader, 2 * sizeof(double));
	place = length - pyn_reader_left(&reader);
	/* Without labels one byte follows the weights. */
	for (int i = 0; place + sizeof(double) < length; i++, place += sizeof(double))
	{
		uint64		bits;

		memcpy(&bits, &weights[i], sizeof(bits));
		pyn_write_u64_at(writer, origin + place, bits);
	}
}

static const PynWeighing weighing = {auto_weights, auto_member_scores, auto_reweigh};

static void
describe_labels(const Auto *self, char *text, int size)
{
	int			length = snprintf(text, size, "; a regression on the labels of %u anomalies", self->anomalies);

	if (self->ordinary > 0)
		length += snprintf(text + length, size - length, " and %u ordinary rows", self->ordinary);
	length += snprintf(text + length, size - length, " adds what they teach");
	if (self->found + self->false_alarms > 0)
		length += snprintf(text + length, size - length, "; people have labelled %u of these anomalies, and %u false alarms", self->found,
						   self->false_alarms);
	if (self->ordinary == 0)
		snprintf(text + length, size - length, "; no row is labelled as ordinary, so those without a label stand for them");
}

/* What was chosen for the training data, and why. */
static char *
auto_decisions(const void *state)
{
	const Auto *self = state;
	char	   *text = palloc(MOST_TEXT);
	int			length = pyn_cleaned_describe(self->neighbours, text, MOST_TEXT);

	length += snprintf(text + length, MOST_TEXT - length,
					   "; beside them a forest of oblique splits, for single columns among many that say nothing; ");
	length += pyn_groups_describe(self->groups, text + length, MOST_TEXT - length);
	if (self->labels == NULL)
		snprintf(text + length, MOST_TEXT - length, "; no row is labelled as an anomaly, so nothing is learnt from labels");
	else
		describe_labels(self, text + length, MOST_TEXT - length);
	return text;
}

const PynDetector pyn_auto = {
	.name = "auto",
	.description = "distances to cleaned references and a forest, with what labels teach where there are some; the default",
	.source = "docs/adr/0009-auto.md",
	.parameter_count = SETTING_COUNT,
	.parameters = parameters,
	.fit = auto_fit,
	.open = auto_open,
	.score_row = auto_score_row,
	.score_block = auto_score_block,
	.parts = auto_parts,
	.learns = true,
	.weighing = &weighing,
	.decisions = auto_decisions,
};
