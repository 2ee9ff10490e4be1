/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "descriptor.h"
#include "device.h"
#include "host.h"
#include "port.h"

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

static void tell_state(struct port *p, struct host_circuit *h, uint32_t state)
{
	csvn_set_state(&h->end, state);
	if (csvn_wants_state(&h->end, state))
		host_wake(p, h->id);
}

void host_tell_fin(struct port *p, struct host_circuit *h)
{
	h->read_ended = true;
	tell_state(p, h, CSVN_STATE_FIN);
}

/*
 * May the control page say it? It knows but resets (after the end of file: a broken pipe). Any other end is told by TypeScript, in a RESET
 * event with its errno, and must not be forestalled.
 */
static bool is_reset(int error)
{
	return error == ECONNRESET || error == EPIPE || error == EPROTO;
}

static void close_socket(struct host_circuit *h, bool reset)
{
	struct linger linger = { .l_onoff = 1, .l_linger = 0 };

	if (h->fd < 0)
		return;
	/* It cannot fail, and a connection that ends otherwise ends all the same. */
	if (reset)
		(void)setsockopt(h->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	watch_closing(&h->watch);
	close(h->fd);
	h->fd = -1;
}

/* Nothing moves any more: the guest is told, and TypeScript. */
static void end(struct port *p, struct host_circuit *h, int error)
{
	struct csvn_event_done done = { .sent = h->end.tail, .received = h->end.head };
	uint32_t fin = h->read_ended || error == EPIPE ? CSVN_STATE_FIN : 0;

	h->looks_rx = h->looks_tx = false;
	if (!error)
		tell_state(p, h, CSVN_STATE_CLOSED | CSVN_STATE_FIN);
	else if (is_reset(error))
		tell_state(p, h, CSVN_STATE_CLOSED | CSVN_STATE_RESET | fin);
	close_socket(h, error != 0);
	port_event(p, CSVN_EVENT_HOST_DONE, h->handle, (uint32_t)error, (struct event_part){ &done, sizeof(done) },
		   (struct event_part){ NULL, 0 });
}

void host_become(struct port *p, struct host_circuit *h, enum host_state state, int error)
{
	enum host_state before = h->state;

	if (before == state || before == HOST_DONE)
		return;
	h->state = state;
	if (before == HOST_CONNECTING) {
		port_event(p, CSVN_EVENT_HOST_CONNECTED, h->handle, (uint32_t)error, (struct event_part){ NULL, 0 },
			    (struct event_part){ NULL, 0 });
		if (state == HOST_DONE)
			close_socket(h, false);
	} else if (state == HOST_BROKEN) {
		h->error = error;
		h->hung = true;
	} else if (state == HOST_DONE) {
		end(p, h, error);
	}
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
	close_socket(h, true);
	free(h);
}

void host_add_route(struct port *p, uint32_t id, int kind, int handle)
{
	route_set(&p->device.routes, id, kind, (uint32_t)handle, 0);
}

void host_drop_route(struct port *p, uint32_t id, int handle)
{
	struct route *r = route_find(&p->device.routes, id);

	if (r && (r->to == ROUTE_HOST_STREAM || r->to == ROUTE_HOST_DATAGRAM) && r->place == (uint32_t)handle)
		route_drop(&p->device.routes, r);
}

void host_wake(struct port *p, uint32_t id)
{
	struct route *r = route_find(&p->device.routes, id);

	if (!r)
		return;
	route_list(&p->device.routes, ROUTES_DUE, r);
	wake_flush(p, &p->device);
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
