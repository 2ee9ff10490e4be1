/* SPDX-License-Identifier: MIT */
/*
 * csvn's ring between two processes, with its wake-up protocol. An eventfd per side stands for what a doorbell comes to in a
 * guest: an interrupt.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "channel.h"
#include "csvn/ring.h"

struct ring {
	struct channel channel;
	struct csvn_end end;
	struct csvn_control *control[2];
	uint8_t *rings[2]; /* each twice in a row */
	uint32_t bytes;
	uint64_t spin_ns;
	int bell[2]; /* whom it wakes */
	int side;
};

static struct ring *of(struct channel *c)
{
	return (struct ring *)(void *)c;
}

static void ring_peer(struct ring *r)
{
	check(eventfd_write(r->bell[!r->side], 1), "ring");
}

static void sleep_until_rung(struct ring *r)
{
	eventfd_t count;

	check(eventfd_read(r->bell[r->side], &count), "sleep");
}

/* Room for n bytes, or what there is of it once some. */
static uint32_t wait_room(struct ring *r, uint32_t n)
{
	uint64_t until = 0;
	uint32_t room = 0;

	for (;;) {
		check(csvn_tx_room(&r->end, n, &room), "the peer's head");
		if (room >= n)
			return room;
		if (r->spin_ns == SPIN_ALWAYS || (r->spin_ns && now_ns() < (until ? until : (until = now_ns() + r->spin_ns))))
			continue;
		csvn_arm_tx(&r->end);
		check(csvn_tx_room(&r->end, n, &room), "the peer's head");
		if (room >= n)
			return room;
		sleep_until_rung(r);
		until = 0;
	}
}

static uint32_t wait_ready(struct ring *r, uint32_t n)
{
	uint64_t until = 0;
	uint32_t ready = 0;

	for (;;) {
		check(csvn_rx_ready(&r->end, n, &ready), "the peer's tail");
		if (ready >= n)
			return ready;
		if (r->spin_ns == SPIN_ALWAYS || (r->spin_ns && now_ns() < (until ? until : (until = now_ns() + r->spin_ns))))
			continue;
		csvn_arm_rx(&r->end);
		check(csvn_rx_ready(&r->end, n, &ready), "the peer's tail");
		if (ready >= n)
			return ready;
		sleep_until_rung(r);
		until = 0;
	}
}

static void publish(struct ring *r, uint32_t n)
{
	csvn_tx_publish(&r->end, n);
	if (csvn_wants_rx(&r->end))
		ring_peer(r);
}

static void release(struct ring *r, uint32_t n)
{
	csvn_rx_release(&r->end, n);
	if (csvn_wants_tx(&r->end))
		ring_peer(r);
}

static uint8_t *tx_place(struct ring *r)
{
	return r->end.tx + (r->end.tail & (r->bytes - 1));
}

static uint8_t *rx_place(struct ring *r)
{
	return r->end.rx + (r->end.head & (r->bytes - 1));
}

/* As a socket does: what fits is there for the reader at once. */
static void send_copy(struct channel *c, const uint8_t *bytes, uint32_t n)
{
	struct ring *r = of(c);

	while (n) {
		uint32_t room = wait_room(r, 1), part = room < n ? room : n;

		/* The reader begins while the rest is copied. */
		if (part > r->bytes / 4)
			part = r->bytes / 4;
		memcpy(tx_place(r), bytes, part);
		publish(r, part);
		bytes += part;
		n -= part;
	}
}

static void receive_copy(struct channel *c, uint8_t *bytes, uint32_t n)
{
	struct ring *r = of(c);

	while (n) {
		uint32_t ready = wait_ready(r, 1), part = ready < n ? ready : n;

		if (part > r->bytes / 4)
			part = r->bytes / 4;
		memcpy(bytes, rx_place(r), part);
		release(r, part);
		bytes += part;
		n -= part;
	}
}

static uint32_t frame_bytes(uint32_t n)
{
	return (uint32_t)((sizeof(struct csvn_datagram) + n + CSVN_DATAGRAM_ALIGN - 1) & ~(CSVN_DATAGRAM_ALIGN - 1ul));
}

static void send_datagram(struct channel *c, const uint8_t *bytes, uint32_t n)
{
	struct csvn_datagram header = { .size = n, .family = 4 };
	struct ring *r = of(c);

	(void)wait_room(r, frame_bytes(n));
	memcpy(tx_place(r), &header, sizeof(header));
	memcpy(tx_place(r) + sizeof(header), bytes, n);
	publish(r, frame_bytes(n));
}

static uint32_t receive_datagram(struct channel *c, uint8_t *bytes, uint32_t n)
{
	struct csvn_datagram header;
	struct ring *r = of(c);

	(void)wait_ready(r, sizeof(header));
	memcpy(&header, rx_place(r), sizeof(header));
	check(header.size <= n ? 0 : -1, "a datagram's size");
	memcpy(bytes, rx_place(r) + sizeof(header), header.size);
	release(r, frame_bytes(header.size));
	return header.size;
}

static uint8_t *reserve(struct channel *c, uint32_t n)
{
	(void)wait_room(of(c), n);
	return tx_place(of(c));
}

static void commit(struct channel *c, uint32_t n)
{
	publish(of(c), n);
}

static const uint8_t *peek(struct channel *c, uint32_t n)
{
	(void)wait_ready(of(c), n);
	return rx_place(of(c));
}

static void consume(struct channel *c, uint32_t n)
{
	release(of(c), n);
}

static void take_side(struct channel *c, int side)
{
	struct ring *r = of(c);

	r->side = side;
	csvn_end_init(&r->end, r->control[side], r->control[!side], r->rings[side], r->rings[!side], r->bytes);
}

static void close_ring(struct channel *c)
{
	struct ring *r = of(c);

	for (int i = 0; i < 2; i++) {
		munmap(r->rings[i], 2ul * r->bytes);
		close(r->bell[i]);
	}
	munmap(r->control[0], 2 * CSVN_PAGE);
	free(r);
}

struct channel *ring_channel(uint32_t ring_bytes, uint64_t spin_ns)
{
	struct ring *r = calloc(1, sizeof(*r));
	int fd;

	r->channel = (struct channel){ .send = send_copy,
				       .receive = receive_copy,
				       .send_datagram = send_datagram,
				       .receive_datagram = receive_datagram,
				       .reserve = reserve,
				       .commit = commit,
				       .peek = peek,
				       .consume = consume,
				       .take_side = take_side,
				       .close = close_ring };
	r->bytes = ring_bytes;
	r->spin_ns = spin_ns;
	r->control[0] = shared_memory(2 * CSVN_PAGE, NULL);
	r->control[1] = r->control[0] + 1;
	for (int i = 0; i < 2; i++) {
		uint8_t *once = shared_memory(ring_bytes, &fd);
		uint8_t *place = mmap(NULL, 2ul * ring_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		check(place == MAP_FAILED ? -1 : 0, "room for a ring");
		for (int half = 0; half < 2; half++)
			check(mmap(place + half * (uint64_t)ring_bytes, ring_bytes, PROT_READ | PROT_WRITE,
				   MAP_SHARED | MAP_FIXED | MAP_POPULATE, fd, 0) == MAP_FAILED ?
				      -1 :
				      0,
			      "map a ring");
		munmap(once, ring_bytes);
		close(fd);
		r->rings[i] = place;
		r->bell[i] = eventfd(0, 0);
	}
	return &r->channel;
}
