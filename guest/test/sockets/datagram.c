/* SPDX-License-Identifier: MIT */
/* Datagrams: sending, receiving, connecting, and what becomes of those that nobody takes. */
#define _GNU_SOURCE
#include "sockets.h"

#include <linux/sockios.h>
#include <netinet/udp.h>
#include <sys/epoll.h>

static char buffer[1 << 17];

static int bound(void)
{
	int fd = (int)MUST(socket(AF_INET, SOCK_DGRAM, 0));

	MUST(bind(fd, (struct sockaddr *)&there, sizeof(there)));
	return fd;
}

static long send_to(int fd, const void *bytes, size_t size, int other)
{
	struct sockaddr_in to = name_of(other);

	return sendto(fd, bytes, size, 0, (struct sockaddr *)&to, sizeof(to));
}

static long connect_to(int fd, int other)
{
	struct sockaddr_in to = name_of(other);

	return connect(fd, (struct sockaddr *)&to, sizeof(to));
}

/* What comes within 5 s. */
static void saw_next(const char *what, int fd, size_t room)
{
	await(fd, POLLIN);
	saw_bytes(what, buffer, recv(fd, buffer, room, MSG_DONTWAIT));
}

static int closed(void)
{
	static struct sockaddr_in name;
	int fd = bound(), other = (int)MUST(socket(AF_INET, SOCK_DGRAM, 0));

	name = name_of(fd);
	close(fd);
	SAW(connect(other, (struct sockaddr *)&name, sizeof(name)));
	return other;
}

static void datagrams(const void *none)
{
	int a = bound(), b = bound();
	struct sockaddr_in from, name = name_of(a);
	socklen_t length = sizeof(from);

	(void)none;
	SAW(send_to(a, "one", 3, b));
	SAW(send_to(a, "", 0, b));
	SAW(send_to(a, "three", 5, b));
	saw_next("the first", b, 100);
	await(b, POLLIN);
	SAW(recvfrom(b, buffer, 100, 0, (struct sockaddr *)&from, &length));
	saw("from: %d, length %u", memcmp(&from, &name, sizeof(from)) != 0, length);
	saw_next("cut", b, 2);
	SAW(recv(b, buffer, 100, MSG_DONTWAIT));
	SAW(write(a, "x", 1));
	SAW(send(a, "x", 1, 0));
	SAW(sendto(a, "x", 1, 0, (struct sockaddr *)&name, 4));
	name.sin_family = AF_UNIX;
	SAW(sendto(a, "x", 1, 0, (struct sockaddr *)&name, sizeof(name)));
	name = name_of(b);
	name.sin_port = 0;
	SAW(sendto(a, "x", 1, 0, (struct sockaddr *)&name, sizeof(name)));
	SAW(sendto(a, NULL, 5, 0, (struct sockaddr *)&from, sizeof(from)));
}

static void unbound_sender(const void *none)
{
	int a = socket(AF_INET, SOCK_DGRAM, 0), b = bound();
	struct sockaddr_in from;
	socklen_t length = sizeof(from);

	(void)none;
	SAW(send_to(a, "hello", 5, b));
	await(b, POLLIN);
	SAW(recvfrom(b, buffer, 100, 0, (struct sockaddr *)&from, &length));
	saw("its name: %d",
	    from.sin_addr.s_addr == there.sin_addr.s_addr && from.sin_port == name_of(a).sin_port);
	SAW(sendto(b, "back", 4, 0, (struct sockaddr *)&from, sizeof(from)));
	saw_next("the answer", a, 100);
}

static void sizes(const void *none)
{
	int a = bound(), b = bound();
	const size_t list[] = { 0, 1, 7, 8, 9, 1472, 1473, 9000, 65506, 65507 };

	(void)none;
	MUST(set_int(a, SOL_SOCKET, SO_SNDBUF, 300000));
	for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
		memset(buffer, (int)i, list[i]);
		did("sent", send_to(a, buffer, list[i], b));
		await(b, POLLIN);
		did("received", recv(b, buffer, sizeof(buffer), MSG_DONTWAIT));
		saw("as sent: %d", list[i] == 0 || (buffer[0] == (char)i && buffer[list[i] - 1] == (char)i));
	}
	SAW(send_to(a, buffer, 65508, b));
	SAW(send_to(a, buffer, 100000, b));
}

