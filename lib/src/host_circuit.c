/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <unistd.h>

#include "device.h"
#include "host.h"

void host_doorbell(struct plane *p, int handle)
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

static void connected(struct plane *p, struct host_circuit *h, int error)
{
	plane_event(p, CSVN_EVENT_HOST_CONNECTED, h->handle, (uint32_t)error, (struct event_part){ NULL, 0 },
		    (struct event_part){ NULL, 0 });
	if (error) {
		h->state = HOST_DONE;
		plane_unwatch(p, h->fd);
		return;
	}
	h->state = HOST_OPEN;
	pump(p, h, false);
}

void host_ready(struct plane *p, struct host_circuit *h, uint32_t events)
{
	if (h->state == HOST_CONNECTING) {
		connected(p, h, socket_error(h->fd));
		return;
	}
	/* An error or a hang-up that no direction would look at by itself. */
	if ((events & (EPOLLERR | EPOLLHUP)) && !(h->watched & (EPOLLIN | EPOLLOUT))) {
		int error = socket_error(h->fd);

		if (error) {
			pump_done(p, h, error);
			return;
		}
		/* Both halves of the connection are over, but the guest has bytes to read yet: it will ring. */
		plane_unwatch(p, h->fd);
	}
	pump(p, h, events & (EPOLLIN | EPOLLERR | EPOLLHUP));
}

