/*
 * contract.h
 *		Registered contracts.
 */
#ifndef PYN_CONTRACT_H
#define PYN_CONTRACT_H

#include "postgres.h"

extern Oid	pyn_operation_function(const char *domain, const char *operation, bool is_stream);

#endif							/* PYN_CONTRACT_H */
