/* SPDX-License-Identifier: MIT */
/* Streams: how connections begin, and the names of their ends. */
#define _GNU_SOURCE
#include "sockets.h"

static char buffer[1 << 16];

static int stream(void)
{
	return (int)MUST(socket(AF_INET, SOCK_STREAM, 0));
}

/* connect() to a port of the address. */
static long dial_port(int fd, int port)
{
	struct sockaddr_in to = there;

	to.sin_port = htons((uint16_t)port);
	return connect(fd, (struct sockaddr *)&to, sizeof(to));
}

/* A port where nobody listens. */
static int closed_port(void)
{
	int fd = stream(), port;

	MUST(bind(fd, (struct sockaddr *)&there, sizeof(there)));
	port = ntohs(name_of(fd).sin_port);
	close(fd);
	return port;
}

static void connect_blocking(const void *none)
{
	int l = listener(8), fd = stream(), port = ntohs(name_of(l).sin_port);

	(void)none;
	SAW(get_int(fd, SOL_SOCKET, SO_ERROR));
	SAW(dial_port(fd, port));
	SAW(dial_port(fd, port));
	SAW(get_int(fd, SOL_SOCKET, SO_ERROR));
	SAW(listen(fd, 1));
	SAW(accept(fd, NULL, NULL));
	SAW(bind(fd, (struct sockaddr *)&there, sizeof(there)));
	SAW(dial_port(l, port));
	SAW(recv(l, buffer, 1, MSG_DONTWAIT));
	SAW(send(l, buffer, 1, MSG_NOSIGNAL));
}

static void connect_refused(const void *none)
{
	int fd = stream(), port = closed_port(), l;

	(void)none;
	SAW(dial_port(fd, port));
	SAW(get_int(fd, SOL_SOCKET, SO_ERROR));
	SAW(getpeername(fd, (struct sockaddr *)&(struct sockaddr_in){ 0 }, &(socklen_t){ 16 }));
	saw_events("refused", fd, POLLIN | POLLOUT | POLLRDHUP, 0);
	SAW(dial_port(fd, port));
	l = listener(1);
	SAW(dial_port(fd, ntohs(name_of(l).sin_port)));
}

static void connect_port_zero(const void *none)
{
	(void)none;
	SAW(dial_port(stream(), 0));
}

static void connect_nonblocking(const void *none)
{
	int l = listener(8), fd = stream(), port = ntohs(name_of(l).sin_port);

	(void)none;
	MUST(fcntl(fd, F_SETFL, O_NONBLOCK));
	saw_events("before", fd, POLLIN | POLLOUT | POLLRDHUP, 0);
	SAW(dial_port(fd, port));
	saw_events("connected", fd, POLLOUT, 5000);
	SAW(get_int(fd, SOL_SOCKET, SO_ERROR));
	SAW(dial_port(fd, port));
	SAW(dial_port(fd, port));
	SAW(recv(fd, buffer, 1, 0));
}

static void connect_nonblocking_refused(const void *none)
{
	int fd = stream(), port = closed_port();

	(void)none;
	MUST(fcntl(fd, F_SETFL, O_NONBLOCK));
	SAW(dial_port(fd, port));
	saw_events("refused", fd, POLLIN | POLLOUT | POLLRDHUP, 5000);
	SAW(get_int(fd, SOL_SOCKET, SO_ERROR));
	SAW(get_int(fd, SOL_SOCKET, SO_ERROR));
	SAW(dial_port(fd, port));
	SAW(send(fd, "x", 1, MSG_NOSIGNAL));
}

static void connect_refused_then_used(const void *none)
{
	int fd = stream();

	(void)none;
	MUST(fcntl(fd, F_SETFL, O_NONBLOCK));
	SAW(dial_port(fd, closed_port()));
	await(fd, POLLOUT);
	SAW(recv(fd, buffer, 1, 0));
	SAW(recv(fd, buffer, 1, 0));
	SAW(send(fd, "x", 1, MSG_NOSIGNAL));
}

