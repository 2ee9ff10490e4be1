/* SPDX-License-Identifier: MIT */
/*
 * What an arena has cost the janitor beyond what its bytes are worth. Whoever has an arena can have each wipe of it wait for the lock of its inode, by writing to it without
 * pause: everybody else's would wait behind.
 */
#ifndef CSVN_JANITOR_TOLL_H
#define CSVN_JANITOR_TOLL_H

#include <stdbool.h>
#include <stdint.h>

/* When something begins or ends. */
struct moment {
	uint64_t now, used; /* nanoseconds: of the clock, and of this thread's time */
	long waits; /* times that this thread has waited */
};

struct toll {
	uint64_t paid; /* nanoseconds */
	uint64_t at; /* when that was looked at last */
};

struct moment moment_now(void);
/* Has it cost too much lately? */
bool toll_is_high(struct toll *t, const struct moment *now);
/* A range of so many bytes was wiped. */
void toll_add(struct toll *t, const struct moment *began, const struct moment *ended, uint64_t bytes);

#endif
