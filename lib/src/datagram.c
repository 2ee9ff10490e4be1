/* SPDX-License-Identifier: MIT */
/*
 * Datagrams between a circuit's rings and one socket of the host, without a buffer in between.
 *
 * Theory of operation. Each frame of the guest names its destination; it goes out when that is permitted, else it is dropped
 * and counted, and where the rule says so answered with a frame with an error, as a firewall's ICMP message would come back. What comes in is received straight behind a frame's header in the ring, when its source is permitted. A circuit of a
 * published port shows unknown sources to TypeScript, and receives nothing more until it is told; any other drops them.
 * What the network says of datagrams that were sent (ICMP) comes by the socket's error queue, and goes to the guest as a
 * frame with an error.
 *
 * Without room for the largest datagram nothing is received: the socket's own buffer holds what it can, and the kernel drops the
 * rest, as it does for everybody who does not keep up.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <time.h>
#include <linux/errqueue.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/uio.h>
#include <unistd.h>

#include "device.h"
#include "host.h"

#define DATAGRAMS_A_TURN 64
#define FORBIDDEN_NS 200000000u /* between two frames that say so of one address */
#define FRAME_HEADER ((uint32_t)sizeof(struct csvn_datagram))
#define FRAME_MAX (FRAME_HEADER + CSVN_DATAGRAM_MAX + CSVN_DATAGRAM_ALIGN)

static uint32_t frame_bytes(uint32_t size)
{
	return (FRAME_HEADER + size + CSVN_DATAGRAM_ALIGN - 1) & ~(CSVN_DATAGRAM_ALIGN - 1);
}

static void get_header(const struct csvn_end *e, struct csvn_datagram *d)
{
	struct iovec iov[2];

	(void)ring_pieces(e->rx, e->size, e->head, FRAME_HEADER, iov);
	memcpy(d, iov[0].iov_base, iov[0].iov_len);
	memcpy((uint8_t *)d + iov[0].iov_len, iov[1].iov_base, iov[1].iov_len);
}

static void put_header(const struct csvn_end *e, const struct csvn_datagram *d)
{
	struct iovec iov[2];

	(void)ring_pieces(e->tx, e->size, e->tail, FRAME_HEADER, iov);
	memcpy(iov[0].iov_base, d, iov[0].iov_len);
	memcpy(iov[1].iov_base, (const uint8_t *)d + iov[0].iov_len, iov[1].iov_len);
}

/* An address as the socket tells it; IPv4-mapped ones as IPv4. */
static int from_socket_address(const struct sockaddr_storage *from, struct csvn_host_address *out)
{
	static const uint8_t mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };
	int rc = address_from_system(from, out);

	if (rc == 0 && out->family == 6 && memcmp(out->ip, mapped, sizeof(mapped)) == 0) {
		out->family = 4;
		memmove(out->ip, out->ip + 12, 4);
		memset(out->ip + 4, 0, 12);
	}
	return rc;
}

static void finish(struct plane *p, struct host_datagram *h, int error)
{
	struct csvn_event_done done = { .sent = h->end.tail, .received = h->end.head };

	if (h->done)
		return;
	h->done = true;
	csvn_set_state(&h->end, CSVN_STATE_CLOSED | (error ? CSVN_STATE_RESET : CSVN_STATE_FIN));
	host_wake(p, h->device, h->id);
	watch_drop(p, &h->watch);
	plane_event(p, CSVN_EVENT_HOST_DATAGRAM_DONE, h->handle, (uint32_t)error,
		    (struct event_part){ &done, sizeof(done) }, (struct event_part){ NULL, 0 });
}