static void connect_invalid(const void *none)
{
	struct sockaddr_in to = there;
	int fd = stream();

	(void)none;
	to.sin_port = htons(9);
	SAW(connect(fd, (struct sockaddr *)&to, 8));
	SAW(connect(fd, (struct sockaddr *)&to, 1));
	SAW(connect(fd, NULL, sizeof(to)));
	to.sin_family = AF_UNIX;
	SAW(connect(fd, (struct sockaddr *)&to, sizeof(to)));
	to.sin_family = AF_UNSPEC;
	SAW(connect(fd, (struct sockaddr *)&to, sizeof(to)));
	SAW(connect(socket(AF_INET6, SOCK_STREAM, 0), (struct sockaddr *)&there, sizeof(there)));
	to = there;
	to.sin_addr.s_addr = htonl(INADDR_BROADCAST);
	SAW(connect(fd, (struct sockaddr *)&to, sizeof(to)));
}

static void connect_to_itself(const void *none)
{
	struct sockaddr_in own;
	int fd = stream();

	(void)none;
	MUST(bind(fd, (struct sockaddr *)&there, sizeof(there)));
	own = name_of(fd);
	SAW(connect(fd, (struct sockaddr *)&own, sizeof(own)));
}

static void disconnect(const void *none)
{
	struct sockaddr nobody = { .sa_family = AF_UNSPEC };
	struct pair p = connected();
	int l = listener(1);

	(void)none;
	SAW(connect(p.a, &nobody, sizeof(nobody)));
	SAW(getpeername(p.a, (struct sockaddr *)&(struct sockaddr_in){ 0 }, &(socklen_t){ 16 }));
	await(p.b, POLLIN);
	SAW(recv(p.b, buffer, 1, 0));
	SAW(dial_port(p.a, ntohs(name_of(l).sin_port)));
	SAW(accept(l, NULL, NULL) >= 0);
	SAW(connect(l, &nobody, sizeof(nobody)));
	SAW(accept(l, NULL, NULL));
}

static void fast_open(const void *none)
{
	int l = listener(8), fd = stream(), b;
	struct sockaddr_in to = name_of(l);

	(void)none;
	SAW(sendto(fd, "first", 5, MSG_FASTOPEN, (struct sockaddr *)&to, sizeof(to)));
	b = (int)MUST(accept(l, NULL, NULL));
	saw_bytes("received", buffer, recv(b, buffer, 100, 0));
	SAW(sendto(fd, "again", 5, MSG_FASTOPEN, (struct sockaddr *)&to, sizeof(to)));
}

static void names(const void *none)
{
	struct pair p = connected();
	struct sockaddr_in a = name_of(p.a), b = name_of(p.b), name;
	socklen_t length = sizeof(name);

	(void)none;
	SAW(getpeername(p.a, (struct sockaddr *)&name, &length));
	saw("the peer's name: %d, length %u", memcmp(&name, &b, sizeof(name)) != 0, length);
	SAW(getpeername(p.b, (struct sockaddr *)&name, &length));
	saw("the peer's name: %d", memcmp(&name, &a, sizeof(name)) != 0);
	saw("addresses: %d %d", a.sin_addr.s_addr == there.sin_addr.s_addr, b.sin_addr.s_addr == there.sin_addr.s_addr);
	length = 4;
	SAW(getsockname(p.a, (struct sockaddr *)&name, &length));
	saw("length %u", length);
	SAW(getsockname(p.a, (struct sockaddr *)&name, NULL));
	close(p.b);
	settle();
	SAW(getpeername(p.a, (struct sockaddr *)&name, &length));
	send(p.a, "x", 1, MSG_NOSIGNAL);
	settle();
	SAW(getpeername(p.a, (struct sockaddr *)&name, &length));
	saw("my own is %s", name_of(p.a).sin_port == a.sin_port ? "the same" : "gone");
}

