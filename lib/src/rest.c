/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "rest.h"

#include <sys/epoll.h>
#include <time.h>

#include "descriptor.h"
#include "events.h"
#include "watch.h"

static uint64_t milliseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* The one place where that state changes, and what is counted of it. */
static void become(struct port *p, struct resting *r, enum rest state)
{
	p->resting += (state == RESTING) - (r->state == RESTING);
	r->state = state;
	if (state != AWAKE)
		watch_drop(p, &r->watch);
}

int rest_begin(struct port *p, struct resting *r, int fd)
{
	int rc = watch_for(p, &r->watch, fd, EPOLLIN);

	become(p, r, rc < 0 ? RESTING : AWAKE);
	return rc;
}

bool rest_admits(struct port *p, struct resting *r, uint32_t bytes)
{
	if (port_admits(p, &r->burst, bytes))
		return true;
	become(p, r, STALLED);
	return false;
}

void rest_unused(struct resting *r)
{
	r->burst.count--;
}

static void tell(struct port *p, int error)
{
	port_event(p, CSVN_EVENT_SHORT, 0, (uint32_t)error, (struct event_part){ NULL, 0 },
		    (struct event_part){ NULL, 0 });
}

void rest_now(struct port *p, struct resting *r, int error)
{
	if (!p->resting) {
		p->counters.rests++;
		p->rested = milliseconds();
		tell(p, error);
	}
	become(p, r, RESTING);
}

void rest_end(struct port *p, struct resting *r)
{
	become(p, r, STALLED); /* for good */
}

/* Those of a state are watched again, and find what waits. */
static void wake_all(struct port *p, enum rest state)
{
	struct host_listener *h;

	handle_for_each(&p->host_listeners, i, h)
		if (h->resting.state == state)
			(void)rest_begin(p, &h->resting, h->fd); /* or it rests */
}

void rest_resume(struct port *p)
{
	wake_all(p, STALLED);
}

void rest_tick(struct port *p)
{
	uint64_t now = milliseconds();

	if (!p->resting || now - p->rested < REST_MS)
		return;
	p->rested = now;
	if (descriptor_is_short(p->link.wake))
		return;
	wake_all(p, RESTING);
	if (!p->resting)
		tell(p, 0);
}
