// SPDX-License-Identifier: MIT
/*
 * What a byte costs the process that sends it and the one that receives it: CPU time, kernel included, which in a guest
 * whose clock counts instructions is instructions.
 *
 *     cost ADDRESS send|map BYTES PIECE touch|pass
 *     cost clock           thousandths of nanoseconds that an instruction takes: what the clock counts
 *
 * A parent sends to its child over TCP to the guest's own address. send: by send() and recv(), from and to a buffer of PIECE
 * bytes; map: by the mapped circuit, PIECE bytes at a time. touch: the sender writes every byte, and the receiver
 * reads every byte, eight at a time; pass: neither looks at them. Prints thousandths of nanoseconds per byte: sender,
 * receiver.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <csvn.h>

struct task {
	int fd;
	bool map, touch;
	uint64_t bytes;
	size_t piece;
	uint64_t sum;
};

static void must(const char *what, bool holds)
{
	if (holds)
		return;
	perror(what);
	exit(1);
}

static uint64_t used(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

__attribute__((noinline)) static void produce(struct task *t, void *to, size_t n)
{
	uint64_t *words = to;

	for (size_t i = 0; t->touch && i < n / 8; i++)
		((volatile uint64_t *)words)[i] = t->sum++;
}

__attribute__((noinline)) static void use(struct task *t, const void *from, size_t n)
{
	const volatile uint64_t *words = from;

	for (size_t i = 0; t->touch && i < n / 8; i++)
		t->sum += words[i];
}

static void send_all(struct task *t)
{
	uint8_t *buffer = aligned_alloc(4096, t->piece);

	memset(buffer, 0, t->piece);
	for (uint64_t left = t->bytes; left; left -= t->piece) {
		produce(t, buffer, t->piece);
		must("send", send(t->fd, buffer, t->piece, 0) == (ssize_t)t->piece);
	}
}

static void receive_all(struct task *t)
{
	uint8_t *buffer = aligned_alloc(4096, t->piece);
	ssize_t n;

	for (uint64_t left = t->bytes; left; left -= (uint64_t)n) {
		n = recv(t->fd, buffer, t->piece, 0);
		must("recv", n > 0);
		use(t, buffer, (size_t)n);
	}
}

static void send_mapped(struct task *t, struct csvn *c)
{
	void *room;
	long n;

	for (uint64_t left = t->bytes; left;) {
		n = csvn_reserve(c, t->piece, &room);
		if (n == -EAGAIN || (n > 0 && (size_t)n < t->piece)) {
			must("csvn_wait", csvn_wait(c, CSVN_WRITABLE, -1) > 0);
			continue;
		}
		must("csvn_reserve", n > 0);
		produce(t, room, t->piece);
		must("csvn_commit", csvn_commit(c, t->piece) == 0);
		left -= t->piece;
	}
}

static void receive_mapped(struct task *t, struct csvn *c)
{
	const void *bytes;
	long n;

	for (uint64_t left = t->bytes; left;) {
		n = csvn_peek(c, 1, &bytes);
		if (n == -EAGAIN) {
			must("csvn_wait", csvn_wait(c, CSVN_READABLE, -1) > 0);
			continue;
		}
		must("csvn_peek", n > 0);
		if ((size_t)n > t->piece)
			n = (long)t->piece;
		use(t, bytes, (size_t)n);
		must("csvn_consume", csvn_consume(c, (size_t)n) == 0);
		left -= (uint64_t)n;
	}
}

/* Thousandths of nanoseconds of this process for each byte. */
static uint64_t run(struct task *t, bool sends)
{
	struct csvn c;
	uint64_t before;

	if (t->map)
		must("csvn_map", csvn_map(&c, t->fd) == 0);
	before = used();
	if (t->map)
		(sends ? send_mapped : receive_mapped)(t, &c);
	else
		(sends ? send_all : receive_all)(t);
	return (used() - before) * 1000 / t->bytes;
}

static uint64_t instruction(void)
{
	const uint64_t turns = 20000000;
	uint64_t left = turns, before = used();

	__asm__ volatile("1: dec %0\n\tjnz 1b" : "+r"(left) : : "cc");
	return (used() - before) * 1000 / (2 * turns);
}

int main(int argc, char **argv)
{
	struct task t = { 0 };
	struct sockaddr_in at = { .sin_family = AF_INET };
	socklen_t bytes = sizeof(at);
	int listener = socket(AF_INET, SOCK_STREAM, 0), results[2];
	uint64_t sent, received;

	if (argc == 2 && !strcmp(argv[1], "clock")) {
		printf("%llu\n", (unsigned long long)instruction());
		return 0;
	}
	if (argc != 6)
		return 2;
	t.map = !strcmp(argv[2], "map");
	t.piece = strtoull(argv[4], NULL, 10);
	t.bytes = strtoull(argv[3], NULL, 10) / t.piece * t.piece;
	t.touch = !strcmp(argv[5], "touch");
	inet_pton(AF_INET, argv[1], &at.sin_addr);
	must("listen", bind(listener, (struct sockaddr *)&at, bytes) == 0 && listen(listener, 1) == 0 &&
			       getsockname(listener, (struct sockaddr *)&at, &bytes) == 0 && pipe(results) == 0);
	if (fork() == 0) {
		t.fd = accept(listener, NULL, NULL);
		received = run(&t, false);
		must("write", write(results[1], &received, sizeof(received)) == sizeof(received));
		exit(0);
	}
	t.fd = socket(AF_INET, SOCK_STREAM, 0);
	must("connect", connect(t.fd, (struct sockaddr *)&at, bytes) == 0);
	sent = run(&t, true);
	must("read", read(results[0], &received, sizeof(received)) == sizeof(received));
	printf("%llu %llu\n", (unsigned long long)sent, (unsigned long long)received);
	return 0;
}