static void accepting(const void *none)
{
	struct sockaddr_in name;
	socklen_t length = sizeof(name);
	int l = listener(8), a, b;
	struct sockaddr_in to = name_of(l);

	(void)none;
	a = dial(&to);
	SAW((b = accept(l, (struct sockaddr *)&name, &length)) >= 0);
	saw("the client's name: %d, length %u", name.sin_port != name_of(a).sin_port, length);
	SAW(accept4(l, NULL, NULL, 1));
	MUST(fcntl(l, F_SETFL, O_NONBLOCK));
	SAW(accept(l, NULL, NULL));
	a = dial(&to);
	SAW((b = accept(l, NULL, NULL)) >= 0);
	SAW(fcntl(b, F_GETFL) & O_NONBLOCK);
	a = dial(&to);
	SAW((b = accept4(l, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0);
	SAW((fcntl(b, F_GETFL) & O_NONBLOCK) == O_NONBLOCK);
	SAW(fcntl(b, F_GETFD) & FD_CLOEXEC);
	SAW(accept(stream(), NULL, NULL));
	SAW(accept(socket(AF_INET, SOCK_DGRAM, 0), NULL, NULL));
	SAW(accept(0, NULL, NULL));
}

static void accept_timeout(const void *none)
{
	int l = listener(1);

	(void)none;
	timeout(l, SO_RCVTIMEO, 200);
	SAW(accept(l, NULL, NULL));
}

static void accept_of_the_gone(const void *none)
{
	int l = listener(8), a, b;
	struct sockaddr_in to = name_of(l);
	struct linger now = { 1, 0 };

	(void)none;
	a = dial(&to);
	send(a, "bye", 3, 0);
	close(a);
	SAW((b = accept(l, NULL, NULL)) >= 0);
	saw_bytes("it said", buffer, recv(b, buffer, 10, 0));
	SAW(recv(b, buffer, 10, 0));
	a = dial(&to);
	MUST(setsockopt(a, SOL_SOCKET, SO_LINGER, &now, sizeof(now)));
	close(a);
	settle();
	SAW((b = accept(l, NULL, NULL)) >= 0);
	SAW(recv(b, buffer, 10, 0));
}

static void listening(const void *none)
{
	int l = listener(1), port = ntohs(name_of(l).sin_port), fd = stream();

	(void)none;
	SAW(get_int(l, SOL_SOCKET, SO_ACCEPTCONN));
	SAW(listen(l, 5));
	saw_events("nobody waits", l, POLLIN | POLLOUT, 0);
	SAW(dial_port(fd, port));
	saw_events("somebody waits", l, POLLIN | POLLOUT, 5000);
	SAW(shutdown(l, SHUT_WR));
	SAW(shutdown(l, SHUT_RD));
	saw_events("shut down", l, POLLIN | POLLOUT | POLLRDHUP, 0);
	SAW(accept(l, NULL, NULL));
	await(fd, POLLIN);
	SAW(recv(fd, buffer, 1, 0));
	SAW(dial_port(stream(), port));
	SAW(get_int(l, SOL_SOCKET, SO_ACCEPTCONN));
	SAW(listen(l, 5));
	SAW(dial_port(stream(), port));
	SAW(listen(socket(AF_INET, SOCK_DGRAM, 0), 1));
	SAW(listen(stream(), -1));
}

static void shut_down(int fd)
{
	shutdown(fd, SHUT_RD);
}

static void accept_shut_down(const void *none)
{
	int l = listener(1);
	struct later t;

	(void)none;
	later(&t, 200, shut_down, l);
	SAW(accept(l, NULL, NULL));
	finished(&t);
}

static void listener_closed(const void *none)
{
	int l = listener(8), port = ntohs(name_of(l).sin_port), fd = stream();

	(void)none;
	MUST(dial_port(fd, port));
	send(fd, "x", 1, 0);
	close(l);
	saw_events("my connection", fd, POLLIN | POLLRDHUP, 5000);
	SAW(recv(fd, buffer, 1, 0));
	SAW(recv(fd, buffer, 1, 0));
	SAW(dial_port(stream(), port));
}

static void backlog(const void *none)
{
	int l = listener(1), port = ntohs(name_of(l).sin_port), fd;

	(void)none;
	SAW(dial_port(stream(), port));
	SAW(dial_port(stream(), port));
	fd = stream();
	MUST(fcntl(fd, F_SETFL, O_NONBLOCK));
	SAW(dial_port(fd, port));
	saw_events("beyond the backlog", fd, POLLOUT, 300);
	SAW(dial_port(fd, port));
	SAW(accept(l, NULL, NULL) >= 0);
	saw_events("after an accept()", fd, POLLOUT, 20000);
	SAW(get_int(fd, SOL_SOCKET, SO_ERROR));
}

static void binding(const void *none)
{
	struct sockaddr_in at = there, strange = there;
	int one = stream(), two = stream();

	(void)none;
	strange.sin_addr.s_addr = htonl(0xc0000201); /* 192.0.2.1 */
	SAW(bind(one, (struct sockaddr *)&strange, sizeof(strange)));
	SAW(bind(one, (struct sockaddr *)&at, 4));
	SAW(bind(one, (struct sockaddr *)&at, sizeof(at)));
	SAW(bind(one, (struct sockaddr *)&at, sizeof(at)));
	at = name_of(one);
	SAW(bind(two, (struct sockaddr *)&at, sizeof(at)));
	SAW(listen(one, 1));
	SAW(bind(two, (struct sockaddr *)&at, sizeof(at)));
	SAW(set_int(two, SOL_SOCKET, SO_REUSEADDR, 1));
	SAW(bind(two, (struct sockaddr *)&at, sizeof(at)));
	close(one);
	SAW(bind(two, (struct sockaddr *)&at, sizeof(at)));
}

static void bound_client(const void *none)
{
	int l = listener(8), fd = stream(), b;
	struct sockaddr_in name, to = name_of(l);
	socklen_t length = sizeof(name);

	(void)none;
	MUST(bind(fd, (struct sockaddr *)&there, sizeof(there)));
	name = name_of(fd);
	SAW(connect(fd, (struct sockaddr *)&to, sizeof(to)));
	saw("the same port: %d", name.sin_port == name_of(fd).sin_port);
	b = (int)MUST(accept(l, (struct sockaddr *)&name, &length));
	saw("as the server sees it: %d", name.sin_port == name_of(fd).sin_port);
	close(b);
}

static void reuse_address(const void *none)
{
	int l = stream(), again = stream(), a, b;
	struct sockaddr_in at;

	(void)none;
	SAW(set_int(l, SOL_SOCKET, SO_REUSEADDR, 1));
	MUST(bind(l, (struct sockaddr *)&there, sizeof(there)));
	MUST(listen(l, 8));
	at = name_of(l);
	a = dial(&at);
	b = (int)MUST(accept(l, NULL, NULL));
	close(l);
	SAW(set_int(again, SOL_SOCKET, SO_REUSEADDR, 1));
	SAW(bind(again, (struct sockaddr *)&at, sizeof(at)));
	SAW(listen(again, 8));
	send(a, "old", 3, 0);
	saw_bytes("the old connection", buffer, recv(b, buffer, 10, 0));
	SAW(dial_port(stream(), ntohs(at.sin_port)));
}

static void reuse_port(const void *none)
{
	int l[2] = { stream(), stream() }, taken[2] = { 0, 0 };
	struct sockaddr_in at = there;

	(void)none;
	for (int i = 0; i < 2; i++) {
		SAW(set_int(l[i], SOL_SOCKET, SO_REUSEPORT, 1));
		SAW(bind(l[i], (struct sockaddr *)&at, sizeof(at)));
		SAW(listen(l[i], 64));
		at = name_of(l[i]);
		MUST(fcntl(l[i], F_SETFL, O_NONBLOCK));
	}
	for (int i = 0; i < 40; i++)
		dial(&at);
	for (int n = 0; n < 50 && taken[0] + taken[1] < 40; n++) {
		settle();
		for (int i = 0; i < 2; i++)
			while (accept(l[i], NULL, NULL) >= 0)
				taken[i]++;
	}
	saw("in all %d, both have some: %d", taken[0] + taken[1], taken[0] > 0 && taken[1] > 0);
	close(l[0]);
	SAW(dial_port(stream(), ntohs(at.sin_port)));
}

static void same_port_as_client(const void *none)
{
	int l = listener(8), fd = stream(), again = stream();
	struct sockaddr_in to = name_of(l), name;

	(void)none;
	MUST(connect(fd, (struct sockaddr *)&to, sizeof(to)));
	name = name_of(fd);
	SAW(bind(again, (struct sockaddr *)&name, sizeof(name)));
	close(fd);
}

static void six(const void *none)
{
	int l = (int)MUST(socket(AF_INET6, SOCK_STREAM, 0)), fd = (int)MUST(socket(AF_INET6, SOCK_STREAM, 0)), b;
	struct sockaddr_in6 name;
	socklen_t length = sizeof(name);

	(void)none;
	SAW(bind(l, (struct sockaddr *)&there6, sizeof(there6)));
	SAW(listen(l, 8));
	MUST(getsockname(l, (struct sockaddr *)&name, &length));
	SAW(connect(fd, (struct sockaddr *)&name, sizeof(name)));
	b = (int)MUST(accept(l, (struct sockaddr *)&name, &length));
	saw("the client: %d, length %u", memcmp(&name.sin6_addr, &there6.sin6_addr, 16) != 0, length);
	SAW(send(b, "six", 3, 0));
	saw_bytes("received", buffer, recv(fd, buffer, 10, 0));
	SAW(connect(socket(AF_INET6, SOCK_STREAM, 0), (struct sockaddr *)&name, 20));
}

static void dual_stack(const void *none)
{
	int l = (int)MUST(socket(AF_INET6, SOCK_STREAM, 0)), only = (int)MUST(socket(AF_INET6, SOCK_STREAM, 0));
	struct sockaddr_in6 any = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_ANY_INIT }, name, to;
	socklen_t length = sizeof(name);
	int fd;

	(void)none;
	SAW(set_int(l, IPPROTO_IPV6, IPV6_V6ONLY, 0));
	SAW(bind(l, (struct sockaddr *)&any, sizeof(any)));
	SAW(listen(l, 8));
	MUST(getsockname(l, (struct sockaddr *)&to, &length));
	SAW(dial_port(stream(), ntohs(to.sin6_port)));
	MUST(accept(l, (struct sockaddr *)&name, &length));
	saw("mapped: %d", IN6_IS_ADDR_V4MAPPED(&name.sin6_addr));
	to.sin6_addr = name.sin6_addr; /* the same address, mapped */
	SAW(connect(only, (struct sockaddr *)&to, sizeof(to)));
	only = (int)MUST(socket(AF_INET6, SOCK_STREAM, 0));
	SAW(set_int(only, IPPROTO_IPV6, IPV6_V6ONLY, 1));
	SAW(connect(only, (struct sockaddr *)&to, sizeof(to)));
	SAW(bind(only, (struct sockaddr *)&any, sizeof(any)));
	SAW(listen(only, 8));
	MUST(getsockname(only, (struct sockaddr *)&to, &length));
	SAW(dial_port(stream(), ntohs(to.sin6_port)));
	to.sin6_addr = there6.sin6_addr;
	fd = (int)MUST(socket(AF_INET6, SOCK_STREAM, 0));
	SAW(connect(fd, (struct sockaddr *)&to, sizeof(to)));
}

const struct test setup_tests[] = {
	CASE(connect_blocking), CASE(connect_refused), CASE(connect_port_zero), CASE(connect_nonblocking), CASE(connect_nonblocking_refused),
	CASE(connect_refused_then_used), CASE(connect_invalid), CASE(connect_to_itself), CASE(disconnect),
	CASE(fast_open), CASE(names), CASE(accepting), CASE(accept_timeout), CASE(accept_of_the_gone), CASE(listening),
	CASE(accept_shut_down), CASE(listener_closed), CASE(backlog), CASE(binding), CASE(bound_client),
	CASE(reuse_address), CASE(reuse_port), CASE(same_port_as_client), CASE(six), CASE(dual_stack), END,
};
