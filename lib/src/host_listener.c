/* SPDX-License-Identifier: MIT */
/* Listening sockets of the host's stack, for published ports: each connection is handed to TypeScript. */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <unistd.h>

#include "descriptor.h"
#include "host.h"

#define BACKLOG 128
#define ACCEPTS_A_TURN 64

void host_accept(struct plane *p, struct host_listener *l)
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
				plane_event(p, CSVN_EVENT_HOST_ACCEPTED, l->handle, (uint32_t)connection,
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

void host_listener_destroy(struct plane *p, struct host_listener *l)
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

int csvn_host_listen(int plane, const struct csvn_host_address *address)
{
	struct host_listener *l = calloc(1, sizeof(*l));
	struct plane *p;
	int rc;

	if (!l)
		return -ENOMEM;
	rc = l->fd = open_listener(address);
	if (rc < 0) {
		free(l);
		return rc;
	}
	p = plane_enter(plane);
	rc = p ? handle_add(&p->host_listeners, l) : -EBADF;
	if (rc < 0) {
		close(l->fd);
		free(l);
	} else {
		l->handle = rc;
		watch_init(&l->resting.watch, WATCHED_HOST_LISTENER, l->handle, 0);
		rc = rest_begin(p, &l->resting, l->fd);
		if (rc < 0)
			host_listener_destroy(p, l);
		else
			rc = l->handle;
	}
	if (p)
		plane_leave(p);
	return rc;
}

int csvn_host_listener_port(int plane, int listener)
{
	struct plane *p = plane_enter(plane);
	struct csvn_host_address address;
	struct sockaddr_storage local;
	socklen_t length = sizeof(local);
	struct host_listener *l;
	int rc = -EBADF;

	if (!p)
		return rc;
	l = handle_get(&p->host_listeners, listener);
	if (l)
		rc = getsockname(l->fd, (struct sockaddr *)&local, &length) < 0 ? -errno
										: address_from_system(&local, &address);
	plane_leave(p);
	return rc < 0 ? rc : (int)address.port;
}

int csvn_host_unlisten(int plane, int listener)
{
	struct plane *p = plane_enter(plane);
	struct host_listener *l;

	if (!p)
		return -EBADF;
	l = handle_get(&p->host_listeners, listener);
	if (l)
		host_listener_destroy(p, l);
	plane_leave(p);
	return l ? 0 : -EBADF;
}
