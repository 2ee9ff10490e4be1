/* SPDX-License-Identifier: MIT */
/*
 * Looking before the data plane's thread sleeps.
 *
 * Theory of operation. Whoever is talked to often is answered sooner by looking than by sleeping (spin.h); and a guest rings
 * for an end that has armed, which costs it more than a copy of many kilobytes. So a host circuit that has nothing to do, and that
 * had its turn in this thread, does not arm: it is put on the list of those that are looked at. When the look is over they all have
 * a turn in which they arm, before the thread sleeps. State changes ring in any case: the ends watch.
 */
#ifndef CSVN_LOOK_H
#define CSVN_LOOK_H

#include <sys/epoll.h>

#include "csvn/spin.h"
#include "host.h"
#include "plane.h"

struct look {
	struct csvn_spin spin;
	uint64_t turns; /* of the pump, up to the last batch */
	bool due; /* the pump had a turn in the last batch */
};

void look_init(struct look *l);

/* May this circuit stay unarmed? Then the thread looks at it, and gives it a turn before it sleeps. */
bool look_again(struct plane *p, struct host_circuit *h);

/* Circuits that are looked at and that have something to do have their turn. The lock is held. */
void look_turn(struct plane *p);

/* Wait for descriptors, or for a circuit that is looked at: how many descriptors. The lock is not held. */
int look_wait(struct plane *p, struct look *l, struct epoll_event *ready, int most, int timeout);

/* After a batch. The lock is held. */
void look_batch(struct plane *p, struct look *l);

#endif
