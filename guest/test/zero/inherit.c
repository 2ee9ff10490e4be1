// SPDX-License-Identifier: MIT
/*
 * fork(): the child has the socket, and no mapping until it makes one.
 *
 *     inherit ADDRESS PORT         of an echo server
 */
#include <sys/wait.h>

#include "zero.h"

static void echo_by(struct csvn *c, const char *word)
{
	const void *bytes;
	void *room;
	long n;

	check("csvn_reserve", csvn_reserve(c, strlen(word), &room) > 0);
	memcpy(room, word, strlen(word));
	check("csvn_commit", csvn_commit(c, strlen(word)) == 0);
	while ((n = csvn_peek(c, strlen(word), &bytes)) < (long)strlen(word)) {
		check("csvn_peek", n > 0 || n == -EAGAIN);
		check("csvn_wait", csvn_wait(c, CSVN_READABLE, 20000) > 0);
	}
	check("the echo", n == (long)strlen(word) && !memcmp(bytes, word, strlen(word)));
	check("csvn_consume", csvn_consume(c, (size_t)n) == 0);
}

void inherit(int argc, char **argv)
{
	struct csvn c, own;
	int status;
	pid_t child;

	check("two arguments", argc == 2);
	map(&c, dial(argv[0], atoi(argv[1])));
	echo_by(&c, "first");
	child = fork();
	if (child < 0)
		fail("fork");
	if (!child) {
		check("the child has no mapping", reads(c.memory) == SIGSEGV && reads(c.end.rx) == SIGSEGV);
		map(&own, c.fd);
		echo_by(&own, "from the child");
		exit(0);
	}
	waitpid(child, &status, 0);
	check("the child is content", WIFEXITED(status) && WEXITSTATUS(status) == 0);
	echo_by(&c, "from the parent again");
	check("csvn_close", csvn_close(&c) == 0);
}
