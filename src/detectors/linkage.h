/*
 * linkage.h
 *		Dense groups among rows that may be scattered between them.
 */
#ifndef PYN_LINKAGE_H
#define PYN_LINKAGE_H

#include "kernel/port.h"

/*
 * Finds groups of at least `least` rows, columns[feature * count + row], by single linkage of mutual reachability distances to
 * the neighbours-th nearest row (more rows than that).  Says each row's group in labels[row], -1 for those between groups, and
 * returns how many groups there are; 0: there is only one.
 */
extern int	pyn_dense_groups(const double *columns, int count, int features, int neighbours, int least, int *labels);

#endif							/* PYN_LINKAGE_H */
