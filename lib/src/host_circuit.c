/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "host_circuit.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "descriptor.h"
#include "events.h"
#include "host_arena.h"
#include "host_connection.h"
#include "host_options.h"
#include "host_route.h"
#include "host_state.h"
#include "pump.h"
#include "watch.h"

void host_doorbell(struct port *p, int handle)
{
	struct host_circuit *h = handle_get(&p->host_circuits, handle);

	if (h)
		pump(p, h, false);
}

static int socket_error(int fd)
{
	socklen_t bytes = sizeof(int);
	int error = 0;

	return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &bytes) < 0 ? errno : error;
}

static void connected(struct port *p, struct host_circuit *h, int error)
{
	host_become(p, h, error ? HOST_DONE : HOST_OPEN, error);
	pump(p, h, false);
}

void host_ready(struct port *p, struct host_circuit *h, uint32_t events)
{
	if (h->state == HOST_CONNECTING) {
		connected(p, h, socket_error(h->fd));
		return;
	}
	/* An error or a hang-up that no direction would look at by itself. */
	if ((events & (EPOLLERR | EPOLLHUP)) && !(h->watch.events & (EPOLLIN | EPOLLOUT))) {
		int error = socket_error(h->fd);

		h->hung = true;
		/* Without one, both halves of the connection are over; either way the guest may have bytes to read yet. */
		if (error)
			host_become(p, h, HOST_BROKEN, error);
	}
	pump(p, h, events & (EPOLLIN | EPOLLERR | EPOLLHUP));
}

void host_circuit_destroy(struct port *p, struct host_circuit *h)
{
	host_drop_route(p, h->id, h->handle);
	handle_remove(&p->host_circuits, h->handle);
	host_close_socket(h, true);
	free(h);
}

/* A socket that connects to the setup's remote, or the accepted one. */
static int open_socket(const struct csvn_host_setup *s, int fd, enum host_state *state)
{
	struct sockaddr_storage remote;
	int one = 1, length, rc;

	*state = HOST_OPEN;
	if (fd >= 0) {
		host_set_options(fd, &s->options);
	} else {
		length = address_to_system(&s->remote, &remote);
		if (length < 0)
			return length;
		fd = descriptor_made(socket(remote.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
		if (fd < 0)
			return fd;
		host_set_options(fd, &s->options);
		*state = HOST_CONNECTING;
		rc = connect(fd, (struct sockaddr *)&remote, (socklen_t)length);
		if (rc < 0 && errno != EINPROGRESS) {
			rc = -errno;
			close(fd);
			return rc;
		}
	}
	/* Whatever the guest chose: its own gathering (Nagle's) has been done when bytes are in the ring, and those are to go out. */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

/* How connecting has ended, or -EINPROGRESS. On this host it has: a loopback's handshake happens within connect(). */
static int outcome(int fd)
{
	struct pollfd poller = { .fd = fd, .events = POLLOUT };

	if (poll(&poller, 1, 0) != 1)
		return -EINPROGRESS;
	return poller.revents & (POLLERR | POLLHUP) ? socket_error(fd) : 0;
}

/* The socket becomes the circuit's, unless there is an error. */
static int open_circuit(struct port *p, int handle, const struct csvn_host_setup *s, int fd, enum host_state state)
{
	int error = state == HOST_CONNECTING ? outcome(fd) : 0;
	struct host_circuit *h = calloc(1, sizeof(*h));
	int rc;

	if (!h)
		return -ENOMEM;
	h->fd = -1;
	h->handle = handle;
	h->id = s->id;
	h->state = HOST_CONNECTING;
	rc = handle_put(&p->host_circuits, handle, h);
	watch_init(&h->watch, WATCHED_HOST, handle, 0);
	if (rc < 0) {
		free(h);
		return rc;
	}
	host_add_route(p, h->id, ROUTE_HOST_STREAM, handle);
	rc = host_map_end(p, &h->end, s);
	if (rc == 0)
		rc = watch_for(p, &h->watch, fd, error == -EINPROGRESS ? EPOLLOUT : EPOLLIN);
	if (rc < 0) {
		host_circuit_destroy(p, h);
		return rc;
	}
	h->fd = fd;
	if (error != -EINPROGRESS)
		connected(p, h, error);
	return 0;
}

/* The connection that the setup names, a new one where it names none, or -errno. */
static int find_socket(struct port *p, const struct csvn_host_setup *setup, enum host_state *state)
{
	int fd = setup->connection < 0 ? -1 : host_connection_take(p, setup->connection);

	return setup->connection >= 0 && fd < 0 ? fd : open_socket(setup, fd, state);
}

void host_open(struct port *p, int handle, const struct csvn_host_setup *setup)
{
	enum host_state state;
	int fd = find_socket(p, setup, &state);
	int rc = fd < 0 ? fd : open_circuit(p, handle, setup, fd, state);

	if (rc == 0)
		return;
	if (fd >= 0 && setup->connection >= 0)
		host_reset_socket(fd);
	else if (fd >= 0)
		close(fd);
	port_event(p, CSVN_EVENT_HOST_CONNECTED, handle, (uint32_t)-rc, (struct event_part){ NULL, 0 },
		   (struct event_part){ NULL, 0 });
}

/* What it has sent by now is all: whatever it writes into its ring from now on is nobody's. */
static void guest_closed(struct host_circuit *h)
{
	uint32_t ready;

	if (!h->guest_closed && csvn_rx_ready(&h->end, h->end.size, &ready) < 0)
		h->lied = true;
	h->guest_closed = true;
}

void host_finish(struct port *p, int handle)
{
	struct host_circuit *h = handle_get(&p->host_circuits, handle);

	if (!h)
		return;
	guest_closed(h);
	pump(p, h, false);
}

void host_close(struct port *p, int handle)
{
	struct host_circuit *h = handle_get(&p->host_circuits, handle);

	if (h)
		host_circuit_destroy(p, h);
}
