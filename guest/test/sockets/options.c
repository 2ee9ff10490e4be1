/* SPDX-License-Identifier: MIT */
/* Options: set and read back, before and after connecting, and by an accepted socket of a listener that has them. */
#define _GNU_SOURCE
#include "sockets.h"

#include <linux/sockios.h>

static char buffer[1 << 12];

struct option {
	int level;
	int name;
	int value;
	const char *text; /* instead of a number */
	bool bytes; /* a structure: its size is told, not its content */
};

static void show(const char *what, int fd, const struct option *o)
{
	socklen_t size = o->text || o->bytes ? sizeof(buffer) : sizeof(int);
	int value;

	memset(buffer, 0, sizeof(buffer));
	if (getsockopt(fd, o->level, o->name, buffer, &size) < 0) {
		did(what, -1);
		return;
	}
	memcpy(&value, buffer, sizeof(value));
	if (o->bytes)
		saw("%s: %s", what, size > 0 ? "told" : "nothing");
	else if (o->text)
		saw("%s: %s", what, buffer);
	else
		saw("%s: %d (%u bytes)", what, value, size);
}

static void set(const char *what, int fd, const struct option *o)
{
	if (o->bytes)
		return;
	did(what, o->text ? setsockopt(fd, o->level, o->name, o->text, (socklen_t)strlen(o->text)) :
			    set_int(fd, o->level, o->name, o->value));
}

static void option(const void *parameter)
{
	const struct option *o = parameter;
	int l = listener(8), fresh = socket(AF_INET, SOCK_STREAM, 0);
	struct sockaddr_in to = name_of(l);
	struct pair p = connected();

	show("fresh", fresh, o);
	set("set", fresh, o);
	show("fresh, set", fresh, o);
	MUST(connect(fresh, (struct sockaddr *)&to, sizeof(to)));
	show("and connected", fresh, o);
	show("connected", p.a, o);
	set("set", p.a, o);
	show("connected, set", p.a, o);
	MUST(accept(l, NULL, NULL));
	set("set by the listener", l, o);
	dial(&to);
	show("accepted", (int)MUST(accept(l, NULL, NULL)), o);
	show("datagrams", socket(AF_INET, SOCK_DGRAM, 0), o);
}

#define OPTION(level, name, value) { #name, option, &(const struct option){ level, name, value, NULL, false } }

static void send_buffer(const void *none)
{
	struct pair p = connected();

	(void)none;
	SAW(set_int(p.a, SOL_SOCKET, SO_SNDBUF, 100000));
	SAW(get_int(p.a, SOL_SOCKET, SO_SNDBUF));
	SAW(set_int(p.a, SOL_SOCKET, SO_RCVBUF, 100000));
	SAW(get_int(p.a, SOL_SOCKET, SO_RCVBUF));
	SAW(set_int(p.a, SOL_SOCKET, SO_SNDBUF, 0));
	SAW(get_int(p.a, SOL_SOCKET, SO_SNDBUF));
}