static void truncated(const void *none)
{
	int a = bound(), b = bound();
	struct iovec in = { buffer, 4 };
	struct msghdr m = { .msg_iov = &in, .msg_iovlen = 1 };

	(void)none;
	send_to(a, "truncated", 9, b);
	await(b, POLLIN);
	SAW(recvmsg(b, &m, MSG_PEEK));
	saw("cut: %d", !!(m.msg_flags & MSG_TRUNC));
	SAW(recv(b, buffer, 4, MSG_PEEK | MSG_TRUNC));
	SAW(recvmsg(b, &m, MSG_TRUNC));
	SAW(recv(b, buffer, 4, MSG_DONTWAIT));
	send_to(a, "faulty", 6, b);
	await(b, POLLIN);
	SAW(recv(b, NULL, 6, 0));
	SAW(recv(b, buffer, 6, MSG_DONTWAIT));
}

static void peek_datagram(const void *none)
{
	int a = bound(), b = bound();

	(void)none;
	send_to(a, "first", 5, b);
	send_to(a, "second", 6, b);
	await(b, POLLIN);
	saw_bytes("peek", buffer, recv(b, buffer, 100, MSG_PEEK));
	saw_bytes("peek", buffer, recv(b, buffer, 2, MSG_PEEK));
	saw_bytes("read", buffer, recv(b, buffer, 100, 0));
	saw_next("read", b, 100);
	SAW(recv(b, buffer, 100, MSG_PEEK | MSG_DONTWAIT));
}

static void many_at_once(const void *none)
{
	int a = bound(), b = bound();
	struct sockaddr_in to = name_of(b), from[3] = { 0 };
	struct iovec out[3] = { { "one", 3 }, { "", 0 }, { "three", 5 } };
	struct iovec in[3] = { { buffer, 10 }, { buffer + 10, 10 }, { buffer + 20, 2 } };
	struct mmsghdr m[3] = { 0 };
	struct timespec limit = { 0, 200000000 };

	(void)none;
	for (int i = 0; i < 3; i++)
		m[i].msg_hdr = (struct msghdr){ .msg_iov = &out[i], .msg_iovlen = 1, .msg_name = &to,
						.msg_namelen = sizeof(to) };
	SAW(sendmmsg(a, m, 3, 0));
	settle();
	for (int i = 0; i < 3; i++)
		m[i].msg_hdr = (struct msghdr){ .msg_iov = &in[i], .msg_iovlen = 1, .msg_name = &from[i],
						.msg_namelen = sizeof(from[i]) };
	SAW(recvmmsg(b, m, 3, 0, &limit));
	for (int i = 0; i < 3; i++)
		saw("%u flags %#x, from a: %d", m[i].msg_len, m[i].msg_hdr.msg_flags,
		    from[i].sin_port == name_of(a).sin_port);
	SAW(recvmmsg(b, m, 3, MSG_DONTWAIT, NULL));
	SAW(send_to(a, "x", 1, b));
	SAW(recvmmsg(b, m, 3, MSG_WAITFORONE, NULL));
}

