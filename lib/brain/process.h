/* SPDX-License-Identifier: MIT */
/* Starting the process of a port or a janitor, with what it has in common with the brain. */
#ifndef CSVN_BRAIN_PROCESS_H
#define CSVN_BRAIN_PROCESS_H

#include <sys/types.h>
#include <unistd.h>

#include "plane.h"

/* A process that has been started, or could not be. */
struct begun {
	struct link link;
	int process, pid, bell;
};

static inline void close_descriptor(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* Start one. What it was started with is closed here, but for front; a janitor has none. Of the plane nothing is looked at that changes. */
int process_start(const struct plane *p, bool janitor, int front, struct begun *b);
/* One that cannot be waited for as the others are is ended; it has begun a moment ago, and holds nothing that would keep it. */
void process_give_up(pid_t pid);

#endif
