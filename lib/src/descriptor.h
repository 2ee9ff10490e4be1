/* SPDX-License-Identifier: MIT */
/*
 * The last descriptors of the process are kept for what must always be possible: its API, its files, and to close down. What guests and
 * their peers can make any number of (sockets, connections) does not get them; arenas, without which the connections that there are
 * cannot be used, get half of them.
 *
 * The kernel gives out the lowest free number. So a number close to the limit says that there are but few left.
 */
#ifndef CSVN_DESCRIPTOR_H
#define CSVN_DESCRIPTOR_H

#include <stdbool.h>

/* Is this one of the last? */
bool descriptor_is_last(int fd);
/* A new descriptor that nobody else has, or -1 with errno: the same, or -errno; one of the last is closed again and is -EMFILE. */
int descriptor_made(int fd);
/* The same for an arena's. */
int descriptor_made_arena(int fd);
/* Would a new one be among the last, or is there none at all? */
bool descriptor_is_short(int any);
/* Has something failed for want of descriptors or kernel memory, which others may give back? */
bool descriptor_is_want(int error);

#endif