static void connected_datagrams(const void *none)
{
	int first = bound(), a = (int)MUST(socket(AF_INET, SOCK_DGRAM, 0)), b = bound(), c = bound();
	struct sockaddr nobody = { .sa_family = AF_UNSPEC };
	struct sockaddr_in name = name_of(first);
	socklen_t length = sizeof(name);

	(void)none;
	close(first);
	SAW(bind(a, (struct sockaddr *)&name, sizeof(name))); /* a port that is asked for by number stays */
	SAW(getpeername(a, (struct sockaddr *)&name, &length));
	SAW(connect_to(a, b));
	SAW(getpeername(a, (struct sockaddr *)&name, &length));
	saw("the peer: %d", name.sin_port == name_of(b).sin_port);
	SAW(send(a, "by send", 7, 0));
	saw_next("received", b, 100);
	SAW(send_to(c, "a stranger's", 12, a));
	settle();
	SAW(recv(a, buffer, 100, MSG_DONTWAIT));
	SAW(send_to(b, "the peer's", 10, a));
	saw_next("received", a, 100);
	SAW(send_to(a, "elsewhere", 9, c));
	saw_next("received", c, 100);
	SAW(connect_to(a, c));
	SAW(send(a, "to another", 10, 0));
	saw_next("received", c, 100);
	SAW(connect(a, &nobody, sizeof(nobody)));
	SAW(send(a, "x", 1, 0));
	SAW(send_to(b, "again", 5, a));
	saw_next("received", a, 100);
}

static void refused_datagrams(const void *none)
{
	int a = closed(), b = bound();

	(void)none;
	SAW(send(a, "x", 1, 0));
	await(a, POLLIN);
	saw_events("refused", a, POLLIN | POLLOUT, 0);
	SAW(send(a, "y", 1, 0));
	nap(300);
	SAW(get_int(a, SOL_SOCKET, SO_ERROR));
	SAW(get_int(a, SOL_SOCKET, SO_ERROR));
	SAW(send(a, "z", 1, 0));
	nap(300);
	SAW(recv(a, buffer, 10, MSG_DONTWAIT));
	SAW(recv(a, buffer, 10, MSG_DONTWAIT));
	SAW(send_to(a, "elsewhere", 9, b));
	saw_next("received", b, 100);
}

static void refused_unconnected(const void *none)
{
	int a = bound(), b = bound();
	struct sockaddr_in to = name_of(b);

	(void)none;
	close(b);
	SAW(sendto(a, "x", 1, 0, (struct sockaddr *)&to, sizeof(to)));
	nap(300);
	SAW(sendto(a, "x", 1, 0, (struct sockaddr *)&to, sizeof(to)));
	SAW(get_int(a, SOL_SOCKET, SO_ERROR));
	saw_events("nothing was said", a, POLLIN, 100);
}

static void datagram_shutdown(const void *none)
{
	int a = bound(), b = bound();

	(void)none;
	SAW(shutdown(socket(AF_INET, SOCK_DGRAM, 0), SHUT_RD));
	MUST(connect_to(a, b));
	MUST(connect_to(b, a));
	SAW(shutdown(a, SHUT_WR));
	SAW(send(a, "x", 1, MSG_NOSIGNAL));
	saw_events("half", a, POLLIN | POLLOUT | POLLRDHUP, 0);
	SAW(send(b, "still", 5, 0));
	saw_next("received", a, 100);
	SAW(shutdown(a, SHUT_RD));
	SAW(recv(a, buffer, 10, 0));
	saw_events("both", a, POLLIN | POLLOUT | POLLRDHUP, 0);
	SAW(shutdown(a, 9));
}

static void datagram_events(const void *none)
{
	int a = bound(), b = bound(), e = (int)MUST(epoll_create1(0));
	struct epoll_event event = { .events = EPOLLIN | EPOLLET };

	(void)none;
	saw_events("nothing", b, POLLIN | POLLOUT, 0);
	MUST(epoll_ctl(e, EPOLL_CTL_ADD, b, &event));
	for (int i = 0; i < 3; i++) {
		SAW(send_to(a, "x", 1, b));
		SAW(epoll_wait(e, &event, 1, 5000));
		saw_mask("edge", event.events);
		SAW(epoll_wait(e, &event, 1, 50));
	}
	saw_events("three wait", b, POLLIN | POLLOUT, 0);
	for (int i = 0; i < 3; i++)
		SAW(recv(b, buffer, 10, MSG_DONTWAIT));
	SAW(send_to(a, "x", 1, b));
	SAW(epoll_wait(e, &event, 1, 5000));
}

