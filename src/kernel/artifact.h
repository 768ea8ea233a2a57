/*
 * artifact.h
 *		Stores large values by their SHA-256.
 */
#ifndef PYN_ARTIFACT_H
#define PYN_ARTIFACT_H

#include "postgres.h"

/* They take the bytes as a bytea and a digest as a bytea of 32; `owner` as a role, InvalidOid: the current user. */
extern bytea *pyn_artifact_put(const char *kind, bytea *bytes, Oid owner);
extern bytea *pyn_artifact_get(bytea *digest, Oid reader);
extern bool pyn_artifact_drop(bytea *digest, Oid owner);

#endif							/* PYN_ARTIFACT_H */
