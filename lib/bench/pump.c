/* SPDX-License-Identifier: MIT */
/*
 * The pump beside loopback TCP, in one run: a fake guest (this process, with the real ring, the real virtqueues for doorbells and wakes, and a real port
 * in a process of its own) against a native process, both talking to the same server. Each run measures everything once, and prints a line of JSON for
 * each figure.
 *
 *     pump_bench [--quick] [--vms N]
 *
 * With --vms: so many fake guests, each with a port, send all at once; beside as many native processes.
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
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../test/port_client.h"
#include "csvn/abi.h"
#include "csvn/records.h"
#include "csvn/ring.h"

#define CHUNK (64u << 10)
#define QUEUE 64u
#define MEASURES 2 /* bulk, round trip */
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

/* What both kinds of talker to the server do. */
struct talker {
	void (*send)(struct talker *t, const uint8_t *bytes, uint32_t count);
	void (*receive)(struct talker *t, uint8_t *bytes, uint32_t count);
};

/* The server has a process for each connection: the first byte says 'b' for bulk towards it (answered with one byte at its end), 'e' for echo. */
static void serve(int listener)
{
	static uint8_t buffer[1 << 20];

	for (;;) {
		int fd = accept(listener, NULL, NULL), one = 1;
		uint64_t got = 0;
		char what;
		ssize_t n;

		check(fd, "accept");
		if (fork() != 0) {
			close(fd);
			continue;
		}
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		if (read(fd, &what, 1) != 1)
			exit(0);
		while ((n = read(fd, buffer, what == 'b' ? sizeof(buffer) : 1)) > 0) {
			got += (uint64_t)n;
			if (what == 'e' || got == bulk_bytes)
				n = write(fd, buffer, 1);
		}
		exit(0);
	}
}

/* The native one. */
struct native {
	struct talker talker;
	int fd;
};

static void native_send(struct talker *t, const uint8_t *bytes, uint32_t count)
{
	for (uint32_t at = 0; at < count;) {
		ssize_t n = write(((struct native *)t)->fd, bytes + at, count - at);

		check((int)n, "write");
		at += (uint32_t)n;
	}
}

static void native_receive(struct talker *t, uint8_t *bytes, uint32_t count)
{
	check((int)recv(((struct native *)t)->fd, bytes, count, MSG_WAITALL), "recv");
}

/* The fake guest: its memory has a doorbell queue and a wake queue, its windows are the arenas. Each measure has a circuit of its own. */
struct guest {
	struct client client; /* its port */
	pid_t port;
	int kick, call, wake_kick;
	uint8_t *memory;
	uint16_t bells, wakes;
	struct circuit {
		struct talker talker;
		struct guest *guest;
		uint32_t id;
		struct csvn_end end;
	} circuits[MEASURES];
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

static void ring_bell(struct guest *g, uint32_t id)
{
	/* The device has taken all earlier ones, or will at this kick: there are never so many under way. */
	post(g, 0, &g->bells, id, false);
	eventfd_write(g->kick, 1);
}

static void sleep_until_woken(struct guest *g)
{
	struct pollfd call = { .fd = g->call, .events = POLLIN };
	eventfd_t ignored;

	check(poll(&call, 1, 10000) == 1 ? 0 : -ETIMEDOUT, "waiting for a wake");
	eventfd_read(g->call, &ignored);
	post(g, 1, &g->wakes, 0, true);
	eventfd_write(g->wake_kick, 1);
}

static void guest_send(struct talker *t, const uint8_t *bytes, uint32_t count)
{
	struct circuit *c = (struct circuit *)t;
	struct csvn_end *e = &c->end;

	for (uint32_t at = 0; at < count;) {
		uint32_t room, n, first, where = (uint32_t)e->tail & (e->size - 1);

		check(csvn_tx_room(e, 1, &room), "the pump's head");
		if (!room) {
			csvn_arm_tx(e);
			check(csvn_tx_room(e, 1, &room), "the pump's head");
			if (!room)
				sleep_until_woken(c->guest);
			continue;
		}
		n = room < count - at ? room : count - at;
		first = n < e->size - where ? n : e->size - where;
		memcpy(e->tx + where, bytes + at, first);
		memcpy(e->tx, bytes + at + first, n - first);
		csvn_tx_publish(e, n);
		if (csvn_wants_rx(e))
			ring_bell(c->guest, c->id);
		at += n;
	}
}

static void guest_receive(struct talker *t, uint8_t *bytes, uint32_t count)
{
	struct circuit *c = (struct circuit *)t;
	struct csvn_end *e = &c->end;

	for (uint32_t at = 0; at < count;) {
		uint32_t ready, where = (uint32_t)e->head & (e->size - 1);

		check(csvn_rx_ready(e, 1, &ready), "the pump's tail");
		if (!ready) {
			csvn_arm_rx(e);
			check(csvn_rx_ready(e, 1, &ready), "the pump's tail");
			if (!ready)
				sleep_until_woken(c->guest);
			continue;
		}
		bytes[at++] = e->rx[where];
		csvn_rx_release(e, 1);
		if (csvn_wants_tx(e))
			ring_bell(c->guest, c->id);
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

	check(client_ask(&g->client, CSVN_COMMAND_QUEUE_START, -1, 0, &s, sizeof(s)), "start a queue");
}

static void guest_boot(struct guest *g)
{
	int fd = memfd_create("guest", MFD_ALLOW_SEALING), front[2];
	struct csvn_region region = { .size = GUEST_BYTES, .user = USER_BASE, .token = fd };

	check(ftruncate(fd, GUEST_BYTES), "guest memory");
	check(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), "seal guest memory");
	g->memory = mmap(NULL, GUEST_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, front), "a front-end");
	client_open(&g->client, front[1]);
	check(client_ask(&g->client, CSVN_COMMAND_MEMORY, -1, 0, &region, sizeof(region)), "map guest memory");
	g->kick = eventfd(0, 0);
	g->call = eventfd(0, 0);
	g->wake_kick = eventfd(0, 0);
	for (uint32_t i = 0; i < QUEUE - 1; i++)
		post(g, 1, &g->wakes, 0, true);
	start_queue(g, CSVN_QUEUE_DOORBELL, 0, g->kick, -1);
	start_queue(g, CSVN_QUEUE_WAKE, 1, g->wake_kick, g->call);
}