static void datagram_queues(const void *none)
{
	int a = bound(), b = bound(), n = -1;

	(void)none;
	SAW(ioctl(b, FIONREAD, &n));
	saw("%d bytes", n);
	send_to(a, "first", 5, b);
	send_to(a, "second", 6, b);
	settle();
	SAW(ioctl(b, FIONREAD, &n));
	saw("%d bytes", n);
	SAW(ioctl(a, SIOCOUTQ, &n));
	saw("%d bytes", n);
}

static void datagram_timeout(const void *none)
{
	int a = bound();
	double start = now();

	(void)none;
	timeout(a, SO_RCVTIMEO, 250);
	SAW(recv(a, buffer, 10, 0));
	saw("%s", now() - start >= 0.2 ? "in time" : "too early");
	SAW(recv(a, buffer, 10, MSG_DONTWAIT));
	SAW(fcntl(a, F_SETFL, O_NONBLOCK));
	SAW(read(a, buffer, 10));
}

static void datagram_reuse(const void *none)
{
	int a = socket(AF_INET, SOCK_DGRAM, 0), b = socket(AF_INET, SOCK_DGRAM, 0), c = bound(), got = 0;
	struct sockaddr_in at = there;

	(void)none;
	SAW(set_int(a, SOL_SOCKET, SO_REUSEPORT, 1));
	SAW(set_int(b, SOL_SOCKET, SO_REUSEPORT, 1));
	SAW(bind(a, (struct sockaddr *)&at, sizeof(at)));
	at = name_of(a);
	SAW(bind(b, (struct sockaddr *)&at, sizeof(at)));
	SAW(bind(socket(AF_INET, SOCK_DGRAM, 0), (struct sockaddr *)&at, sizeof(at)));
	for (int i = 0; i < 10; i++)
		MUST(sendto(c, "x", 1, 0, (struct sockaddr *)&at, sizeof(at)));
	for (int n = 0; n < 50 && got < 10; n++) {
		settle();
		while (recv(a, buffer, 10, MSG_DONTWAIT) == 1 || recv(b, buffer, 10, MSG_DONTWAIT) == 1)
			got++;
	}
	saw("received: %d", got);
}

static void to_itself(const void *none)
{
	int a = bound();

	(void)none;
	SAW(send_to(a, "to myself", 9, a));
	saw_next("received", a, 100);
	SAW(connect_to(a, a));
	SAW(send(a, "again", 5, 0));
	saw_next("received", a, 100);
}

static void datagram_six(const void *none)
{
	int a = (int)MUST(socket(AF_INET6, SOCK_DGRAM, 0)), b = (int)MUST(socket(AF_INET6, SOCK_DGRAM, 0)), c = bound();
	struct sockaddr_in6 to, from, any = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_ANY_INIT };
	struct sockaddr_in at;
	socklen_t length = sizeof(to);

	(void)none;
	SAW(set_int(b, IPPROTO_IPV6, IPV6_V6ONLY, 0));
	SAW(bind(b, (struct sockaddr *)&any, sizeof(any)));
	MUST(getsockname(b, (struct sockaddr *)&to, &length));
	to.sin6_addr = there6.sin6_addr;
	SAW(sendto(a, "six", 3, 0, (struct sockaddr *)&to, sizeof(to)));
	await(b, POLLIN);
	SAW(recvfrom(b, buffer, 100, 0, (struct sockaddr *)&from, &length));
	saw("from: %d", memcmp(&from.sin6_addr, &there6.sin6_addr, 16) != 0);
	SAW(sendto(b, "back", 4, 0, (struct sockaddr *)&from, length));
	saw_next("received", a, 100);
	at = there;
	at.sin_port = to.sin6_port;
	SAW(sendto(c, "four", 4, 0, (struct sockaddr *)&at, sizeof(at)));
	await(b, POLLIN);
	SAW(recvfrom(b, buffer, 100, 0, (struct sockaddr *)&from, &length));
	saw("mapped: %d", IN6_IS_ADDR_V4MAPPED(&from.sin6_addr));
	SAW(sendto(b, "back", 4, 0, (struct sockaddr *)&from, length));
	saw_next("received", c, 100);
}