static void small_buffers(const void *none)
{
	static char bytes[32768];
	struct pair p = connected();
	size_t total = 0;
	ssize_t n;

	(void)none;
	MUST(set_int(p.a, SOL_SOCKET, SO_SNDBUF, 8192));
	MUST(set_int(p.b, SOL_SOCKET, SO_RCVBUF, 8192));
	while ((n = send(p.a, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0)
		total += (size_t)n;
	saw("small buffers take %s", total < 200000 ? "little" : "much");
}

static void receive_timeout(const void *none)
{
	struct pair p = connected();
	struct timeval t;
	socklen_t size = sizeof(t);
	double start = now();

	(void)none;
	timeout(p.a, SO_RCVTIMEO, 250);
	SAW(getsockopt(p.a, SOL_SOCKET, SO_RCVTIMEO, &t, &size));
	saw("%ld s, %ld us, %u bytes", (long)t.tv_sec, (long)t.tv_usec / 10000, size);
	SAW(recv(p.a, buffer, 1, 0));
	saw("%s", now() - start >= 0.2 ? "in time" : "too early");
	t = (struct timeval){ 0, 1000000 };
	SAW(setsockopt(p.a, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t)));
	SAW(setsockopt(p.a, SOL_SOCKET, SO_RCVTIMEO, &t, 2));
	timeout(p.a, SO_SNDTIMEO, 250);
	fill(p.a);
	start = now();
	SAW(send(p.a, buffer, 1, 0));
	saw("%s", now() - start >= 0.2 ? "in time" : "too early");
}

static void invalid(const void *none)
{
	struct pair p = connected();
	socklen_t size = 0;
	int value = 0;

	(void)none;
	SAW(set_int(p.a, SOL_SOCKET, 9999, 1));
	SAW(set_int(p.a, IPPROTO_TCP, 9999, 1));
	SAW(set_int(p.a, IPPROTO_UDP, 1, 1));
	SAW(set_int(p.a, IPPROTO_IP, 9999, 1));
	SAW(set_int(p.a, IPPROTO_TCP, TCP_KEEPIDLE, 0));
	SAW(setsockopt(p.a, SOL_SOCKET, SO_KEEPALIVE, &value, 2));
	SAW(setsockopt(p.a, SOL_SOCKET, SO_KEEPALIVE, NULL, 4));
	SAW(getsockopt(p.a, SOL_SOCKET, SO_KEEPALIVE, &value, NULL));
	SAW(getsockopt(p.a, SOL_SOCKET, SO_TYPE, &value, &size));
	SAW(set_int(p.a, SOL_SOCKET, SO_TYPE, 1));
	SAW(set_int(p.a, SOL_SOCKET, SO_ERROR, 1));
}

static void info(const void *none)
{
	struct pair p = connected();
	struct tcp_info i;
	socklen_t size = sizeof(i);

	(void)none;
	MUST(send(p.a, "0123456789", 10, 0));
	MUST(recv(p.b, buffer, 10, 0));
	MUST(send(p.b, "01234", 5, 0));
	MUST(recv(p.a, buffer, 5, 0));
	settle();
	SAW(getsockopt(p.a, IPPROTO_TCP, TCP_INFO, &i, &size));
	saw("state %u, size %d", i.tcpi_state, size > 100);
	size = 8;
	SAW(getsockopt(p.a, IPPROTO_TCP, TCP_INFO, &i, &size));
	saw("size %u", size);
}

/* struct tcp_info as the kernel has it, for what the C library's lacks. */
static uint64_t field(const char *bytes, size_t at)
{
	uint64_t value;

	memcpy(&value, bytes + at, sizeof(value));
	return value;
}

static void info_bytes(const void *none)
{
	struct pair p = connected();
	socklen_t size = sizeof(buffer);

	(void)none;
	MUST(send(p.a, "0123456789", 10, 0));
	MUST(recv(p.b, buffer, 10, 0));
	MUST(send(p.b, "01234", 5, 0));
	MUST(recv(p.a, buffer, 5, 0));
	settle();
	SAW(getsockopt(p.a, IPPROTO_TCP, TCP_INFO, buffer, &size));
	/* tcpi_bytes_acked counts the SYN too. */
	saw("acknowledged %d, received %d", (int)field(buffer, 120) / 10, (int)field(buffer, 128));
}

/* kTLS, which needs the segments of a TCP connection: without the module for it, and with a name that nobody has. */
static void upper_layer(const void *none)
{
	struct pair p = connected();

	(void)none;
	SAW(setsockopt(p.a, IPPROTO_TCP, TCP_ULP, "nobody", 6));
	SAW(getsockopt(p.a, IPPROTO_TCP, TCP_ULP, buffer, &(socklen_t){ 16 }));
}

static void repair(const void *none)
{
	struct pair p = connected();

	(void)none;
	SAW(set_int(p.a, IPPROTO_TCP, TCP_REPAIR, 1));
}

static void bind_to_device(const void *none)
{
	int l = listener(8), fd = socket(AF_INET, SOCK_STREAM, 0);
	struct sockaddr_in to = name_of(l);

	(void)none;
	SAW(setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "nosuch", 6));
	SAW(setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "", 0));
	SAW(connect(fd, (struct sockaddr *)&to, sizeof(to)));
}

static void cookie(const void *none)
{
	struct pair p = connected();
	uint64_t one = 0, two = 0;
	socklen_t size = sizeof(one);

	(void)none;
	SAW(getsockopt(p.a, SOL_SOCKET, SO_COOKIE, &one, &size));
	SAW(getsockopt(p.b, SOL_SOCKET, SO_COOKIE, &two, &size));
	saw("they differ: %d", one != two);
}

