/* SPDX-License-Identifier: MIT */
/*
 * Turns are bounded, whatever a guest does: doorbells of one host circuit come to one turn of it, a turn is so many calls of a socket, a device's is not much
 * more than a circuit's, and whoever waits for the plane's lock has it soon.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "check.h"
#include "datagram.h"
#include "device.h"
#include "host.h"

#define LOOPBACK 0x7f4d620bu /* 127.77.98.11: this test's own */
#define RING CSVN_RING_MIN
#define CIRCUITS 200u
#define CIRCUIT_BYTES (2u * CSVN_PAGE + 2u * RING)
#define QUEUE 256u
#define AVAIL 8192u
#define USED 16384u
#define BUFFERS 32768u
#define GUEST (BUFFERS + QUEUE * 256u)
#define PATIENCE_MS 20000
/* What may go beyond a turn: the last call of it may move much. */
#define SLACK (TURN_WORK + 2)

struct desc {
	uint64_t guest;
	uint32_t bytes;
	uint16_t flags, next;
};

static int plane, device, arena;
static uint8_t *memory, *guest;
static int kick;
static uint16_t available;

static uint64_t milliseconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static struct csvn_counters counters(void)
{
	struct csvn_counters c;

	CHECK(csvn_counters(plane, &c, sizeof(c)) == 0);
	return c;
}

static void boot(void)
{
	struct csvn_region region = { .size = GUEST };
	struct csvn_queue_setup setup = { .index = CSVN_QUEUE_DOORBELL, .size = QUEUE, .avail = AVAIL, .used = USED };
	int fd;

	plane = csvn_plane_open(1 << 20);
	CHECK(plane >= 0);
	device = csvn_device_open(plane);
	CHECK(device >= 0);
	region.fd = memfd_create("guest", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	CHECK(ftruncate(region.fd, GUEST) == 0 && fcntl(region.fd, F_ADD_SEALS, F_SEAL_SHRINK) == 0);
	guest = mmap(NULL, GUEST, PROT_READ | PROT_WRITE, MAP_SHARED, region.fd, 0);
	CHECK(guest != MAP_FAILED && csvn_device_memory(plane, device, &region, 1) == 0);
	close(region.fd);
	kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	setup.kick = fcntl(kick, F_DUPFD_CLOEXEC, 0);
	setup.call = -1;
	CHECK(csvn_queue_start(plane, device, &setup) == 0);
	fd = csvn_arena_create((uint64_t)CIRCUITS * CIRCUIT_BYTES);
	CHECK(fd >= 0);
	arena = csvn_host_arena_map(plane, fd, (uint64_t)CIRCUITS * CIRCUIT_BYTES);
	CHECK(arena >= 0);
	memory = mmap(NULL, (size_t)CIRCUITS * CIRCUIT_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(memory != MAP_FAILED);
	close(fd);
}

/* The setup of the id-th circuit, and its guest's end. */
static struct csvn_host_setup setup_of(uint32_t id, struct csvn_end *end)
{
	uint64_t at = (uint64_t)id * CIRCUIT_BYTES;
	struct csvn_host_setup s = { .device = device,
				     .id = id,
				     .arena = arena,
				     .ring_size = RING,
				     .own_control = at,
				     .peer_control = at + CSVN_PAGE,
				     .tx_ring = at + 2 * CSVN_PAGE,
				     .rx_ring = at + 2 * CSVN_PAGE + RING,
				     .connection = -1 };

	memset(memory + at, 0, CIRCUIT_BYTES);
	csvn_end_init(end, (void *)(memory + s.peer_control), (void *)(memory + s.own_control), memory + s.rx_ring,
		      memory + s.tx_ring, RING);
	return s;
}

static struct csvn_host_address address_of(uint16_t port)
{
	struct csvn_host_address a = { .family = 4, .port = port };
	uint32_t ip = htonl(LOOPBACK);

	memcpy(a.ip, &ip, sizeof(ip));
	return a;
}

/* A socket of this address, and its port. */
static int bound(int type, uint16_t *port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(LOOPBACK) };
	socklen_t length = sizeof(a);
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

	CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0);
	CHECK(getsockname(fd, (struct sockaddr *)&a, &length) == 0);
	*port = ntohs(a.sin_port);
	return fd;
}

/* Fill the doorbell queue with buffers of 64 doorbells each, by turns of the circuits below count, without a kick. */
static void fill_doorbells(uint32_t count)
{
	uint16_t *avail = (uint16_t *)(void *)(guest + AVAIL);

	for (uint32_t i = 0; i < QUEUE; i++) {
		uint32_t *ids = (uint32_t *)(void *)(guest + BUFFERS + i * 256u);

		for (uint32_t k = 0; k < 64; k++)
			ids[k] = (64 * i + k) % count;
		((struct desc *)(void *)guest)[i] = (struct desc){ .guest = BUFFERS + i * 256u, .bytes = 256 };
		avail[2 + (available + i) % QUEUE] = (uint16_t)i;
	}
	available = (uint16_t)(available + QUEUE);
	__atomic_store_n(avail + 1, available, __ATOMIC_RELEASE);
}

