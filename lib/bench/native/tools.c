/* SPDX-License-Identifier: MIT */
/* What the channels and the measures both need. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "channel.h"

void check(long rc, const char *what)
{
	if (rc >= 0)
		return;
	fprintf(stderr, "native bench: %s: %s\n", what, strerror(rc == -1 ? errno : (int)-rc));
	exit(1);
}

uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void *shared_memory(uint64_t bytes, int *fd)
{
	int made = memfd_create("bench", 0);
	void *memory;

	check(made, "memfd_create");
	check(ftruncate(made, (off_t)bytes), "ftruncate");
	memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, made, 0);
	check(memory == MAP_FAILED ? -1 : 0, "mmap");
	if (fd)
		*fd = made;
	else
		close(made);
	return memory;
}
