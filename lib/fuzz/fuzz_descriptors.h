/* SPDX-License-Identifier: MIT */
/* How many descriptors the process has: an input is to leave none. */
#ifndef CSVN_FUZZ_FUZZ_DESCRIPTORS_H
#define CSVN_FUZZ_FUZZ_DESCRIPTORS_H

#include <poll.h>
#include <unistd.h>

#include "check.h"

#define DESCRIPTORS 512 /* that are looked at */
#define LOOKS 100000 /* at least 10 s: what other threads close is closed by then */

static inline int descriptors_count(void)
{
	struct pollfd all[DESCRIPTORS];
	int count = 0;

	/* One call, which says POLLNVAL of those that are not open. */
	for (int fd = 0; fd < DESCRIPTORS; fd++)
		all[fd] = (struct pollfd){ .fd = fd };
	CHECK(poll(all, DESCRIPTORS, 0) >= 0);
	for (int fd = 0; fd < DESCRIPTORS; fd++)
		count += !(all[fd].revents & POLLNVAL);
	return count;
}

static inline void descriptors_check(int before)
{
	for (int i = 0; descriptors_count() != before; i++) {
		CHECK(i < LOOKS);
		usleep(100);
	}
}

#endif
