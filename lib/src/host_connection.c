/* SPDX-License-Identifier: MIT */
/*
 * Connections that a published port has accepted, until TypeScript has decided: each becomes a circuit, or is refused. One that waits may
 * be watched meanwhile, so that TypeScript hears when its client has reset it; a client that has but finished writing waits on.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "host.h"

void host_reset_socket(int fd)
{
	struct linger reset = { .l_onoff = 1, .l_linger = 0 };

	(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)); /* it cannot fail */
	close(fd);
}

int host_connection_add(struct plane *p, int fd)
{
	struct host_connection *c = calloc(1, sizeof(*c));
	int rc = c ? handle_add(&p->host_connections, c) : -ENOMEM;

	if (rc < 0) {
		free(c);
		return rc;
	}
	c->handle = rc;
	c->fd = fd;
	watch_init(&c->watch, WATCHED_HOST_CONNECTION, c->handle, 0);
	return rc;
}

int host_connection_take(struct plane *p, int handle)
{
	struct host_connection *c = handle_remove(&p->host_connections, handle);
	int fd;

	if (!c)
		return -EBADF;
	fd = c->fd;
	watch_drop(p, &c->watch);
	free(c);
	return fd;
}

void host_connection_ready(struct plane *p, struct host_connection *c)
{
	/* Once: it is not waited for any more. */
	watch_drop(p, &c->watch);
	plane_event(p, CSVN_EVENT_HOST_GONE, c->handle, 0, (struct event_part){ NULL, 0 },
		    (struct event_part){ NULL, 0 });
}

void host_connection_destroy(struct plane *p, struct host_connection *c)
{
	host_reset_socket(host_connection_take(p, c->handle));
}

int csvn_host_wait(int plane, int connection)
{
	struct plane *p = plane_enter(plane);
	struct host_connection *c;
	int rc = -EBADF;

	if (!p)
		return rc;
	c = handle_get(&p->host_connections, connection);
	if (c)
		rc = watch_for(p, &c->watch, c->fd, 0); /* errors and hang-ups are told unasked */
	plane_leave(p);
	return rc;
}

int csvn_host_refuse(int plane, int connection)
{
	struct plane *p = plane_enter(plane);
	int fd = p ? host_connection_take(p, connection) : -EBADF;

	if (fd >= 0)
		host_reset_socket(fd);
	if (p)
		plane_leave(p);
	return fd < 0 ? fd : 0;
}
