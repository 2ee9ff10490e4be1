// SPDX-License-Identifier: MIT
/*
 * A zero-copy relay: from one circuit's ring into another's, both ways, one process and no buffer for each connection.
 *
 *     relay PORT ADDRESS PORT
 */
#define _GNU_SOURCE
#include "net.h"

/* One direction. */
struct way {
	struct csvn *from, *to;
	bool ended;
	int waits; /* for what, on from (CSVN_READABLE) or to (CSVN_WRITABLE) */
};

/* Move what can be moved; true when something was. */
static bool move(struct way *w)
{
	const void *bytes;
	void *room;
	long n, free;

	n = csvn_peek(w->from, 1, &bytes);
	w->waits = CSVN_READABLE;
	if (n == -EAGAIN)
		return false;
	if (must("csvn_peek", n) == 0) {
		w->ended = true;
		must("csvn_shutdown", csvn_shutdown(w->to));
		return true;
	}
	free = csvn_reserve(w->to, (size_t)n, &room);
	w->waits = CSVN_WRITABLE;
	if (free == -EAGAIN)
		return false;
	if (must("csvn_reserve", free) < n)
		n = free;
	memcpy(room, bytes, (size_t)n);
	must("csvn_consume", csvn_consume(w->from, (size_t)n));
	must("csvn_commit", csvn_commit(w->to, (size_t)n));
	return true;
}

/*
 * Neither way can go on: sleep until one can. poll() arms, looks once more, and sleeps, as csvn_wait() does for
 * one.
 */
static void rest(struct way ways[2])
{
	struct pollfd p[2] = { { .fd = ways[0].from->fd }, { .fd = ways[1].from->fd } };
	int i, n = 0;

	for (i = 0; i < 2; i++)
		if (!ways[i].ended)
			p[ways[i].waits == CSVN_READABLE ? i : 1 - i].events |= (short)ways[i].waits;
	for (i = 0; i < 2; i++) {
		if (!p[i].events)
			p[i].fd = -1; /* its hang-up is for whoever reads it */
		else
			n++;
	}
	if (n && poll(p, 2, -1) < 0)
		die("poll", -errno);
	for (i = 0; i < 2; i++)
		if (p[i].revents & POLLERR)
			die("connection", -ECONNRESET);
}

int main(int argc, char **argv)
{
	struct csvn near, far;
	struct way ways[2] = { { .from = &near, .to = &far }, { .from = &far, .to = &near } };
	bool moved;

	if (argc != 4) {
		fprintf(stderr, "usage: %s PORT ADDRESS PORT\n", argv[0]);
		return 2;
	}
	must("csvn_map", csvn_map(&near, serve(argv[1])));
	must("csvn_map", csvn_map(&far, connect_to(argv[2], argv[3])));
	while (!ways[0].ended || !ways[1].ended) {
		moved = false;
		for (int i = 0; i < 2; i++)
			moved |= !ways[i].ended && move(&ways[i]);
		if (!moved)
			rest(ways);
	}
	must("csvn_close", csvn_close(&near));
	must("csvn_close", csvn_close(&far));
	return 0;
}
