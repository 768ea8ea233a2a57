/*
 * sketch_store.c
 *		Sketches as artifacts: how one domain hands a scan's result to the others.
 */
#include "kernel/port.h"

#include "utils/builtins.h"

#include "kernel/artifact.h"
#include "sketch/sketch_store.h"
#include "sketch/sketch_type.h"

#define ARTIFACT_KIND "sketch"

/*
 * pyn_sketch_store stores a settled sketch for its owner and gives the digest of its bytes.
 */
bytea *
pyn_sketch_store(PynSketch *sketch, Oid owner)
{
	Datum		flat = pyn_sketch_to_datum(sketch);
	bytea	   *digest = pyn_artifact_put(ARTIFACT_KIND, DatumGetByteaPP(flat), owner);

	pfree(DatumGetPointer(flat));
	return digest;
}

/*
 * pyn_sketch_load gives the sketch that `reader`, or a role that it belongs to, has stored under the digest.
 */
PynSketch *
pyn_sketch_load(bytea *digest, Oid reader)
{
	bytea	   *flat = pyn_artifact_get(digest, reader);
	PynSketch  *sketch;
	const char *fault = pyn_sketch_read(VARDATA_ANY(flat), VARSIZE_ANY_EXHDR(flat), &sketch);

	if (fault != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
				 errmsg("the artifact is no sketch: %s", fault)));
	pfree(flat);
	return sketch;
}
