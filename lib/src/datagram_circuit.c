/* SPDX-License-Identifier: MIT */
/*
 * Datagrams between a circuit's rings and one socket of the host.
 *
 * Theory of operation. Each frame of the guest names its destination; it goes out when that is permitted (permit.h), else it is dropped
 * and counted, and where the rule says so answered with a frame with an error, as a firewall's ICMP message would come back. What comes in is
 * received into memory of ours, and copied into the ring when its source is permitted: the guest may read its ring at any time, also where nothing was
 * published. A circuit of a published port shows unknown
 * sources to the brain, and receives nothing more until it is told about that one; any other drops them. Where such a port is bound to any address,
 * a source's last datagram says by which address of the host it knows us, and what goes to it leaves from there.
 * What the network says of datagrams that were sent (ICMP) comes by the socket's error queue, and goes to the guest as a
 * frame with an error.
 *
 * Without room for the largest datagram nothing is received: the socket's own buffer holds what it can, and the kernel drops the
 * rest, as it does for everybody who does not keep up.
 */
#define _GNU_SOURCE
#include "datagram_circuit.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "datagram_receive.h"
#include "datagram_send.h"
#include "descriptor.h"
#include "events.h"
#include "host_arena.h"
#include "host_route.h"
#include "watch.h"

static void finish(struct port *p, struct host_datagram *h, int error)
{
	struct csvn_event_done done = { .sent = h->end.tail, .received = h->end.head };

	if (h->done)
		return;
	h->done = true;
	csvn_set_state(&h->end, CSVN_STATE_CLOSED | (error ? CSVN_STATE_RESET : CSVN_STATE_FIN));
	host_wake(p, h->id);
	watch_drop(p, &h->watch);
	port_event(p, CSVN_EVENT_HOST_DONE, h->handle, (uint32_t)error,
		    (struct event_part){ &done, sizeof(done) }, (struct event_part){ NULL, 0 });
}

/* Frames of the guest, as many as a turn has. As datagram_send(); 0 when it has closed, and all that it sent is out, is *over. */
static int send_some(struct port *p, struct host_datagram *h, bool *over)
{
	bool armed = false;

	for (uint64_t end = p->work + TURN_WORK; p->work < end;) {
		/* The state before the tail: what was sent before the end is there, then. */
		uint32_t state = csvn_peer_state(&h->end);
		int rc = datagram_send(p, h);

		if (rc < 0)
			return rc;
		if (rc > 0)
			continue;
		*over = h->guest_closed || state & (CSVN_STATE_CLOSED | CSVN_STATE_RESET);
		if (armed || *over)
			return 0;
		csvn_arm_rx(&h->end);
		armed = true;
	}
	return 1;
}

static int receive_some(struct port *p, struct host_datagram *h)
{
	bool armed = false;

	for (uint64_t end = p->work + TURN_WORK; p->work < end;) {
		int rc = datagram_receive(p, h);

		if (rc < 0 || (rc == 0 && armed))
			return rc;
		if (rc == 0) {
			csvn_arm_tx(&h->end);
			armed = true;
		}
	}
	return 1;
}

static void turn(struct port *p, struct host_datagram *h)
{
	uint32_t events = 0;
	bool over = false;
	int rc;

	if (h->done)
		return;
	p->counters.host_turns++;
	rc = send_some(p, h, &over);
	if (over) {
		finish(p, h, 0);
		return;
	}
	if (rc == -EAGAIN || rc > 0)
		events |= EPOLLOUT;
	/* Nobody reads what comes for a guest that has closed. */
	if (rc != -EPROTO && !h->asking && !h->guest_closed) {
		rc = receive_some(p, h);
		if ((rc == -EAGAIN && !h->asking) || rc > 0)
			events |= EPOLLIN;
	}
	if (rc != -EPROTO)
		rc = watch_for(p, &h->watch, h->fd, events);
	if (rc < 0)
		finish(p, h, -rc);
}

void datagram_doorbell(struct port *p, int handle)
{
	struct host_datagram *h = handle_get(&p->host_datagrams, handle);

	if (h)
		turn(p, h);
}

void datagram_ready(struct port *p, struct host_datagram *h, uint32_t events)
{
	if (events & EPOLLERR) {
		socklen_t bytes = sizeof(int);
		int ignored;

		(void)datagram_errors(p, h);
		/* The last of them waits in the socket as well, and is to be told once. */
		(void)getsockopt(h->fd, SOL_SOCKET, SO_ERROR, &ignored, &bytes);
	}
	turn(p, h);
}

void datagram_destroy(struct port *p, struct host_datagram *h)
{
	host_drop_route(p, h->id, h->handle);
	handle_remove(&p->host_datagrams, h->handle);
	watch_drop(p, &h->watch);
	if (h->fd >= 0)
		close(h->fd);
	permit_table_free(&h->permits);
	free(h);
}

static int set(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value));
}

