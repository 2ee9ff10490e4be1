/* SPDX-License-Identifier: MIT */
/*
 * Busy-polling before the port sleeps.
 *
 * Theory of operation. Whoever is talked to often is answered sooner by polling than by sleeping (spin.h); and a guest rings
 * for an end that has armed, which costs it more than a copy of many kilobytes. So a host circuit that has nothing to do, and that
 * had its turn in this thread, does not arm: it is put on the list of those that are polled. When polling is over they all have
 * a turn in which they arm, before the thread sleeps. State changes ring in any case: the ends watch.
 *
 * Between two polls the processor is given to whoever wants it: on a busy one, that may be who is waited for.
 *
 * All ports of a host together may poll for so long (../brain/budget.h): the brain says what this one may, and it saves that up for a few times.
 */
#ifndef CSVN_BUSY_POLL_H
#define CSVN_BUSY_POLL_H

#include <stdbool.h>
#include <sys/epoll.h>

#include "port.h"

void busy_poll_init(struct busy_poll *l);

/* Circuits and peers that are polled and that have something to do have their turn. */
void busy_poll_turn(struct port *p);

/* Wait for descriptors, for the brain's commands, or for what is polled: how many descriptors. timeout: milliseconds, -1: for ever. */
int busy_poll_wait(struct port *p, struct busy_poll *l, struct epoll_event *ready, int most, int timeout);

/* How much of so long a poll is allowed at this time, and what it took; nanoseconds. limit: struct csvn_link's. */
uint32_t busy_poll_afford(struct busy_poll *l, uint32_t limit, uint32_t length, uint64_t now);
void busy_poll_spend(struct busy_poll *l, uint64_t took);

/* As before it sleeps: what is polled arms. True: something is there after all. */
bool busy_poll_end(struct port *p);
/* After a batch. */
void busy_poll_batch(struct port *p, struct busy_poll *l);

#endif
