/*
 * selection.c
 *		Order statistics without sorting: quickselect (Hoare 1961) with random pivots.
 */
#include "kernel/hash.h"
#include "numeric/selection.h"

#define FEW 16					/* so many numbers are sorted by insertion */

static void
insertion_sort(double *numbers, int low, int high)
{
	for (int i = low + 1; i <= high; i++)
	{
		double		number = numbers[i];
		int			j = i - 1;

		for (; j >= low && numbers[j] > number; j--)
			numbers[j + 1] = numbers[j];
		numbers[j + 1] = number;
	}
}

double
pyn_select(double *numbers, int count, int rank)
{
	PynRandom	random = {(uint64) count};
	int			low = 0;
	int			high = count - 1;

	Assert(rank >= 0 && rank < count);
	while (high - low > FEW)
	{
		double		pivot = numbers[low + (int) pyn_random_below(&random, (uint32) (high - low + 1))];
		int			i = low;
		int			j = high;

		while (i <= j)
		{
			while (numbers[i] < pivot)
				i++;
			while (numbers[j] > pivot)
				j--;
			if (i <= j)
			{
				double		swap = numbers[i];

				numbers[i++] = numbers[j];
				numbers[j--] = swap;
			}
		}
		if (rank <= j)
			high = j;
		else if (rank >= i)
			low = i;
		else
			return numbers[rank];	/* between the two parts all equal the pivot */
	}
	insertion_sort(numbers, low, high);
	return numbers[rank];
}
