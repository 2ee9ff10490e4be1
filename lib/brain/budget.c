/* SPDX-License-Identifier: MIT */
#include "budget.h"

#include <unistd.h>

uint32_t budget_of_host(void)
{
	long processors = sysconf(_SC_NPROCESSORS_ONLN);

	return processors > 2 ? (uint32_t)processors * BUDGET_PORT / 2 : BUDGET_PORT;
}

/* What ports come to if none polls for more than this. */
static uint64_t sum(const uint32_t *polled, uint32_t ports, uint32_t limit)
{
	uint64_t all = 0;

	for (uint32_t i = 0; i < ports; i++)
		all += polled[i] < limit ? polled[i] : limit;
	return all;
}

uint32_t budget_limit(const uint32_t *polled, uint32_t ports, uint32_t budget, uint32_t before)
{
	uint32_t low = 1, high = BUDGET_PORT;

	if (sum(polled, ports, BUDGET_PORT) <= budget) {
		uint32_t next = before + before / 4 + 1;

		return before == 0 || next >= BUDGET_PORT ? 0 : next;
	}
	/* The highest with which they stay within it. */
	while (low < high) {
		uint32_t middle = (low + high + 1) / 2;

		if (sum(polled, ports, middle) <= budget)
			low = middle;
		else
			high = middle - 1;
	}
	return low;
}
