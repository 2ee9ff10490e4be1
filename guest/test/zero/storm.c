// SPDX-License-Identifier: MIT
/*
 * Threads read a mapping while its connection is closed, and other connections, which may have the same memory next, are
 * filled with a pattern: they see zeros or SIGBUS, and never the pattern.
 *
 *     storm ADDRESS PORT ROUNDS    of somebody who accepts, reads what it likes, and writes nothing
 */
#include <pthread.h>
#include <sys/prctl.h>

#include "zero.h"

#define THREADS 2
#define PATTERN 0xa7

static struct csvn watched; /* changes when every thread has begun the round */
static uint32_t round_of; /* 0: the end */
static uint32_t begun[THREADS]; /* the round that each thread is in */
static uint64_t zeros, faults;

static void *watch(void *arg)
{
	uint32_t *mine = arg, now;
	uint8_t *memory;
	size_t length;
	int byte;

	while ((now = __atomic_load_n(&round_of, __ATOMIC_ACQUIRE))) {
		memory = watched.memory;
		length = watched.length;
		__atomic_store_n(mine, now, __ATOMIC_RELEASE);
		for (size_t at = 100; at < length; at += 4096) {
			byte = byte_at(memory + at);
			check("not a byte of another connection", byte != PATTERN);
			__atomic_fetch_add(byte < 0 ? &faults : &zeros, 1, __ATOMIC_RELAXED);
		}
	}
	return NULL;
}

/* Another process, whose connections come and go, and are full of the pattern. */
static void neighbour(const char *address, int port)
{
	struct csvn c;
	void *room;
	long n;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		map(&c, dial(address, port));
		n = csvn_reserve(&c, c.end.size, &room);
		check("room", n > 0);
		memset(room, PATTERN, (size_t)n);
		memset(c.end.own->pad3, PATTERN, sizeof(c.end.own->pad3));
		check("csvn_commit", csvn_commit(&c, (size_t)n) == 0);
		nap(1);
		csvn_close(&c);
	}
}

void storm(int argc, char **argv)
{
	pthread_t threads[THREADS];
	int port, rounds;
	pid_t child;

	check("three arguments", argc == 3);
	port = atoi(argv[1]);
	rounds = atoi(argv[2]);
	child = fork();
	if (child < 0)
		fail("fork");
	if (!child)
		neighbour(argv[0], port);
	for (int round = 1; round <= rounds; round++) {
		map(&watched, dial(argv[0], port));
		__atomic_store_n(&round_of, (uint32_t)round, __ATOMIC_RELEASE);
		for (int i = 0; i < THREADS; i++) {
			if (round == 1)
				pthread_create(&threads[i], NULL, watch, &begun[i]);
			while (__atomic_load_n(&begun[i], __ATOMIC_ACQUIRE) != (uint32_t)round)
				sched_yield();
		}
		usleep((unsigned int)(round % 7) * 300);
		close(watched.fd);
		nap(2);
		csvn_unmap(&watched);
	}
	__atomic_store_n(&round_of, 0, __ATOMIC_RELEASE);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	kill(child, SIGKILL);
	check("there was something to see", zeros > 1000 && faults > 1000);
}
