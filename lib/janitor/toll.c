/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "toll.h"

#include <sys/resource.h>
#include <time.h>

#define HIGH_NS 100000000ull
#define FORGIVEN 1000u /* one part of the time that passes is for each arena */
#define FREE_NS 500000ull /* of each range, and so much for each byte: 1 */

static uint64_t nanoseconds(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

struct moment moment_now(void)
{
	struct rusage usage = { .ru_nvcsw = 0 };
	struct moment m = { .now = nanoseconds(CLOCK_MONOTONIC), .used = nanoseconds(CLOCK_THREAD_CPUTIME_ID) };

	(void)getrusage(RUSAGE_THREAD, &usage);
	m.waits = usage.ru_nvcsw;
	return m;
}

bool toll_is_high(struct toll *t, const struct moment *now)
{
	uint64_t forgiven = (now->now - t->at) / FORGIVEN;

	t->paid -= forgiven < t->paid ? forgiven : t->paid;
	t->at = now->now;
	return t->paid > HIGH_NS;
}

void toll_add(struct toll *t, const struct moment *began, const struct moment *ended, uint64_t bytes)
{
	/* Who waits for a lock sleeps, or spins. What it did not run for without waiting, is nobody's fault: the processors have much to do. */
	uint64_t took = ended->waits != began->waits ? ended->now - began->now : ended->used - began->used;
	uint64_t is_free = FREE_NS + bytes;

	if (took > is_free)
		t->paid += took - is_free;
}
