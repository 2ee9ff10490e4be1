/* SPDX-License-Identifier: MIT */
/*
 * The pump beside loopback TCP, in one run: a fake guest (this process, with the real ring, the real virtqueues for doorbells and wakes and the real
 * data plane) against a native process, both talking to the same server process. Each run measures everything once, and prints a line of JSON for
 * each figure.
 *
 *     pump_bench [--quick]
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "csvn/abi.h"
#include "csvn/records.h"
#include "csvn/ring.h"

#define CHUNK (64u << 10)
#define QUEUE 64u
#define GUEST_BYTES (1u << 20)
#define USER_BASE 0x7f0000000000ull
#define LOOPBACK 0x7f4d6201u /* 127.77.98.1: this bench's own */

static uint64_t bulk_bytes = 1ull << 30;
static int rounds = 20000;

static void check(int rc, const char *what)
{
	if (rc < 0) {
		fprintf(stderr, "pump bench: %s: %s\n", what, strerror(rc == -1 ? errno : -rc));
		exit(1);
	}
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* What both kinds of client do. */
struct client {
	void (*send)(struct client *c, const uint8_t *bytes, uint32_t count);
	void (*receive)(struct client *c, uint8_t *bytes, uint32_t count);
};

/* A server process: the first byte says 'b' for bulk towards it (answered with one byte at its end), 'e' for echo. */
static void serve(int listener)
{
	static uint8_t buffer[1 << 20];

	for (;;) {
		int fd = accept(listener, NULL, NULL), one = 1;
		uint64_t got = 0;
		char what;
		ssize_t n;

		check(fd, "accept");
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		if (read(fd, &what, 1) != 1)
			exit(0);
		while ((n = read(fd, buffer, what == 'b' ? sizeof(buffer) : 1)) > 0) {
			got += (uint64_t)n;
			if (what == 'e' || got == bulk_bytes)
				n = write(fd, buffer, 1);
		}
		close(fd);
	}
}

/* The native client. */
struct native {
	struct client client;
	int fd;
};

static void native_send(struct client *c, const uint8_t *bytes, uint32_t count)
{
	for (uint32_t at = 0; at < count;) {
		ssize_t n = write(((struct native *)c)->fd, bytes + at, count - at);

		check((int)n, "write");
		at += (uint32_t)n;
	}
}

static void native_receive(struct client *c, uint8_t *bytes, uint32_t count)
{
	check((int)recv(((struct native *)c)->fd, bytes, count, MSG_WAITALL), "recv");
}

/* The fake guest: its memory has a doorbell queue and a wake queue, its window is the arena. */
struct guest {
	struct client client;
	int plane, device, circuit;
	uint32_t id;
	int kick, call, wake_kick;
	uint8_t *memory;
	uint16_t bells, wakes;
	struct csvn_end end;
};

struct desc {
	uint64_t guest;
	uint32_t bytes;
	uint16_t flags, next;
};

/* Queues at 0 and 64 KiB of guest memory: table, available ring at +4 KiB, used ring at +8 KiB, ids at +16 KiB. */
static uint16_t *ring_u16(struct guest *g, uint32_t queue, uint32_t offset)
{
	return (uint16_t *)(void *)(g->memory + queue * (64u << 10) + offset);
}

static void post(struct guest *g, uint32_t queue, uint16_t *next, uint32_t id, bool write)
{
	uint16_t slot = *next % QUEUE;
	struct desc *d = (struct desc *)(void *)ring_u16(g, queue, 0) + slot;
	uint32_t at = queue * (64u << 10) + (16u << 10) + slot * 4u;

	memcpy(g->memory + at, &id, sizeof(id));
	*d = (struct desc){ .guest = at, .bytes = 4, .flags = write ? 2 : 0 };
	*ring_u16(g, queue, 4096 + 4 + 2u * slot) = slot;
	++*next;
	__atomic_store_n(ring_u16(g, queue, 4096 + 2), *next, __ATOMIC_RELEASE);
}

static void ring_bell(struct guest *g)
{
	/* The device has taken all earlier ones, or will at this kick: there are never so many under way. */
	post(g, 0, &g->bells, g->id, false);
	eventfd_write(g->kick, 1);
}

static void sleep_until_woken(struct guest *g)
{
	struct pollfd p = { .fd = g->call, .events = POLLIN };
	eventfd_t ignored;

	check(poll(&p, 1, 10000) == 1 ? 0 : -ETIMEDOUT, "waiting for a wake");
	eventfd_read(g->call, &ignored);
	post(g, 1, &g->wakes, 0, true);
	eventfd_write(g->wake_kick, 1);
}

static void guest_send(struct client *c, const uint8_t *bytes, uint32_t count)
{
	struct guest *g = (struct guest *)c;
	struct csvn_end *e = &g->end;

	for (uint32_t at = 0; at < count;) {
		uint32_t room, n, first, where = (uint32_t)e->tail & (e->size - 1);

		check(csvn_tx_room(e, 1, &room), "the pump's head");
		if (!room) {
			csvn_arm_tx(e);
			check(csvn_tx_room(e, 1, &room), "the pump's head");
			if (!room)
				sleep_until_woken(g);
			continue;
		}
		n = room < count - at ? room : count - at;
		first = n < e->size - where ? n : e->size - where;
		memcpy(e->tx + where, bytes + at, first);
		memcpy(e->tx, bytes + at + first, n - first);
		csvn_tx_publish(e, n);
		if (csvn_wants_rx(e))
			ring_bell(g);
		at += n;
	}
}

static void guest_receive(struct client *c, uint8_t *bytes, uint32_t count)
{
	struct guest *g = (struct guest *)c;
	struct csvn_end *e = &g->end;

	for (uint32_t at = 0; at < count;) {
		uint32_t ready, where = (uint32_t)e->head & (e->size - 1);

		check(csvn_rx_ready(e, 1, &ready), "the pump's tail");
		if (!ready) {
			csvn_arm_rx(e);
			check(csvn_rx_ready(e, 1, &ready), "the pump's tail");
			if (!ready)
				sleep_until_woken(g);
			continue;
		}
		bytes[at++] = e->rx[where];
		csvn_rx_release(e, 1);
		if (csvn_wants_tx(e))
			ring_bell(g);
	}
}

static void start_queue(struct guest *g, uint32_t index, uint32_t queue, int kick, int call)
{
	uint64_t base = USER_BASE + queue * (64u << 10);
	struct csvn_queue_setup s = { .features = 0,
				      .desc = base,
				      .avail = base + 4096,
				      .used = base + 8192,
				      .index = index,
				      .size = QUEUE,
				      .kick = dup(kick),
				      .call = call < 0 ? -1 : dup(call) };

	check(csvn_queue_start(g->plane, g->device, &s), "start a queue");
}

static void guest_boot(struct guest *g)
{
	int fd = memfd_create("guest", MFD_ALLOW_SEALING);
	struct csvn_region region = { .size = GUEST_BYTES, .user = USER_BASE, .fd = fd };

	check(ftruncate(fd, GUEST_BYTES), "guest memory");
	check(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), "seal guest memory");
	g->memory = mmap(NULL, GUEST_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	g->plane = csvn_plane_open(1 << 20);
	check(g->plane, "open a plane");
	g->device = csvn_device_open(g->plane);
	check(g->device, "open a device");
	check(csvn_device_memory(g->plane, g->device, &region, 1), "map guest memory");
	g->kick = eventfd(0, 0);
	g->call = eventfd(0, 0);
	g->wake_kick = eventfd(0, 0);
	for (uint32_t i = 0; i < QUEUE - 1; i++)
		post(g, 1, &g->wakes, 0, true);
	start_queue(g, CSVN_QUEUE_DOORBELL, 0, g->kick, -1);
	start_queue(g, CSVN_QUEUE_WAKE, 1, g->wake_kick, g->call);
	g->client = (struct client){ guest_send, guest_receive };
}

/* A new circuit to the server, in an arena of its own. */
static void guest_connect(struct guest *g, uint16_t port)
{
	static uint32_t ids;
	uint64_t ring = CSVN_RING_DEFAULT, bytes = 2 * CSVN_PAGE + 2 * ring;
	int fd = csvn_arena_create(bytes), arena, rc;
	uint8_t *m, events[4096];
	uint32_t loopback = htonl(LOOPBACK);
	struct csvn_host_setup s;

	check(fd, "make an arena");
	m = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	arena = csvn_host_arena_map(g->plane, fd, bytes);
	check(arena, "map an arena");
	close(fd);
	g->id = ids++;
	s = (struct csvn_host_setup){ .device = g->device,
				      .id = g->id,
				      .arena = arena,
				      .ring_size = (uint32_t)ring,
				      .own_control = CSVN_PAGE,
				      .tx_ring = 2 * CSVN_PAGE + ring,
				      .rx_ring = 2 * CSVN_PAGE,
				      .connection = -1,
				      .remote = { .family = 4, .port = port } };
	memcpy(s.remote.ip, &loopback, 4);
	g->circuit = csvn_host_open(g->plane, &s);
	check(g->circuit, "open a circuit");
	for (int i = 0; (rc = csvn_events_take(g->plane, events, sizeof(events))) == 0; i++) {
		check(i < 10000 ? 0 : -ETIMEDOUT, "connect");
		usleep(1000);
	}
	check(rc, "connect");
	csvn_end_init(&g->end, (void *)m, (void *)(m + CSVN_PAGE), m + 2 * CSVN_PAGE, m + 2 * CSVN_PAGE + ring,
		      (uint32_t)ring);
}

static double bulk(struct client *c)
{
	static uint8_t buffer[CHUNK];
	double start = now();
	uint8_t end;

	c->send(c, (const uint8_t *)"b", 1);
	for (uint64_t sent = 0; sent < bulk_bytes; sent += CHUNK)
		c->send(c, buffer, CHUNK);
	c->receive(c, &end, 1);
	return (double)bulk_bytes / (now() - start) / 1e9;
}

static double round_trip(struct client *c)
{
	uint8_t byte = 0;
	double start;

	c->send(c, (const uint8_t *)"e", 1);
	start = now();
	for (int i = 0; i < rounds; i++) {
		c->send(c, &byte, 1);
		c->receive(c, &byte, 1);
	}
	return (now() - start) / rounds * 1e6;
}

static void print(const char *measure, const char *who, double value, const char *unit)
{
	printf("{\"measure\":\"%s\",\"who\":\"%s\",\"value\":%.6g,\"unit\":\"%s\"}\n", measure, who, value, unit);
}

static void measure(struct client *c, const char *who, int what)
{
	if (what)
		print("round trip", who, round_trip(c), "us");
	else
		print("64 KiB writes", who, bulk(c), "GB/s");
}

int main(int argc, char **argv)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(LOOPBACK) };
	socklen_t length = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
	struct guest guest = { 0 };
	pid_t server;

	if (argc > 1 && strcmp(argv[1], "--quick") == 0) {
		bulk_bytes /= 16;
		rounds /= 10;
	}
	check(bind(listener, (struct sockaddr *)&address, length), "bind");
	check(listen(listener, 16), "listen");
	check(getsockname(listener, (struct sockaddr *)&address, &length), "getsockname");
	server = fork();
	if (server == 0)
		serve(listener);
	guest_boot(&guest);
	for (int what = 0; what < 2; what++) {
		struct native native = { { native_send, native_receive }, socket(AF_INET, SOCK_STREAM, 0) };

		check(connect(native.fd, (struct sockaddr *)&address, length), "connect");
		setsockopt(native.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		measure(&native.client, "TCP", what);
		close(native.fd);
		guest_connect(&guest, ntohs(address.sin_port));
		measure(&guest.client, "csvn", what);
		csvn_host_close(guest.plane, guest.circuit);
	}
	kill(server, SIGTERM);
	waitpid(server, NULL, 0);
	return csvn_plane_close(guest.plane) < 0;
}
