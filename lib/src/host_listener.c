/* SPDX-License-Identifier: MIT */
/* Listening sockets of the host's stack, for published ports: each connection is told to the brain. */
#define _GNU_SOURCE
#include "host_listener.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <unistd.h>

#include "descriptor.h"
#include "events.h"
#include "host_connection.h"
#include "rest.h"
#include "watch.h"

#define BACKLOG 128
#define ACCEPTS_A_TURN 64

void host_accept(struct port *p, struct host_listener *l)
{
	for (int i = 0; i < ACCEPTS_A_TURN && rest_admits(p, &l->resting, sizeof(struct csvn_host_address)); i++) {
		struct csvn_host_address client;
		struct sockaddr_storage from;
		socklen_t length = sizeof(from);
		int fd = accept4(l->fd, (struct sockaddr *)&from, &length, SOCK_CLOEXEC | SOCK_NONBLOCK);
		int error = fd < 0 ? errno : descriptor_is_last(fd) ? EMFILE : 0;
		int connection;

		if (fd >= 0) {
			connection =
				address_from_system(&from, &client) < 0 ? -EAFNOSUPPORT : host_connection_add(p, fd);
			if (connection < 0)
				host_reset_socket(fd);
			else
				port_event(p, CSVN_EVENT_HOST_ACCEPTED, l->handle, (uint32_t)connection,
					    (struct event_part){ &client, sizeof(client) },
					    (struct event_part){ NULL, 0 });
		}
		if (fd < 0)
			rest_unused(&l->resting);
		if (descriptor_is_want(error))
			rest_now(p, &l->resting, error);
		/* Another error is that of one connection, which is gone. */
		if (descriptor_is_want(error) || error == EAGAIN)
			return;
	}
}

void host_listener_destroy(struct port *p, struct host_listener *l)
{
	handle_remove(&p->host_listeners, l->handle);
	rest_end(p, &l->resting);
	close(l->fd);
	free(l);
}

static int open_listener(const struct csvn_host_address *address)
{
	struct sockaddr_storage local;
	int one = 1, length, fd, rc;

	length = address_to_system(address, &local);
	if (length < 0)
		return length;
	fd = descriptor_made(socket(local.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
	if (fd < 0)
		return fd;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == 0 &&
	    (local.ss_family != AF_INET6 || setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one)) == 0) &&
	    bind(fd, (struct sockaddr *)&local, (socklen_t)length) == 0 && listen(fd, BACKLOG) == 0)
		return fd;
	rc = -errno;
	close(fd);
	return rc;
}

/* The port that it has, which may have been asked for as 0. */
static int port_of(int fd)
{
	struct csvn_host_address address;
	struct sockaddr_storage local;
	socklen_t length = sizeof(local);
	int rc = getsockname(fd, (struct sockaddr *)&local, &length) < 0 ? -errno :
									   address_from_system(&local, &address);

	return rc < 0 ? rc : (int)address.port;
}

int host_listen(struct port *p, int handle, const struct csvn_host_address *address)
{
	struct host_listener *l = calloc(1, sizeof(*l));
	int rc, fd;

	if (!l)
		return -ENOMEM;
	fd = l->fd = open_listener(address);
	l->handle = handle;
	rc = fd < 0 ? fd : handle_put(&p->host_listeners, handle, l);
	if (rc < 0) {
		if (fd >= 0)
			close(fd);
		free(l);
		return rc;
	}
	watch_init(&l->resting.watch, WATCHED_HOST_LISTENER, handle, 0);
	rc = rest_begin(p, &l->resting, fd);
	if (rc == 0)
		rc = port_of(fd);
	if (rc < 0)
		host_listener_destroy(p, l);
	return rc;
}

void host_unlisten(struct port *p, int handle)
{
	struct host_listener *l = handle_get(&p->host_listeners, handle);

	if (l)
		host_listener_destroy(p, l);
}
