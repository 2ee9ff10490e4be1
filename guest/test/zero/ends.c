// SPDX-License-Identifier: MIT
/*
 * The memory goes with the connection, and not with whoever has it mapped.
 *
 *     ends ADDRESS PORT PATH       of an echo server; PATH is the number of open circuits
 */
#include <pthread.h>

#include "zero.h"

static void gone(const char *what, const struct csvn *c)
{
	printf("%s: %s\n", what, signal_name(reads(c->memory)));
	check("every part is gone", reads(c->memory) == SIGBUS && writes(c->memory + 4096) == SIGBUS &&
					    reads(c->end.peer) == SIGBUS && reads(c->end.rx) == SIGBUS);
}

static int circuits(const char *path)
{
	FILE *file = fopen(path, "r");
	int n = -1;

	if (!file || fscanf(file, "%d", &n) != 1)
		fail(path);
	fclose(file);
	return n;
}

/* Touches a mapping for ever, until it is gone. */
static void *toucher(void *arg)
{
	struct csvn *c = arg;

	for (;;)
		(void)CSVN_LOAD(&c->end.peer->tail);
	return NULL;
}

static void stop(int number)
{
	(void)number;
	pthread_exit(NULL);
}

void ends(int argc, char **argv)
{
	struct sockaddr none = { .sa_family = AF_UNSPEC };
	struct sigaction action = { .sa_handler = stop }, old;
	pthread_t thread;
	struct csvn c, d;
	int port, before;

	check("three arguments", argc == 3);
	port = atoi(argv[1]);
	before = circuits(argv[2]);

	map(&c, dial(argv[0], port));
	reads(c.memory);
	check("one circuit more", circuits(argv[2]) == before + 1);
	close(c.fd);
	gone("close", &c);
	for (int i = 0; i < 200 && circuits(argv[2]) > before; i++)
		nap(10);
	check("the circuit is closed although it is mapped", circuits(argv[2]) == before);
	csvn_unmap(&c);

	/* Never touched before. */
	map(&c, dial(argv[0], port));
	close(c.fd);
	gone("close of what was not touched", &c);
	csvn_unmap(&c);

	map(&c, dial(argv[0], port));
	map(&d, c.fd);
	reads(d.memory);
	check("disconnect", connect(c.fd, &none, sizeof(none)) == 0);
	gone("disconnect", &c);
	gone("disconnect, the second mapping", &d);
	check("a disconnected socket is not mapped", csvn_map(&d, c.fd) == -EOPNOTSUPP);
	csvn_close(&c);

	/* In another thread's hands. */
	map(&c, dial(argv[0], port));
	sigaction(SIGBUS, &action, &old);
	pthread_create(&thread, NULL, toucher, &c);
	nap(20);
	close(c.fd);
	pthread_join(thread, NULL);
	sigaction(SIGBUS, &old, NULL);
	gone("close under a thread's hands", &c);
	csvn_unmap(&c);
}
