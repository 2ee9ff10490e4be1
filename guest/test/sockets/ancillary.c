/* SPDX-License-Identifier: MIT */
/* Datagrams: what comes and goes beside the bytes. Control messages, the error queue, corking, segments. */
#define _GNU_SOURCE
#include "sockets.h"

#include <linux/errqueue.h>
#include <linux/net_tstamp.h>
#include <netinet/udp.h>
#include <time.h>

static char buffer[1 << 17], control[1024];

static int bound(void)
{
	int fd = (int)MUST(socket(AF_INET, SOCK_DGRAM, 0));

	MUST(bind(fd, (struct sockaddr *)&there, sizeof(there)));
	return fd;
}

static long connect_to(int fd, int other)
{
	struct sockaddr_in to = name_of(other);

	return connect(fd, (struct sockaddr *)&to, sizeof(to));
}

/* Receive a datagram within 5 s, with all that comes along in `control`. */
static struct msghdr take(int fd, int flags)
{
	static struct sockaddr_in6 from;
	static struct iovec in = { buffer, sizeof(buffer) };
	struct msghdr m = { .msg_iov = &in, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control),
			    .msg_name = &from, .msg_namelen = sizeof(from) };
	long n;

	await(fd, POLLIN);
	memset(control, 0, sizeof(control));
	n = recvmsg(fd, &m, flags | MSG_DONTWAIT);
	did("recvmsg", n);
	if (n < 0)
		m.msg_controllen = 0;
	saw("flags %#x", m.msg_flags);
	return m;
}

static struct cmsghdr *find(struct msghdr *m, int level, int type)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c))
		if (c->cmsg_level == level && c->cmsg_type == type)
			return c;
	return NULL;
}

/* Number in a control message. */
static void saw_number(const char *what, struct msghdr *m, int level, int type)
{
	struct cmsghdr *c = find(m, level, type);
	int value = 0;

	if (!c) {
		saw("%s: none", what);
		return;
	}
	memcpy(&value, CMSG_DATA(c), c->cmsg_len - CMSG_LEN(0) < 4 ? c->cmsg_len - CMSG_LEN(0) : 4);
	saw("%s: %d (%zu bytes)", what, value, (size_t)(c->cmsg_len - CMSG_LEN(0)));
}

static void saw_refusal(int fd)
{
	struct msghdr m;
	struct cmsghdr *c;
	struct sock_extended_err *e;
	struct sockaddr_in *offender;

	saw_events("an error", fd, POLLIN, 5000);
	m = take(fd, MSG_ERRQUEUE);
	c = find(&m, IPPROTO_IP, IP_RECVERR);
	if (!c)
		return;
	e = (struct sock_extended_err *)CMSG_DATA(c);
	offender = (struct sockaddr_in *)SO_EE_OFFENDER(e);
	saw("%s, origin %u, type %u, code %u, info %u", strerrorname_np((int)e->ee_errno), e->ee_origin, e->ee_type,
	    e->ee_code, e->ee_info);
	saw("offender: family %d, there %d", offender->sin_family, offender->sin_addr.s_addr == there.sin_addr.s_addr);
	saw("destination: there %d, length %u, bytes \"%.3s\"",
	    ((struct sockaddr_in *)m.msg_name)->sin_addr.s_addr == there.sin_addr.s_addr, m.msg_namelen, buffer);
}

static struct sockaddr_in nobody(void)
{
	int fd = bound();
	struct sockaddr_in name = name_of(fd);

	close(fd);
	return name;
}

static void error_queue_unconnected(const void *none)
{
	struct sockaddr_in to = nobody();
	int a = bound();

	(void)none;
	SAW(set_int(a, IPPROTO_IP, IP_RECVERR, 1));
	SAW(sendto(a, "abc", 3, 0, (struct sockaddr *)&to, sizeof(to)));
	saw_refusal(a);
	SAW(get_int(a, SOL_SOCKET, SO_ERROR));
	SAW(recv(a, buffer, 10, MSG_ERRQUEUE));
	saw_events("none left", a, POLLIN, 0);
}

