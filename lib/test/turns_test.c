/* SPDX-License-Identifier: MIT */
/*
 * Turns are bounded, whatever a guest does: doorbells of one host circuit come to one turn of it, a turn is so many calls of a socket, a device's is not much
 * more than a circuit's, and the brain's commands are obeyed between two turns of a port that is always busy.
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

#include "datagram.h"
#include "datagram_circuit.h"
#include "device.h"
#include "device_queues.h"
#include "host.h"
#include "host_circuit.h"
#include "port_client.h"

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
#define ARENA 1 /* numbers */
#define LISTENED 1000
/* What may go beyond a turn: the last call of it may move much. */
#define SLACK (TURN_WORK + 2)

struct desc {
	uint64_t guest;
	uint32_t bytes;
	uint16_t flags, next;
};

static struct client client;
static uint8_t *memory, *guest;
static int kick;
static uint16_t available;

static uint64_t milliseconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void boot(void)
{
	struct csvn_region region = { .size = GUEST };
	struct csvn_queue_setup setup = { .index = CSVN_QUEUE_DOORBELL, .size = QUEUE, .avail = AVAIL, .used = USED };
	int fd;

	client_open(&client, -1);
	region.token = memfd_create("guest", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	CHECK(ftruncate(region.token, GUEST) == 0 && fcntl(region.token, F_ADD_SEALS, F_SEAL_SHRINK) == 0);
	guest = mmap(NULL, GUEST, PROT_READ | PROT_WRITE, MAP_SHARED, region.token, 0);
	CHECK(guest != MAP_FAILED);
	CHECK(client_ask(&client, CSVN_COMMAND_MEMORY, 0, 0, &region, sizeof(region)) == 0);
	client_command(&client, CSVN_COMMAND_TOKEN_CLOSE, region.token, 0, NULL, 0);
	kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	setup.kick = fcntl(kick, F_DUPFD_CLOEXEC, 0);
	setup.call = -1;
	CHECK(client_ask(&client, CSVN_COMMAND_QUEUE_START, 0, 0, &setup, sizeof(setup)) == 0);
	fd = memfd_create("arena", MFD_CLOEXEC);
	CHECK(fd >= 0 && ftruncate(fd, (off_t)CIRCUITS * CIRCUIT_BYTES) == 0);
	client_map(&client, ARENA, fd, (uint64_t)CIRCUITS * CIRCUIT_BYTES);
	memory = mmap(NULL, (size_t)CIRCUITS * CIRCUIT_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(memory != MAP_FAILED);
	close(fd);
	client_settle(&client);
}

/* The setup of the id-th circuit, and its guest's end. */
static struct csvn_host_setup setup_of(uint32_t id, struct csvn_end *end)
{
	uint64_t at = (uint64_t)id * CIRCUIT_BYTES;
	struct csvn_host_setup s = { .id = id,
				     .arena = ARENA,
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

static bool all_taken(uint64_t before)
{
	return client.port.counters.doorbells - before == 64 * QUEUE;
}

/* A circuit with a ring full of empty datagrams to a port; a fraction of them is published. Its number is as its id. */
static int open_datagrams(uint32_t id, struct csvn_end *end, uint16_t port, uint32_t publish)
{
	struct csvn_host_setup s = setup_of(id, end);
	struct csvn_host_permit rule = { .guest = address_of(port), .actual = address_of(port), .allowed = 1 };
	struct csvn_datagram d = { .family = 4, .port = port };
	int circuit = (int)id;

	client_command(&client, CSVN_COMMAND_DATAGRAM_OPEN, circuit, 0, &s, sizeof(s));
	CHECK(client_await(&client, CSVN_EVENT_HOST_CONNECTED).header.aux == 0);
	CHECK(client_ask(&client, CSVN_COMMAND_DATAGRAM_PERMIT, circuit, 0, &rule, sizeof(rule)) == 0);
	memcpy(d.ip, rule.guest.ip, 4);
	for (uint32_t at = 0; at < RING; at += frame_bytes(0))
		memcpy(end->tx + at, &d, sizeof(d));
	csvn_tx_publish(end, publish * frame_bytes(0));
	return circuit;
}

static void close_circuit(int circuit)
{
	client_command(&client, CSVN_COMMAND_HOST_CLOSE, circuit, 0, NULL, 0);
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

/* 16,384 doorbells of one circuit, in one kick: a few turns, one for each part in which they are taken. */
static void test_merged(void)
{
	struct csvn_end end;
	uint16_t port;
	int fd = bound(SOCK_DGRAM, &port), circuit = open_datagrams(0, &end, port, 0);
	struct csvn_counters before = client.port.counters;

	fill_doorbells(1);
	CHECK(eventfd_write(kick, 1) == 0);
	for (uint64_t began = milliseconds(); !all_taken(before.doorbells); client_turn(&client))
		CHECK(milliseconds() - began < PATIENCE_MS);
	CHECK(client.port.counters.host_turns - before.host_turns < 64);
	close_circuit(circuit);
	close(fd);
}

/* Guests that send all the time, and ring for all of their circuits all the time: between two turns, each of which is bounded, commands are obeyed. */
static void test_commands(uint32_t circuits)
{
	static struct csvn_end ends[CIRCUITS];
	struct publisher w = { &ends[0], frame_bytes(0) };
	uint32_t turns = 0;
	uint16_t port;
	int fd = bound(SOCK_DGRAM, &port);

	for (uint32_t i = 0; i < circuits; i++)
		(void)open_datagrams(i, &ends[i], port, i ? 50 : 0);
	each_call = &w;
	for (int round = 0; round < 10; round++) {
		uint64_t before = client.port.counters.doorbells;

		fill_doorbells(circuits);
		CHECK(eventfd_write(kick, 1) == 0);
		for (; !all_taken(before); turns++) {
			uint64_t work = client.port.work;

			CHECK(turns < 100000);
			client_put(&client, CSVN_COMMAND_NOTHING, 0, 0, NULL, 0);
			client_turn(&client);
			CHECK(client.port.done == client.given);
			CHECK(client.link.shared->progress.done == client.given);
			/* Of what the kick told, and of what was left before. */
			CHECK(client.port.work - work <= 2 * (2 * TURN_WORK + SLACK));
		}
	}
	CHECK(turns >= 10);
	each_call = NULL;
	for (uint32_t i = 0; i < circuits; i++)
		close_circuit((int)i);
	client_settle(&client);
	close(fd);
}

/* Many circuits that have much to do, all rung for at once: each turn of their device is bounded, and each of them has one in the end. */
static void test_device_turns(void)
{
	static struct csvn_end ends[CIRCUITS];
	struct port *p = &client.port;
	int circuits[CIRCUITS], fds[2];
	struct device *d = &p->device;
	uint32_t turns = 0;
	uint16_t ports[2];

	for (int i = 0; i < 2; i++)
		fds[i] = bound(SOCK_DGRAM, &ports[i]);
	for (uint32_t i = 0; i < CIRCUITS; i++)
		circuits[i] = open_datagrams(i, &ends[i], ports[i % 2], 50);
	fill_doorbells(CIRCUITS);
	for (device_again(d, CSVN_QUEUE_DOORBELL); d->again; turns++) {
		uint64_t before = p->work;

		CHECK(turns < 10000);
		device_turn(p, d);
		CHECK(p->work - before <= 2 * TURN_WORK + SLACK);
	}
	CHECK(turns > CIRCUITS / 4);
	for (uint32_t i = 0; i < CIRCUITS; i++) {
		for (uint64_t began = milliseconds(); CSVN_LOAD_ACQUIRE(&ends[i].peer->head) != ends[i].tail;
		     client_turn(&client))
			CHECK(milliseconds() - began < PATIENCE_MS);
		close_circuit(circuits[i]);
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
	struct host_circuit *h = handle_get(&client.port.host_circuits, circuit);

	return h ? h->state : HOST_DONE;
}

/* A turn, in which a guest publishes one more piece at each call. */
static void one_turn(struct publisher *w, void (*doorbell)(struct port *p, int handle), int circuit)
{
	struct port *p = &client.port;
	uint64_t before = p->work;

	csvn_tx_publish(w->end, w->piece);
	each_call = w;
	doorbell(p, circuit);
	each_call = NULL;
	CHECK(p->work - before >= TURN_WORK && p->work - before <= 2 * TURN_WORK + SLACK);
}

static void test_datagrams(void)
{
	struct csvn_end end;
	struct publisher w = { &end, frame_bytes(0) };
	uint16_t port;
	int fd = bound(SOCK_DGRAM, &port), circuit = open_datagrams(0, &end, port, 0);

	one_turn(&w, datagram_doorbell, circuit);
	close_circuit(circuit);
	close(fd);
}

/* A guest that publishes single bytes as fast as they are taken: by the socket, and by nobody when the connection is dead. */
static void test_pieces(bool dead)
{
	struct csvn_end end;
	struct csvn_host_setup s = setup_of(0, &end);
	struct publisher w = { &end, 1 };
	int listener, circuit = LISTENED, far;
	pthread_t publisher, drainer;
	uint16_t port;

	listener = bound(SOCK_STREAM, &port);
	CHECK(listen(listener, 1) == 0);
	s.remote = address_of(port);
	client_command(&client, CSVN_COMMAND_HOST_OPEN, circuit, 0, &s, sizeof(s));
	far = accept(listener, NULL, NULL);
	CHECK(far >= 0 && client_await(&client, CSVN_EVENT_HOST_CONNECTED).header.aux == 0);
	if (dead) {
		struct linger reset = { .l_onoff = 1, .l_linger = 0 };
		static uint8_t bytes[4 * RING];

		CHECK(send(far, bytes, sizeof(bytes), 0) == sizeof(bytes));
		for (uint64_t began = milliseconds(); CSVN_LOAD_ACQUIRE(&end.peer->tail) != RING; client_turn(&client))
			CHECK(milliseconds() - began < PATIENCE_MS);
		CHECK(setsockopt(far, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)) == 0);
		close(far);
		for (uint64_t began = milliseconds(); state_of(circuit) != HOST_BROKEN; client_turn(&client))
			CHECK(milliseconds() - began < PATIENCE_MS);
	} else {
		CHECK(pthread_create(&drainer, NULL, drain, &far) == 0);
		one_turn(&w, host_doorbell, circuit);
	}
	publisher = start_publishing(&w);
	for (int round = 0; round < 300; round++) {
		uint64_t before = client.port.work;

		host_doorbell(&client.port, circuit);
		CHECK(client.port.work - before <= 2 * TURN_WORK + SLACK);
		usleep(test_below(300));
	}
	stop_publishing(publisher);
	/* It is not forgotten when its turn is over: it need not be rung for where it has not armed. */
	if (csvn_wants_rx(&end))
		host_doorbell(&client.port, circuit);
	for (uint64_t began = milliseconds(); CSVN_LOAD_ACQUIRE(&end.peer->head) != end.tail; client_turn(&client))
		CHECK(milliseconds() - began < PATIENCE_MS);
	CHECK(state_of(circuit) == (dead ? HOST_BROKEN : HOST_OPEN));
	close_circuit(circuit);
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
	test_commands(1);
	test_commands(CIRCUITS);
	test_device_turns();
	test_datagrams();
	test_pieces(false);
	test_pieces(true);
	client_close(&client);
	munmap(memory, (size_t)CIRCUITS * CIRCUIT_BYTES);
	munmap(guest, GUEST);
	close(kick);
	return 0;
}
