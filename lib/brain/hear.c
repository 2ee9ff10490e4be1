/* SPDX-License-Identifier: MIT */
/*
 * TypeScript's thread hears ports in two ways. While it is awake, it looks at the queues of those that had something to say since it slept last: none of these rings. Before it
 * sleeps it busy-polls them, as long as that pays; then it says to each that it sleeps (link_park()), and the plane's thread wakes it when one rings.
 */
#define _GNU_SOURCE
#include "hear.h"

#include <errno.h>
#include <sched.h>
#include <time.h>

#define BUSY_POLL_MAX_NS 50000u
#define QUIET_MAX 256u /* times that others had something to say, and a port had not, after which it has to ring again, though TypeScript is awake */
/*
 * So many rings of a port may be in vain from one tick to the next. A port that was taken over by its guest can ring without end, and each ring costs the plane's thread and
 * TypeScript's more than the port: so then it is not heard before the next tick.
 */
#define VAIN_MAX 1000u

/* Something that it does is for nothing. */
static void count_vain(const struct plane *p, struct port *port)
{
	if (++port->vain == VAIN_MAX && port->bell >= 0)
		plane_heed_signals(p, port->bell, false, WATCHED_BELL, port->handle);
}

void hear(struct plane *p, struct port *port)
{
	/* Who is looked at need not ring. */
	if (port->heard || port->unheard) {
		count_vain(p, port);
		return;
	}
	p->heard[p->heard_count++] = port->handle;
	port->heard = true;
	plane_ring(p);
}

void hear_again(const struct plane *p, struct port *port)
{
	if (port->vain >= VAIN_MAX && port->bell >= 0)
		plane_heed_signals(p, port->bell, true, WATCHED_BELL, port->handle);
	port->vain = 0;
}

void hear_not(struct plane *p, struct port *port)
{
	uint32_t left = 0;

	port->unheard = true;
	if (!port->heard)
		return;
	for (uint32_t i = 0; i < p->heard_count; i++)
		if (p->heard[i] != port->handle)
			p->heard[left++] = p->heard[i];
	p->heard_count = left;
	port->heard = false;
}

static bool has_something(struct port *port)
{
	bool has = port->link.shared &&
		   (queue_has(&port->link.events) ||
		    __atomic_load_n(&port->link.shared->progress.done, __ATOMIC_ACQUIRE) >= port->wanted);

	port->fruitful = port->fruitful || has;
	if (has)
		port->quiet = 0;
	return has;
}

/* Those that have been quiet for so long are told that they are not looked at any more, but for those that have something after all. */
static void park(struct plane *p, uint32_t quiet)
{
	uint32_t left = 0;

	for (uint32_t i = 0; i < p->heard_count; i++) {
		struct port *port = handle_get(&p->ports, p->heard[i]);

		if (port->quiet >= quiet) {
			port->heard = port->link.shared && !link_park(&port->link, port->wanted);
			if (!port->heard && !port->fruitful)
				count_vain(p, port);
			port->fruitful = false;
		}
		if (port->heard)
			p->heard[left++] = port->handle;
	}
	p->heard_count = left;
}

/* Those that have something; the next time others come first. */
static uint32_t find(struct plane *p, int32_t *ports, uint32_t most)
{
	uint32_t found = 0, i;

	for (i = 0; i < p->heard_count && found < most; i++) {
		struct port *port = handle_get(&p->ports, p->heard[(p->heard_next + i) % p->heard_count]);

		if (has_something(port))
			ports[found++] = port->handle;
	}
	p->heard_next += i;
	return found;
}

/* What others have to say goes on for so long that those that are quiet are to ring again. */
static void park_quiet(struct plane *p)
{
	bool any = false;

	for (uint32_t i = 0; i < p->heard_count; i++) {
		struct port *port = handle_get(&p->ports, p->heard[i]);

		any = ++port->quiet >= QUIET_MAX || any;
	}
	if (any)
		park(p, QUIET_MAX);
}

static uint64_t nanoseconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Poll for a moment, if that has paid lately. Both the lock and the processor are free in between. */
static uint32_t busy_poll(struct plane *p, int32_t *ports, uint32_t most)
{
	uint32_t length = p->heard_count ? csvn_spin_begin(&p->busy_poll.spin, BUSY_POLL_MAX_NS) : 0, found = 0;
	uint64_t began, took = 0;

	if (!length)
		return 0;
	began = nanoseconds();
	while (!found && !p->news && took < length) {
		pthread_mutex_unlock(&p->lock);
		sched_yield();
		pthread_mutex_lock(&p->lock);
		found = find(p, ports, most);
		took = nanoseconds() - began;
	}
	csvn_spin_end(&p->busy_poll.spin, (uint32_t)took, found || p->news);
	return found;
}

int csvn_ports_hear(int plane, int32_t *ports, uint32_t most)
{
	struct plane *p = plane_enter(plane);
	uint32_t found;
	int rc;

	if (!p)
		return -EBADF;
	if (p->busy_poll.slept_at)
		csvn_spin_slept(&p->busy_poll.spin, nanoseconds() - p->busy_poll.slept_at, BUSY_POLL_MAX_NS);
	p->busy_poll.slept_at = 0;
	p->sleeps = false;
	found = find(p, ports, most);
	if (found)
		park_quiet(p);
	if (!found && !p->news)
		found = busy_poll(p, ports, most);
	if (!found && !p->news) {
		park(p, 0);
		found = find(p, ports, most);
	}
	p->sleeps = !found && !p->news;
	rc = p->sleeps ? -EAGAIN : (int)found;
	if (p->sleeps)
		p->busy_poll.slept_at = nanoseconds();
	p->news = false;
	plane_leave(p);
	return rc;
}

int csvn_port_want(int plane, int handle, uint64_t done)
{
	struct plane *p = plane_enter(plane);
	struct port *port;
	int rc = -EBADF;

	if (!p)
		return rc;
	port = handle_get(&p->ports, handle);
	if (port && !port->forgotten && port->link.shared) {
		rc = 0;
		port->wanted = done;
		link_want(&port->link, done);
		/* It may have done as much, and nobody looks. */
		if (!port->heard && has_something(port))
			hear(p, port);
	}
	plane_leave(p);
	return rc;
}
