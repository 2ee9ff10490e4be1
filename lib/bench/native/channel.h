/* SPDX-License-Identifier: MIT */
/*
 * What is compared: a way for two processes to send each other bytes. A channel is made before the fork; each process then takes
 * its side. Every function ends the program with a message when it fails.
 */
#ifndef CSVN_BENCH_CHANNEL_H
#define CSVN_BENCH_CHANNEL_H

#include <stdbool.h>
#include <stdint.h>

struct channel {
	/* Send or receive exactly n bytes, by copying. */
	void (*send)(struct channel *c, const uint8_t *bytes, uint32_t n);
	void (*receive)(struct channel *c, uint8_t *bytes, uint32_t n);
	/* One datagram each; NULL where there are none. */
	void (*send_datagram)(struct channel *c, const uint8_t *bytes, uint32_t n);
	uint32_t (*receive_datagram)(struct channel *c, uint8_t *bytes, uint32_t n);
	/* A piece of the channel's own memory, n bytes in a row, to be filled or read in place; NULL where there is none. */
	uint8_t *(*reserve)(struct channel *c, uint32_t n);
	void (*commit)(struct channel *c, uint32_t n);
	const uint8_t *(*peek)(struct channel *c, uint32_t n);
	void (*consume)(struct channel *c, uint32_t n);
	/* In each process after the fork, with 0 in the one and 1 in the other. */
	void (*take_side)(struct channel *c, int side);
	void (*close)(struct channel *c);
};

/* How a ring's side waits: for so many nanoseconds it looks again and again, then it sleeps. */
#define SPIN_ALWAYS UINT64_MAX
#define SPIN_NEVER 0

struct channel *ring_channel(uint32_t ring_bytes, uint64_t spin_ns);
struct channel *unix_channel(void);
struct channel *tcp_channel(void);
struct channel *pipe_channel(void);
struct channel *udp_channel(void);
struct channel *unix_datagram_channel(void);
struct channel *eventfd_channel(void);

void check(long rc, const char *what);
uint64_t now_ns(void);
void *shared_memory(uint64_t bytes, int *fd);

#endif