/* Receivers may ask what a datagram came with. An IPv6 socket is told of IPv4's by IPv4's options. */
static int tell_marks(int fd, bool six)
{
	int rc = set(fd, IPPROTO_IP, IP_RECVTOS, 1) | set(fd, IPPROTO_IP, IP_RECVTTL, 1);

	if (six)
		rc |= set(fd, IPPROTO_IPV6, IPV6_RECVTCLASS, 1) | set(fd, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 1);
	return rc;
}

static bool is_any(const struct csvn_host_address *a)
{
	static const uint8_t zeros[16];

	return memcmp(a->ip, zeros, a->family == 4 ? 4 : 16) == 0;
}

/* An IPv6 socket that talks IPv4 too, or where there is no IPv6 an IPv4 one; bound where the setup says. */
static int open_socket(const struct csvn_host_setup *s, bool *six, bool *wildcard)
{
	struct sockaddr_storage local;
	int fd = -1, rc = 0, length;

	*six = s->remote.family != 4;
	*wildcard = s->remote.family && is_any(&s->remote);
	if (*six)
		fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 && s->remote.family != 6) {
		*six = false;
		fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	}
	fd = descriptor_made(fd);
	if (fd < 0)
		return fd;
	if (*six)
		rc = set(fd, IPPROTO_IPV6, IPV6_V6ONLY, s->remote.family == 6) | set(fd, IPPROTO_IPV6, IPV6_RECVERR, 1);
	rc |= set(fd, IPPROTO_IP, IP_RECVERR, 1) | tell_marks(fd, *six);
	if (*wildcard)
		rc |= s->remote.family == 6 ? set(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1)
					    : set(fd, IPPROTO_IP, IP_PKTINFO, 1);
	if (rc < 0)
		rc = -errno;
	if (rc == 0 && s->remote.family) {
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

static int open_datagram(struct port *p, int handle, const struct csvn_host_setup *s)
{
	struct host_datagram *h = calloc(1, sizeof(*h));
	int rc;

	if (!h)
		return -ENOMEM;
	h->fd = -1;
	h->handle = handle;
	h->id = s->id;
	h->asks = s->remote.family != 0;
	rc = handle_put(&p->host_datagrams, handle, h);
	watch_init(&h->watch, WATCHED_HOST_DATAGRAM, handle, 0);
	if (rc < 0) {
		free(h);
		return rc;
	}
	host_add_route(p, h->id, ROUTE_HOST_DATAGRAM, handle);
	rc = host_map_end(p, &h->end, s);
	if (rc == 0)
		rc = h->fd = open_socket(s, &h->six, &h->wildcard);
	if (rc < 0) {
		datagram_destroy(p, h);
		return rc;
	}
	return 0;
}

void datagram_open(struct port *p, int handle, const struct csvn_host_setup *setup)
{
	int rc = open_datagram(p, handle, setup);

	port_event(p, CSVN_EVENT_HOST_CONNECTED, handle, (uint32_t)-rc, (struct event_part){ NULL, 0 },
		   (struct event_part){ NULL, 0 });
	datagram_doorbell(p, handle);
}

void datagram_finish(struct port *p, int handle)
{
	struct host_datagram *h = handle_get(&p->host_datagrams, handle);
	uint32_t ready;
	int rc;

	if (!h || h->guest_closed)
		return;
	/* What it has sent by now is all. */
	rc = csvn_rx_ready(&h->end, h->end.size, &ready);
	h->guest_closed = true;
	if (rc < 0)
		finish(p, h, -rc);
	turn(p, h);
}

void datagram_close(struct port *p, int handle)
{
	struct host_datagram *h = handle_get(&p->host_datagrams, handle);

	if (h)
		datagram_destroy(p, h);
}

static bool is_asked(const struct host_datagram *h, const struct csvn_host_address *actual)
{
	return h->asking && address_same(&h->asked, actual);
}

int datagram_permit(struct port *p, int handle, const struct csvn_host_permit *permit)
{
	struct host_datagram *h = handle_get(&p->host_datagrams, handle);
	int rc;

	if (!h)
		return 0;
	rc = permit->number < CSVN_MOVED_MAX ? permit_set(&h->permits, permit, h->six) : -EINVAL;
	if (is_asked(h, &permit->actual)) {
		h->asking = false;
		/* It would be asked about again and again. */
		if (rc < 0)
			datagram_drop(p, h);
	}
	turn(p, h);
	return rc;
}

void datagram_forget(struct port *p, int handle, const struct csvn_host_address *guest)
{
	struct host_datagram *h = handle_get(&p->host_datagrams, handle);
	struct permit *known;

	if (!h)
		return;
	known = permit_by_guest(&h->permits, guest);
	if (known)
		permit_drop(&h->permits, known);
	/* Then it is asked about anew. */
	if (is_asked(h, guest)) {
		h->asking = false;
		turn(p, h);
	}
}
