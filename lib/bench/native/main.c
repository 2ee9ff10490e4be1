/* SPDX-License-Identifier: MIT */
/*
 * csvn's ring beside what the kernel offers two processes. Each run of the program measures everything once, and prints a line of JSON
 * for each figure; whoever wants medians runs it several times.
 *
 *     native_bench [--quick]
 *
 * The two processes are held on a CPU each, for all channels alike, where there are two.
 *
 * Two kinds of streams. *copied*: the writer sends a buffer that it has, the reader receives into one. *read*: the writer makes every
 * word of the data, and the reader adds up every word of it; over a socket by a buffer on each side, in the ring in place. The
 * sums are compared at the end, so that nobody only claims to have read.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "channel.h"
#include "csvn/circuit.h"

#define MAX_WRITE (1u << 20)
#define DATAGRAM 1400u
/* The ring must take two of the largest writes, so that both sides can work at once. */
#define RING(size) ((size) * 4 > CSVN_RING_DEFAULT ? (size) * 4 : CSVN_RING_DEFAULT)
#define USUAL_SPIN 20000 /* nanoseconds */

static uint8_t buffer[MAX_WRITE] __attribute__((aligned(4096)));
static int quick;

static void hold_on_cpu(int cpu)
{
	cpu_set_t cpus;

	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		return;
	CPU_ZERO(&cpus);
	CPU_SET(cpu, &cpus);
	(void)sched_setaffinity(0, sizeof(cpus), &cpus);
}

static void print(const char *measure, const char *who, uint32_t size, double value, const char *unit)
{
	printf("{\"measure\":\"%s\",\"who\":\"%s\",\"size\":%u,\"value\":%.6g,\"unit\":\"%s\"}\n", measure, who, size, value,
	       unit);
	fflush(stdout);
}

/* By which they begin: a cache line, so that what follows in a ring is in line. */
#define GREETING 64u

/* What the two processes do; the second begins. */
struct work {
	bool datagrams;
	void (*first)(struct channel *c, uint32_t size, uint64_t count);
	void (*second)(struct channel *c, uint32_t size, uint64_t count);
};

/* Seconds for it, from when both are there to when the first is done. */
static double run(struct channel *c, const struct work *work, uint32_t size, uint64_t count)
{
	uint64_t began;
	int status;
	pid_t child = fork();

	check(child, "fork");
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		hold_on_cpu(1);
		c->take_side(c, 1);
		(work->datagrams ? c->send_datagram : c->send)(c, buffer, GREETING);
		work->second(c, size, count);
		exit(0);
	}
	hold_on_cpu(0);
	c->take_side(c, 0);
	if (work->datagrams)
		(void)c->receive_datagram(c, buffer, GREETING);
	else
		c->receive(c, buffer, GREETING);
	began = now_ns();
	work->first(c, size, count);
	began = now_ns() - began;
	check(waitpid(child, &status, 0), "waitpid");
	check(status == 0 ? 0 : -ECHILD, "the other process");
	c->close(c);
	return (double)began / 1e9;
}

/* Streams. */

static void receive_copied(struct channel *c, uint32_t size, uint64_t count)
{
	for (uint64_t i = 0; i < count; i++)
		c->receive(c, buffer, size);
}

static void send_copied(struct channel *c, uint32_t size, uint64_t count)
{
	memset(buffer, 1, size);
	for (uint64_t i = 0; i < count; i++)
		c->send(c, buffer, size);
}

static uint64_t fill(uint8_t *bytes, uint32_t size, uint64_t *state)
{
	uint64_t *words = (uint64_t *)(void *)bytes, x = *state, sum = 0;

	for (uint32_t i = 0; i < size / 8; i++) {
		x += 0x9e3779b97f4a7c15u;
		words[i] = x;
		sum += x;
	}
	*state = x;
	return sum;
}

static uint64_t add_up(const uint8_t *bytes, uint32_t size)
{
	const uint64_t *words = (const uint64_t *)(const void *)bytes;
	uint64_t sum = 0;

	for (uint32_t i = 0; i < size / 8; i++)
		sum += words[i];
	return sum;
}

static void expect_sum(struct channel *c, uint64_t sum)
{
	uint64_t expected;

	c->receive(c, (uint8_t *)&expected, sizeof(expected));
	check(sum == expected ? 0 : -EBADMSG, "the sum of what was read");
}

static void receive_read(struct channel *c, uint32_t size, uint64_t count)
{
	uint64_t sum = 0;

	for (uint64_t i = 0; i < count; i++) {
		c->receive(c, buffer, size);
		sum += add_up(buffer, size);
	}
	expect_sum(c, sum);
}

static void send_read(struct channel *c, uint32_t size, uint64_t count)
{
	uint64_t state = 0, sum = 0;

	for (uint64_t i = 0; i < count; i++) {
		sum += fill(buffer, size, &state);
		c->send(c, buffer, size);
	}
	c->send(c, (const uint8_t *)&sum, sizeof(sum));
}

static void receive_in_place(struct channel *c, uint32_t size, uint64_t count)
{
	uint64_t sum = 0;

	for (uint64_t i = 0; i < count; i++) {
		sum += add_up(c->peek(c, size), size);
		c->consume(c, size);
	}
	expect_sum(c, sum);
}

static void send_in_place(struct channel *c, uint32_t size, uint64_t count)
{
	uint64_t state = 0, sum = 0;

	for (uint64_t i = 0; i < count; i++) {
		sum += fill(c->reserve(c, size), size, &state);
		c->commit(c, size);
	}
	c->send(c, (const uint8_t *)&sum, sizeof(sum));
}

