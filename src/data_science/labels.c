/*
 * labels.c
 *		What people have said of a relation's anomalies, for models that are fitted later.
 *
 * Labels lie with anomalies, which know the row's values as they were when it was flagged: the row may have been mended,
 * moved or removed since, and what is learnt from it stays true.  They go to the registry of models as an artifact, since
 * they are values of users' rows and events hold none.
 */
#include "kernel/port.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"

#include "data_science/data_science.h"
#include "kernel/access.h"
#include "kernel/artifact.h"
#include "kernel/statement.h"

#define ARTIFACT_KIND "labels"
#define MOST_LABELS 1000		/* the newest ones */

/*
 * The labels of all datasets of the relation whose owner's role the reader has, since models are not bound to a key or to a
 * choice of columns.  The last word on a row with the same key and values counts, whichever detections have found it.  What is
 * given depends on the labels alone, not on when or in what order they were given.
 */
static Jsonb *
collect(Oid relation, Oid reader)
{
	static PynStatement select_labels = PYN_STATEMENT(
		"WITH said AS (SELECT DISTINCT ON (a.key, a.evidence -> 'row') a.id, a.label, a.evidence -> 'row' AS row, h.said_at "
		"FROM pynomaly_data_science.dataset s JOIN pynomaly_data_science.detection d ON d.dataset = s.id "
		"JOIN pynomaly_data_science.anomaly a ON a.detection = d.id CROSS JOIN LATERAL ("
		"SELECT max(changed_at) AS said_at FROM pynomaly_data_science.anomaly_history h "
		"WHERE h.anomaly = a.id AND h.label IS NOT NULL AND h.label IS DISTINCT FROM h.label_before) AS h "
		"WHERE s.source = $1 AND a.label IS NOT NULL AND pg_has_role($2, a.owner, 'USAGE') "
		"ORDER BY a.key, a.evidence -> 'row', h.said_at DESC NULLS LAST, a.id DESC), "
		"newest AS (SELECT * FROM said ORDER BY said_at DESC NULLS LAST, id DESC LIMIT $3) "
		"SELECT jsonb_agg(jsonb_build_object('label', label, 'row', row) ORDER BY label, row) FROM newest",
		REGCLASSOID, OIDOID, INT8OID);
	MemoryContext caller = CurrentMemoryContext;
	Datum		values[] = {ObjectIdGetDatum(relation), ObjectIdGetDatum(reader), Int64GetDatum(MOST_LABELS)};
	Jsonb	   *labels = NULL;
	PynAccess	access;
	Datum		field;
	bool		is_null;

	pyn_access_begin(&access, pyn_owner());
	SPI_connect();
	pyn_execute(&select_labels, values, NULL, 1);
	field = pyn_field(0, 1, &is_null);
	if (!is_null)
	{
		MemoryContextSwitchTo(caller);
		labels = DatumGetJsonbPCopy(field);
	}
	SPI_finish();
	pyn_access_end(&access);
	return labels;
}

/*
 * pyn_labels_store stores the labels that the dataset's owner may learn from, as the text of an array of {label, row}, and gives
 * the digest; NULL if there are none.
 */
bytea *
pyn_labels_store(const PynDataset *dataset)
{
	Jsonb	   *labels = collect(dataset->relation, dataset->owner);

	if (labels == NULL)
		return NULL;
	return pyn_artifact_put(ARTIFACT_KIND, (bytea *) cstring_to_text(JsonbToCString(NULL, &labels->root, VARSIZE(labels))),
							dataset->owner);
}
