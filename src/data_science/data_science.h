/*
 * data_science.h
 *		The domain that reads users' relations: datasets, detections and anomalies.
 */
#ifndef PYN_DATA_SCIENCE_H
#define PYN_DATA_SCIENCE_H

#include "postgres.h"
#include "utils/array.h"
#include "utils/jsonb.h"
#include "utils/uuid.h"

#include "kernel/json_reader.h"

/* Settings. */
extern int	pyn_data_science_retention; /* s */
extern int	pyn_data_science_max_anomalies;
extern int	pyn_data_science_kept_sketches;

/* dataset.c */
typedef struct PynDataset
{
	int64		id;
	Oid			owner;
	Oid			relation;
	char	   *source;			/* its qualified name */
	ArrayType  *columns;		/* name[], or NULL: every usable one */
	ArrayType  *key;			/* name[], or NULL: the primary key, else the row's place */
} PynDataset;

typedef struct PynDatasetVersion
{
	int			version;
	bytea	   *sketch;			/* digest; NULL: no longer kept */
	bytea	   *labels;			/* digest of what people have said of its rows; NULL: nothing, or not asked for */
	int64		rows;
	Jsonb	   *columns;
	double		seconds;
} PynDatasetVersion;

extern Oid	pyn_dataset_relation(Jsonb *arguments);
extern char *pyn_dataset_source(Oid relation);
extern void pyn_dataset_register(PynDataset *dataset);
extern void pyn_dataset_read(int64 id, Oid reader, PynDataset *dataset);
extern void pyn_dataset_process(const PynDataset *dataset, const char *algorithm, Jsonb *options, pg_uuid_t *request,
								bool with_labels, PynDatasetVersion *version);
extern void pyn_dataset_find_version(const PynDataset *dataset, int number, PynDatasetVersion *version);
extern void pyn_dataset_discard(pg_uuid_t *request, Oid owner);

/* detection.c */
typedef struct PynDetection
{
	int64		id;
	int64		rows;
	int64		anomalies;
	double		seconds;
} PynDetection;

/* The model that judges, as the registry knows it. */
typedef struct PynJudge
{
	char	   *name;
	int			version;
	bytea	   *digest;
} PynJudge;

extern void pyn_detection_run(const PynDataset *dataset, const PynJudge *judge, double contamination, const char *algorithm, Jsonb *options,
							  pg_uuid_t *request, PynDetection *detection);
extern void pyn_detection_discard(pg_uuid_t *request, Oid owner);

/* anomaly.c */
extern void pyn_anomalies_tell(int64 detection, int64 dataset, Oid owner);
extern Jsonb *pyn_anomaly_summary(pg_uuid_t *request, Oid reader);

/* labels.c */
extern bytea *pyn_labels_store(const PynDataset *dataset);

extern void pyn_data_science_init(void);

#endif							/* PYN_DATA_SCIENCE_H */
