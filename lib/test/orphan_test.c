/* SPDX-License-Identifier: MIT */
/*
 * A guest has closed, and its peer takes nothing of what is left in the ring: the host's end waits for it for a bounded time, which no option of the guest's makes
 * longer, and then is over.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "host.h"
#include "host_circuit.h"
#include "host_options.h"
#include "port_client.h"

#define LOOPBACK 0x7f4d620cu /* 127.77.98.12: this test's own */
#define RING CSVN_RING_MIN
#define ARENA 1 /* numbers */
#define CIRCUIT 5
#define BYTES (2u * CSVN_PAGE + 2u * RING)

static struct client client;
static int listener;
static uint8_t *memory;

struct orphan {
	int circuit, far;
	struct csvn_end end;
};

/* The circuit's TCP_USER_TIMEOUT, milliseconds; what was done to it before has been seen. */
static uint32_t waits(const struct orphan *o)
{
	struct port *p = &client.port;
	struct host_circuit *h = handle_get(&p->host_circuits, o->circuit);
	uint32_t value = 0;
	socklen_t bytes = sizeof(value);

	CHECK(h && h->fd >= 0);
	host_doorbell(p, o->circuit);
	CHECK(getsockopt(h->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &value, &bytes) == 0);
	return value;
}

static void choose(const struct orphan *o, uint32_t timeout)
{
	struct csvn_options options = { .set = CSVN_OPTION_USER_TIMEOUT, .user_timeout = timeout };

	client_command(&client, CSVN_COMMAND_HOST_OPTIONS, o->circuit, 0, &options, sizeof(options));
}

/* A connection that the guest has filled; timeout: as it chose before, or 0. */
static struct orphan filled(uint32_t timeout)
{
	struct csvn_host_setup s = { .id = 3,
				     .arena = ARENA,
				     .ring_size = RING,
				     .peer_control = CSVN_PAGE,
				     .tx_ring = 2 * CSVN_PAGE,
				     .rx_ring = 2 * CSVN_PAGE + RING,
				     .connection = -1 };
	struct sockaddr_in a = { .sin_family = AF_INET };
	socklen_t length = sizeof(a);
	struct orphan o;
	int idle = 0;

	CHECK(getsockname(listener, (struct sockaddr *)&a, &length) == 0);
	s.remote = (struct csvn_host_address){ .family = 4, .port = ntohs(a.sin_port) };
	memcpy(s.remote.ip, &a.sin_addr, 4);
	s.options = (struct csvn_options){ .set = timeout ? CSVN_OPTION_USER_TIMEOUT : 0, .user_timeout = timeout };
	memset(memory, 0, BYTES);
	csvn_end_init(&o.end, (void *)(memory + s.peer_control), (void *)memory, memory + s.rx_ring, memory + s.tx_ring,
		      RING);
	o.circuit = CIRCUIT;
	client_command(&client, CSVN_COMMAND_HOST_OPEN, CIRCUIT, 0, &s, sizeof(s));
	o.far = accept(listener, NULL, NULL);
	CHECK(o.far >= 0 && client_await(&client, CSVN_EVENT_HOST_CONNECTED).header.aux == 0);
	/* Until the socket has taken nothing for a while. */
	while (idle < 100) {
		uint32_t room;

		CHECK(csvn_tx_room(&o.end, RING, &room) == 0);
		csvn_tx_publish(&o.end, room);
		idle = room ? 0 : idle + 1;
		(void)waits(&o);
		usleep(1000);
	}
	return o;
}

static void closes(const struct orphan *o, bool told)
{
	struct csvn_end end = o->end;

	csvn_set_state(&end, CSVN_STATE_FIN | CSVN_STATE_CLOSED);
	if (told)
		client_command(&client, CSVN_COMMAND_HOST_FINISH, o->circuit, 0, NULL, 0);
}

static void destroy(const struct orphan *o)
{
	client_command(&client, CSVN_COMMAND_HOST_CLOSE, o->circuit, 0, NULL, 0);
	close(o->far);
}

/* What is chosen before and after the end, and what comes of it. */
static void test_limits(void)
{
	static const uint32_t limits[][4] = { { 0, 0, 0, ORPHAN_MS },
					      { 0, 0, UINT32_MAX / 4, ORPHAN_MS },
					      { 0, 0, 20000, 20000 },
					      { 20000, 20000, 0, ORPHAN_MS },
					      { ORPHAN_MS + 1, ORPHAN_MS + 1, ORPHAN_MS - 1, ORPHAN_MS - 1 } };

	for (uint32_t i = 0; i < 2 * sizeof(limits) / sizeof(limits[0]); i++) {
		const uint32_t *limit = limits[i / 2];
		struct orphan o = filled(limit[0]);
		uint32_t bounded = limit[0] && limit[0] < ORPHAN_MS ? limit[0] : ORPHAN_MS;

		CHECK(waits(&o) == limit[1]);
		closes(&o, i % 2);
		CHECK(waits(&o) == bounded);
		choose(&o, limit[2]);
		CHECK(waits(&o) == limit[3]);
		destroy(&o);
	}
}

static void test_end(void)
{
	struct orphan o = filled(0);
	struct client_event e;

	closes(&o, true);
	choose(&o, 500);
	e = client_await(&client, CSVN_EVENT_HOST_DONE);
	CHECK(e.header.handle == o.circuit && e.header.aux == ETIMEDOUT);
	destroy(&o);
}

int main(int argc, char **argv)
{
	struct sockaddr_in local = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(LOOPBACK) };
	int small = 4096, fd;

	test_seed(argc, argv);
	client_open(&client, -1);
	fd = memfd_create("arena", MFD_CLOEXEC);
	CHECK(fd >= 0 && ftruncate(fd, BYTES) == 0);
	client_map(&client, ARENA, fd, BYTES);
	memory = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(memory != MAP_FAILED);
	close(fd);
	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(listener >= 0 && setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)) == 0);
	CHECK(bind(listener, (struct sockaddr *)&local, sizeof(local)) == 0 && listen(listener, 16) == 0);
	test_limits();
	test_end();
	client_close(&client);
	munmap(memory, BYTES);
	close(listener);
	return 0;
}
