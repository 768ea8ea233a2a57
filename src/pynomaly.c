/*
 * pynomaly.c
 *		The composition root: the one file that sees every module.
 */
#include "postgres.h"

#include <limits.h>

#include "fmgr.h"
#include "utils/guc.h"

#include "kernel/settings.h"
#include "sketch/sketch_type.h"

PG_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
	DefineCustomIntVariable("pynomaly.work_mem",
							"Sets the maximum memory that one sketch may take.",
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

	MarkGUCPrefixReserved("pynomaly");
}
