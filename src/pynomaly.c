/*
 * pynomaly.c
 *		The composition root: the one file that sees every module.
 */
#include "postgres.h"

#include <limits.h>

#include "catalog/namespace.h"
#include "fmgr.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"

#include "data_science/data_science.h"
#include "detectors/model_type.h"
#include "gateway/gateway.h"
#include "kernel/artifact.h"
#include "kernel/json_reader.h"
#include "kernel/service.h"
#include "kernel/settings.h"
#include "kernel/statement.h"
#include "sketch/sketch_type.h"

PG_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);

/* The table whose changes give names of models another meaning. */
static Oid	alias_table;

static void
forget_names(Datum argument, Oid relation)
{
	if (relation == InvalidOid || relation == alias_table)
		pyn_model_names++;
}

/*
 * A model by its name, for score() and its like: what the registry of models knows, as the current user may see it and at
 * the snapshot of the query.
 */
static Datum
resolve_model(const char *name)
{
	static bool registered = false;
	PynCall		call = {.domain = "mlops",.operation = "get_model"};
	bool		was_reading = pyn_reading;
	bytea	   *volatile model = NULL;
	PynJson		json = {0};

	if (!registered)
	{
		CacheRegisterRelcacheCallback(forget_names, (Datum) 0);
		registered = true;
	}
	alias_table = get_relname_relid("alias", get_namespace_oid("pynomaly_mlops", true));
	pyn_json_open_object(&json, NULL);
	pyn_json_text(&json, "name", name);
	pyn_json_close_object(&json);
	call.arguments = pyn_json_finish(&json);
	PG_TRY();
	{
		pyn_reading = true;
		model = pyn_artifact_get(pyn_json_get_digest(pyn_call(&call), "digest"), InvalidOid);
	}
	PG_FINALLY();
	{
		pyn_reading = was_reading;
	}
	PG_END_TRY();
	return PointerGetDatum(model);
}

void
_PG_init(void)
{
	DefineCustomIntVariable("pynomaly.work_mem",
							"Sets the maximum memory that one sketch, or the labelled rows of one evaluation, may take.",
							"A sketch keeps a row sample of at most 64 MB and about 30 kB a column; one that could "
							"need more than this raises an error.",
							&pyn_work_mem,
							256 * 1024,
							1024,
							MAX_KILOBYTES,
							PGC_USERSET,
							GUC_UNIT_KB,
							NULL, NULL, NULL);
	pyn_kernel_init();
	pyn_data_science_init();
	pyn_gateway_init();
	pyn_model_resolver = resolve_model;

	MarkGUCPrefixReserved("pynomaly");
}
