/*
 * artifact.h
 *		Stores large values by their SHA-256.
 */
#ifndef PYN_ARTIFACT_H
#define PYN_ARTIFACT_H

#include "postgres.h"

/*
 * They take the bytes as a bytea and a digest as a bytea of 32; `owner` as a role, InvalidOid: the current user.
 *
 * Equal bytes of one owner are one artifact, which may be needed in several places.  Who stores one, or holds one that he
 * refers to, keeps it until his transaction ends.  Who wants to drop one seizes it first, which fails while it is held, and
 * then looks whether it is still needed, in a snapshot that is taken after that: so neither misses the other.
 */
extern bytea *pyn_artifact_put(const char *kind, bytea *bytes, Oid owner);
extern bytea *pyn_artifact_get(bytea *digest, Oid reader);
extern bool pyn_artifact_hold(bytea *digest, Oid owner);
extern bool pyn_artifact_seize(bytea *digest, Oid owner);
extern bool pyn_artifact_drop(bytea *digest, Oid owner);

#endif							/* PYN_ARTIFACT_H */
