// SPDX-License-Identifier: MIT
/*
 * The end of each half.
 *
 *     halves serve PORT
 *     halves ADDRESS PORT          of that
 */
#include "zero.h"

static long read_all(struct csvn *c, char *to, size_t size)
{
	const void *bytes;
	size_t got = 0;
	long n;

	while ((n = csvn_peek(c, 1, &bytes))) {
		if (n == -EAGAIN) {
			check("csvn_wait", csvn_wait(c, CSVN_READABLE, 20000) > 0);
			continue;
		}
		if (n < 0)
			return n;
		check("not too much", (size_t)n <= size - got);
		memcpy(to + got, bytes, (size_t)n);
		got += (size_t)n;
		check("csvn_consume", csvn_consume(c, (size_t)n) == 0);
	}
	return (long)got;
}

static void say(struct csvn *c, const char *word)
{
	void *room;

	check("csvn_reserve", csvn_reserve(c, strlen(word), &room) >= (long)strlen(word));
	memcpy(room, word, strlen(word));
	check("csvn_commit", csvn_commit(c, strlen(word)) == 0);
}

static void serve_halves(int port)
{
	int server = listener(port);
	struct linger reset = { 1, 0 };
	struct csvn c;
	char got[64];
	void *room;

	/* Answers after the client's end of file. */
	map(&c, welcome(server));
	check("the question", read_all(&c, got, sizeof(got)) == 8 && !memcmp(got, "question", 8));
	say(&c, "answer");
	check("csvn_shutdown", csvn_shutdown(&c) == 0);
	check("after it nothing is sent", csvn_reserve(&c, 1, &room) == -EPIPE);
	check("csvn_close", csvn_close(&c) == 0);

	/* Closes with a question unread: a reset. */
	map(&c, welcome(server));
	check("something has come", csvn_wait(&c, CSVN_READABLE, 20000) == CSVN_READABLE);
	check("csvn_close", csvn_close(&c) == 0);

	/* Says something, and resets. */
	map(&c, welcome(server));
	check("the client is there", csvn_wait(&c, CSVN_READABLE, 20000) == CSVN_READABLE);
	say(&c, "last words");
	setsockopt(c.fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	check("csvn_close", csvn_close(&c) == 0);
}

void halves(int argc, char **argv)
{
	const void *bytes;
	struct csvn c;
	char got[64];
	void *room;

	check("two arguments", argc == 2);
	if (!strcmp(argv[0], "serve")) {
		serve_halves(atoi(argv[1]));
		return;
	}
	map(&c, dial(argv[0], atoi(argv[1])));
	check("nothing is there yet", csvn_peek(&c, 1, &bytes) == -EAGAIN);
	check("and csvn_wait says so", csvn_wait(&c, CSVN_READABLE, 50) == 0);
	say(&c, "question");
	check("csvn_shutdown", csvn_shutdown(&c) == 0);
	check("the answer", read_all(&c, got, sizeof(got)) == 6 && !memcmp(got, "answer", 6));
	check("the end of file is there to be waited for", csvn_wait(&c, CSVN_READABLE, -1) == CSVN_READABLE);
	check("csvn_close", csvn_close(&c) == 0);

	map(&c, dial(argv[0], atoi(argv[1])));
	say(&c, "question");
	check("a reset", read_all(&c, got, sizeof(got)) == -ECONNRESET);
	check("nothing is sent", csvn_reserve(&c, 1, &room) == -ECONNRESET);
	check("the kernel says so too", recv(c.fd, got, 1, 0) == -1 && errno == ECONNRESET);
	check("csvn_close", csvn_close(&c) == 0);

	map(&c, dial(argv[0], atoi(argv[1])));
	say(&c, "hello");
	check("the last words come", csvn_wait(&c, CSVN_READABLE, 20000) == CSVN_READABLE);
	while (csvn_reserve(&c, 1, &room) != -ECONNRESET)
		nap(1);
	check("what was sent before a reset is read",
	      csvn_peek(&c, 1, &bytes) == 10 && !memcmp(bytes, "last words", 10) && !csvn_consume(&c, 10));
	check("and then the reset", csvn_peek(&c, 1, &bytes) == -ECONNRESET);
	check("csvn_close", csvn_close(&c) == 0);
}
