/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "look.h"

#include <sched.h>
#include <time.h>

#include "host.h"
#include "looked.h"
#include "peers.h"
#include "pump.h"

#define LOOK_MAX_NS 50000u
#define LOOK_SAVED_NS (20ull * LOOK_MAX_NS)

static uint64_t nanoseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void look_init(struct look *l)
{
	*l = (struct look){ .due = false };
	csvn_spin_init(&l->spin);
}

static bool is_due(const struct host_circuit *h)
{
	const struct csvn_end *e = &h->end;

	/* Room is worth a turn when a guest would ring for it: when half of the ring is free. */
	return (h->looks_rx && CSVN_LOAD_ACQUIRE(&e->peer->tail) != e->head) ||
	       (h->looks_tx && e->tail - CSVN_LOAD_ACQUIRE(&e->peer->head) <= e->size / 2);
}

void look_turn(struct port *p)
{
	uint32_t i = 0;

	peers_turn(p);
	while (i < p->looked_count) {
		struct host_circuit *h = looked_get(p, i);

		if (h && is_due(h))
			pump(p, h, false);
		if (looked_get(p, i))
			i++;
		else
			looked_drop(p, i);
	}
}

/* Has something that is looked at something to do? */
static bool any_due(struct port *p)
{
	if ((!p->alone && queue_has(&p->link.commands)) || peers_due(p))
		return true;
	for (uint32_t i = 0; i < p->looked_count; i++) {
		struct host_circuit *h = looked_get(p, i);

		if (h && is_due(h))
			return true;
	}
	return false;
}

/* Nobody will look: all have a turn in which they arm. */
bool look_end(struct port *p)
{
	p->looks = false;
	while (p->looked_count) {
		struct host_circuit *h = looked_get(p, 0);

		looked_drop(p, 0);
		if (h)
			pump(p, h, false);
	}
	return peers_rest(p) || (!p->alone && !queue_sleep(&p->link.commands));
}

uint32_t look_afford(struct look *l, uint32_t limit, uint32_t length, uint64_t now)
{
	l->saved += limit ? (now - l->at) * limit / 1000 : LOOK_SAVED_NS;
	if (l->saved > LOOK_SAVED_NS)
		l->saved = LOOK_SAVED_NS;
	l->at = now;
	return l->saved >= length ? length : l->saved < CSVN_SPIN_FIRST ? 0 : (uint32_t)l->saved;
}

void look_spend(struct look *l, uint64_t took)
{
	l->saved -= took < l->saved ? took : l->saved;
}

int look_wait(struct port *p, struct look *l, struct epoll_event *ready, int most, int timeout)
{
	uint64_t began = 0, took = 0;
	bool due = false;
	int n = 0;

	if (timeout == 0)
		return epoll_wait(p->epoll, ready, most, 0);
	if (l->due) {
		uint32_t length = csvn_spin_begin(&l->spin, LOOK_MAX_NS);

		began = nanoseconds();
		length = look_afford(l, __atomic_load_n(&p->link.shared->look_limit, __ATOMIC_RELAXED), length, began);
		if (length) {
			do {
				n = epoll_wait(p->epoll, ready, most, 0);
				due = n == 0 && any_due(p);
				if (n == 0 && !due)
					sched_yield();
				took = nanoseconds() - began;
			} while (n == 0 && !due && took < length);
			csvn_spin_end(&l->spin, (uint32_t)took, n != 0 || due);
			look_spend(l, took);
			p->counters.looked += took;
		}
		if (n || due)
			return n;
	}
	if (look_end(p) || p->device.signals || p->device.again || p->news)
		timeout = 0;
	n = epoll_wait(p->epoll, ready, most, timeout);
	queue_awake(&p->link.commands);
	p->looks = true;
	if (l->due)
		csvn_spin_slept(&l->spin, nanoseconds() - began - took, LOOK_MAX_NS);
	return n;
}

void look_batch(struct port *p, struct look *l)
{
	uint64_t turns;

	look_turn(p);
	turns = p->counters.host_turns + p->done;
	l->due = turns != l->turns || p->looked_count || p->peers.looked_count;
	l->turns = turns;
}