static void many_readers(const void *none)
{
	int a = bound(), b = bound(), got = 0;

	(void)none;
	timeout(b, SO_RCVTIMEO, 3000);
	for (int i = 0; i < 4; i++) {
		if (fork() == 0) {
			char byte;

			_exit(recv(b, &byte, 1, 0) == 1);
		}
	}
	settle();
	for (int i = 0; i < 4; i++)
		send_to(a, "x", 1, b);
	for (int i = 0, status; i < 4; i++) {
		wait(&status);
		got += WEXITSTATUS(status);
	}
	saw("%d of 4 processes got one", got);
}

static void datagram_calls(const void *none)
{
	int a = bound(), b = bound();
	struct iovec out[] = { { "ab", 2 }, { "cde", 3 } };
	char one[3], two[5];
	struct iovec in[] = { { one, 3 }, { two, 5 } };
	int pipes[2];

	(void)none;
	MUST(connect_to(a, b));
	SAW(writev(a, out, 2));
	await(b, POLLIN);
	SAW(readv(b, in, 2));
	saw("%.3s %.2s", one, two);
	SAW(write(a, "abc", 3));
	await(b, POLLIN);
	SAW(read(b, buffer, 2));
	SAW(write(a, "", 0));
	await(b, POLLIN);
	SAW(read(b, buffer, 2));
	MUST(pipe(pipes));
	MUST(write(pipes[1], "spliced", 7));
	SAW(splice(pipes[0], NULL, a, NULL, 7, 0));
	saw_next("received", b, 100);
	SAW(listen(a, 1));
	SAW(send(a, "x", 1, MSG_OOB));
}

static void nowhere(const void *none)
{
	int a = bound();
	struct sockaddr_in to = there;

	(void)none;
	to.sin_port = htons(9);
	to.sin_addr.s_addr = htonl(INADDR_BROADCAST);
	SAW(sendto(a, "x", 1, 0, (struct sockaddr *)&to, sizeof(to)));
	SAW(setsockopt(a, IPPROTO_IP, IP_MULTICAST_TTL, &(int){ 3 }, sizeof(int)));
	SAW(get_int(a, IPPROTO_IP, IP_MULTICAST_TTL));
	SAW(set_int(a, IPPROTO_IP, IP_MULTICAST_LOOP, 0));
}

static void datagram_burst(const void *none)
{
	int a = bound(), b = bound(), got = 0, wrong = 0, n;

	(void)none;
	/* One at a time, so that nothing need be dropped. */
	for (int i = 0; i < 500; i++) {
		MUST(send_to(a, &i, sizeof(i), b));
		await(b, POLLIN);
		if (recv(b, &n, sizeof(n), MSG_DONTWAIT) == sizeof(n)) {
			got++;
			wrong += n != i;
		}
	}
	saw("%d came, %d out of order", got, wrong);
}

static void datagram_overflow(const void *none)
{
	int a = bound(), b = bound(), refused = 0, got = 0;

	(void)none;
	for (int i = 0; i < 3000; i++)
		refused += send_to(a, buffer, 1000, b) != 1000;
	while (await_ms(b, POLLIN, 300) & POLLIN && recv(b, buffer, sizeof(buffer), MSG_DONTWAIT) == 1000)
		got++;
	saw("refused %d, received %s", refused, got == 0 ? "none" : got < 3000 ? "some" : "all");
	SAW(send_to(a, "x", 1, b));
	saw_next("and goes on", b, 10);
}

const struct test datagram_tests[] = {
	CASE(datagrams), CASE(unbound_sender), CASE(sizes), CASE(truncated), CASE(peek_datagram), CASE(many_at_once),
	CASE(connected_datagrams), CASE(refused_datagrams), CASE(refused_unconnected), CASE(datagram_shutdown),
	CASE(datagram_events), CASE(datagram_queues), CASE(datagram_timeout), CASE(datagram_reuse), CASE(to_itself),
	CASE(datagram_six), CASE(many_readers), CASE(datagram_calls), CASE(nowhere), CASE(datagram_burst), CASE(datagram_overflow), END,
};
