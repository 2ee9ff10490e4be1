/* SPDX-License-Identifier: MIT */
/* poll(), select() and epoll, level- and edge-triggered: the masks, and which events come, in what order. */
#define _GNU_SOURCE
#include "sockets.h"

#include <sys/epoll.h>
#include <sys/select.h>

static char buffer[1 << 16];

static int watch(int fd, unsigned int events)
{
	int e = (int)MUST(epoll_create1(0));
	struct epoll_event event = { .events = events };

	MUST(epoll_ctl(e, EPOLL_CTL_ADD, fd, &event));
	return e;
}

/* The next event, if there is one within ms. */
static void next(const char *what, int e, int ms)
{
	struct epoll_event event;
	int n = epoll_wait(e, &event, 1, ms);

	saw_mask(what, n > 0 ? event.events : 0);
}

static void poll_masks(const void *none)
{
	int fresh = socket(AF_INET, SOCK_STREAM, 0);
	struct pair p = connected();
	struct later l;

	(void)none;
	saw_events("fresh", fresh, POLLIN | POLLOUT | POLLPRI | POLLRDHUP, 0);
	saw_events("connected", p.a, POLLIN | POLLOUT | POLLPRI | POLLRDHUP, 0);
	saw_events("nothing asked for", p.a, 0, 0);
	send(p.b, "x", 1, 0);
	await(p.a, POLLIN);
	saw_events("bytes", p.a, POLLIN | POLLOUT, 0);
	saw_events("only those", p.a, POLLIN, 0);
	recv(p.a, buffer, 1, 0);
	saw_events("none again", p.a, POLLIN, 100);
	later(&l, 200, send_late, p.b);
	saw_events("late bytes", p.a, POLLIN, 5000);
	finished(&l);
}

static void select_sets(const void *none)
{
	struct timeval soon = { 0, 100000 }, late = { 5, 0 };
	struct pair p = connected();
	fd_set in, out, other;
	struct later l;

	(void)none;
	FD_ZERO(&in);
	FD_ZERO(&out);
	FD_ZERO(&other);
	FD_SET(p.a, &in);
	FD_SET(p.a, &out);
	FD_SET(p.a, &other);
	SAW(select(p.a + 1, &in, &out, &other, &soon));
	saw("%d %d %d", !!FD_ISSET(p.a, &in), !!FD_ISSET(p.a, &out), !!FD_ISSET(p.a, &other));
	FD_SET(p.a, &in);
	SAW(select(p.a + 1, &in, NULL, NULL, &soon));
	FD_SET(p.a, &in);
	later(&l, 200, send_late, p.b);
	SAW(select(p.a + 1, &in, NULL, NULL, &late));
	finished(&l);
	close(p.b);
	recv(p.a, buffer, 4, 0);
	FD_ZERO(&in);
	FD_SET(p.a, &in);
	SAW(select(p.a + 1, &in, NULL, NULL, &late));
	SAW(recv(p.a, buffer, 4, 0));
}

static void level_triggered(const void *none)
{
	struct pair p = connected();
	int e = watch(p.a, EPOLLIN | EPOLLRDHUP);

	(void)none;
	next("nothing", e, 50);
	send(p.b, "abc", 3, 0);
	next("bytes", e, 1000);
	next("still", e, 0);
	recv(p.a, buffer, 1, 0);
	next("some left", e, 0);
	recv(p.a, buffer, 10, 0);
	next("none left", e, 50);
	shutdown(p.b, SHUT_WR);
	next("the end", e, 1000);
	next("still the end", e, 0);
}

static void edge_triggered(const void *none)
{
	struct pair p = connected();
	int e = watch(p.a, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);

	(void)none;
	next("writable at first", e, 1000);
	next("once", e, 50);
	send(p.b, "abc", 3, 0);
	next("bytes", e, 1000);
	next("once", e, 50);
	recv(p.a, buffer, 1, 0);
	next("reading some is no edge", e, 50);
	send(p.b, "def", 3, 0);
	next("more bytes", e, 1000);
	recv(p.a, buffer, 10, 0);
	next("reading all is none", e, 50);
	send(p.b, "ghi", 3, 0);
	next("bytes again", e, 1000);
	shutdown(p.b, SHUT_WR);
	next("the end", e, 1000);
	next("once", e, 50);
	SAW(recv(p.a, buffer, 10, 0));
	SAW(recv(p.a, buffer, 10, 0));
}

static void edge_triggered_after_the_end(const void *none)
{
	struct pair p = connected();
	int e = watch(p.a, EPOLLIN | EPOLLRDHUP | EPOLLET);

	(void)none;
	shutdown(p.b, SHUT_WR);
	next("the end", e, 1000);
	SAW(recv(p.a, buffer, 10, 0));
	close(p.b);
	next("closed", e, 100);
}

static void edge_triggered_read_until_empty(const void *none)
{
	struct pair p = connected();
	int e = watch(p.a, EPOLLIN | EPOLLET);

	(void)none;
	for (int i = 0; i < 5; i++) {
		struct later l;

		later(&l, 50, send_late, p.b);
		next("bytes", e, 5000);
		finished(&l);
		SAW(recv(p.a, buffer, 100, MSG_DONTWAIT));
		SAW(recv(p.a, buffer, 100, MSG_DONTWAIT));
	}
}

