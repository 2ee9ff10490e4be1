/* SPDX-License-Identifier: MIT */
/*
 * Looking before the port sleeps.
 *
 * Theory of operation. Whoever is talked to often is answered sooner by looking than by sleeping (spin.h); and a guest rings
 * for an end that has armed, which costs it more than a copy of many kilobytes. So a host circuit that has nothing to do, and that
 * had its turn in this thread, does not arm: it is put on the list of those that are looked at. When the look is over they all have
 * a turn in which they arm, before the thread sleeps. State changes ring in any case: the ends watch.
 *
 * All ports of a host together may look for so long (../brain/budget.h): the brain says what this one may, and it saves that up for a few looks.
 */
#ifndef CSVN_LOOK_H
#define CSVN_LOOK_H

#include <stdbool.h>
#include <sys/epoll.h>

#include "port.h"

void look_init(struct look *l);

/* Circuits and peers that are looked at and that have something to do have their turn. */
void look_turn(struct port *p);

/* Wait for descriptors, for the brain's commands, or for what is looked at: how many descriptors. timeout: milliseconds, -1: for ever. */
int look_wait(struct port *p, struct look *l, struct epoll_event *ready, int most, int timeout);

/* How much of a look of this length is allowed at this time, and what it took; nanoseconds. limit: struct csvn_link's. */
uint32_t look_afford(struct look *l, uint32_t limit, uint32_t length, uint64_t now);
void look_spend(struct look *l, uint64_t took);

/* As before it sleeps: what is looked at arms. True: something is there after all. */
bool look_end(struct port *p);
/* After a batch. */
void look_batch(struct port *p, struct look *l);

#endif