static void error_queue_connected(const void *none)
{
	struct sockaddr_in to = nobody();
	int a = bound();

	(void)none;
	SAW(set_int(a, IPPROTO_IP, IP_RECVERR, 1));
	SAW(connect(a, (struct sockaddr *)&to, sizeof(to)));
	SAW(send(a, "abc", 3, 0));
	await(a, POLLERR);
	SAW(recv(a, buffer, 10, MSG_DONTWAIT));
	saw_refusal(a);
	SAW(set_int(a, IPPROTO_IP, IP_RECVERR, 0));
	SAW(recv(a, buffer, 10, MSG_ERRQUEUE));
}

static void error_queue_six(const void *none)
{
	int a = (int)MUST(socket(AF_INET6, SOCK_DGRAM, 0)), b = (int)MUST(socket(AF_INET6, SOCK_DGRAM, 0));
	struct sockaddr_in6 to;
	socklen_t length = sizeof(to);
	struct sock_extended_err *e;
	struct cmsghdr *c;
	struct msghdr m;

	(void)none;
	MUST(bind(b, (struct sockaddr *)&there6, sizeof(there6)));
	MUST(getsockname(b, (struct sockaddr *)&to, &length));
	close(b);
	SAW(set_int(a, IPPROTO_IPV6, IPV6_RECVERR, 1));
	SAW(sendto(a, "abc", 3, 0, (struct sockaddr *)&to, sizeof(to)));
	await(a, POLLERR);
	m = take(a, MSG_ERRQUEUE);
	c = find(&m, IPPROTO_IPV6, IPV6_RECVERR);
	if (!c)
		return;
	e = (struct sock_extended_err *)CMSG_DATA(c);
	saw("%s, origin %u, type %u, code %u", strerrorname_np((int)e->ee_errno), e->ee_origin, e->ee_type, e->ee_code);
}

static void udp_cork(const void *none)
{
	int a = bound(), b = bound();

	(void)none;
	MUST(connect_to(a, b));
	SAW(set_int(a, IPPROTO_UDP, UDP_CORK, 1));
	SAW(get_int(a, IPPROTO_UDP, UDP_CORK));
	SAW(send(a, "one ", 4, 0));
	SAW(send(a, "two ", 4, 0));
	SAW(send(a, "three", 5, 0));
	settle();
	SAW(recv(b, buffer, 100, MSG_DONTWAIT));
	SAW(set_int(a, IPPROTO_UDP, UDP_CORK, 0));
	await(b, POLLIN);
	saw_bytes("uncorked", buffer, recv(b, buffer, 100, MSG_DONTWAIT));
	SAW(recv(b, buffer, 100, MSG_DONTWAIT));
	SAW(set_int(a, IPPROTO_UDP, UDP_CORK, 1));
	SAW(set_int(a, IPPROTO_UDP, UDP_CORK, 0));
	SAW(send(a, "plain", 5, 0));
	await(b, POLLIN);
	saw_bytes("uncorked", buffer, recv(b, buffer, 100, MSG_DONTWAIT));
}

static void udp_more(const void *none)
{
	int a = bound(), b = bound(), c = bound();
	struct sockaddr_in to = name_of(b), other = name_of(c);

	(void)none;
	SAW(sendto(a, "one ", 4, MSG_MORE, (struct sockaddr *)&to, sizeof(to)));
	SAW(sendto(a, "two ", 4, MSG_MORE, (struct sockaddr *)&other, sizeof(other)));
	settle();
	SAW(recv(b, buffer, 100, MSG_DONTWAIT));
	SAW(sendto(a, "three", 5, 0, (struct sockaddr *)&to, sizeof(to)));
	await(b, POLLIN);
	saw_bytes("in one", buffer, recv(b, buffer, 100, MSG_DONTWAIT));
	SAW(recv(c, buffer, 100, MSG_DONTWAIT));
	MUST(set_int(a, SOL_SOCKET, SO_SNDBUF, 300000));
	SAW(sendto(a, buffer, 60000, MSG_MORE, (struct sockaddr *)&to, sizeof(to)));
	SAW(sendto(a, buffer, 60000, 0, (struct sockaddr *)&to, sizeof(to)));
	SAW(sendto(a, "after", 5, 0, (struct sockaddr *)&to, sizeof(to)));
	await(b, POLLIN);
	SAW(recv(b, buffer, sizeof(buffer), MSG_DONTWAIT));
}