/* Until nothing more is on the way. */
static void empty_it(int fd)
{
	while (await_ms(fd, POLLIN, 300) & POLLIN && recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT) > 0)
		;
}

static void edge_triggered_writing(const void *none)
{
	struct pair p = connected();
	int e = watch(p.a, EPOLLOUT | EPOLLET);
	struct later l;

	(void)none;
	next("writable", e, 1000);
	for (int i = 0; i < 3; i++) {
		fill(p.a);
		epoll_wait(e, &(struct epoll_event){ 0 }, 1, 0); /* there may have been room meanwhile */
		next("full", e, 100);
		later(&l, 100, empty_it, p.b);
		next("room", e, 5000);
		finished(&l);
		settle();
		epoll_wait(e, &(struct epoll_event){ 0 }, 1, 0);
	}
}

static void edge_triggered_listener(const void *none)
{
	int l = listener(8), e = watch(l, EPOLLIN | EPOLLET);
	struct sockaddr_in to = name_of(l);

	(void)none;
	next("nobody", e, 50);
	dial(&to);
	next("one", e, 1000);
	next("once", e, 50);
	dial(&to);
	next("another", e, 1000);
	SAW(accept4(l, NULL, NULL, SOCK_NONBLOCK) >= 0);
	next("accepting is no edge", e, 50);
}

static void one_shot(const void *none)
{
	struct pair p = connected();
	int e = watch(p.a, EPOLLIN | EPOLLONESHOT);
	struct epoll_event again = { .events = EPOLLIN | EPOLLONESHOT };

	(void)none;
	send(p.b, "abc", 3, 0);
	next("bytes", e, 1000);
	send(p.b, "abc", 3, 0);
	next("off", e, 50);
	SAW(epoll_ctl(e, EPOLL_CTL_MOD, p.a, &again));
	next("on again", e, 1000);
	SAW(epoll_ctl(e, EPOLL_CTL_DEL, p.a, NULL));
	SAW(epoll_ctl(e, EPOLL_CTL_DEL, p.a, NULL));
}

static void connecting_edge(const void *none)
{
	int l = listener(8), fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), e;
	struct sockaddr_in to = name_of(l);

	(void)none;
	SAW(connect(fd, (struct sockaddr *)&to, sizeof(to)));
	e = watch(fd, EPOLLIN | EPOLLOUT | EPOLLET);
	next("connected", e, 5000);
	next("once", e, 100);
}

static void reset_event(const void *none)
{
	struct linger at_once = { 1, 0 };
	struct pair p = connected();
	int e = watch(p.a, EPOLLIN | EPOLLET);

	(void)none;
	setsockopt(p.b, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	close(p.b);
	next("reset", e, 5000);
	SAW(recv(p.a, buffer, 1, 0));
}

struct sleeper {
	pthread_t thread;
	int fd;
	int woken;
};

static void *sleep_on(void *argument)
{
	struct sleeper *s = argument;
	struct epoll_event event = { .events = EPOLLIN | EPOLLEXCLUSIVE };
	int e = epoll_create1(0);

	MUST(epoll_ctl(e, EPOLL_CTL_ADD, s->fd, &event));
	s->woken = epoll_wait(e, &event, 1, 1500);
	return NULL;
}

/* How many of ten that wait exclusively are woken by one connection: one at least, and not all. */
static void exclusive(const void *none)
{
	struct sleeper s[10];
	int l = listener(8), woken = 0;
	struct sockaddr_in to = name_of(l);

	(void)none;
	for (int i = 0; i < 10; i++) {
		s[i] = (struct sleeper){ .fd = l };
		pthread_create(&s[i].thread, NULL, sleep_on, &s[i]);
	}
	nap(500);
	dial(&to);
	for (int i = 0; i < 10; i++) {
		pthread_join(s[i].thread, NULL);
		woken += s[i].woken;
	}
	saw("%s were woken", woken < 1 ? "none" : woken < 5 ? "few" : "many");
}

static void nested(const void *none)
{
	struct pair p = connected();
	int inner = watch(p.a, EPOLLIN), outer = watch(inner, EPOLLIN);
	struct later l;

	(void)none;
	next("nothing", outer, 50);
	later(&l, 100, send_late, p.b);
	next("the inner one has something", outer, 5000);
	finished(&l);
}

static void wait_for_both_ends(const void *none)
{
	struct pair p = connected();
	struct pollfd both[2] = { { p.a, POLLIN, 0 }, { p.b, POLLIN, 0 } };
	struct later l;

	(void)none;
	SAW(poll(both, 2, 50));
	later(&l, 100, send_late, p.b);
	SAW(poll(both, 2, 5000));
	finished(&l);
	saw_mask("a", (unsigned short)both[0].revents);
	saw_mask("b", (unsigned short)both[1].revents);
}

const struct test waiting_tests[] = {
	CASE(poll_masks), CASE(select_sets), CASE(level_triggered), CASE(edge_triggered),
	CASE(edge_triggered_after_the_end),
	CASE(edge_triggered_read_until_empty), CASE(edge_triggered_writing), CASE(edge_triggered_listener),
	CASE(one_shot), CASE(connecting_edge), CASE(reset_event), CASE(exclusive), CASE(nested),
	CASE(wait_for_both_ends), END,
};