void host_circuit_destroy(struct plane *p, struct host_circuit *h)
{
	host_drop_route(p, h->device, h->id, h->handle);
	handle_remove(&p->host_circuits, h->handle);
	if (h->fd >= 0) {
		struct linger reset = { .l_onoff = 1, .l_linger = 0 };

		(void)setsockopt(h->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
		close(h->fd);
	}
	free(h);
}

int host_map_end(struct plane *p, struct csvn_end *end, const struct csvn_host_setup *s)
{
	const struct host_arena *a = handle_get(&p->host_arenas, s->arena);
	const uint64_t extents[4][2] = { { s->own_control, CSVN_PAGE },
					 { s->peer_control, CSVN_PAGE },
					 { s->tx_ring, s->ring_size },
					 { s->rx_ring, s->ring_size } };

	if (!a)
		return -EBADF;
	if (s->ring_size < CSVN_RING_MIN || s->ring_size > CSVN_RING_MAX || (s->ring_size & (s->ring_size - 1)))
		return -EINVAL;
	for (int i = 0; i < 4; i++)
		if (extents[i][0] % CSVN_PAGE || extents[i][0] > a->bytes || extents[i][1] > a->bytes - extents[i][0])
			return -ERANGE;
	/* SAFETY: each extent lies in the arena's mapping, which outlives its circuits: see csvn_host_arena_unmap(). */
	csvn_end_init(end, (void *)(a->memory + s->own_control), (void *)(a->memory + s->peer_control),
		      a->memory + s->tx_ring, a->memory + s->rx_ring, s->ring_size);
	/* While the socket is what is waited for, nothing is asked of the guest, but its end must be seen. */
	csvn_watch(end);
	return 0;
}

int host_add_route(struct plane *p, int device, uint32_t id, int kind, int handle)
{
	struct device *d = handle_get(&p->devices, device);
	int rc = d ? route_set(&d->routes, id, kind, 0) : -EBADF;

	if (rc < 0)
		return rc;
	route_find(&d->routes, id)->host = handle;
	p->counters.routes++;
	return 0;
}

void host_drop_route(struct plane *p, int device, uint32_t id, int handle)
{
	struct device *d = handle_get(&p->devices, device);
	struct route *r = d ? route_find(&d->routes, id) : NULL;

	if (r && r->peer < 0 && r->host == handle) {
		route_drop(&d->routes, r);
		p->counters.routes--;
	}
}

void host_wake(struct plane *p, int device, uint32_t id)
{
	struct device *d = handle_get(&p->devices, device);
	struct route *r = d ? route_find(&d->routes, id) : NULL;

	if (!r)
		return;
	route_due(&d->routes, r);
	wake_flush(p, d);
}

/* A socket that connects to the setup's remote, or the accepted one. */
static int open_socket(const struct csvn_host_setup *s, enum host_state *state)
{
	struct sockaddr_storage remote;
	int one = 1, fd = s->fd, length, rc;

	*state = HOST_OPEN;
	if (fd < 0) {
		length = address_to_system(&s->remote, &remote);
		if (length < 0)
			return length;
		fd = socket(remote.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		if (fd < 0)
			return -errno;
		*state = HOST_CONNECTING;
		rc = connect(fd, (struct sockaddr *)&remote, (socklen_t)length);
		if (rc < 0 && errno != EINPROGRESS) {
			rc = -errno;
			close(fd);
			return rc;
		}
	}
	/* The guest has done its own gathering; what is in the ring is to go out. */
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
static int open_circuit(struct plane *p, const struct csvn_host_setup *s, int fd, enum host_state state)
{
	int error = state == HOST_CONNECTING ? outcome(fd) : 0;
	struct host_circuit *h = calloc(1, sizeof(*h));
	int rc;

	if (!h)
		return -ENOMEM;
	h->fd = -1;
	h->device = s->device;
	h->id = s->id;
	h->state = state;
	rc = h->handle = handle_add(&p->host_circuits, h);
	if (rc < 0) {
		free(h);
		return rc;
	}
	rc = host_map_end(p, &h->end, s);
	if (rc == 0)
		rc = host_add_route(p, h->device, h->id, ROUTE_HOST_STREAM, h->handle);
	if (rc == 0) {
		h->watched = error == -EINPROGRESS ? EPOLLOUT : EPOLLIN;
		rc = plane_watch_for(p, fd, WATCH_HOST, h->handle, h->watched);
	}
	if (rc < 0) {
		host_circuit_destroy(p, h);
		return rc;
	}
	h->fd = fd;
	rc = h->handle;
	if (state == HOST_OPEN)
		pump(p, h, false);
	else if (error != -EINPROGRESS)
		connected(p, h, error);
	return rc;
}

int csvn_host_open(int plane, const struct csvn_host_setup *setup)
{
	enum host_state state;
	/* Before the lock is taken: connect() may take as long as all the rest of a set-up. */
	int fd = open_socket(setup, &state);
	struct plane *p;
	int rc;

	if (fd < 0)
		return fd;
	p = plane_enter(plane);
	rc = p ? open_circuit(p, setup, fd, state) : -EBADF;
	if (p)
		plane_leave(p);
	if (rc >= 0)
		return rc;
	if (setup->fd >= 0)
		(void)csvn_host_refuse(fd);
	else
		close(fd);
	return rc;
}

int csvn_host_finish(int plane, int circuit)
{
	struct plane *p = plane_enter(plane);
	struct host_circuit *h;

	if (!p)
		return -EBADF;
	h = handle_get(&p->host_circuits, circuit);
	if (h) {
		h->guest_closed = true;
		pump(p, h, false);
	}
	plane_leave(p);
	return h ? 0 : -EBADF;
}

int csvn_host_close(int plane, int circuit)
{
	struct plane *p = plane_enter(plane);
	struct host_circuit *h;

	if (!p)
		return -EBADF;
	h = handle_get(&p->host_circuits, circuit);
	if (h)
		host_circuit_destroy(p, h);
	plane_leave(p);
	return h ? 0 : -EBADF;
}

void host_arena_destroy(struct plane *p, struct host_arena *a)
{
	handle_remove(&p->host_arenas, a->handle);
	munmap(a->memory, a->bytes);
	free(a);
}

int csvn_host_arena_map(int plane, int fd, uint64_t bytes)
{
	struct plane *p;
	struct host_arena *a = calloc(1, sizeof(*a));
	int rc = -ENOMEM;

	if (!a)
		return rc;
	a->bytes = bytes;
	a->memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (a->memory == MAP_FAILED) {
		rc = -errno;
		free(a);
		return rc;
	}
	(void)madvise(a->memory, bytes, MADV_DONTDUMP);
	p = plane_enter(plane);
	rc = p ? handle_add(&p->host_arenas, a) : -EBADF;
	if (rc < 0) {
		munmap(a->memory, bytes);
		free(a);
	} else {
		a->handle = rc;
	}
	if (p)
		plane_leave(p);
	return rc;
}

static bool is_inside(const struct host_arena *a, const void *page)
{
	return (const uint8_t *)page >= a->memory && (const uint8_t *)page < a->memory + a->bytes;
}

/* Is a host circuit in this arena? Its end's pages say so. */
static bool is_used(const struct plane *p, const struct host_arena *a)
{
	struct host_datagram *g;
	struct host_circuit *h;

	handle_for_each(&p->host_circuits, i, h)
		if (is_inside(a, h->end.own))
			return true;
	handle_for_each(&p->host_datagrams, i, g)
		if (is_inside(a, g->end.own))
			return true;
	return false;
}

int csvn_host_arena_unmap(int plane, int arena)
{
	struct plane *p = plane_enter(plane);
	struct host_arena *a;
	int rc = -EBADF;

	if (!p)
		return rc;
	a = handle_get(&p->host_arenas, arena);
	if (a) {
		rc = is_used(p, a) ? -EBUSY : 0;
		if (rc == 0)
			host_arena_destroy(p, a);
	}
	plane_leave(p);
	return rc;
}
