/* sources: src/numeric/selection.c */
/*
 * selection.c
 *		Selected order statistics against those of the C library's sort, for numbers of many shapes.
 */
#include "kernel/hash.h"
#include "numeric/selection.h"
#include "tap.h"

#define MOST 3000

static int
compare(const void *a, const void *b)
{
	double		x = *(const double *) a;
	double		y = *(const double *) b;

	return (x > y) - (x < y);
}

/* The shape-th kind of numbers. */
static double
number(int shape, int i, int count, PynRandom *random)
{
	switch (shape)
	{
		case 0:
			return pyn_random_double(random);
		case 1:
			return i;
		case 2:
			return count - i;
		case 3:
			return pyn_random_below(random, 3);
		case 4:
			return 1;
		case 5:
			return i < count / 2 ? i : count - i;
		default:
			return (i % 7 == 0 ? 1e308 : -1e308) * pyn_random_double(random);
	}
}

int
main(void)
{
	static double given[MOST];
	static double sorted[MOST];
	PynRandom	random = {5};
	int			wrong = 0;
	int			unparted = 0;
	int			calls = 0;

	for (int shape = 0; shape <= 6; shape++)
		for (int count = 1; count <= MOST; count = count * 3 / 2 + 1)
			for (int rank = 0; rank < count; rank += 1 + count / 37)
			{
				for (int i = 0; i < count; i++)
					given[i] = sorted[i] = number(shape, i, count, &random);
				qsort(sorted, count, sizeof(double), compare);
				wrong += pyn_select(given, count, rank) != sorted[rank];
				for (int i = 0; i < count; i++)
					unparted += i < rank ? given[i] > given[rank] : given[i] < given[rank];
				qsort(given, count, sizeof(double), compare);
				wrong += memcmp(given, sorted, sizeof(double) * count) != 0;
				calls++;
			}
	printf("# %d calls\n", calls);
	ok(wrong == 0, "the selected number is that of its rank, and no number is lost");
	ok(unparted == 0, "smaller numbers stand before it and larger ones after it");
	return done();
}