static void six_options(const void *none)
{
	static const int names[] = { IPV6_V6ONLY,  IPV6_UNICAST_HOPS, IPV6_TCLASS,
				     IPV6_RECVERR, IPV6_DONTFRAG,     IPV6_MTU_DISCOVER };
	int l = (int)MUST(socket(AF_INET6, SOCK_STREAM, 0)), fd = (int)MUST(socket(AF_INET6, SOCK_STREAM, 0)), b;
	struct sockaddr_in6 name;
	socklen_t length = sizeof(name);

	(void)none;
	MUST(bind(l, (struct sockaddr *)&there6, sizeof(there6)));
	SAW(set_int(l, IPPROTO_IPV6, IPV6_TCLASS, 0x28));
	SAW(set_int(l, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 7));
	SAW(set_int(l, IPPROTO_IPV6, IPV6_RECVERR, 1));
	MUST(listen(l, 8));
	MUST(getsockname(l, (struct sockaddr *)&name, &length));
	SAW(connect(fd, (struct sockaddr *)&name, sizeof(name)));
	b = (int)MUST(accept(l, NULL, NULL));
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		saw("option %d: %d fresh, %d accepted", names[i], get_int(fd, IPPROTO_IPV6, names[i]),
		    get_int(b, IPPROTO_IPV6, names[i]));
		did("set", set_int(fd, IPPROTO_IPV6, names[i], 1));
		saw("then %d", get_int(fd, IPPROTO_IPV6, names[i]));
	}
	SAW(get_int(fd, IPPROTO_IPV6, IPV6_MTU) >= 65535);
}

static void input_queue(const void *none)
{
	struct pair p = connected();
	int n = -1;

	(void)none;
	SAW(ioctl(p.b, SIOCINQ, &n));
	saw("%d bytes", n);
	send(p.a, "hello", 5, 0);
	arrived(p.b, 5);
	SAW(ioctl(p.b, FIONREAD, &n));
	saw("%d bytes", n);
	recv(p.b, buffer, 2, 0);
	SAW(ioctl(p.b, FIONREAD, &n));
	saw("%d bytes", n);
	shutdown(p.a, SHUT_WR);
	settle();
	SAW(ioctl(p.b, FIONREAD, &n));
	saw("%d bytes", n);
	recv(p.b, buffer, 20, 0);
	SAW(ioctl(p.b, FIONREAD, &n));
	saw("%d bytes", n);
	SAW(ioctl(listener(1), FIONREAD, &n));
	SAW(ioctl(p.b, FIONREAD, NULL));
	SAW(ioctl(p.b, 0x9999, &n));
}

static void inq_message(const void *none)
{
	struct pair p = connected();
	char control[100];
	struct iovec in = { buffer, 3 };
	struct msghdr m = { .msg_iov = &in, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };

	(void)none;
	SAW(set_int(p.b, IPPROTO_TCP, 36 /* TCP_INQ */, 1));
	send(p.a, "hello", 5, 0);
	SAW(recvmsg(p.b, &m, 0));
	if (CMSG_FIRSTHDR(&m))
		saw("%d left", *(int *)CMSG_DATA(CMSG_FIRSTHDR(&m)));
}

static void output_queue(const void *none)
{
	struct pair p = connected();
	int n = -1;

	(void)none;
	SAW(ioctl(p.a, SIOCOUTQ, &n));
	saw("%d bytes", n);
	send(p.a, "hello", 5, 0);
	settle();
	SAW(ioctl(p.a, SIOCOUTQ, &n));
	saw("%d bytes unread", n);
	recv(p.b, buffer, 5, 0);
	settle();
	SAW(ioctl(p.a, SIOCOUTQ, &n));
	saw("%d bytes after reading", n);
	SAW(ioctl(p.a, SIOCOUTQNSD, &n));
	saw("%d bytes unsent", n);
}

static void low_water(const void *none)
{
	struct pair p = connected();
	struct later l;

	(void)none;
	SAW(set_int(p.b, SOL_SOCKET, SO_RCVLOWAT, 6));
	send(p.a, "hell", 4, 0);
	saw_events("too few", p.b, POLLIN, 200);
	later(&l, 100, send_late, p.a);
	saw_events("enough", p.b, POLLIN, 5000);
	finished(&l);
	saw_bytes("received", buffer, recv(p.b, buffer, 100, 0));
}

static void defer_accept(const void *none)
{
	int l = listener(8), a;
	struct sockaddr_in to = name_of(l);

	(void)none;
	SAW(set_int(l, IPPROTO_TCP, TCP_DEFER_ACCEPT, 10));
	a = dial(&to);
	saw_events("before bytes", l, POLLIN, 300);
	send(a, "x", 1, 0);
	saw_events("with bytes", l, POLLIN, 5000);
}

static void stream_timestamp(const void *none)
{
	struct pair p = connected();
	char control[100];
	struct iovec in = { buffer, 10 };
	struct msghdr m = { .msg_iov = &in, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };

	(void)none;
	SAW(set_int(p.b, SOL_SOCKET, SO_TIMESTAMP, 1));
	settle(); /* the kernel begins to take times a moment later */
	send(p.a, "hello", 5, 0);
	SAW(recvmsg(p.b, &m, 0));
	saw("a time came along: %d", CMSG_FIRSTHDR(&m) && CMSG_FIRSTHDR(&m)->cmsg_type == SO_TIMESTAMP);
}

