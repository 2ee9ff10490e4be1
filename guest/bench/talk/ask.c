// SPDX-License-Identifier: MIT
/* Round trips of a byte, and connections one after another. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "talk.h"

#define MOST_ROUND_TRIPS 4000000u
#define WARM_UP 100

static int ascending(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

void round_trips(const struct place *p, double seconds)
{
	uint32_t *took = calloc(MOST_ROUND_TRIPS, sizeof(*took));
	int fd = connect_to(p);
	char byte = TALK_ECHO;
	uint64_t end, began;
	size_t count = 0;

	must("calloc", took);
	send_all(fd, &byte, 1);
	for (int i = 0; i < WARM_UP; i++) {
		send_all(fd, &byte, 1);
		must("receive", receive_all(fd, &byte, 1));
	}
	end = now() + (uint64_t)(seconds * 1e9);
	while ((began = now()) < end && count < MOST_ROUND_TRIPS) {
		send_all(fd, &byte, 1);
		must("receive", receive_all(fd, &byte, 1));
		took[count++] = (uint32_t)(now() - began);
	}
	qsort(took, count, sizeof(*took), ascending);
	printf("{\"count\": %zu, \"p50\": %u, \"p99\": %u}\n", count, took[count / 2], took[count - 1 - count / 100]);
	close(fd);
	free(took);
}

struct caller {
	pthread_t thread;
	const struct place *place;
	uint64_t end;
	size_t count;
};

static void *call(void *arg)
{
	struct caller *c = arg;
	char byte;

	for (; now() < c->end; c->count++) {
		int fd = connect_to(c->place);

		byte = TALK_ANSWER;
		send_all(fd, &byte, 1);
		must("an answer", receive_all(fd, &byte, 1) && byte == TALK_ANSWER);
		close(fd);
	}
	return NULL;
}

void rate(const struct place *p, unsigned at_once, double seconds)
{
	struct caller *callers = calloc(at_once, sizeof(*callers));
	uint64_t began = now();
	size_t count = 0;

	must("calloc", callers);
	for (unsigned i = 0; i < at_once; i++) {
		callers[i].place = p;
		callers[i].end = began + (uint64_t)(seconds * 1e9);
		must("pthread_create", pthread_create(&callers[i].thread, NULL, call, &callers[i]) == 0);
	}
	for (unsigned i = 0; i < at_once; i++) {
		pthread_join(callers[i].thread, NULL);
		count += callers[i].count;
	}
	printf("{\"count\": %zu, \"per_second\": %.1f}\n", count, (double)count * 1e9 / (double)(now() - began));
	free(callers);
}