static void publish(struct plane *p, struct host_datagram *h, const struct csvn_host_address *guest, uint32_t size,
		    int error)
{
	struct csvn_datagram d = {
		.size = size, .family = (uint8_t)guest->family, .port = (uint16_t)guest->port, .error = (uint16_t)error
	};

	memcpy(d.ip, guest->ip, guest->family == 4 ? 4 : 16);
	put_header(&h->end, &d);
	csvn_tx_publish(&h->end, frame_bytes(size));
	p->counters.host_sent += size;
	if (csvn_wants_rx(&h->end))
		host_wake(p, h->device, h->id);
}

/* Tell the guest what became of datagrams to an address, if there is room for it. */
static void report(struct plane *p, struct host_datagram *h, const struct host_permit *to, int error)
{
	uint32_t room;

	if (to && csvn_tx_room(&h->end, FRAME_HEADER, &room) == 0 && room >= FRAME_HEADER)
		publish(p, h, &to->rule.guest, 0, error);
}

/* Tell the guest that an address is not allowed, a few times a second at most: it may send any number of datagrams there. */
static void forbid(struct plane *p, struct host_datagram *h, struct host_permit *to)
{
	struct timespec t;
	uint64_t now;

	if (!to->rule.error)
		return;
	clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	now = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
	if (to->reported && now - to->reported < FORBIDDEN_NS)
		return;
	to->reported = now;
	report(p, h, to, (int)to->rule.error);
}

static void read_errors(struct plane *p, struct host_datagram *h)
{
	for (int i = 0; i < DATAGRAMS_A_TURN; i++) {
		union {
			struct cmsghdr align;
			char bytes[512];
		} control;
		struct csvn_host_address address;
		struct sockaddr_storage to;
		struct msghdr msg = { .msg_name = &to,
				      .msg_namelen = sizeof(to),
				      .msg_control = &control,
				      .msg_controllen = sizeof(control) };

		if (recvmsg(h->fd, &msg, MSG_ERRQUEUE | MSG_DONTWAIT) < 0)
			return;
		if (from_socket_address(&to, &address) < 0)
			continue;
		for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
			struct sock_extended_err err;

			if (!(c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR) &&
			    !(c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_RECVERR))
				continue;
			memcpy(&err, CMSG_DATA(c), sizeof(err));
			report(p, h, permit_by_actual(h, &address), (int)err.ee_errno);
		}
	}
}

/* One frame of the guest. 1: gone on; 0: nothing there; -EAGAIN: the socket is full; -EPROTO: not a frame. */
static int send_one(struct plane *p, struct host_datagram *h)
{
	struct csvn_end *e = &h->end;
	struct csvn_host_address to = { 0 };
	struct host_permit *permit;
	struct csvn_datagram d;
	struct iovec iov[2];
	struct msghdr msg = { .msg_iov = iov };
	uint32_t ready;
	ssize_t n;

	if (csvn_rx_ready(e, e->size, &ready) < 0)
		return -EPROTO;
	if (!ready)
		return 0;
	if (ready < FRAME_HEADER)
		return -EPROTO;
	/* One copy of the header: the guest may change it meanwhile. */
	get_header(e, &d);
	if (d.size > CSVN_DATAGRAM_MAX || frame_bytes(d.size) > ready || (d.family != 4 && d.family != 6))
		return -EPROTO;
	to.family = d.family;
	to.port = d.port;
	memcpy(to.ip, d.ip, d.family == 4 ? 4 : 16);
	permit = permit_by_guest(h, &to);
	if (!permit || !permit->rule.allowed) {
		p->counters.host_dropped++;
		if (permit)
			forbid(p, h, permit);
	} else {
		msg.msg_name = (void *)(uintptr_t)&permit->actual;
		msg.msg_namelen = (socklen_t)permit->length;
		msg.msg_iovlen = (size_t)ring_pieces(e->rx, e->size, e->head + FRAME_HEADER, d.size, iov);
		n = sendmsg(h->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno == EAGAIN)
			return -EAGAIN;
		if (n < 0) {
			report(p, h, permit, errno);
		} else {
			p->counters.host_received += (uint64_t)n;
			permit->moved.received += (uint64_t)n;
		}
	}
	csvn_rx_release(e, frame_bytes(d.size));
	if (csvn_wants_tx(e))
		host_wake(p, h->device, h->id);
	return 1;
}

