/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "look.h"

#include <time.h>

#include "csvn/ring.h"

#define LOOK_MAX_NS 50000u

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

bool look_again(struct plane *p, struct host_circuit *h)
{
	if (!p->looks)
		return false;
	if (h->listed)
		return true;
	if (p->looked_count == LOOKED_MAX)
		return false;
	h->listed = true;
	p->looked[p->looked_count++] = h->handle;
	return true;
}

static bool is_due(const struct host_circuit *h)
{
	const struct csvn_end *e = &h->end;

	/* Room is worth a turn when a guest would ring for it: when half of the ring is free. */
	return (h->looks_rx && CSVN_LOAD_ACQUIRE(&e->peer->tail) != e->head) ||
	       (h->looks_tx && e->tail - CSVN_LOAD_ACQUIRE(&e->peer->head) <= e->size / 2);
}

/* The circuit at this place of the list, or NULL when it is looked at no longer. */
static struct host_circuit *looked(struct plane *p, uint32_t i)
{
	struct host_circuit *h = handle_get(&p->host_circuits, p->looked[i]);

	return h && (h->looks_rx || h->looks_tx) ? h : NULL;
}

static void unlist(struct plane *p, uint32_t i)
{
	struct host_circuit *h = handle_get(&p->host_circuits, p->looked[i]);

	if (h)
		h->listed = false;
	p->looked[i] = p->looked[--p->looked_count];
}

void look_turn(struct plane *p)
{
	uint32_t i = 0;

	while (i < p->looked_count) {
		struct host_circuit *h = looked(p, i);

		if (h && is_due(h))
			pump(p, h, false);
		if (looked(p, i))
			i++;
		else
			unlist(p, i);
	}
}

/* Has one of them something to do? Who holds the lock meanwhile is not waited for: there is another look. */
static bool any_due(struct plane *p)
{
	bool due = false;

	if (pthread_mutex_trylock(&p->lock) != 0)
		return false;
	for (uint32_t i = 0; i < p->looked_count && !due; i++) {
		struct host_circuit *h = looked(p, i);

		due = h && is_due(h);
	}
	pthread_mutex_unlock(&p->lock);
	return due;
}

/* Nobody will look: all have a turn in which they arm. */
static void end_look(struct plane *p)
{
	pthread_mutex_lock(&p->lock);
	while (p->looked_count) {
		struct host_circuit *h = looked(p, 0);

		unlist(p, 0);
		if (h)
			pump(p, h, false);
	}
	pthread_mutex_unlock(&p->lock);
}

int look_wait(struct plane *p, struct look *l, struct epoll_event *ready, int most, int timeout)
{
	uint64_t began, took = 0;
	uint32_t length;
	bool due = false;
	int n = 0;

	if (!l->due || timeout == 0)
		return epoll_wait(p->epoll, ready, most, timeout);
	began = nanoseconds();
	length = csvn_spin_begin(&l->spin, LOOK_MAX_NS);
	if (length) {
		do {
			n = epoll_wait(p->epoll, ready, most, 0);
			due = n == 0 && any_due(p);
			took = nanoseconds() - began;
		} while (n == 0 && !due && took < length);
		csvn_spin_end(&l->spin, (uint32_t)took, n != 0 || due);
	}
	if (n || due)
		return n;
	end_look(p);
	n = epoll_wait(p->epoll, ready, most, timeout);
	csvn_spin_slept(&l->spin, nanoseconds() - began - took, LOOK_MAX_NS);
	return n;
}

void look_batch(struct plane *p, struct look *l)
{
	look_turn(p);
	l->due = p->counters.host_turns != l->turns || p->looked_count;
	l->turns = p->counters.host_turns;
}
