// SPDX-License-Identifier: MIT
/*
 *     talk serve ADDRESS
 *     talk round-trips ADDRESS SECONDS                      ns: {"p50", "p99"}
 *     talk rate ADDRESS AT_ONCE SECONDS                     connect, a byte there and back, close: {"per_second"}
 *     talk stream ADDRESS SECONDS PIECE pass|touch|map      bytes: {"per_second"}; PIECE is whole words
 *
 * ADDRESS: tcp:ADDRESS:PORT, vsock:CID:PORT or unix:PATH. What sends and receives does not look at the bytes (pass), or
 * writes and reads each of them, from and to buffers (touch) or in the mapped circuit (map).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "talk.h"

int main(int argc, char **argv)
{
	struct place place;

	if (argc < 3) {
		fprintf(stderr, "usage: %s serve|round-trips|rate|stream ADDRESS ...\n", argv[0]);
		return 2;
	}
	place = parse_place(argv[2]);
	if (strcmp(argv[1], "serve") == 0 && argc == 3)
		serve(&place);
	else if (strcmp(argv[1], "round-trips") == 0 && argc == 4)
		round_trips(&place, atof(argv[3]));
	else if (strcmp(argv[1], "rate") == 0 && argc == 5)
		rate(&place, (unsigned)atoi(argv[3]), atof(argv[4]));
	else if (strcmp(argv[1], "stream") == 0 && argc == 6)
		stream(&place, atof(argv[3]), (size_t)atol(argv[4]), (enum verb)argv[5][0]);
	else
		return 2;
	return 0;
}
