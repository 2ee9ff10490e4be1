// SPDX-License-Identifier: MIT
/*
 * A program that writes nonsense into its own control page, while a neighbour talks.
 *
 *     scribble ADDRESS PORT WHAT   of an echo server; prints how its own connection ended
 */
#include "zero.h"

static void lie(struct csvn *c, const char *what)
{
	struct csvn_control *own = c->end.own;

	if (!strcmp(what, "tail ahead"))
		CSVN_STORE_RELEASE(&own->tail, 1ull << 40);
	else if (!strcmp(what, "tail one too far"))
		CSVN_STORE_RELEASE(&own->tail, own->tail + c->end.size + 1);
	else if (!strcmp(what, "tail back"))
		CSVN_STORE_RELEASE(&own->tail, own->tail - 1);
	else if (!strcmp(what, "head ahead"))
		CSVN_STORE_RELEASE(&own->head, 1ull << 50);
	else if (!strcmp(what, "state"))
		CSVN_STORE_RELEASE(&own->state, 0xffffffffu);
	else if (!strcmp(what, "everything"))
		for (size_t i = 0; i < sizeof(*own); i++)
			((volatile uint8_t *)own)[i] = i / 4 == offsetof(struct csvn_control, state) / 4 ? 0 : 0xff;
	else
		check("a known lie", false);
}

static void talk(int fd)
{
	char got[5] = "";

	if (send(fd, "hello", 5, 0) != 5 || recv(fd, got, 5, MSG_WAITALL) != 5)
		fail("the neighbour");
	check("the neighbour's echo", !memcmp(got, "hello", 5));
}

void scribble(int argc, char **argv)
{
	static char room[ROOM];
	struct pollfd p;
	struct csvn c;
	int neighbour;
	ssize_t n;

	check("three arguments", argc == 3);
	neighbour = dial(argv[0], atoi(argv[1]));
	map(&c, dial(argv[0], atoi(argv[1])));
	talk(c.fd);
	talk(neighbour);
	lie(&c, argv[2]);
	csvn_kick(&c);
	/* As an ordinary program would go on, until it is told. */
	p = (struct pollfd){ .fd = c.fd, .events = POLLIN | POLLOUT };
	do {
		check("it ends", poll(&p, 1, 20000) > 0);
		n = p.revents & POLLOUT ? send(c.fd, room, sizeof(room), MSG_DONTWAIT | MSG_NOSIGNAL) : 0;
		if (n >= 0 || errno == EAGAIN)
			n = recv(c.fd, room, sizeof(room), MSG_DONTWAIT);
	} while (n > 0 || (n < 0 && errno == EAGAIN));
	printf("%s: %s\n", argv[2], n ? strerrorname_np(errno) : "end of file");
	talk(neighbour);
	close(neighbour);
	csvn_close(&c);
}
