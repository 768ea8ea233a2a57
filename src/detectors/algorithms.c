/*
 * algorithms.c
 *		The detectors that there are, by name.
 */
#include "kernel/port.h"
#include "detectors/detector.h"

const PynDetector *const pyn_detectors[] = {
	&pyn_isolation_forest,
	&pyn_ecod,
};

const int	pyn_detector_count = lengthof(pyn_detectors);

const PynDetector *
pyn_find_detector(const char *name)
{
	for (int i = 0; i < pyn_detector_count; i++)
		if (strcmp(pyn_detectors[i]->name, name) == 0)
			return pyn_detectors[i];
	return NULL;
}
