/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "busy_poll.h"

#include <sched.h>
#include <time.h>

#include "host.h"
#include "polled.h"
#include "peers.h"
#include "pump.h"

#define BUSY_POLL_MAX_NS 50000u
#define BUSY_POLL_SAVED_NS (20ull * BUSY_POLL_MAX_NS)

static uint64_t nanoseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void busy_poll_init(struct busy_poll *l)
{
	*l = (struct busy_poll){ .due = false };
	csvn_spin_init(&l->spin);
}

static bool is_due(const struct host_circuit *h)
{
	const struct csvn_end *e = &h->end;

	/* Room is worth a turn when a guest would ring for it: when half of the ring is free. */
	return (h->polled_rx && CSVN_LOAD_ACQUIRE(&e->peer->tail) != e->head) ||
	       (h->polled_tx && e->tail - CSVN_LOAD_ACQUIRE(&e->peer->head) <= e->size / 2);
}

void busy_poll_turn(struct port *p)
{
	uint32_t i = 0;

	peers_turn(p);
	while (i < p->polled_count) {
		struct host_circuit *h = polled_get(p, i);

		if (h && is_due(h))
			pump(p, h, false);
		if (polled_get(p, i))
			i++;
		else
			polled_drop(p, i);
	}
}

/* Has something that is polled something to do? */
static bool any_due(struct port *p)
{
	if ((!p->alone && queue_has(&p->link.commands)) || peers_due(p))
		return true;
	for (uint32_t i = 0; i < p->polled_count; i++) {
		struct host_circuit *h = polled_get(p, i);

		if (h && is_due(h))
			return true;
	}
	return false;
}

/* Nobody will poll: all have a turn in which they arm. */
bool busy_poll_end(struct port *p)
{
	p->polls = false;
	while (p->polled_count) {
		struct host_circuit *h = polled_get(p, 0);

		polled_drop(p, 0);
		if (h)
			pump(p, h, false);
	}
	return peers_rest(p) || (!p->alone && !queue_sleep(&p->link.commands));
}

uint32_t busy_poll_afford(struct busy_poll *l, uint32_t limit, uint32_t length, uint64_t now)
{
	l->saved += limit ? (now - l->at) * limit / 1000 : BUSY_POLL_SAVED_NS;
	if (l->saved > BUSY_POLL_SAVED_NS)
		l->saved = BUSY_POLL_SAVED_NS;
	l->at = now;
	return l->saved >= length ? length : l->saved < CSVN_SPIN_FIRST ? 0 : (uint32_t)l->saved;
}

void busy_poll_spend(struct busy_poll *l, uint64_t took)
{
	l->saved -= took < l->saved ? took : l->saved;
}

int busy_poll_wait(struct port *p, struct busy_poll *l, struct epoll_event *ready, int most, int timeout)
{
	uint64_t began = 0, took = 0;
	bool due = false;
	int n = 0;

	if (timeout == 0)
		return epoll_wait(p->epoll, ready, most, 0);
	if (l->due) {
		uint32_t length = csvn_spin_begin(&l->spin, BUSY_POLL_MAX_NS);

		began = nanoseconds();
		length = busy_poll_afford(l, __atomic_load_n(&p->link.shared->busy_poll_limit, __ATOMIC_RELAXED), length, began);
		if (length) {
			do {
				n = epoll_wait(p->epoll, ready, most, 0);
				due = n == 0 && any_due(p);
				if (n == 0 && !due)
					sched_yield();
				took = nanoseconds() - began;
			} while (n == 0 && !due && took < length);
			csvn_spin_end(&l->spin, (uint32_t)took, n != 0 || due);
			busy_poll_spend(l, took);
			p->counters.busy_polled += took;
		}
		if (n || due)
			return n;
	}
	if (busy_poll_end(p) || p->device.signals || p->device.again || p->news)
		timeout = 0;
	n = epoll_wait(p->epoll, ready, most, timeout);
	queue_awake(&p->link.commands);
	p->polls = true;
	if (l->due)
		csvn_spin_slept(&l->spin, nanoseconds() - began - took, BUSY_POLL_MAX_NS);
	return n;
}

void busy_poll_batch(struct port *p, struct busy_poll *l)
{
	uint64_t turns;

	busy_poll_turn(p);
	turns = p->counters.host_turns + p->done;
	l->due = turns != l->turns || p->polled_count || p->peers.polled_count;
	l->turns = turns;
}
