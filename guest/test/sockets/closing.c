/* SPDX-License-Identifier: MIT */
/* Streams: how connections end, step by step, with the event masks of both ends. */
#define _GNU_SOURCE
#include "sockets.h"

#define EVERYTHING (POLLIN | POLLOUT | POLLPRI | POLLRDHUP)

static char buffer[1 << 16];

static void both(const char *when, struct pair p)
{
	settle();
	saw("%s", when);
	saw_events("a", p.a, EVERYTHING, 0);
	saw_events("b", p.b, EVERYTHING, 0);
}

static void shutdown_write(const void *none)
{
	struct pair p = connected();

	(void)none;
	both("open", p);
	SAW(send(p.a, "last", 4, 0));
	SAW(shutdown(p.a, SHUT_WR));
	both("half closed", p);
	saw_bytes("received", buffer, recv(p.b, buffer, 10, 0));
	SAW(recv(p.b, buffer, 10, 0));
	SAW(recv(p.b, buffer, 10, 0));
	SAW(send(p.a, "x", 1, MSG_NOSIGNAL));
	SAW(send(p.b, "still", 5, 0));
	saw_bytes("the other way", buffer, recv(p.a, buffer, 10, 0));
	SAW(shutdown(p.a, SHUT_WR));
	SAW(shutdown(p.b, SHUT_WR));
	both("both halves", p);
	SAW(recv(p.a, buffer, 10, 0));
	SAW(shutdown(p.a, SHUT_RDWR));
	SAW(get_int(p.a, SOL_SOCKET, SO_ERROR));
}

static void shutdown_read(const void *none)
{
	struct pair p = connected();

	(void)none;
	SAW(send(p.b, "before", 6, 0));
	SAW(shutdown(p.a, SHUT_RD));
	both("shut", p);
	saw_bytes("what was there", buffer, recv(p.a, buffer, 10, 0));
	SAW(recv(p.a, buffer, 10, 0));
	SAW(send(p.b, "after", 5, MSG_NOSIGNAL));
	settle();
	saw_bytes("what came later", buffer, recv(p.a, buffer, 10, MSG_DONTWAIT));
	SAW(send(p.a, "x", 1, 0));
	await(p.b, POLLIN);
	SAW(recv(p.b, buffer, 10, MSG_DONTWAIT));
}

static void shutdown_both(const void *none)
{
	struct pair p = connected();

	(void)none;
	SAW(shutdown(p.a, SHUT_RDWR));
	both("shut", p);
	SAW(recv(p.a, buffer, 10, 0));
	SAW(send(p.a, "x", 1, MSG_NOSIGNAL));
	SAW(recv(p.b, buffer, 10, 0));
	close(p.b);
	both("closed", (struct pair){ p.a, p.a });
}

static void shutdown_invalid(const void *none)
{
	struct pair p = connected();
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	(void)none;
	SAW(shutdown(p.a, 3));
	SAW(shutdown(p.a, -1));
	SAW(shutdown(fd, SHUT_RDWR));
	SAW(shutdown(fd, 7));
	saw_events("unconnected", fd, EVERYTHING, 0);
	SAW(shutdown(-1, SHUT_WR));
}

static void shut_both(int fd)
{
	shutdown(fd, SHUT_RDWR);
}

static void shut_read(int fd)
{
	shutdown(fd, SHUT_RD);
}

static void shutdown_wakes(const void *none)
{
	struct pair p = connected();
	struct later l;

	(void)none;
	later(&l, 200, shut_read, p.a);
	SAW(recv(p.a, buffer, 1, 0));
	finished(&l);
	p = connected();
	later(&l, 200, shut_both, p.a);
	saw_events("woken", p.a, POLLIN, 5000);
	finished(&l);
	p = connected();
	fill(p.a);
	later(&l, 200, shut_both, p.a);
	SAW(send(p.a, buffer, 1, MSG_NOSIGNAL));
	finished(&l);
}

static void close_after_reading(const void *none)
{
	struct pair p = connected();

	(void)none;
	close(p.b);
	both("closed", (struct pair){ p.a, p.a });
	SAW(recv(p.a, buffer, 10, 0));
	SAW(send(p.a, "one", 3, MSG_NOSIGNAL));
	both("after a send()", (struct pair){ p.a, p.a });
	SAW(get_int(p.a, SOL_SOCKET, SO_ERROR));
	SAW(send(p.a, "two", 3, MSG_NOSIGNAL));
	SAW(recv(p.a, buffer, 10, 0));
	SAW(shutdown(p.a, SHUT_WR));
	SAW(get_int(p.a, SOL_SOCKET, SO_ERROR));
}