/* The source of the next datagram is known? If not, TypeScript is asked, once. */
static bool source_known(struct plane *p, struct host_datagram *h)
{
	struct csvn_host_address address;
	struct sockaddr_storage from;
	char byte;
	struct iovec iov = { &byte, 0 };
	struct msghdr msg = { .msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = &iov, .msg_iovlen = 1 };

	if (recvmsg(h->fd, &msg, MSG_PEEK | MSG_DONTWAIT) < 0 || from_socket_address(&from, &address) < 0 ||
	    permit_by_actual(h, &address))
		return true;
	h->asking = true;
	plane_event(p, CSVN_EVENT_HOST_SOURCE, h->handle, 0, (struct event_part){ &address, sizeof(address) },
		    (struct event_part){ NULL, 0 });
	return false;
}

/* One datagram of the socket. 1: gone on; 0: no room; -EAGAIN: nothing there; -EPROTO: the guest's cursor lies. */
static int receive_one(struct plane *p, struct host_datagram *h)
{
	struct csvn_end *e = &h->end;
	struct csvn_host_address address;
	struct host_permit *permit;
	struct sockaddr_storage from;
	struct iovec iov[2];
	struct msghdr msg = { .msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = iov };
	uint32_t room, space;
	ssize_t n;

	if (csvn_tx_room(e, e->size, &room) < 0)
		return -EPROTO;
	if (room < (FRAME_MAX < e->size ? FRAME_MAX : e->size / 2))
		return 0;
	if (h->asks && !source_known(p, h))
		return -EAGAIN;
	space = room - FRAME_HEADER < CSVN_DATAGRAM_MAX ? room - FRAME_HEADER : CSVN_DATAGRAM_MAX;
	msg.msg_iovlen = (size_t)ring_pieces(e->tx, e->size, e->tail + FRAME_HEADER, space, iov);
	n = recvmsg(h->fd, &msg, MSG_DONTWAIT | MSG_TRUNC);
	/* An error of an earlier datagram is told by the error queue; this is its echo. */
	if (n < 0)
		return errno == EAGAIN ? -EAGAIN : 1;
	permit = from_socket_address(&from, &address) < 0 ? NULL : permit_by_actual(h, &address);
	if (!permit || !permit->rule.allowed || n > (ssize_t)space || frame_bytes((uint32_t)n) > room) {
		p->counters.host_dropped++;
	} else {
		publish(p, h, &permit->rule.guest, (uint32_t)n, 0);
		permit->moved.sent += (uint64_t)n;
	}
	return 1;
}

static void turn(struct plane *p, struct host_datagram *h)
{
	uint32_t events = 0;
	bool armed = false;
	int rc = 1;

	if (h->done)
		return;
	p->counters.host_turns++;
	for (int i = 0; i < DATAGRAMS_A_TURN && rc > 0; i++) {
		rc = send_one(p, h);
		if (rc == 0 && !armed) {
			csvn_arm_rx(&h->end);
			armed = true;
			rc = 1;
		}
	}
	/* The guest is gone, and all that it sent is out. */
	if (rc == 0 && csvn_peer_state(&h->end) & (CSVN_STATE_CLOSED | CSVN_STATE_RESET)) {
		finish(p, h, 0);
		return;
	}
	if (rc == -EAGAIN || rc > 0)
		events |= EPOLLOUT;
	if (rc != -EPROTO && !h->asking) {
		armed = false;
		rc = 1;
		for (int i = 0; i < DATAGRAMS_A_TURN && rc > 0; i++) {
			rc = receive_one(p, h);
			if (rc == 0 && !armed) {
				csvn_arm_tx(&h->end);
				armed = true;
				rc = 1;
			}
		}
		if ((rc == -EAGAIN && !h->asking) || rc > 0)
			events |= EPOLLIN;
	}
	if (rc != -EPROTO)
		rc = watch_for(p, &h->watch, h->fd, events);
	if (rc < 0)
		finish(p, h, -rc);
}

