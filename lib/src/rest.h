/* SPDX-License-Identifier: MIT */
/*
 * Listening sockets that cannot take the connections that wait. epoll would tell of these again and again: so such a socket is not watched
 * until it may go on. It *stalls* while the event queue has no room for its events, until TypeScript has taken some; it
 * *rests* while descriptors are short, until there are some again, for which the thread looks ten times a second.
 */
#ifndef CSVN_REST_H
#define CSVN_REST_H

#include <stdbool.h>
#include <stdint.h>

#include "host.h"
#include "port.h"

#define REST_MS 100

/* Watch a listening socket. 0 or -errno. */
int rest_begin(struct port *p, struct resting *r, int fd);
/* May it accept one more? If not, it stalls. bytes: of the event that tells of it. */
bool rest_admits(struct port *p, struct resting *r, uint32_t bytes);
/* Nobody came: what was admitted is not used. */
void rest_unused(struct resting *r);
/* It cannot accept for want of something: it rests. */
void rest_now(struct port *p, struct resting *r, int error);
void rest_end(struct port *p, struct resting *r);

/* There is room for events: those that stalled go on. */
void rest_resume(struct port *p);
/* While somebody rests: is it over? */
void rest_tick(struct port *p);

#endif
