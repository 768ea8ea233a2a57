/*
 * port.h
 *		Lets the numeric core be compiled for the server and alone.
 *
 * The parsers of sketch and model bytes, the sketch's arithmetic and the detectors know neither SQL nor the server:
 * they need memory, fixed-width integers and a way to let the user cancel.  In the server these come from postgres.h;
 * with PYN_STANDALONE they come from the C library, so that the same files build under AddressSanitizer and
 * UndefinedBehaviorSanitizer, where an over-read inside a palloc block would be seen (test/standalone).
 *
 * Such files include this header first and never raise an SQL error: they return a message and the caller reports it.
 */
#ifndef PYN_PORT_H
#define PYN_PORT_H

#ifndef PYN_STANDALONE

#include "postgres.h"

#include <limits.h>

#include "miscadmin.h"
#include "utils/memutils.h"

/* Memory that may pass 1 GB, from the current context. */
#define pyn_palloc_huge(size) MemoryContextAllocHuge(CurrentMemoryContext, (size))
#define pyn_repalloc_huge(pointer, size) repalloc_huge((pointer), (size))

#else

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <assert.h>

typedef uint8_t uint8;
typedef uint16_t uint16;
typedef uint32_t uint32;
typedef uint64_t uint64;
typedef int8_t int8;
typedef int16_t int16;
typedef int32_t int32;
typedef int64_t int64;
typedef double float8;
typedef float float4;
typedef size_t Size;

#define NAMEDATALEN 64
#define Assert(condition) assert(condition)
#define Min(a, b) ((a) < (b) ? (a) : (b))
#define Max(a, b) ((a) > (b) ? (a) : (b))
#define lengthof(array) (sizeof(array) / sizeof((array)[0]))
#define likely(x) __builtin_expect((x) != 0, 1)
#define unlikely(x) __builtin_expect((x) != 0, 0)
#define pg_attribute_printf(f, a) __attribute__((format(printf, f, a)))
#define INT64CONST(x) (x##L)
#define UINT64CONST(x) (x##UL)
#define CHECK_FOR_INTERRUPTS() ((void) 0)

/* For lib/sort_template.h, the one header of the server that is used here, too. */
#define CppConcat(x, y) x##y
#define pg_noinline __attribute__((noinline))

/*
 * Blocks are linked, so that a program that parses a hundred thousand values can free what a failed parse left, as a
 * memory context would; each is malloc'd by itself and of exact size.  Out of memory ends the program.
 */
typedef struct PynStandaloneBlock
{
	struct PynStandaloneBlock *next;
	struct PynStandaloneBlock *previous;
} PynStandaloneBlock;

__attribute__((weak)) PynStandaloneBlock *pyn_standalone_blocks;

static inline void
pyn_standalone_free(void *pointer)
{
	PynStandaloneBlock *block = (PynStandaloneBlock *) pointer - 1;

	if (block->next != NULL)
		block->next->previous = block->previous;
	if (block->previous != NULL)
		block->previous->next = block->next;
	else
		pyn_standalone_blocks = block->next;
	free(block);
}

static inline void *
pyn_standalone_alloc(void *pointer, Size size)
{
	PynStandaloneBlock *old = pointer != NULL ? (PynStandaloneBlock *) pointer - 1 : NULL;
	PynStandaloneBlock *block = realloc(old, sizeof(PynStandaloneBlock) + size);

	if (block == NULL)
		abort();
	if (old == NULL)
	{
		block->previous = NULL;
		block->next = pyn_standalone_blocks;
		pyn_standalone_blocks = block;
	}
	else if (block->previous == NULL)
		pyn_standalone_blocks = block;
	if (block->previous != NULL)
		block->previous->next = block;
	if (block->next != NULL)
		block->next->previous = block;
	return block + 1;
}

/* Frees all that was allocated and not freed. */
static inline void
pyn_standalone_reset(void)
{
	while (pyn_standalone_blocks != NULL)
		pyn_standalone_free(pyn_standalone_blocks + 1);
}

#define palloc(size) pyn_standalone_alloc(NULL, (size))
#define palloc0(size) memset(pyn_standalone_alloc(NULL, (size)), 0, (size))
#define repalloc(pointer, size) pyn_standalone_alloc((pointer), (size))
#define pfree(pointer) pyn_standalone_free(pointer)
#define pyn_palloc_huge(size) palloc(size)
#define pyn_repalloc_huge(pointer, size) repalloc((pointer), (size))

#endif							/* PYN_STANDALONE */

/* Arrays whose size in bytes cannot overflow: the count is checked by the caller against a stated limit. */
#define pyn_new(type, count) ((type *) pyn_palloc_huge(sizeof(type) * (Size) (count)))
#define pyn_new0(type, count) ((type *) memset(pyn_new(type, count), 0, sizeof(type) * (Size) (count)))

#endif							/* PYN_PORT_H */