static void close_before_reading(const void *none)
{
	struct pair p = connected();

	(void)none;
	SAW(send(p.b, "last words", 10, 0));
	SAW(send(p.a, "unread", 6, 0));
	arrived(p.b, 6);
	close(p.b);
	both("reset", (struct pair){ p.a, p.a });
	saw_bytes("what was sent before", buffer, recv(p.a, buffer, 100, 0));
	SAW(recv(p.a, buffer, 10, 0));
	SAW(recv(p.a, buffer, 10, 0));
	SAW(send(p.a, "x", 1, MSG_NOSIGNAL));
	SAW(get_int(p.a, SOL_SOCKET, SO_ERROR));
	both("told", (struct pair){ p.a, p.a });
}

static void send_to_the_reset(const void *none)
{
	struct pair p = connected();

	(void)none;
	SAW(send(p.a, "unread", 6, 0));
	arrived(p.b, 6);
	close(p.b);
	settle();
	SAW(send(p.a, "x", 1, MSG_NOSIGNAL));
	SAW(send(p.a, "x", 1, MSG_NOSIGNAL));
	SAW(recv(p.a, buffer, 1, 0));
}

static void linger_zero(const void *none)
{
	struct linger at_once = { 1, 0 }, told;
	struct pair p = connected();
	socklen_t size = sizeof(told);

	(void)none;
	SAW(setsockopt(p.b, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)));
	SAW(getsockopt(p.b, SOL_SOCKET, SO_LINGER, &told, &size));
	saw("linger %d %d", told.l_onoff, told.l_linger);
	send(p.b, "sent", 4, 0);
	close(p.b);
	both("reset", (struct pair){ p.a, p.a });
	SAW(get_int(p.a, SOL_SOCKET, SO_ERROR));
	saw_bytes("what was sent before", buffer, recv(p.a, buffer, 100, 0));
	SAW(recv(p.a, buffer, 10, 0));
}

static void linger_on(const void *none)
{
	struct linger some = { 1, 3 };
	struct pair p = connected();
	double start;

	(void)none;
	SAW(setsockopt(p.a, SOL_SOCKET, SO_LINGER, &some, sizeof(some)));
	send(p.a, "unread", 6, 0);
	start = now();
	SAW(close(p.a));
	saw("close() %s", now() - start > 2 ? "waited" : "did not wait");
	saw_bytes("received", buffer, recv(p.b, buffer, 10, 0));
}

static void close_while_receiving(const void *none)
{
	struct pair p = connected();
	struct later l;
	int copy = dup(p.a);

	(void)none;
	close(p.a);
	later(&l, 100, send_late, p.b);
	saw_bytes("by the copy", buffer, recv(copy, buffer, 10, 0));
	finished(&l);
	close(copy);
	settle();
	SAW(recv(p.b, buffer, 10, MSG_DONTWAIT));
	SAW(close(copy));
	SAW(send(copy, "x", 1, 0));
}

static void *receive_one(void *argument)
{
	char byte[10];

	saw_bytes("the thread", byte, recv(*(int *)argument, byte, 10, 0));
	return NULL;
}

static void close_under_a_thread(const void *none)
{
	struct pair p = connected();
	pthread_t thread;
	int fd = p.a;

	(void)none;
	pthread_create(&thread, NULL, receive_one, &fd);
	settle();
	SAW(close(p.a));
	settle();
	SAW(send(p.b, "late", 4, 0));
	pthread_join(thread, NULL);
}

static int state_of(int fd)
{
	struct tcp_info info;
	socklen_t size = sizeof(info);

	return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) < 0 ? -1 : info.tcpi_state;
}

static void states(const void *none)
{
	int l = listener(1);
	struct pair p = connected();

	(void)none;
	saw("fresh %d, listening %d", state_of(socket(AF_INET, SOCK_STREAM, 0)), state_of(l));
	saw("open %d %d", state_of(p.a), state_of(p.b));
	shutdown(p.a, SHUT_WR);
	settle();
	saw("half closed %d %d", state_of(p.a), state_of(p.b));
	recv(p.b, buffer, 1, 0);
	send(p.b, "x", 1, 0);
	recv(p.a, buffer, 1, 0);
	shutdown(p.b, SHUT_WR);
	settle();
	saw("closed %d %d", state_of(p.a), state_of(p.b));
	p = connected();
	send(p.a, "unread", 6, 0);
	arrived(p.b, 6);
	close(p.b);
	settle();
	saw("reset %d", state_of(p.a));
}

const struct test closing_tests[] = {
	CASE(shutdown_write), CASE(shutdown_read), CASE(shutdown_both), CASE(shutdown_invalid), CASE(shutdown_wakes),
	CASE(close_after_reading), CASE(close_before_reading), CASE(send_to_the_reset), CASE(linger_zero),
	CASE(linger_on), CASE(close_while_receiving), CASE(close_under_a_thread), CASE(states), END,
};
