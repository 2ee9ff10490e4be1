// SPDX-License-Identifier: MIT
/*
 * Sends pseudo-random bytes to an echo server and checks what comes back, in pieces of random size.
 *
 *     pump ADDRESS PORT BYTES map|copy|mix SEED
 *
 * map: by the mapping. copy: by send() and recv(). mix: by either, as it comes; also what waits: csvn_wait(), poll(),
 * edge-triggered epoll, or a blocking recv().
 */
#include <sys/epoll.h>

#include "zero.h"

struct pump {
	struct csvn c;
	struct bytes choice, out, in;
	const char *how;
	uint64_t bytes, sent, received;
	uint8_t room[ROOM];
	bool ended;
	int epoll;
};

static bool by_mapping(struct pump *p)
{
	if (!strcmp(p->how, "mix"))
		return next_number(&p->choice) & 1024;
	return !strcmp(p->how, "map");
}

static size_t piece(struct pump *p)
{
	uint64_t n = next_number(&p->choice);

	return (size_t)(n % (n & 4096 ? 200000 : 200)) + 1;
}

static bool send_some(struct pump *p)
{
	size_t n = piece(p);
	struct bytes ahead = p->out;
	void *room = p->room;
	long done;

	if (n > p->bytes - p->sent)
		n = p->bytes - p->sent;
	if (!n)
		return false;
	if (by_mapping(p)) {
		done = csvn_reserve(&p->c, n, &room);
		if (done == -EAGAIN)
			return false;
		check("csvn_reserve", done > 0);
		if (n > (size_t)done)
			n = (size_t)done;
		make_bytes(&p->out, room, n);
		check("csvn_commit", csvn_commit(&p->c, n) == 0);
	} else {
		make_bytes(&ahead, p->room, n);
		done = send(p->c.fd, p->room, n, MSG_DONTWAIT);
		if (done < 0 && errno == EAGAIN)
			return false;
		if (done < 0)
			fail("send");
		n = (size_t)done;
		make_bytes(&p->out, p->room, n);
	}
	p->sent += n;
	if (p->sent == p->bytes)
		check("csvn_shutdown", csvn_shutdown(&p->c) == 0);
	return true;
}

/* More is not expected than what is left: the end of file must come right after it. */
static void got(struct pump *p, const uint8_t *at, long n)
{
	p->ended = !n;
	check("the echo is not longer", (uint64_t)n <= p->bytes - p->received);
	check("the echo is what was sent", same_bytes(&p->in, at, (size_t)n));
	p->received += (uint64_t)n;
}

static bool receive_some(struct pump *p)
{
	size_t n = piece(p);
	const void *bytes;
	long done;

	if (p->ended)
		return false;
	if (by_mapping(p)) {
		done = csvn_peek(&p->c, n, &bytes);
		if (done == -EAGAIN)
			return false;
		check("csvn_peek", done >= 0);
		if ((size_t)done > n)
			done = (long)n;
		got(p, bytes, done);
		check("csvn_consume", csvn_consume(&p->c, (size_t)done) == 0);
	} else {
		done = recv(p->c.fd, p->room, n, MSG_DONTWAIT);
		if (done < 0 && errno == EAGAIN)
			return false;
		if (done < 0)
			fail("recv");
		got(p, p->room, done);
	}
	return true;
}

static void rest(struct pump *p)
{
	int events = p->sent < p->bytes ? POLLIN | POLLOUT : POLLIN;
	struct pollfd one = { .fd = p->c.fd, .events = (short)events };
	struct epoll_event edge;
	ssize_t n;

	switch (strcmp(p->how, "mix") ? 0 : next_number(&p->choice) % 4) {
	case 0:
		check("csvn_wait", csvn_wait(&p->c, events, 20000) > 0);
		return;
	case 1:
		check("poll", poll(&one, 1, 20000) > 0);
		return;
	case 2:
		if (csvn_wait(&p->c, events, 0) == 0)
			check("epoll_wait", epoll_wait(p->epoll, &edge, 1, 20000) == 1);
		return;
	default:
		if (events & POLLOUT) /* the echo may wait for our sending on */
			return;
		n = recv(p->c.fd, p->room, ROOM, 0);
		if (n < 0)
			fail("recv");
		got(p, p->room, n);
	}
}

void pump(int argc, char **argv)
{
	struct epoll_event edge = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET };
	static struct pump p;
	bool moved;

	check("five arguments", argc == 5);
	p.bytes = strtoull(argv[2], NULL, 10);
	p.how = argv[3];
	p.choice.state = strtoull(argv[4], NULL, 10) * 2 + 1;
	p.out.state = p.in.state = 88172645463325252ull;
	map(&p.c, dial(argv[0], atoi(argv[1])));
	p.epoll = epoll_create1(0);
	if (epoll_ctl(p.epoll, EPOLL_CTL_ADD, p.c.fd, &edge) < 0)
		fail("epoll_ctl");
	while (!p.ended) {
		moved = send_some(&p);
		moved |= receive_some(&p);
		if (!moved)
			rest(&p);
	}
	check("all came back", p.received == p.bytes);
	check("csvn_close", csvn_close(&p.c) == 0);
}
