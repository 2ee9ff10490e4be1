/* SPDX-License-Identifier: MIT */
/*
 * Two ends stream pseudo-random bytes both ways through ring.h, as two threads (each both sends and receives), or as two
 * processes over a memfd. Chunks, pauses and what an end waits with are random, from a printed seed; every byte is checked.
 *
 *     ring_stream [--processes] [--hands] [--bytes N] [--ring N] [--seed N]
 *
 * --hands: each end has two hands, which send and receive by turns, at random (a program that has mapped its circuit,
 * and its kernel). Only the first arms, as only the kernel does.
 *
 * A doorbell and the wake that it becomes are one word per end, bumped by the peer, and a futex on it. Nothing else wakes
 * an end: a lost wake-up is a sleep that lasts, which the watchdog reports, with both control pages.
 */
#define _GNU_SOURCE
#include <inttypes.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "csvn/ring.h"

#ifndef WATCHDOG_SECONDS
#define WATCHDOG_SECONDS 20
#endif

/* What the two ends share. The bell words stand for doorbell queue, device and wake queue; the circuit is the rest. */
struct shared {
	struct csvn_control control[2];
	__u32 bell[2]; /* futex words, bumped by the peer */
	__u32 failed;
	__u8 rings[];
};

/* One end, used by one thread. */
struct end {
	struct shared *shared;
	int side;
	struct csvn_end ring;
	struct csvn_end program; /* the second hand */
	bool hands; /* it takes part */
	uint64_t random;
	uint64_t bytes; /* to send and to receive */
	uint64_t out, in; /* states of the generators of what is sent and expected */
	uint64_t sent, received;
	uint32_t bell_seen;
	bool armed_rx, armed_tx;
	uint64_t rings, sleeps;
};

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static uint8_t next_byte(uint64_t *state)
{
	return (uint8_t)(next_random(state) >> 32);
}

static void fail(struct end *e, const char *what)
{
	fprintf(stderr, "end %d: %s; sent %" PRIu64 ", received %" PRIu64 " of %" PRIu64 "\n", e->side, what, e->sent,
		e->received, e->bytes);
	for (int i = 0; i < 2; i++) {
		const struct csvn_control *c = &e->shared->control[i];

		fprintf(stderr, "control %d: tail %llu, state %u, head %llu, sleep_rx %u, sleep_tx %u\n", i,
			CSVN_LOAD(&c->tail), CSVN_LOAD(&c->state), CSVN_LOAD(&c->head), CSVN_LOAD(&c->sleep_rx),
			CSVN_LOAD(&c->sleep_tx));
	}
	CSVN_STORE(&e->shared->failed, 1);
	exit(1);
}

static void ring_peer(struct end *e)
{
	__u32 *bell = &e->shared->bell[!e->side];

	e->rings++;
	__atomic_fetch_add(bell, 1, __ATOMIC_SEQ_CST);
	syscall(SYS_futex, bell, FUTEX_WAKE, 1, NULL, NULL, 0);
}

/* Take note of wakes: the end is not armed any more. */
static bool woken(struct end *e)
{
	uint32_t bell = __atomic_load_n(&e->shared->bell[e->side], __ATOMIC_SEQ_CST);

	if (bell == e->bell_seen)
		return false;
	e->bell_seen = bell;
	e->armed_rx = e->armed_tx = false;
	return true;
}

static void sleep_until_woken(struct end *e)
{
	struct timespec limit = { .tv_sec = WATCHDOG_SECONDS };

	e->sleeps++;
	while (!woken(e)) {
		if (syscall(SYS_futex, &e->shared->bell[e->side], FUTEX_WAIT, e->bell_seen, &limit, NULL, 0) < 0 &&
		    errno == ETIMEDOUT && !woken(e))
			fail(e, "lost wake-up: nobody rang for a long time");
	}
}

