/*
 * members.c
 *		Detectors within a detector.
 *
 * Raw scores of different detectors have nothing in common but their order.  What each says of a row is put on a scale
 * that all share by the calibration of its own scores over the training rows: the p-value's negative logarithm, or the
 * Gaussian rank, the number that has so many standard normal ones below it.  Both go on rising past the highest training
 * score, since the calibration's tail does: new rows that are odder than all seen are still told apart.
 */
#include "kernel/port.h"
#include "kernel/hash.h"

#include <math.h>

#include "detectors/members.h"
#include "numeric/math.h"

#define DEEPEST_LOG 600.0		/* down to exp(-600) the normal quantile is taken of the p-value itself */
#define LARGEST_LOG 1e12		/* nothing is odder */

/*
 * pyn_member_fit appends: text detector, f64 weight, calibration, u32 length and bytes of its parameters.
 */
void
pyn_member_fit(const PynTraining *training, const PynPlan *plan, int number, PynWriter *writer)
{
	PynTraining own = *training;
	PynCalibration *calibration = palloc0(sizeof(PynCalibration));
	double	   *scores = pyn_new(double, training->rows);
	PynWriter	parameters;
	PynReader	reader;
	void	   *state;
	const char *problem;

	/* The first has the numbers that it would have alone. */
	if (number > 0)
		own.seed = pyn_hash_u64((uint64) number, training->seed);
	pyn_writer_init(&parameters, 65536);
	plan->detector->fit(&own, plan, &parameters);
	pyn_reader_init(&reader, parameters.data, parameters.length);
	problem = plan->detector->open(&reader, training->features, &state);
	Assert(problem == NULL);
	if (problem == NULL)
		pyn_calibrate(calibration, plan->detector, state, training, scores);
	pyn_write_text(writer, plan->detector->name);
	pyn_write_f64(writer, plan->weight);
	pyn_calibration_write(calibration, writer);
	pyn_write_u32(writer, (uint32) parameters.length);
	pyn_write_bytes(writer, parameters.data, parameters.length);
	pfree(parameters.data);
	pfree(scores);
	pfree(calibration);
}

const char *
pyn_member_read(PynReader *reader, int features, int nesting, PynMember *member)
{
	char		name[64];
	const char *problem;
	const uint8 *bytes;
	PynReader	parameters;
	uint32		length;

	if (!pyn_read_text(reader, name, sizeof(name)) || (member->detector = pyn_find_detector(name)) == NULL)
		return "a member's algorithm is unknown";
	member->weight = pyn_read_f64(reader);
	if (!(member->weight > 0 && member->weight <= 1e6))
		return "a member's weight is impossible";
	if ((problem = pyn_calibration_read(&member->calibration, reader)) != NULL)
		return problem;
	length = pyn_read_u32(reader);
	bytes = pyn_read_bytes(reader, length);
	if (bytes == NULL)
		return "a member is cut off";
	pyn_reader_init(&parameters, bytes, length);
	if (member->detector->combines)
		problem = nesting < 1 ? "ensembles are nested too deeply" :
			pyn_ensemble_open(&parameters, features, nesting - 1, &member->state);
	else
		problem = member->detector->open(&parameters, features, &member->state);
	if (problem != NULL)
		return problem;
	if (parameters.failed || pyn_reader_left(&parameters) > 0)
		return "a member has the wrong length";
	return NULL;
}

Size
pyn_member_skip(PynReader *reader)
{
	PynCalibration *calibration = palloc0(sizeof(PynCalibration));
	char		name[64];
	Size		place;

	(void) pyn_read_text(reader, name, sizeof(name));
	place = reader->position;
	(void) pyn_read_f64(reader);
	(void) pyn_calibration_read(calibration, reader);
	(void) pyn_read_bytes(reader, pyn_read_u32(reader));
	pfree(calibration);
	return place;
}

/* The standard normal quantile of 1 - p; far out by its asymptote, joined without a step. */
static double
gaussian_rank(const PynCalibration *calibration, double raw)
{
	double		log_p = pyn_log_p_value(calibration, raw);

	if (log_p > -DEEPEST_LOG)
		return -pyn_normal_quantile(pyn_p_value(calibration, raw));
	log_p = Max(log_p, -LARGEST_LOG);
	return -pyn_normal_quantile(pyn_exp(-DEEPEST_LOG)) + (sqrt(-2.0 * log_p) - sqrt(2.0 * DEEPEST_LOG));
}

double
pyn_common_score(const PynMember *member, PynCommonScale scale, double raw)
{
	if (scale == PYN_RANKS)
		return gaussian_rank(&member->calibration, raw);
	return Min(-pyn_log_p_value(&member->calibration, raw), LARGEST_LOG);
}

double
pyn_member_row(const PynMember *member, PynCommonScale scale, const double *row)
{
	return pyn_common_score(member, scale, member->detector->score_row(member->state, row));
}

void
pyn_member_left_out(const PynMember *member, PynCommonScale scale, const PynTraining *training, double *scores)
{
	if (member->detector->score_left_out == NULL || !member->detector->score_left_out(member->state, training, scores))
		pyn_score_training(member->detector, member->state, training, scores);
	for (int row = 0; row < training->rows; row++)
		scores[row] = pyn_common_score(member, scale, scores[row]);
}

void
pyn_member_block(const PynMember *member, PynCommonScale scale, const double *values, int stride, int rows, double *scores)
{
	member->detector->score_block(member->state, values, stride, rows, scores);
	for (int row = 0; row < rows; row++)
		scores[row] = pyn_common_score(member, scale, scores[row]);
}
