// SPDX-License-Identifier: MIT
/*
 * A zero-copy echo server: what comes goes back, copied once, from ring to ring.
 *
 *     echo PORT
 */
#define _GNU_SOURCE
#include "net.h"

int main(int argc, char **argv)
{
	struct csvn c;
	const void *bytes;
	void *room;
	long n, free;

	if (argc != 2) {
		fprintf(stderr, "usage: %s PORT\n", argv[0]);
		return 2;
	}
	must("csvn_map", csvn_map(&c, serve(argv[1])));
	for (;;) {
		n = csvn_peek(&c, 1, &bytes);
		if (n == -EAGAIN) {
			must("csvn_wait", csvn_wait(&c, CSVN_READABLE, -1));
			continue;
		}
		if (must("csvn_peek", n) == 0)
			break;
		free = csvn_reserve(&c, (size_t)n, &room);
		if (free == -EAGAIN) {
			must("csvn_wait", csvn_wait(&c, CSVN_WRITABLE, -1));
			continue;
		}
		if (must("csvn_reserve", free) < n)
			n = free;
		memcpy(room, bytes, (size_t)n);
		must("csvn_consume", csvn_consume(&c, (size_t)n));
		must("csvn_commit", csvn_commit(&c, (size_t)n));
	}
	must("csvn_shutdown", csvn_shutdown(&c));
	must("csvn_close", csvn_close(&c));
	return 0;
}