const struct test option_tests[] = {
	OPTION(SOL_SOCKET, SO_TYPE, 1), OPTION(SOL_SOCKET, SO_PROTOCOL, 1), OPTION(SOL_SOCKET, SO_DOMAIN, 1),
	OPTION(SOL_SOCKET, SO_ACCEPTCONN, 1), OPTION(SOL_SOCKET, SO_ERROR, 1), OPTION(SOL_SOCKET, SO_REUSEADDR, 1),
	OPTION(SOL_SOCKET, SO_REUSEPORT, 1), OPTION(SOL_SOCKET, SO_KEEPALIVE, 1), OPTION(SOL_SOCKET, SO_BROADCAST, 1),
	OPTION(SOL_SOCKET, SO_OOBINLINE, 1), OPTION(SOL_SOCKET, SO_DONTROUTE, 1), OPTION(SOL_SOCKET, SO_PRIORITY, 3),
	OPTION(SOL_SOCKET, SO_MARK, 7), OPTION(SOL_SOCKET, SO_RCVLOWAT, 3), OPTION(SOL_SOCKET, SO_SNDLOWAT, 3),
	OPTION(SOL_SOCKET, SO_SNDBUFFORCE, 50000), OPTION(SOL_SOCKET, SO_BUSY_POLL, 5),
	OPTION(SOL_SOCKET, SO_MAX_PACING_RATE, 1000000), OPTION(SOL_SOCKET, SO_TIMESTAMP, 1),
	OPTION(SOL_SOCKET, SO_ZEROCOPY, 1), OPTION(SOL_SOCKET, SO_INCOMING_NAPI_ID, 1),
	OPTION(IPPROTO_IP, IP_TOS, 0x10), OPTION(IPPROTO_IP, IP_TTL, 9), OPTION(IPPROTO_IP, IP_MTU_DISCOVER, 2),
	OPTION(IPPROTO_IP, IP_MTU, 1), OPTION(IPPROTO_IP, IP_RECVERR, 1), OPTION(IPPROTO_IP, IP_FREEBIND, 1),
	OPTION(IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1), OPTION(IPPROTO_IP, IP_RECVTTL, 1),
	OPTION(IPPROTO_TCP, TCP_NODELAY, 1), OPTION(IPPROTO_TCP, TCP_CORK, 1), OPTION(IPPROTO_TCP, TCP_MAXSEG, 1000),
	OPTION(IPPROTO_TCP, TCP_KEEPIDLE, 30), OPTION(IPPROTO_TCP, TCP_KEEPINTVL, 5),
	OPTION(IPPROTO_TCP, TCP_KEEPCNT, 4), OPTION(IPPROTO_TCP, TCP_SYNCNT, 3), OPTION(IPPROTO_TCP, TCP_LINGER2, 10),
	OPTION(IPPROTO_TCP, TCP_DEFER_ACCEPT, 3), OPTION(IPPROTO_TCP, TCP_WINDOW_CLAMP, 20000),
	OPTION(IPPROTO_TCP, TCP_QUICKACK, 1), OPTION(IPPROTO_TCP, TCP_USER_TIMEOUT, 5000),
	OPTION(IPPROTO_TCP, TCP_FASTOPEN, 5), OPTION(IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1),
	OPTION(IPPROTO_TCP, TCP_NOTSENT_LOWAT, 16384), OPTION(IPPROTO_TCP, TCP_SAVE_SYN, 1),
	OPTION(IPPROTO_TCP, TCP_THIN_LINEAR_TIMEOUTS, 1), OPTION(IPPROTO_TCP, TCP_INQ, 1),
	{ "TCP_CONGESTION", option, &(const struct option){ IPPROTO_TCP, TCP_CONGESTION, 0, "reno", false } },
	{ "TCP_INFO", option, &(const struct option){ IPPROTO_TCP, TCP_INFO, 0, NULL, true } },
	CASE(send_buffer), CASE(small_buffers), CASE(receive_timeout), CASE(invalid), CASE(info), CASE(info_bytes),
	CASE(input_queue), CASE(inq_message), CASE(output_queue), CASE(low_water), CASE(defer_accept),
	CASE(stream_timestamp), CASE(upper_layer), CASE(repair), CASE(bind_to_device), CASE(cookie),
	CASE(six_options), END,
};
