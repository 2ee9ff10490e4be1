/* SPDX-License-Identifier: MIT */
/*
 * From the guest to the socket. See datagram_circuit.c.
 *
 * An error of an earlier datagram (ICMP) waits in the socket, and the next send fails with it, whoever that is for, without sending
 * anything. Every such error is in the error queue too, with the address it belongs to. So a send that fails is done again after the
 * queue was read; one that fails while the queue has nothing is this datagram's own error.
 */
#define _GNU_SOURCE
#include "datagram_send.h"

#include <errno.h>
#include <time.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/uio.h>

#include "datagram_receive.h"
#include "host_route.h"

#define SENDS_MAX 8 /* of one datagram: reports may come as fast as we send */
#define FORBIDDEN_NS 200000000u /* between two frames that say so of one address */

/* Room for the source, the type of service and the time to live. */
union control {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(sizeof(struct in6_pktinfo)) + 2 * CMSG_SPACE(sizeof(int))];
};

static void get_header(const struct csvn_end *e, struct csvn_datagram *d)
{
	struct iovec iov[2];

	(void)ring_pieces(e->rx, e->size, e->head, FRAME_HEADER, iov);
	memcpy(d, iov[0].iov_base, iov[0].iov_len);
	memcpy((uint8_t *)d + iov[0].iov_len, iov[1].iov_base, iov[1].iov_len);
}

/* Tell the guest that an address is not allowed, a few times a second at most: it may send any number of datagrams there. */
static void forbid(struct port *p, struct host_datagram *h, struct permit *to)
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
	datagram_report(p, h, to, (int)to->rule.error);
}

/* SAFETY: the control union has room for one of each that is put. */
static void put_control(struct msghdr *msg, union control *control, int level, int type, const void *value, size_t size)
{
	struct cmsghdr *c = (struct cmsghdr *)(void *)(control->bytes + msg->msg_controllen);

	msg->msg_control = control;
	c->cmsg_level = level;
	c->cmsg_type = type;
	c->cmsg_len = CMSG_LEN(size);
	memcpy(CMSG_DATA(c), value, size);
	msg->msg_controllen += CMSG_SPACE(size);
}

/* What the guest chose for this datagram, and where it is to leave from. */
static void add_controls(const struct permit *to, const struct csvn_datagram *d, struct msghdr *msg,
			 union control *control)
{
	/* IPv4 goes by IPv4's, also from an IPv6 socket. */
	bool four = to->rule.actual.family == 4;
	int service = d->service, hops = d->hops;

	if (service)
		put_control(msg, control, four ? IPPROTO_IP : IPPROTO_IPV6, four ? IP_TOS : IPV6_TCLASS, &service,
			    sizeof(service));
	if (hops)
		put_control(msg, control, four ? IPPROTO_IP : IPPROTO_IPV6, four ? IP_TTL : IPV6_HOPLIMIT, &hops,
			    sizeof(hops));
	if (to->has_local && four) {
		struct in_pktinfo info = { .ipi_ifindex = 0 };

		memcpy(&info.ipi_spec_dst, to->local.s6_addr + 12, sizeof(info.ipi_spec_dst));
		put_control(msg, control, IPPROTO_IP, IP_PKTINFO, &info, sizeof(info));
	} else if (to->has_local) {
		struct in6_pktinfo info = { .ipi6_addr = to->local, .ipi6_ifindex = to->interface };

		put_control(msg, control, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof(info));
	}
}

/* The bytes sent, or -errno of this datagram's own. */
static ssize_t send_past_errors(struct port *p, struct host_datagram *h, const struct msghdr *msg)
{
	int error = 0;

	for (int i = 0; i < SENDS_MAX; i++) {
		ssize_t n = sendmsg(h->fd, msg, MSG_DONTWAIT | MSG_NOSIGNAL);

		p->work += host_work(n > 0 ? (size_t)n : 0);
		if (n >= 0)
			return n;
		error = errno;
		if (error == EAGAIN || (datagram_errors(p, h) == 0 && i > 0))
			break;
	}
	return -error;
}

static int send_to(struct port *p, struct host_datagram *h, struct permit *to, const struct csvn_datagram *d)
{
	struct csvn_end *e = &h->end;
	union control control;
	struct iovec iov[2];
	struct msghdr msg = { .msg_name = &to->actual, .msg_namelen = to->length, .msg_iov = iov };
	ssize_t n;

	msg.msg_iovlen = (size_t)ring_pieces(e->rx, e->size, e->head + FRAME_HEADER, d->size, iov);
	if (d->service || d->hops || to->has_local)
		add_controls(to, d, &msg, &control);
	n = send_past_errors(p, h, &msg);
	if (n == -EAGAIN)
		return -EAGAIN;
	if (n >= 0) {
		p->counters.host_received += (uint64_t)n;
		p->link.shared->moved[to->rule.number][1] += (uint64_t)n;
	} else if (n == -ENOBUFS) {
		p->counters
			.host_dropped++; /* a device's queue is full: sockets that do not ask for errors are not told */
	} else {
		datagram_report(p, h, to, (int)-n);
	}
	return 1;
}

int datagram_send(struct port *p, struct host_datagram *h)
{
	struct csvn_end *e = &h->end;
	struct csvn_host_address to = { 0 };
	struct permit *permit;
	struct csvn_datagram d;
	uint32_t ready;

	if (csvn_rx_ready(e, h->guest_closed ? 0 : e->size, &ready) < 0)
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
	permit = permit_by_guest(&h->permits, &to);
	if (!datagram_may_pass(p, h, permit)) {
		p->counters.host_dropped++;
		p->work += host_work(0);
		if (permit)
			forbid(p, h, permit);
	} else if (send_to(p, h, permit, &d) == -EAGAIN) {
		return -EAGAIN;
	}
	csvn_rx_release(e, frame_bytes(d.size));
	if (csvn_wants_tx(e))
		host_wake(p, h->id);
	return 1;
}