static void saw_time(const char *what, struct msghdr *m, int type, bool nanoseconds)
{
	struct cmsghdr *c = find(m, SOL_SOCKET, type);
	struct timespec at, current;

	if (!c) {
		saw("%s: none", what);
		return;
	}
	clock_gettime(CLOCK_REALTIME, &current);
	memcpy(&at, CMSG_DATA(c), sizeof(at));
	saw("%s: %s (%zu bytes)", what,
	    current.tv_sec - at.tv_sec <= 5 && at.tv_nsec < (nanoseconds ? 1000000000 : 1000000) ? "just now" : "wrong",
	    (size_t)(c->cmsg_len - CMSG_LEN(0)));
}

static void timestamps(const void *none)
{
	int a = bound(), b = bound();
	struct msghdr m;

	(void)none;
	MUST(connect_to(a, b));
	SAW(set_int(b, SOL_SOCKET, SO_TIMESTAMP, 1));
	send(a, "x", 1, 0);
	m = take(b, 0);
	saw_time("microseconds", &m, SO_TIMESTAMP, false);
	SAW(set_int(b, SOL_SOCKET, SO_TIMESTAMPNS, 1));
	send(a, "x", 1, 0);
	m = take(b, 0);
	saw_time("nanoseconds", &m, SO_TIMESTAMPNS, true);
	SAW(set_int(b, SOL_SOCKET, SO_TIMESTAMPNS, 0));
	SAW(set_int(b, SOL_SOCKET, SO_TIMESTAMPING, SOF_TIMESTAMPING_RX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE));
	settle(); /* the kernel begins to take times a moment later */
	send(a, "x", 1, 0);
	m = take(b, 0);
	saw_time("software", &m, SO_TIMESTAMPING, true);
}

static void time_to_live(const void *none)
{
	int a = bound(), b = bound();
	struct msghdr m;

	(void)none;
	MUST(connect_to(a, b));
	SAW(set_int(b, IPPROTO_IP, IP_RECVTTL, 1));
	SAW(set_int(b, IPPROTO_IP, IP_RECVTOS, 1));
	send(a, "x", 1, 0);
	m = take(b, 0);
	saw_number("hops", &m, IPPROTO_IP, IP_TTL);
	saw_number("service", &m, IPPROTO_IP, IP_TOS);
	SAW(set_int(a, IPPROTO_IP, IP_TTL, 17));
	SAW(set_int(a, IPPROTO_IP, IP_TOS, 0x48));
	send(a, "x", 1, 0);
	m = take(b, 0);
	saw_number("hops", &m, IPPROTO_IP, IP_TTL);
	saw_number("service", &m, IPPROTO_IP, IP_TOS);
}

