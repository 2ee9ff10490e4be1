// SPDX-License-Identifier: MIT
/*
 * A zero-copy file sender: the kernel reads the file straight into the ring.
 *
 *     send_file ADDRESS PORT FILE
 */
#define _GNU_SOURCE
#include <fcntl.h>

#include "net.h"

int main(int argc, char **argv)
{
	struct csvn c;
	void *room;
	ssize_t got;
	int file;
	long n;

	if (argc != 4) {
		fprintf(stderr, "usage: %s ADDRESS PORT FILE\n", argv[0]);
		return 2;
	}
	file = open(argv[3], O_RDONLY | O_CLOEXEC);
	if (file < 0)
		die(argv[3], -errno);
	must("csvn_map", csvn_map(&c, connect_to(argv[1], argv[2])));
	for (;;) {
		n = csvn_reserve(&c, 1, &room);
		if (n == -EAGAIN) {
			must("csvn_wait", csvn_wait(&c, CSVN_WRITABLE, -1));
			continue;
		}
		got = read(file, room, (size_t)must("csvn_reserve", n));
		if (got < 0)
			die(argv[3], -errno);
		if (!got)
			break;
		must("csvn_commit", csvn_commit(&c, (size_t)got));
	}
	must("csvn_shutdown", csvn_shutdown(&c));
	must("csvn_close", csvn_close(&c));
	return 0;
}
