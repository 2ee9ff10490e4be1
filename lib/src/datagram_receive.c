/* SPDX-License-Identifier: MIT */
/* From the socket to the guest: datagrams, and errors. See datagram_circuit.c. */
#define _GNU_SOURCE
#include "datagram_receive.h"

#include <errno.h>
#include <time.h>
#include <linux/errqueue.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/uio.h>

#include "events.h"
#include "host_route.h"

#define REPORTS_A_TURN 64

union control {
	struct cmsghdr align;
	char bytes[512];
};

/* Copy into the own ring. SAFETY: the caller has found room for it, which is at most the ring. */
static void put(const struct csvn_end *e, uint64_t cursor, const void *bytes, uint32_t count)
{
	struct iovec iov[2];

	(void)ring_pieces(e->tx, e->size, cursor, count, iov);
	memcpy(iov[0].iov_base, bytes, iov[0].iov_len);
	memcpy(iov[1].iov_base, (const uint8_t *)bytes + iov[0].iov_len, iov[1].iov_len);
}

/* Publish a frame of which all is said but where it comes from. */
static void publish(struct port *p, struct host_datagram *h, const struct csvn_host_address *guest,
		    struct csvn_datagram d)
{
	d.family = (uint8_t)guest->family;
	d.port = (uint16_t)guest->port;
	memcpy(d.ip, guest->ip, guest->family == 4 ? 4 : 16);
	put(&h->end, h->end.tail, &d, FRAME_HEADER);
	csvn_tx_publish(&h->end, frame_bytes(d.size));
	p->counters.host_sent += d.size;
	if (csvn_wants_rx(&h->end))
		host_wake(p, h->id);
}

void datagram_report(struct port *p, struct host_datagram *h, const struct permit *to, int error)
{
	uint32_t room;

	if (to && csvn_tx_room(&h->end, FRAME_HEADER, &room) == 0 && room >= FRAME_HEADER)
		publish(p, h, &to->rule.guest, (struct csvn_datagram){ .error = (uint16_t)error });
}

int datagram_errors(struct port *p, struct host_datagram *h)
{
	int count = 0;

	while (count < REPORTS_A_TURN) {
		union control control;
		struct csvn_host_address address;
		struct sockaddr_storage to;
		struct msghdr msg = { .msg_name = &to,
				      .msg_namelen = sizeof(to),
				      .msg_control = &control,
				      .msg_controllen = sizeof(control) };

		if (recvmsg(h->fd, &msg, MSG_ERRQUEUE | MSG_DONTWAIT) < 0)
			break;
		count++;
		p->work += host_work(0);
		if (address_unmapped(&to, &address) < 0)
			continue;
		for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
			struct sock_extended_err err;

			if (!(c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR) &&
			    !(c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_RECVERR))
				continue;
			memcpy(&err, CMSG_DATA(c), sizeof(err));
			datagram_report(p, h, permit_by_actual(&h->permits, &address), (int)err.ee_errno);
		}
	}
	return count;
}

/*
 * recvmsg(), past the errors of earlier sends, which the error queue tells of: they must not be taken for there being no datagram. The
 * length, or -EAGAIN.
 */
static ssize_t receive(struct port *p, struct host_datagram *h, struct msghdr *msg, int flags)
{
	socklen_t length = msg->msg_namelen;
	size_t control = msg->msg_controllen;

	for (int i = 0; i < REPORTS_A_TURN; i++) {
		ssize_t n;

		msg->msg_namelen = length;
		msg->msg_controllen = control;
		n = recvmsg(h->fd, msg, MSG_DONTWAIT | flags);
		p->work += host_work(n > 0 ? (size_t)n : 0);
		if (n >= 0)
			return n;
		if (errno == EAGAIN)
			break;
	}
	return -EAGAIN;
}

