/* SPDX-License-Identifier: MIT */
/*
 * Connections that a published port has accepted, until the brain has decided: each becomes a circuit, or is refused. One that waits may
 * be watched meanwhile, so that it hears when its client has reset it; a client that has but finished writing waits on.
 */
#define _GNU_SOURCE
#include "host_connection.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "events.h"
#include "watch.h"

void host_reset_socket(int fd)
{
	struct linger reset = { .l_onoff = 1, .l_linger = 0 };

	(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)); /* it cannot fail */
	close(fd);
}

int host_connection_add(struct port *p, int fd)
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

int host_connection_take(struct port *p, int handle)
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

void host_connection_ready(struct port *p, struct host_connection *c)
{
	/* Once: it is not waited for any more. */
	watch_drop(p, &c->watch);
	port_event(p, CSVN_EVENT_HOST_GONE, c->handle, 0, (struct event_part){ NULL, 0 },
		    (struct event_part){ NULL, 0 });
}

void host_connection_destroy(struct port *p, struct host_connection *c)
{
	host_reset_socket(host_connection_take(p, c->handle));
}

int host_connection_wait(struct port *p, int handle)
{
	struct host_connection *c = handle_get(&p->host_connections, handle);

	/* Errors and hang-ups are told unasked. */
	return c ? watch_for(p, &c->watch, c->fd, 0) : -EBADF;
}

void host_connection_refuse(struct port *p, int handle)
{
	int fd = host_connection_take(p, handle);

	if (fd >= 0)
		host_reset_socket(fd);
}
