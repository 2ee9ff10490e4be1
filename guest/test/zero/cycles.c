// SPDX-License-Identifier: MIT
/*
 * Connects, maps, touches, unmaps, closes, many times, in one order and another.
 *
 *     cycles ADDRESS PORT TIMES
 */
#include "zero.h"

void cycles(int argc, char **argv)
{
	struct csvn c;

	check("three arguments", argc == 3);
	for (int i = 0; i < atoi(argv[2]); i++) {
		map(&c, dial(argv[0], atoi(argv[1])));
		reads(c.memory);
		reads(c.end.rx);
		if (i % 2)
			csvn_close(&c);
		else
			close(c.fd);
		if (i % 4 == 0)
			check("gone", reads(c.memory) == SIGBUS);
		if (i % 2 == 0)
			csvn_unmap(&c);
	}
}