/* A circuit to the server, in an arena of its own. */
static void guest_connect(struct guest *g, uint32_t id, uint16_t port)
{
	uint64_t ring = CSVN_RING_DEFAULT, bytes = 2 * CSVN_PAGE + 2 * ring;
	int fd = memfd_create("arena", MFD_ALLOW_SEALING);
	uint32_t loopback = htonl(LOOPBACK);
	struct circuit *c = &g->circuits[id];
	struct csvn_host_setup s = { .id = id,
				     .arena = (int)id,
				     .ring_size = (uint32_t)ring,
				     .own_control = CSVN_PAGE,
				     .tx_ring = 2 * CSVN_PAGE + ring,
				     .rx_ring = 2 * CSVN_PAGE,
				     .connection = -1,
				     .remote = { .family = 4, .port = port } };
	struct client_event connected;
	uint8_t *m;

	check(ftruncate(fd, (off_t)bytes), "an arena");
	check(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), "seal the arena");
	m = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	client_map(&g->client, (int)id, fd, bytes);
	close(fd);
	memcpy(s.remote.ip, &loopback, 4);
	client_put(&g->client, CSVN_COMMAND_HOST_OPEN, (int)id, 0, &s, sizeof(s));
	connected = client_await(&g->client, CSVN_EVENT_HOST_CONNECTED);
	check(-(int)connected.header.aux, "connect");
	c->talker = (struct talker){ guest_send, guest_receive };
	c->guest = g;
	c->id = id;
	csvn_end_init(&c->end, (void *)m, (void *)(m + CSVN_PAGE), m + 2 * CSVN_PAGE, m + 2 * CSVN_PAGE + ring,
		      (uint32_t)ring);
}

/* The port, which had its turns from this process, goes on in one of its own. */
static void port_begin(struct guest *g)
{
	g->port = fork();
	check(g->port, "fork");
	if (g->port == 0) {
		check(interrupter_open(&g->client.port.interrupter), "signals"); /* the kernel keeps it for one process */
		port_run(&g->client.port);
		exit(0);
	}
}

static double bulk(struct talker *t)
{
	static uint8_t buffer[CHUNK];
	double start = now();
	uint8_t end;

	t->send(t, (const uint8_t *)"b", 1);
	for (uint64_t sent = 0; sent < bulk_bytes; sent += CHUNK)
		t->send(t, buffer, CHUNK);
	t->receive(t, &end, 1);
	return (double)bulk_bytes / (now() - start) / 1e9;
}

static double round_trip(struct talker *t)
{
	uint8_t byte = 0;
	double start;

	t->send(t, (const uint8_t *)"e", 1);
	start = now();
	for (int i = 0; i < rounds; i++) {
		t->send(t, &byte, 1);
		t->receive(t, &byte, 1);
	}
	return (now() - start) / rounds * 1e6;
}