static const struct work copied = { false, receive_copied, send_copied };
static const struct work read_work = { false, receive_read, send_read };
static const struct work in_place = { false, receive_in_place, send_in_place };

static uint64_t stream_count(uint32_t size)
{
	uint64_t bytes = size < 16384 ? 128u << 20 : 1u << 30;

	return bytes / (quick ? 16 : 1) / size;
}

static void stream(const char *measure, const char *who, struct channel *c, const struct work *work, uint32_t size)
{
	uint64_t count = stream_count(size);
	double seconds = run(c, work, size, count);

	print(measure, who, size, (double)count * size / seconds / 1e9, "GB/s");
}

static void streams(uint32_t size)
{
	stream("copied", "ring", ring_channel(RING(size), USUAL_SPIN), &copied, size);
	stream("copied", "AF_UNIX", unix_channel(), &copied, size);
	stream("copied", "TCP", tcp_channel(), &copied, size);
	stream("copied", "pipe", pipe_channel(), &copied, size);
	stream("read", "ring in place", ring_channel(RING(size), USUAL_SPIN), &in_place, size);
	stream("read", "ring", ring_channel(RING(size), USUAL_SPIN), &read_work, size);
	stream("read", "AF_UNIX", unix_channel(), &read_work, size);
	stream("read", "TCP", tcp_channel(), &read_work, size);
	stream("read", "pipe", pipe_channel(), &read_work, size);
}

/* The limit: one process that copies, from a buffer to another and on to a third, as a stream does. */
static void memory_copy(uint32_t size)
{
	static uint8_t second[MAX_WRITE], third[MAX_WRITE];
	uint64_t count = stream_count(size), began;

	memset(buffer, 1, size);
	began = now_ns();
	for (uint64_t i = 0; i < count; i++) {
		buffer[i % size]++;
		memcpy(second, buffer, size);
		__asm__ volatile("" ::: "memory");
		memcpy(third, second, size);
		__asm__ volatile("" ::: "memory");
	}
	print("copied", "memcpy twice", size, (double)count * size / ((double)(now_ns() - began) / 1e9) / 1e9, "GB/s");
}

/* Round trips. */

static void ask(struct channel *c, uint32_t size, uint64_t count)
{
	for (uint64_t i = 0; i < count; i++) {
		c->send(c, buffer, size);
		c->receive(c, buffer, size);
	}
}

static void answer(struct channel *c, uint32_t size, uint64_t count)
{
	for (uint64_t i = 0; i < count; i++) {
		c->receive(c, buffer, size);
		c->send(c, buffer, size);
	}
}

static const struct work round_trip = { false, ask, answer };

static void round_trips(const char *measure, const char *who, struct channel *c, uint64_t count)
{
	if (quick)
		count /= 10;
	print(measure, who, 1, run(c, &round_trip, 1, count) / (double)count * 1e6, "us");
}

/* Datagrams: the receiver says when it has all of them. */

static void receive_datagrams(struct channel *c, uint32_t size, uint64_t count)
{
	for (uint64_t i = 0; i < count; i++)
		check(c->receive_datagram(c, buffer, MAX_WRITE) == size ? 0 : -EBADMSG, "a datagram");
}

/* Loopback UDP drops what the receiver has no room for: a window, so that nothing is lost and all are counted. */
#define WINDOW 32u

static void receive_windows(struct channel *c, uint32_t size, uint64_t count)
{
	for (uint64_t i = 0; i < count; i += WINDOW) {
		receive_datagrams(c, size, WINDOW);
		c->send_datagram(c, buffer, 1);
	}
}

static void send_windows(struct channel *c, uint32_t size, uint64_t count)
{
	for (uint64_t i = 0; i < count; i++) {
		c->send_datagram(c, buffer, size);
		/* One window is under way while the one before it is confirmed. */
		if (i >= 2 * WINDOW && i % WINDOW == 0)
			(void)c->receive_datagram(c, buffer, MAX_WRITE);
	}
}

static const struct work windows = { true, receive_windows, send_windows };

static void datagrams(const char *who, struct channel *c, uint32_t size)
{
	uint64_t count = (quick ? 20000u : 400000u) / WINDOW * WINDOW;

	print("datagrams", who, size, (double)count / run(c, &windows, size, count), "1/s");
}

int main(int argc, char **argv)
{
	static const uint32_t sizes[] = { 1u << 10, 4u << 10, 16u << 10, 64u << 10, 256u << 10, 1u << 20 };

	quick = argc > 1 && strcmp(argv[1], "--quick") == 0;
	for (unsigned int i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		streams(sizes[i]);
		memory_copy(sizes[i]);
	}
	round_trips("round trip, spinning", "ring", ring_channel(CSVN_RING_DEFAULT, SPIN_ALWAYS), 1000000);
	round_trips("round trip, sleeping", "ring", ring_channel(CSVN_RING_DEFAULT, SPIN_NEVER), 100000);
	round_trips("round trip, sleeping", "eventfd", eventfd_channel(), 100000);
	round_trips("round trip, sleeping", "AF_UNIX", unix_channel(), 100000);
	round_trips("round trip, sleeping", "TCP", tcp_channel(), 100000);
	round_trips("round trip, sleeping", "pipe", pipe_channel(), 100000);
	datagrams("ring", ring_channel(CSVN_RING_DEFAULT, USUAL_SPIN), DATAGRAM);
	datagrams("UDP", udp_channel(), DATAGRAM);
	datagrams("AF_UNIX", unix_datagram_channel(), DATAGRAM);
	return 0;
}