static void pause_sometimes(struct end *e)
{
	switch (next_random(&e->random) % 64) {
	case 0: {
		struct timespec t = { .tv_nsec = (long)(next_random(&e->random) % 50000) };

		nanosleep(&t, NULL);
		break;
	}
	case 1:
		sched_yield();
		break;
	default:
		break;
	}
}

static uint32_t chunk(struct end *e, uint32_t most)
{
	uint64_t r = next_random(&e->random);

	return r & 1 ? most : (uint32_t)(1 + (r >> 8) % most);
}

/* The hand that goes on, from where the other has stopped. */
static struct csvn_end *hand(struct end *e)
{
	struct csvn_end *ring = e->hands && next_random(&e->random) & 4 ? &e->program : &e->ring;

	if (e->hands) {
		csvn_tx_take(ring);
		csvn_rx_take(ring);
	}
	return ring;
}

/* Send some; whether there was room. */
static bool send_some(struct end *e)
{
	struct csvn_end *ring = hand(e);
	uint32_t room, n;

	if (csvn_tx_room(ring, 1, &room) < 0)
		fail(e, "the peer's head is a lie");
	if (room == 0)
		return false;
	if (room > e->bytes - e->sent)
		room = (uint32_t)(e->bytes - e->sent);
	n = chunk(e, room);
	for (uint32_t i = 0; i < n; i++)
		ring->tx[(ring->tail + i) & (ring->size - 1)] = next_byte(&e->out);
	csvn_tx_publish(ring, n);
	e->sent += n;
	if (csvn_wants_rx(ring))
		ring_peer(e);
	if (e->sent == e->bytes) {
		csvn_set_state(ring, CSVN_STATE_FIN);
		ring_peer(e);
	}
	return true;
}

/* Receive some; whether there was anything. */
static bool receive_some(struct end *e)
{
	struct csvn_end *ring = hand(e);
	uint32_t state = csvn_peer_state(ring); /* before tail */
	uint32_t ready, n;

	if (csvn_rx_ready(ring, 1, &ready) < 0)
		fail(e, "the peer's tail is a lie");
	if (ready == 0) {
		if (state & CSVN_STATE_FIN)
			fail(e, "end of file before the last byte");
		return false;
	}
	n = chunk(e, ready);
	for (uint32_t i = 0; i < n; i++)
		if (ring->rx[(ring->head + i) & (ring->size - 1)] != next_byte(&e->in))
			fail(e, "wrong byte");
	csvn_rx_release(ring, n);
	e->received += n;
	if (csvn_wants_tx(ring))
		ring_peer(e);
	return true;
}

/* Arm for what is missing, unless armed since the last wake; look again; sleep. */
static void wait_for_peer(struct end *e, bool sending, bool receiving)
{
	uint32_t room = 0, ready = 0, want = next_random(&e->random) & 1 ? 1 : (e->ring.size + 1) / 2;

	(void)woken(e);
	if (e->hands) {
		csvn_tx_take(&e->ring);
		csvn_rx_take(&e->ring);
	}
	if (sending && !e->armed_tx) {
		csvn_arm_tx(&e->ring);
		e->armed_tx = true;
	}
	if (receiving && !e->armed_rx) {
		csvn_arm_rx(&e->ring);
		e->armed_rx = true;
	}
	if (sending && (csvn_tx_room(&e->ring, want, &room) < 0))
		fail(e, "the peer's head is a lie");
	if (receiving && csvn_rx_ready(&e->ring, 1, &ready) < 0)
		fail(e, "the peer's tail is a lie");
	/* As send() or as poll() would have it: any room, or half of the ring. */
	if ((sending && room >= want) || ready > 0)
		return;
	sleep_until_woken(e);
}