static void print(const char *measure, const char *who, double value, const char *unit)
{
	printf("{\"measure\":\"%s\",\"who\":\"%s\",\"value\":%.6g,\"unit\":\"%s\"}\n", measure, who, value, unit);
}

static void measure(struct talker *t, const char *who, int what)
{
	if (what)
		print("round trip", who, round_trip(t), "us");
	else
		print("64 KiB writes", who, bulk(t), "GB/s");
}

static int native_connect(const struct sockaddr_in *address)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;

	check(connect(fd, (const struct sockaddr *)address, sizeof(*address)), "connect");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

/* What is measured alone. */
static void measure_one(const struct sockaddr_in *address)
{
	static struct guest guest;

	guest_boot(&guest);
	for (uint32_t what = 0; what < MEASURES; what++)
		guest_connect(&guest, what, ntohs(address->sin_port));
	port_begin(&guest);
	for (int what = 0; what < MEASURES; what++) {
		struct native native = { { native_send, native_receive }, native_connect(address) };

		measure(&native.talker, "TCP", what);
		close(native.fd);
		measure(&guest.circuits[what].talker, "csvn", what);
	}
	kill(guest.port, SIGKILL);
	waitpid(guest.port, NULL, 0);
}

/* One of many: it says that it is ready, sends when it is told, and says what its port has taken of processors, in seconds. */
static void sender(const struct sockaddr_in *address, bool circuit, int start, int said)
{
	static struct guest guest;
	struct native native = { { native_send, native_receive }, -1 };
	struct rusage usage = { 0 };
	double took;
	char byte;

	if (circuit) {
		guest_boot(&guest);
		guest_connect(&guest, 0, ntohs(address->sin_port));
		port_begin(&guest);
	} else
		native.fd = native_connect(address);
	check((int)write(said, "r", 1), "say");
	check((int)read(start, &byte, 1), "start"); /* its end says so to all */
	(void)bulk(circuit ? &guest.circuits[0].talker : &native.talker);
	if (circuit) {
		kill(guest.port, SIGKILL);
		check(wait4(guest.port, NULL, 0, &usage), "wait");
	}
	took = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
	check((int)write(said, &took, sizeof(took)), "say");
	_exit(0);
}

static void measure_many(const struct sockaddr_in *address, uint32_t vms, bool circuit)
{
	double began, took, cpu = 0, all = (double)bulk_bytes * vms;
	const char *who = circuit ? "csvn" : "TCP";
	int start[2], said[2];
	char measure[64], byte;

	check(pipe(start), "pipe");
	check(pipe(said), "pipe");
	for (uint32_t i = 0; i < vms; i++) {
		pid_t pid = fork();

		check(pid, "fork");
		if (pid == 0) {
			close(start[1]);
			sender(address, circuit, start[0], said[1]);
		}
	}
	for (uint32_t i = 0; i < vms; i++)
		check(read(said[0], &byte, 1) == 1 ? 0 : -EIO, "begin");
	began = now();
	close(start[1]);
	for (uint32_t i = 0; i < vms; i++) {
		check(read(said[0], &took, sizeof(took)) == sizeof(took) ? 0 : -EIO, "end");
		cpu += took;
	}
	took = now() - began;
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
	(void)snprintf(measure, sizeof(measure), "64 KiB writes, %u VMs", vms);
	print(measure, who, all / took / 1e9, "GB/s");
	(void)snprintf(measure, sizeof(measure), "ports' CPU time for a byte, %u VMs", vms);
	if (circuit)
		print(measure, who, cpu / all * 1e9, "ns");
	close(start[0]);
	close(said[0]);
	close(said[1]);
}

int main(int argc, char **argv)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(LOOPBACK) };
	socklen_t length = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	uint32_t vms = 0;
	pid_t server;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--quick") == 0) {
			bulk_bytes /= 16;
			rounds /= 10;
		} else if (strcmp(argv[i], "--vms") == 0 && i + 1 < argc)
			vms = (uint32_t)strtoul(argv[++i], NULL, 10);
	}
	if (vms)
		bulk_bytes = bulk_bytes / vms / CHUNK * CHUNK;
	check(bind(listener, (struct sockaddr *)&address, length), "bind");
	check(listen(listener, 1024), "listen");
	check(getsockname(listener, (struct sockaddr *)&address, &length), "getsockname");
	server = fork();
	check(server, "fork");
	if (server == 0) {
		signal(SIGCHLD, SIG_IGN);
		serve(listener);
	}
	if (vms) {
		measure_many(&address, vms, false);
		measure_many(&address, vms, true);
	} else
		measure_one(&address);
	kill(server, SIGTERM);
	waitpid(server, NULL, 0);
	return 0;
}
