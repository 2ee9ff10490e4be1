// SPDX-License-Identifier: MIT
/*
 * Reads every byte of every page that a mapping gives, among neighbours whose rings are full of a pattern, some alive
 * and some closed: in slots that were another's before too.
 *
 *     look ADDRESS PORT ROUNDS     of somebody who accepts, reads what it likes, and writes nothing
 */
#include "zero.h"

#define NEIGHBOURS 8
#define PATTERN 0xa7

static void fill(struct csvn *c)
{
	void *room;
	long n = csvn_reserve(c, c->end.size, &room);

	check("room", n > 0);
	memset(room, PATTERN, (size_t)n);
	check("csvn_commit", csvn_commit(c, (size_t)n) == 0);
	/* Beside the cursors too. */
	memset(c->end.own->pad3, PATTERN, sizeof(c->end.own->pad3));
}

/* All but the words that are in use. */
static void clean(const struct csvn *c)
{
	const uint8_t *at = c->memory;
	size_t found = 0;

	for (size_t i = 0; i < c->length; i++)
		found += at[i] == PATTERN;
	if (found) {
		printf("%zu of %zu bytes are a neighbour's\n", found, c->length);
		exit(1);
	}
	for (size_t i = 0; i < 2 * (size_t)c->end.size; i++)
		check("a new ring is empty", !c->end.tx[i] && !c->end.rx[i]);
	for (size_t i = 0; i < sizeof(c->end.own->pad3); i++)
		check("a new control page is empty", !c->end.own->pad3[i] && !c->end.peer->pad3[i]);
}

void look(int argc, char **argv)
{
	struct csvn neighbours[NEIGHBOURS], c;
	int port, rounds;

	check("three arguments", argc == 3);
	port = atoi(argv[1]);
	rounds = atoi(argv[2]);
	for (int i = 0; i < NEIGHBOURS; i++) {
		map(&neighbours[i], dial(argv[0], port));
		fill(&neighbours[i]);
	}
	for (int round = 0; round < rounds; round++) {
		struct csvn *dead = &neighbours[round % NEIGHBOURS];

		csvn_close(dead);
		map(&c, dial(argv[0], port));
		clean(&c);
		fill(&c);
		*dead = c;
	}
	for (int i = 0; i < NEIGHBOURS; i++)
		csvn_close(&neighbours[i]);
}