/* Send with a control message of one number. */
static void send_with(int fd, int level, int type, int value, size_t size)
{
	char space[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec out = { "with", 4 };
	struct msghdr m = { .msg_iov = &out, .msg_iovlen = 1, .msg_control = space, .msg_controllen = CMSG_SPACE(size) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	c->cmsg_level = level;
	c->cmsg_type = type;
	c->cmsg_len = CMSG_LEN(size);
	memcpy(CMSG_DATA(c), &value, size);
	SAW(sendmsg(fd, &m, 0));
}

static void sent_control(const void *none)
{
	int a = bound(), b = bound();
	struct msghdr m;

	(void)none;
	MUST(connect_to(a, b));
	MUST(set_int(b, IPPROTO_IP, IP_RECVTTL, 1));
	MUST(set_int(b, IPPROTO_IP, IP_RECVTOS, 1));
	send_with(a, IPPROTO_IP, IP_TTL, 5, 4);
	m = take(b, 0);
	saw_number("hops", &m, IPPROTO_IP, IP_TTL);
	send_with(a, IPPROTO_IP, IP_TOS, 2, 4);
	m = take(b, 0);
	saw_number("service", &m, IPPROTO_IP, IP_TOS);
	send_with(a, IPPROTO_IP, IP_TOS, 1, 1);
	m = take(b, 0);
	saw_number("service", &m, IPPROTO_IP, IP_TOS);
	send_with(a, IPPROTO_IP, IP_TTL, 300, 4);
	send_with(a, IPPROTO_IP, 999, 1, 4);
	send_with(a, SOL_SOCKET, SO_MARK, 1, 4);
	send_with(a, 999, 1, 1, 4);
}

static void packet_information(const void *none)
{
	int a = bound(), b = bound(), any = socket(AF_INET, SOCK_DGRAM, 0);
	struct sockaddr_in to, all = { .sin_family = AF_INET };
	struct in_pktinfo *info;
	struct cmsghdr *c;
	struct msghdr m;
	char space[CMSG_SPACE(sizeof(*info))] = { 0 };
	struct iovec out = { "from", 4 };

	(void)none;
	MUST(bind(any, (struct sockaddr *)&all, sizeof(all)));
	to = there;
	to.sin_port = name_of(any).sin_port;
	SAW(set_int(any, IPPROTO_IP, IP_PKTINFO, 1));
	SAW(sendto(a, "x", 1, 0, (struct sockaddr *)&to, sizeof(to)));
	m = take(any, 0);
	c = find(&m, IPPROTO_IP, IP_PKTINFO);
	saw("it is there: %d", c != NULL);
	if (c) {
		info = (struct in_pktinfo *)CMSG_DATA(c);
		saw("to there: %d %d, by an interface: %d", info->ipi_addr.s_addr == there.sin_addr.s_addr,
		    info->ipi_spec_dst.s_addr == there.sin_addr.s_addr, info->ipi_ifindex > 0);
	}
	to = name_of(b);
	m = (struct msghdr){ .msg_iov = &out, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof(space),
			     .msg_name = &to, .msg_namelen = sizeof(to) };
	c = CMSG_FIRSTHDR(&m);
	c->cmsg_level = IPPROTO_IP;
	c->cmsg_type = IP_PKTINFO;
	c->cmsg_len = CMSG_LEN(sizeof(*info));
	info = (struct in_pktinfo *)CMSG_DATA(c);
	info->ipi_spec_dst = there.sin_addr;
	SAW(sendmsg(any, &m, 0));
	m = take(b, 0);
	saw("from there: %d", ((struct sockaddr_in *)m.msg_name)->sin_addr.s_addr == there.sin_addr.s_addr);
}

static void original_destination(const void *none)
{
	int a = bound(), b = bound();
	struct cmsghdr *c;
	struct msghdr m;

	(void)none;
	MUST(connect_to(a, b));
	SAW(set_int(b, IPPROTO_IP, IP_RECVORIGDSTADDR, 1));
	send(a, "x", 1, 0);
	m = take(b, 0);
	c = find(&m, IPPROTO_IP, IP_ORIGDSTADDR);
	saw("mine: %d", c && ((struct sockaddr_in *)CMSG_DATA(c))->sin_port == name_of(b).sin_port);
}

static void information_six(const void *none)
{
	int a = (int)MUST(socket(AF_INET6, SOCK_DGRAM, 0)), b = (int)MUST(socket(AF_INET6, SOCK_DGRAM, 0));
	struct sockaddr_in6 to;
	socklen_t length = sizeof(to);
	struct cmsghdr *c;
	struct msghdr m;

	(void)none;
	MUST(bind(b, (struct sockaddr *)&there6, sizeof(there6)));
	MUST(getsockname(b, (struct sockaddr *)&to, &length));
	SAW(set_int(b, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1));
	SAW(set_int(b, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 1));
	SAW(set_int(b, IPPROTO_IPV6, IPV6_RECVTCLASS, 1));
	SAW(set_int(a, IPPROTO_IPV6, IPV6_TCLASS, 0x20));
	SAW(set_int(a, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 33));
	SAW(sendto(a, "x", 1, 0, (struct sockaddr *)&to, sizeof(to)));
	m = take(b, 0);
	c = find(&m, IPPROTO_IPV6, IPV6_PKTINFO);
	saw("to there: %d", c && !memcmp(CMSG_DATA(c), &there6.sin6_addr, 16));
	saw_number("hops", &m, IPPROTO_IPV6, IPV6_HOPLIMIT);
	saw_number("class", &m, IPPROTO_IPV6, IPV6_TCLASS);
}

static void segments(const void *none)
{
	int a = bound(), b = bound();

	(void)none;
	MUST(connect_to(a, b));
	SAW(set_int(a, IPPROTO_UDP, UDP_SEGMENT, 4));
	SAW(send(a, "onetwo", 6, 0));
	for (int i = 0; i < 2; i++) {
		await(b, POLLIN);
		saw_bytes("a segment", buffer, recv(b, buffer, 100, MSG_DONTWAIT));
	}
	SAW(set_int(a, IPPROTO_UDP, UDP_SEGMENT, 0));
	send_with(a, IPPROTO_UDP, UDP_SEGMENT, 2, 2);
	for (int i = 0; i < 2; i++) {
		await(b, POLLIN);
		saw_bytes("a segment", buffer, recv(b, buffer, 100, MSG_DONTWAIT));
	}
	SAW(set_int(b, IPPROTO_UDP, UDP_GRO, 1));
	SAW(send(a, "x", 1, 0));
	take(b, 0);
}

static void overflow_count(const void *none)
{
	int a = bound(), b = bound();
	struct msghdr m;

	(void)none;
	MUST(connect_to(a, b));
	SAW(set_int(b, SOL_SOCKET, SO_RXQ_OVFL, 1));
	send(a, "x", 1, 0);
	take(b, 0);
	for (int i = 0; i < 2000; i++)
		send(a, buffer, 1000, 0);
	while (await_ms(b, POLLIN, 300) & POLLIN && recv(b, buffer, sizeof(buffer), MSG_DONTWAIT) > 0)
		;
	send(a, "x", 1, 0);
	m = take(b, 0);
	saw("dropped some: %d", find(&m, SOL_SOCKET, SO_RXQ_OVFL) &&
					*(int *)CMSG_DATA(find(&m, SOL_SOCKET, SO_RXQ_OVFL)) > 0);
}

static void datagram_zerocopy(const void *none)
{
	int a = bound(), b = bound();
	struct sock_extended_err *e;
	struct cmsghdr *c;
	struct msghdr m;

	(void)none;
	MUST(connect_to(a, b));
	SAW(set_int(a, SOL_SOCKET, SO_ZEROCOPY, 1));
	SAW(send(a, "zero", 4, MSG_ZEROCOPY));
	await(b, POLLIN);
	SAW(recv(b, buffer, 100, MSG_DONTWAIT));
	await(a, POLLERR);
	m = take(a, MSG_ERRQUEUE);
	c = CMSG_FIRSTHDR(&m);
	if (!c)
		return;
	e = (struct sock_extended_err *)CMSG_DATA(c);
	saw("errno %u origin %u code %u", e->ee_errno, e->ee_origin, e->ee_code);
}

static void no_room_for_control(const void *none)
{
	int a = bound(), b = bound();
	struct iovec in = { buffer, 100 };
	struct msghdr m = { .msg_iov = &in, .msg_iovlen = 1, .msg_control = control, .msg_controllen = 8 };

	(void)none;
	MUST(connect_to(a, b));
	SAW(set_int(b, IPPROTO_IP, IP_PKTINFO, 1));
	send(a, "x", 1, 0);
	await(b, POLLIN);
	SAW(recvmsg(b, &m, 0));
	saw("cut: %d", !!(m.msg_flags & MSG_CTRUNC));
}

const struct test ancillary_tests[] = {
	CASE(error_queue_unconnected), CASE(error_queue_connected), CASE(error_queue_six), CASE(udp_cork),
	CASE(udp_more), CASE(timestamps), CASE(time_to_live), CASE(sent_control), CASE(packet_information),
	CASE(original_destination), CASE(information_six), CASE(segments), CASE(overflow_count),
	CASE(datagram_zerocopy), CASE(no_room_for_control), END,
};