void datagram_doorbell(struct plane *p, int handle)
{
	struct host_datagram *h = handle_get(&p->host_datagrams, handle);

	if (h)
		turn(p, h);
}

void datagram_ready(struct plane *p, struct host_datagram *h, uint32_t events)
{
	if (events & EPOLLERR) {
		socklen_t bytes = sizeof(int);
		int error;

		read_errors(p, h);
		(void)getsockopt(h->fd, SOL_SOCKET, SO_ERROR, &error, &bytes);
	}
	turn(p, h);
}

void datagram_destroy(struct plane *p, struct host_datagram *h)
{
	host_drop_route(p, h->device, h->id, h->handle);
	handle_remove(&p->host_datagrams, h->handle);
	watch_drop(p, &h->watch);
	if (h->fd >= 0)
		close(h->fd);
	free(h->permits);
	free(h);
}

/* An IPv6 socket that talks IPv4 too, or where there is no IPv6 an IPv4 one; bound where the setup says. */
static int open_socket(const struct csvn_host_setup *s, bool *six)
{
	struct sockaddr_storage local;
	int one = 1, zero = 0, fd = -1, rc = 0, length;

	*six = s->remote.family != 4;
	if (*six)
		fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 && s->remote.family != 6) {
		*six = false;
		fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	}
	if (fd < 0)
		return -errno;
	if (*six) {
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, s->remote.family == 6 ? &one : &zero, sizeof(zero));
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_RECVERR, &one, sizeof(one));
	}
	(void)setsockopt(fd, IPPROTO_IP, IP_RECVERR, &one, sizeof(one));
	if (s->remote.family) {
		length = address_to_system(&s->remote, &local);
		if (length < 0)
			rc = length;
		else if (bind(fd, (struct sockaddr *)&local, (socklen_t)length) < 0)
			rc = -errno;
	}
	if (rc < 0) {
		close(fd);
		return rc;
	}
	return fd;
}

static int open_datagram(struct plane *p, const struct csvn_host_setup *s)
{
	struct host_datagram *h = calloc(1, sizeof(*h));
	int rc;

	if (!h)
		return -ENOMEM;
	h->fd = -1;
	h->device = s->device;
	h->id = s->id;
	h->asks = s->remote.family != 0;
	rc = h->handle = handle_add(&p->host_datagrams, h);
	watch_init(&h->watch, WATCHED_HOST_DATAGRAM, h->handle, 0);
	if (rc < 0) {
		free(h);
		return rc;
	}
	rc = host_map_end(p, &h->end, s);
	if (rc == 0)
		rc = host_add_route(p, h->device, h->id, ROUTE_HOST_DATAGRAM, h->handle);
	if (rc == 0)
		rc = h->fd = open_socket(s, &h->six);
	if (rc < 0) {
		datagram_destroy(p, h);
		return rc;
	}
	turn(p, h);
	return h->handle;
}

int csvn_host_datagram_open(int plane, const struct csvn_host_setup *setup)
{
	struct plane *p = plane_enter(plane);
	int rc;

	if (!p)
		return -EBADF;
	rc = open_datagram(p, setup);
	plane_leave(p);
	return rc;
}

int csvn_host_datagram_close(int plane, int circuit)
{
	struct plane *p = plane_enter(plane);
	struct host_datagram *h;

	if (!p)
		return -EBADF;
	h = handle_get(&p->host_datagrams, circuit);
	if (h) {
		/* What the guest sent before it closed. */
		turn(p, h);
		datagram_destroy(p, h);
	}
	plane_leave(p);
	return h ? 0 : -EBADF;
}
