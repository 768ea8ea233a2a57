/*
 * model_type.h
 *		pynomaly.model as an SQL value, and what calls share: options, names, verdicts and reasons as people read them.
 */
#ifndef PYN_MODEL_TYPE_H
#define PYN_MODEL_TYPE_H

#include "kernel/port.h"

#include "fmgr.h"
#include "utils/array.h"
#include "utils/jsonb.h"

#include "detectors/model.h"
#include "kernel/json_writer.h"

/* The model of a datum, in the current memory context, ready to score. */
extern PynModel *pyn_model_from_datum(Datum value);

/*
 * Finds a model by its name.  Set by the composition root to what the registry of models offers; NULL: no name exists.
 * The answer is a pynomaly.model in the current memory context.
 */
typedef Datum (*PynModelResolver) (const char *name);
extern PGDLLEXPORT PynModelResolver pyn_model_resolver;
extern Datum pyn_resolve_model(const char *name);

/* Grows whenever a name may have got another model: what was resolved before is to be resolved again. */
extern PGDLLEXPORT uint64 pyn_model_names;

/* fit.c: what the calls that fit or detect take beside their data. */
typedef enum PynExplain
{
	PYN_EXPLAIN_FLAGGED,
	PYN_EXPLAIN_ALL,
	PYN_EXPLAIN_NONE
} PynExplain;

/* suppression_options.c */
typedef struct PynRules
{
	bool		given;
	PynRule    *rules;
	int			count;
} PynRules;

typedef struct PynRuleColumn
{
	const char *name;			/* UTF-8 */
	PynKind		kind;
} PynRuleColumn;

extern void pyn_read_rules(Jsonb *json, PynRules *rules);
extern void pyn_require_rules(const PynRules *rules, const PynRuleColumn *columns, int count);
extern void pyn_replace_rules(PynModel *model, const PynRules *rules);
extern void pyn_put_rule(PynJson *json, const PynRule *rule);

typedef struct PynCallOptions
{
	PynFitOptions fit;
	PynRules	suppress;
	bool		sample_text;
	PynExplain	explain;
	char	   *label;			/* in the server's encoding, or NULL */
} PynCallOptions;

/* Options of fit (`contamination` among them) or, when `detecting`, of detect, where it is an argument of its own. */
extern void pyn_call_options(const char *algorithm, Jsonb *json, bool detecting, PynCallOptions *options);

/* Options of detect with a given model: nothing that fitting needs. */
extern void pyn_scoring_options(Jsonb *json, PynCallOptions *options);
extern double pyn_check_contamination(double contamination);

/* A contamination given beside the options: an error where these flag by another method. */
extern void pyn_set_contamination(PynCallOptions *options, double contamination);

/* Fits, or raises the error that says why not; the bytes are a datum in the current memory context. */
extern Datum pyn_fit_sketch(const PynSketch *sketch, const PynFitOptions *options, const char *what);
extern void pyn_set_zone(PynModel *model);

/* Whether values of one kind may be given to a column of another: integers and numbers are read alike. */
static inline bool
pyn_kinds_agree(PynKind given, PynKind wanted)
{
	return given == wanted || ((given == PYN_KIND_INTEGER || given == PYN_KIND_NUMBER) &&
							   (wanted == PYN_KIND_INTEGER || wanted == PYN_KIND_NUMBER));
}

/* reasons.c */
extern const char *pyn_severity_name(PynSeverity severity);

/* Appends an array of reasons; texts hold the text cells' texts (UTF-8).  Of a suppressed row they say by which rules. */
extern void pyn_put_reasons(PynJson *json, const char *name, const PynModel *model, const PynCell *cells,
							const PynText *texts, bool suppressed);
extern char *pyn_feature_name(const PynModel *model, const PynFeature *feature);
extern void pyn_put_value(PynJson *json, const PynModel *model, const PynFeature *feature, PynCell cell,
						  const PynText *text);
extern Jsonb *pyn_reasons(const PynModel *model, const PynCell *cells, const PynText *texts, bool suppressed);

/* counterfactual_json.c */
extern void pyn_put_normal_if(PynJson *json, const PynModel *model, const PynCell *cells);
extern Jsonb *pyn_counterfactual(const PynModel *model, const PynCell *cells, const PynText *texts);

#endif							/* PYN_MODEL_TYPE_H */