static void await_doorbells(uint64_t before)
{
	for (uint64_t began = milliseconds(); counters().doorbells - before < 64 * QUEUE; usleep(1000))
		CHECK(milliseconds() - began < PATIENCE_MS);
}

/* A ring full of empty datagrams to a port; a fraction of them is published. */
static int open_datagrams(uint32_t id, struct csvn_end *end, uint16_t port, uint32_t publish)
{
	struct csvn_host_setup s = setup_of(id, end);
	struct csvn_host_permit rule = { .guest = address_of(port), .actual = address_of(port), .allowed = 1 };
	struct csvn_datagram d = { .family = 4, .port = port };
	int circuit = csvn_host_datagram_open(plane, &s);

	CHECK(circuit >= 0 && csvn_host_datagram_permit(plane, circuit, &rule) == 0);
	memcpy(d.ip, rule.guest.ip, 4);
	for (uint32_t at = 0; at < RING; at += frame_bytes(0))
		memcpy(end->tx + at, &d, sizeof(d));
	csvn_tx_publish(end, publish * frame_bytes(0));
	return circuit;
}

static atomic_bool publishing;

/* Publish as fast as the pump takes: so many bytes at a time. */
struct publisher {
	struct csvn_end *end;
	uint32_t piece;
};

static void *publish(void *arg)
{
	struct publisher *w = arg;

	while (atomic_load_explicit(&publishing, memory_order_relaxed)) {
		uint32_t room;

		CHECK(csvn_tx_room(w->end, RING, &room) == 0);
		if (room >= w->piece)
			csvn_tx_publish(w->end, w->piece);
	}
	return NULL;
}

/* Whose piece is published at each call of its socket: it has always one more. */
static struct publisher *each_call;

ssize_t sendmsg(int fd, const struct msghdr *msg, int flags)
{
	uint32_t room;

	if (each_call) {
		CHECK(csvn_tx_room(each_call->end, RING, &room) == 0);
		if (room >= each_call->piece)
			csvn_tx_publish(each_call->end, each_call->piece);
	}
	return syscall(SYS_sendmsg, fd, msg, flags);
}

static pthread_t start_publishing(struct publisher *w)
{
	pthread_t thread;

	atomic_store(&publishing, true);
	CHECK(pthread_create(&thread, NULL, publish, w) == 0);
	return thread;
}

static void stop_publishing(pthread_t thread)
{
	atomic_store(&publishing, false);
	pthread_join(thread, NULL);
}

/* 16,384 doorbells of one circuit, in one kick: a few turns, one for each part in which they are taken. And an API call does not wait for them. */
static void test_merged(void)
{
	struct csvn_end end;
	struct publisher w = { &end, frame_bytes(0) };
	uint16_t port;
	int fd = bound(SOCK_DGRAM, &port), circuit = open_datagrams(0, &end, port, 0);
	struct csvn_counters before, after;
	uint64_t longest = 0;
	pthread_t thread;

	before = counters();
	fill_doorbells(1);
	CHECK(eventfd_write(kick, 1) == 0);
	await_doorbells(before.doorbells);
	after = counters();
	CHECK(after.host_turns - before.host_turns < 64);
	/* While the guest sends all the time. */
	thread = start_publishing(&w);
	for (int round = 0; round < 10; round++) {
		before = counters();
		fill_doorbells(1);
		CHECK(eventfd_write(kick, 1) == 0);
		for (uint64_t began = milliseconds(); milliseconds() - began < 20;) {
			uint64_t asked = milliseconds(), waited;

			(void)counters();
			waited = milliseconds() - asked;
			longest = waited > longest ? waited : longest;
			usleep(200);
		}
		await_doorbells(before.doorbells);
	}
	stop_publishing(thread);
	printf("the longest call took %" PRIu64 " ms\n", longest);
	CHECK(longest < 2000);
	CHECK(csvn_host_datagram_close(plane, circuit) == 0);
	close(fd);
}

/* Many circuits that have much to do, all rung for at once: each turn of their device is bounded, and each of them has one in the end. */
static void test_device_turns(void)
{
	static struct csvn_end ends[CIRCUITS];
	int circuits[CIRCUITS], fds[2];
	uint32_t turns = 0;
	struct device *d;
	struct plane *p;
	uint16_t ports[2];

	for (int i = 0; i < 2; i++)
		fds[i] = bound(SOCK_DGRAM, &ports[i]);
	for (uint32_t i = 0; i < CIRCUITS; i++)
		circuits[i] = open_datagrams(i, &ends[i], ports[i % 2], 50);
	/* As the thread does, which waits for the lock meanwhile. */
	p = plane_enter(plane);
	d = handle_get(&p->devices, device);
	fill_doorbells(CIRCUITS);
	p->looks = true;
	for (device_again(p, d, CSVN_QUEUE_DOORBELL); p->again_count; turns++) {
		uint64_t before = p->work;

		CHECK(p->again_count == 1 && p->again[0] == device && turns < 10000);
		p->again_count = 0;
		device_turn(p, d);
		CHECK(p->work - before <= 2 * TURN_WORK + SLACK);
	}
	p->looks = false;
	plane_leave(p);
	CHECK(turns > CIRCUITS / 4);
	for (uint32_t i = 0; i < CIRCUITS; i++) {
		for (uint64_t began = milliseconds(); CSVN_LOAD_ACQUIRE(&ends[i].peer->head) != ends[i].tail;
		     usleep(1000))
			CHECK(milliseconds() - began < PATIENCE_MS);
		CHECK(csvn_host_datagram_close(plane, circuits[i]) == 0);
	}
	for (int i = 0; i < 2; i++)
		close(fds[i]);
}