/* The source of the next datagram is known? If not, TypeScript is asked, once. 1, 0, or -EAGAIN: there is none. */
static int source_known(struct port *p, struct host_datagram *h)
{
	struct csvn_host_address address;
	struct sockaddr_storage from;
	char byte;
	struct iovec iov = { &byte, 0 };
	struct msghdr msg = { .msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = &iov, .msg_iovlen = 1 };

	if (receive(p, h, &msg, MSG_PEEK) < 0)
		return -EAGAIN;
	if (address_unmapped(&from, &address) < 0 || permit_by_actual(&h->permits, &address))
		return 1;
	h->asking = true;
	h->asked = address;
	port_event(p, CSVN_EVENT_HOST_SOURCE, h->handle, 0, (struct event_part){ &address, sizeof(address) },
		    (struct event_part){ NULL, 0 });
	return 0;
}

/* Remember to which address of the host's a datagram came. */
static void remember_local(struct permit *from, struct msghdr *msg)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
			struct in_pktinfo info;

			memcpy(&info, CMSG_DATA(c), sizeof(info));
			memcpy(from->local.s6_addr + 12, &info.ipi_spec_dst, sizeof(info.ipi_spec_dst));
			from->has_local = true;
		}
		if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
			struct in6_pktinfo info;

			memcpy(&info, CMSG_DATA(c), sizeof(info));
			from->local = info.ipi6_addr;
			/* A group's is nothing to send from. */
			from->has_local = !IN6_IS_ADDR_MULTICAST(&info.ipi6_addr);
			from->interface = IN6_IS_ADDR_LINKLOCAL(&info.ipi6_addr) ? info.ipi6_ifindex : 0;
		}
	}
}

static uint8_t number_in(const struct cmsghdr *c)
{
	int value;

	memcpy(&value, CMSG_DATA(c), sizeof(value));
	return (uint8_t)value;
}

/* The type of service and the time to live (traffic class and hop limit) that a datagram came with. */
static void read_marks(struct msghdr *msg, struct csvn_datagram *d)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		bool four = c->cmsg_level == IPPROTO_IP, six = c->cmsg_level == IPPROTO_IPV6;

		if (four && c->cmsg_type == IP_TOS)
			d->service = *CMSG_DATA(c);
		else if (six && c->cmsg_type == IPV6_TCLASS)
			d->service = number_in(c);
		else if ((four && c->cmsg_type == IP_TTL) || (six && c->cmsg_type == IPV6_HOPLIMIT))
			d->hops = number_in(c);
	}
}

void datagram_drop(struct port *p, struct host_datagram *h)
{
	struct msghdr msg = { .msg_iov = NULL };

	if (receive(p, h, &msg, 0) >= 0)
		p->counters.host_dropped++;
}

int datagram_receive(struct port *p, struct host_datagram *h)
{
	struct csvn_end *e = &h->end;
	struct csvn_host_address address;
	union control control;
	struct permit *permit;
	struct sockaddr_storage from;
	struct iovec iov = { p->datagram, sizeof(p->datagram) };
	struct msghdr msg = { .msg_name = &from,
			      .msg_namelen = sizeof(from),
			      .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen = sizeof(control) };
	struct csvn_datagram d = { 0 };
	uint32_t room;
	ssize_t n;

	if (csvn_tx_room(e, e->size, &room) < 0)
		return -EPROTO;
	if (room < (FRAME_MAX < e->size ? FRAME_MAX : e->size / 2))
		return 0;
	if (h->asks && source_known(p, h) <= 0)
		return -EAGAIN;
	n = receive(p, h, &msg, MSG_TRUNC);
	if (n < 0)
		return -EAGAIN;
	permit = address_unmapped(&from, &address) < 0 ? NULL : permit_by_actual(&h->permits, &address);
	if (!datagram_may_pass(p, h, permit) || n > CSVN_DATAGRAM_MAX || frame_bytes((uint32_t)n) > room) {
		p->counters.host_dropped++;
		return 1;
	}
	if (h->wildcard)
		remember_local(permit, &msg);
	read_marks(&msg, &d);
	d.size = (uint32_t)n;
	put(e, e->tail + FRAME_HEADER, p->datagram, d.size);
	publish(p, h, &permit->rule.guest, d);
	p->link.shared->moved[permit->rule.number][0] += (uint64_t)n;
	return 1;
}