static void *stream(void *arg)
{
	struct end *e = arg;

	while (e->sent < e->bytes || e->received < e->bytes) {
		bool sending = e->sent < e->bytes, receiving = e->received < e->bytes;
		bool did = false;

		if (sending && next_random(&e->random) % 4)
			did = send_some(e);
		if (receiving && next_random(&e->random) % 4)
			did = receive_some(e) || did;
		pause_sometimes(e);
		if (!did)
			wait_for_peer(e, sending, receiving);
		if (CSVN_LOAD(&e->shared->failed))
			exit(1);
	}
	/* The peer's FIN comes with, or after, its last byte. */
	while (!(csvn_peer_state(&e->ring) & CSVN_STATE_FIN)) {
		csvn_arm_rx(&e->ring);
		if (!(csvn_peer_state(&e->ring) & CSVN_STATE_FIN))
			sleep_until_woken(e);
	}
	return NULL;
}

static void end_begin(struct end *e, struct shared *shared, int side, uint32_t size, uint64_t bytes, uint64_t seed)
{
	*e = (struct end){ .shared = shared, .side = side, .bytes = bytes, .random = seed * 2 + 1 + (uint64_t)side };
	e->out = seed + 77 + (uint64_t)side;
	e->in = seed + 77 + (uint64_t)!side;
	csvn_end_init(&e->ring, &shared->control[side], &shared->control[!side], shared->rings + (side ? size : 0),
		      shared->rings + (side ? 0 : size), size);
	e->program = e->ring;
}

static void report(const struct end *e)
{
	printf("end %d: %" PRIu64 " bytes each way, %" PRIu64 " doorbells, %" PRIu64 " sleeps\n", e->side, e->bytes,
	       e->rings, e->sleeps);
}

static int run_threads(struct end *ends)
{
	pthread_t threads[2];

	for (int i = 0; i < 2; i++)
		if (pthread_create(&threads[i], NULL, stream, &ends[i]))
			return 1;
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	report(&ends[0]);
	report(&ends[1]);
	return 0;
}

static int run_processes(struct end *ends)
{
	pid_t child = fork();
	int status;

	if (child < 0)
		return 1;
	stream(&ends[child == 0]);
	report(&ends[child == 0]);
	if (child == 0) {
		fflush(stdout);
		_exit(0);
	}
	return waitpid(child, &status, 0) == child && WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

int main(int argc, char **argv)
{
	uint64_t bytes = 1 << 20, seed = (uint64_t)time(NULL);
	uint32_t size = 64;
	bool processes = false, hands = false;
	struct shared *shared;
	struct end ends[2];
	int fd;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--processes")) {
			processes = true;
		} else if (!strcmp(argv[i], "--hands")) {
			hands = true;
		} else if (i + 1 < argc && !strcmp(argv[i], "--bytes")) {
			bytes = strtoull(argv[++i], NULL, 0);
		} else if (i + 1 < argc && !strcmp(argv[i], "--ring")) {
			size = (uint32_t)strtoul(argv[++i], NULL, 0);
		} else if (i + 1 < argc && !strcmp(argv[i], "--seed")) {
			seed = strtoull(argv[++i], NULL, 0);
		} else {
			fprintf(stderr,
				"usage: ring_stream [--processes] [--hands] [--bytes N] [--ring N] [--seed N]\n");
			return 2;
		}
	}
	if (size == 0 || (size & (size - 1))) {
		fprintf(stderr, "ring_stream: a ring's size is a power of two\n");
		return 2;
	}
	printf("ring_stream: %s%s, rings of %u bytes, --seed %" PRIu64 "\n", processes ? "processes" : "threads",
	       hands ? " of two hands" : "", size, seed);
	fflush(stdout);
	fd = memfd_create("ring_stream", MFD_CLOEXEC);
	if (fd < 0 || ftruncate(fd, (off_t)(sizeof(*shared) + 2 * size)) < 0)
		return 1;
	shared = mmap(NULL, sizeof(*shared) + 2 * size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (shared == MAP_FAILED)
		return 1;
	for (int side = 0; side < 2; side++)
		end_begin(&ends[side], shared, side, size, bytes, seed);
	ends[0].hands = ends[1].hands = hands;
	return processes ? run_processes(ends) : run_threads(ends);
}
