/*
 * sketch_store.h
 *		Sketches as artifacts.
 */
#ifndef PYN_SKETCH_STORE_H
#define PYN_SKETCH_STORE_H

#include "postgres.h"

#include "sketch/sketch.h"

/* Stores a settled sketch for its owner and gives the digest of its bytes. */
extern bytea *pyn_sketch_store(PynSketch *sketch, Oid owner);

/* The sketch that `reader`, or a role that it belongs to, has stored under the digest; in the current memory context. */
extern PynSketch *pyn_sketch_load(bytea *digest, Oid reader);

#endif							/* PYN_SKETCH_STORE_H */