static void *drain(void *fd)
{
	static uint8_t bytes[65536];

	while (recv(*(int *)fd, bytes, sizeof(bytes), 0) > 0)
		;
	return NULL;
}

static enum host_state state_of(int circuit)
{
	struct plane *p = plane_enter(plane);
	struct host_circuit *h = handle_get(&p->host_circuits, circuit);
	enum host_state state = h ? h->state : HOST_DONE;

	plane_leave(p);
	return state;
}

/* A turn, in which a guest publishes one more piece at each call. */
static void one_turn(struct publisher *w, void (*doorbell)(struct plane *p, int handle), int circuit)
{
	struct plane *p = plane_enter(plane);
	uint64_t before = p->work;

	csvn_tx_publish(w->end, w->piece);
	each_call = w;
	doorbell(p, circuit);
	each_call = NULL;
	CHECK(p->work - before >= TURN_WORK && p->work - before <= 2 * TURN_WORK + SLACK);
	plane_leave(p);
}

static void test_datagrams(void)
{
	struct csvn_end end;
	struct publisher w = { &end, frame_bytes(0) };
	uint16_t port;
	int fd = bound(SOCK_DGRAM, &port), circuit = open_datagrams(0, &end, port, 0);

	one_turn(&w, datagram_doorbell, circuit);
	CHECK(csvn_host_datagram_close(plane, circuit) == 0);
	close(fd);
}

/* A guest that publishes single bytes as fast as they are taken: by the socket, and by nobody when the connection is dead. */
static void test_pieces(bool dead)
{
	struct csvn_end end;
	struct csvn_host_setup s = setup_of(0, &end);
	struct publisher w = { &end, 1 };
	int listener, circuit, far;
	pthread_t publisher, drainer;
	uint16_t port;

	listener = bound(SOCK_STREAM, &port);
	CHECK(listen(listener, 1) == 0);
	s.remote = address_of(port);
	circuit = csvn_host_open(plane, &s);
	far = accept(listener, NULL, NULL);
	CHECK(circuit >= 0 && far >= 0);
	if (dead) {
		struct linger reset = { .l_onoff = 1, .l_linger = 0 };
		static uint8_t bytes[4 * RING];

		CHECK(send(far, bytes, sizeof(bytes), 0) == sizeof(bytes));
		for (uint64_t began = milliseconds(); CSVN_LOAD_ACQUIRE(&end.peer->tail) != RING; usleep(1000))
			CHECK(milliseconds() - began < PATIENCE_MS);
		CHECK(setsockopt(far, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)) == 0);
		close(far);
		for (uint64_t began = milliseconds(); state_of(circuit) != HOST_BROKEN; usleep(1000))
			CHECK(milliseconds() - began < PATIENCE_MS);
	} else {
		CHECK(pthread_create(&drainer, NULL, drain, &far) == 0);
		one_turn(&w, host_doorbell, circuit);
	}
	publisher = start_publishing(&w);
	for (int round = 0; round < 300; round++) {
		struct plane *p = plane_enter(plane);
		uint64_t before = p->work;

		host_doorbell(p, circuit);
		CHECK(p->work - before <= 2 * TURN_WORK + SLACK);
		plane_leave(p);
		usleep(test_below(300));
	}
	stop_publishing(publisher);
	/* It is not forgotten when its turn is over: it need not be rung for where it has not armed. */
	if (csvn_wants_rx(&end)) {
		struct plane *p = plane_enter(plane);

		host_doorbell(p, circuit);
		plane_leave(p);
	}
	for (uint64_t began = milliseconds(); CSVN_LOAD_ACQUIRE(&end.peer->head) != end.tail; usleep(1000))
		CHECK(milliseconds() - began < PATIENCE_MS);
	CHECK(state_of(circuit) == (dead ? HOST_BROKEN : HOST_OPEN));
	CHECK(csvn_host_close(plane, circuit) == 0);
	if (!dead) {
		pthread_join(drainer, NULL);
		close(far);
	}
	close(listener);
}

int main(int argc, char **argv)
{
	test_seed(argc, argv);
	boot();
	test_merged();
	test_device_turns();
	test_datagrams();
	test_pieces(false);
	test_pieces(true);
	CHECK(csvn_plane_close(plane) == 0);
	munmap(memory, (size_t)CIRCUITS * CIRCUIT_BYTES);
	munmap(guest, GUEST);
	close(kick);
	return 0;
}
