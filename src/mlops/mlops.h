/*
 * mlops.h
 *		Models, their versions and the aliases by which people choose one.
 *
 * Whoever acts is a role that is handed down: the current user of an operation, the publisher of the event in a step.
 * A role finds the models of all roles that it belongs to; what others own does not exist for it.
 */
#ifndef PYN_MLOPS_H
#define PYN_MLOPS_H

#include "kernel/port.h"

#include "utils/array.h"
#include "utils/jsonb.h"
#include "utils/uuid.h"

#include "kernel/access.h"

#define PYN_CHAMPION "champion" /* the alias that a bare name stands for */

/* What may be written for a version: 'name', 'name@alias' or 'name/3'. */
typedef struct PynModelAddress
{
	const char *text;			/* as it was written */
	char	   *name;
	char	   *alias;			/* of a bare name the champion; NULL: by number */
	int64		version;
	bool		bare;
} PynModelAddress;

/* address.c */
extern void pyn_mlops_read_address(const char *text, PynModelAddress *address);
extern void pyn_mlops_check_model_name(const char *name);
extern void pyn_mlops_check_alias(const char *alias);

/* training.c: what is to be fitted, and what came of it */
typedef struct PynTrainingOrder
{
	Oid			owner;			/* whose sketch is read and whose model it becomes */
	const char *name;
	const char *description;	/* NULL: as it is */
	const char *source;			/* NULL: not told */
	int64		dataset;		/* negative: not told */
	bytea	   *sketch;
	bytea	   *labels;			/* digest of what people have said of rows; NULL: nothing */
	Jsonb	   *options;		/* as they were given; NULL: none */
	struct PynCallOptions *call;	/* and as they were read */
	pg_uuid_t  *request;		/* NULL: somebody's own call */
} PynTrainingOrder;

typedef struct PynTrained
{
	bytea	   *bytes;			/* of the pynomaly.model */
	const char *algorithm;
	double		contamination;
	int64		rows;
	int64		training_rows;
	int64		seed;
	ArrayType  *columns;		/* that play a part, as name[] */
	Jsonb	   *labels;			/* digest and numbers of those that were given; NULL: none */
} PynTrained;

extern bool pyn_mlops_learns_labels(const PynTrainingOrder *order);
extern void pyn_mlops_read_options(PynTrainingOrder *order, const char *algorithm, double contamination,
								   bool columns_named, bool of_journey);
extern void pyn_mlops_fit(const PynTrainingOrder *order, PynTrained *trained);

/* registry.c */
typedef struct PynRegisteredModel
{
	int64		id;
	Oid			owner;
	char	   *name;
} PynRegisteredModel;

typedef struct PynModelVersion
{
	PynRegisteredModel model;
	int64		id;
	int32		version;
	bytea	   *digest;
	char	   *algorithm;
	char	   *status;
	ArrayType  *columns;
	int64		rows;
	int64		training_rows;
	double		contamination;
	int64		seed;
	char	   *code_version;
	Jsonb	   *labels;			/* NULL: none */
} PynModelVersion;

/* Everything below is done between these two: as the extension's owner, connected to SPI. */
extern void pyn_mlops_begin(PynAccess *access);
extern void pyn_mlops_end(PynAccess *access);

extern bool pyn_mlops_find_model(const char *name, Oid role, PynRegisteredModel *model);
extern void pyn_mlops_need_model(const char *name, Oid role, PynRegisteredModel *model);
extern void pyn_mlops_lock_model(const PynRegisteredModel *model);
extern bool pyn_mlops_find_version(const PynRegisteredModel *model, const PynModelAddress *address,
								   PynModelVersion *version);
extern void pyn_mlops_need_version(const PynRegisteredModel *model, const PynModelAddress *address,
								   PynModelVersion *version);
extern void pyn_mlops_require_ready(const PynModelVersion *version);
extern bool pyn_mlops_find_request(const pg_uuid_t *request, Oid role, PynModelVersion *version, bool *reused);
extern void pyn_mlops_keep_request(const pg_uuid_t *request, Oid owner, const PynModelVersion *version, bool reused);
extern void pyn_mlops_add_version(const PynTrainingOrder *order, const PynTrained *trained, Oid created_by,
								  double seconds, PynModelVersion *version);
extern void pyn_mlops_tell_change(void);

/* alias.c: of a model that is locked */
typedef struct PynAliasChange
{
	const char *name;
	Oid			changed_by;
	const char *reason;			/* may be NULL */
	const pg_uuid_t *request;	/* may be NULL */
} PynAliasChange;

extern int32 pyn_mlops_give_alias(const PynAliasChange *change, const PynModelVersion *version);
extern bool pyn_mlops_alias_is_given(const PynRegisteredModel *model, const char *name);
extern void pyn_mlops_roll_back(const PynAliasChange *change, const PynRegisteredModel *model, PynModelVersion *version,
								int32 *previous);
extern void pyn_mlops_take_aliases_back(const PynAliasChange *change, const PynRegisteredModel *model);

/* learning.c: from people's verdicts on what a version has found */
typedef struct PynVerdictOrder
{
	const char *model;			/* name, number and digest of the version */
	int32		version;
	bytea	   *digest;
	int64		reference;		/* what the asking domain calls the row */
	const char *label;			/* NULL: the verdict is taken back */
	Jsonb	   *evidence;		/* the row's scores */
} PynVerdictOrder;

typedef struct PynLesson
{
	PynModelVersion version;	/* champion now; id 0: nothing was looked at */
	int32		previous;		/* that was champion; 0: none of the family */
	const char *outcome;		/* in words */
	Jsonb	   *learned;		/* NULL: nothing */
} PynLesson;

extern bool pyn_mlops_find_finder(const PynVerdictOrder *order, Oid role, PynModelVersion *finder);
extern void pyn_mlops_learn(const PynVerdictOrder *order, const PynModelVersion *finder, Oid role, PynLesson *lesson);

/* removal.c */
extern bytea *pyn_mlops_store_bytes(bytea *bytes, Oid owner);
extern void pyn_mlops_hold_bytes(const PynModelVersion *version);
extern void pyn_mlops_expire(const PynRegisteredModel *model);
extern void pyn_mlops_expire_children(const PynRegisteredModel *model);
extern int	pyn_mlops_withdraw_request(const pg_uuid_t *request, Oid role);
extern void pyn_mlops_drop(const PynRegisteredModel *model, int *versions, int *artifacts);

#endif							/* PYN_MLOPS_H */
