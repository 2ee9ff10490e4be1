/* SPDX-License-Identifier: MIT */
/*
 * What the port's epoll set knows of a descriptor. A watch is the only way to that set: it adds, changes and removes, and so knows
 * at any time whether the descriptor is in it, and for what. Nobody else remembers that.
 *
 * epoll tells of errors and hang-ups unasked, and again and again. So a descriptor that has nothing to be waited for is not kept in the
 * set with no events: it is dropped, and added anew by whoever waits again.
 */
#ifndef CSVN_WATCH_H
#define CSVN_WATCH_H

#include <stdint.h>

#include "port.h"

/* What a descriptor is. */
enum watched {
	WATCHED_WAKE = 1,
	WATCHED_FILES,
	WATCHED_SESSION,
	WATCHED_BACKEND,
	WATCHED_KICK, /* aux: queue */
	WATCHED_PEER,
	WATCHED_HOST,
	WATCHED_HOST_DATAGRAM,
	WATCHED_HOST_LISTENER,
	WATCHED_HOST_CONNECTION,
};

void watch_init(struct watch *w, enum watched what, int handle, uint32_t aux);
/* From now on, tell of these epoll events of fd. 0, or -errno: then the set does not have it. */
int watch_for(struct port *p, struct watch *w, int fd, uint32_t events);
/* Tell nothing any more. Before the descriptor is closed, if anybody else may have a duplicate of it. */
void watch_drop(struct port *p, struct watch *w);
/* The descriptor is about to be closed, and is the only one of its file: the kernel takes it out of the set. */
void watch_closing(struct watch *w);

static inline enum watched watch_what(uint64_t data)
{
	return (enum watched)(data >> 56);
}

static inline uint32_t watch_aux(uint64_t data)
{
	return data >> 48 & 0xff;
}

static inline int watch_handle(uint64_t data)
{
	return (int)(uint32_t)data;
}

#endif
