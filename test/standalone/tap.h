/*
 * tap.h
 *		What the standalone test programs print: TAP.
 */
#ifndef TAP_H
#define TAP_H

#include <stdio.h>

static int	tests;
static int	failures;

/* One test; its name is the sentence that it proves. */
static inline void
ok(bool passed, const char *sentence)
{
	printf("%s %d - %s\n", passed ? "ok" : "not ok", ++tests, sentence);
	failures += !passed;
	fflush(stdout);
}

/* The plan; what main returns. */
static int
done(void)
{
	printf("1..%d\n", tests);
	return failures > 0;
}

#endif							/* TAP_H */
