/* SPDX-License-Identifier: MIT */
/*
 * Events for TypeScript: queued by the data-plane thread, taken by TypeScript's. When TypeScript has nothing to do it parks, and the next
 * event rings its bell, a unix socket that its event loop watches.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "plane.h"

bool plane_admits(struct plane *p, struct burst *b, uint32_t bytes)
{
	if (b->epoch != p->epoch) {
		b->epoch = p->epoch;
		b->count = 0;
	}
	if (b->count >= EVENT_BURST || !event_queue_has_room(&p->events, bytes)) {
		p->stalled = true;
		p->counters.stalls++;
		return false;
	}
	b->count++;
	return true;
}

/* TypeScript is parked: wake it, once. */
static void ring_bell(struct plane *p)
{
	p->parked = false;
	/* There is room: a byte lies in it only between this and the end of parking. When TypeScript has closed it, nobody waits. */
	(void)send(p->bell, "!", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

void plane_event_quiet(struct plane *p, enum csvn_event_kind kind, int handle, uint32_t aux, struct event_part a,
		       struct event_part b)
{
	/* Without memory for a few bytes there is nothing left to say it with. */
	if (event_queue_put(&p->events, kind, handle, aux, a, b) < 0)
		abort();
}

void plane_event(struct plane *p, enum csvn_event_kind kind, int handle, uint32_t aux, struct event_part a,
		 struct event_part b)
{
	plane_event_quiet(p, kind, handle, aux, a, b);
	if (p->parked)
		ring_bell(p);
}

void plane_event_text(struct plane *p, enum csvn_event_kind kind, int handle, uint32_t aux, const char *text)
{
	plane_event(p, kind, handle, aux, (struct event_part){ text, (uint32_t)strlen(text) },
		    (struct event_part){ NULL, 0 });
}

static int take(struct plane *p, uint8_t *buffer, uint32_t bytes)
{
	uint32_t taken = event_queue_take(&p->events, buffer, bytes, &p->counters.events);

	if (taken) {
		p->epoch++;
		if (p->stalled)
			(void)eventfd_write(p->wake, 1);
	}
	return (int)taken;
}

int csvn_events_take(int plane, uint8_t *buffer, uint32_t bytes)
{
	struct plane *p = plane_enter(plane);
	int n;

	if (!p)
		return -EBADF;
	n = take(p, buffer, bytes);
	plane_leave(p);
	return n;
}

int csvn_events_bell(int plane, const uint8_t *path, uint32_t path_bytes)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	struct plane *p;
	int fd, rc;

	if (path_bytes == 0 || path_bytes >= sizeof(to.sun_path))
		return -ENAMETOOLONG;
	memcpy(to.sun_path, path, path_bytes);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	rc = connect(fd, (const struct sockaddr *)&to, sizeof(to)) < 0 ? -errno : 0;
	p = rc == 0 ? plane_enter(plane) : NULL;
	if (!p || p->bell >= 0) {
		close(fd);
		if (!p)
			return rc ? rc : -EBADF;
		rc = -EEXIST;
	} else {
		p->bell = fd;
	}
	plane_leave(p);
	return rc;
}

int csvn_events_park(int plane)
{
	struct plane *p = plane_enter(plane);
	int rc;

	if (!p)
		return -EBADF;
	if (p->bell < 0) {
		rc = -ENOTCONN;
	} else {
		rc = p->events.used == 0;
		if (rc) {
			p->parked = true;
			p->counters.parks++;
		}
	}
	plane_leave(p);
	return rc;
}

int csvn_events_wake(int plane)
{
	struct plane *p = plane_enter(plane);

	if (!p)
		return -EBADF;
	if (p->parked)
		ring_bell(p);
	plane_leave(p);
	return 0;
}
