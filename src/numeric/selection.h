/*
 * selection.h
 *		Order statistics without sorting.
 */
#ifndef PYN_SELECTION_H
#define PYN_SELECTION_H

#include "kernel/port.h"

/*
 * Gives the value of rank `rank` (0 the smallest) among `count` numbers, none NaN, in expected linear time.  The numbers
 * are reordered: afterwards none before `rank` is larger and none after it smaller, so that further ranks can be selected
 * among either part.
 */
extern double pyn_select(double *numbers, int count, int rank);

#endif							/* PYN_SELECTION_H */
