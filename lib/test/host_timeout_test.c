/* SPDX-License-Identifier: MIT */
/*
 * A connection that dies otherwise than by a reset: the guest is told how, once, by the event's errno, and its control page says nothing that would
 * forestall it; also when the peer has ended its half before, as a writer in CLOSE_WAIT is told natively. A reset then is a broken pipe.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "host.h"
#include "host_circuit.h"
#include "port_client.h"

#define LOOPBACK 0x7f4d620du /* 127.77.98.13: this test's own */
#define RING CSVN_RING_MIN
#define BYTES (2u * CSVN_PAGE + 2u * RING)
#define ARENA 1 /* numbers */
#define CIRCUIT 5
#define PATIENCE_MS 20000u

static struct client client;
static int listener;
static uint8_t *memory;

struct connection {
	int circuit, far;
	struct csvn_end end; /* the guest's */
};

static void ring(const struct connection *c)
{
	host_doorbell(&client.port, c->circuit);
	client_turn(&client);
}

static struct connection connected(void)
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
	struct connection c;

	CHECK(getsockname(listener, (struct sockaddr *)&a, &length) == 0);
	s.remote = (struct csvn_host_address){ .family = 4, .port = ntohs(a.sin_port) };
	memcpy(s.remote.ip, &a.sin_addr, 4);
	memset(memory, 0, BYTES);
	csvn_end_init(&c.end, (void *)(memory + s.peer_control), (void *)memory, memory + s.rx_ring, memory + s.tx_ring,
		      RING);
	c.circuit = CIRCUIT;
	client_command(&client, CSVN_COMMAND_HOST_OPEN, CIRCUIT, 0, &s, sizeof(s));
	c.far = accept(listener, NULL, NULL);
	CHECK(c.far >= 0 && client_await(&client, CSVN_EVENT_HOST_CONNECTED).header.aux == 0);
	return c;
}

static void await_state(const struct connection *c, uint32_t state)
{
	for (uint32_t ms = 0; csvn_peer_state(&c->end) != state; ms++) {
		CHECK(ms < PATIENCE_MS);
		client_turn(&client);
		usleep(1000);
	}
}

/* The guest writes until nothing has been taken for a while. */
static void fill(struct connection *c)
{
	for (uint32_t idle = 0; idle < 100;) {
		uint32_t room;

		CHECK(csvn_tx_room(&c->end, RING, &room) == 0);
		csvn_tx_publish(&c->end, room);
		idle = room ? 0 : idle + 1;
		ring(c);
		usleep(1000);
	}
}

/* What the circuit is over by, for the brain. */
static uint32_t over(const struct connection *c)
{
	struct client_event e = client_await(&client, CSVN_EVENT_HOST_DONE);

	CHECK(e.header.handle == c->circuit);
	return e.header.aux;
}

/* The peer takes nothing any more for longer than the guest has chosen; ended: after the end of its own half. */
static void test_timeout(bool ended)
{
	struct csvn_options options = { .set = CSVN_OPTION_USER_TIMEOUT, .user_timeout = 300 };
	struct connection c = connected();
	uint32_t state = ended ? CSVN_STATE_FIN : 0;

	if (ended)
		CHECK(shutdown(c.far, SHUT_WR) == 0);
	await_state(&c, state);
	fill(&c);
	client_command(&client, CSVN_COMMAND_HOST_OPTIONS, c.circuit, 0, &options, sizeof(options));
	CHECK(over(&c) == ETIMEDOUT);
	CHECK(csvn_peer_state(&c.end) == state);
	client_command(&client, CSVN_COMMAND_HOST_CLOSE, c.circuit, 0, NULL, 0);
	close(c.far);
}

static void test_reset(bool ended)
{
	struct linger linger = { .l_onoff = 1, .l_linger = 0 };
	struct connection c = connected();
	uint32_t error;

	if (ended)
		CHECK(shutdown(c.far, SHUT_WR) == 0);
	await_state(&c, ended ? CSVN_STATE_FIN : 0);
	CHECK(setsockopt(c.far, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)) == 0);
	close(c.far);
	error = over(&c);
	CHECK(error == (ended ? EPIPE : ECONNRESET));
	CHECK(csvn_peer_state(&c.end) == (CSVN_STATE_CLOSED | CSVN_STATE_RESET | (ended ? CSVN_STATE_FIN : 0)));
	client_command(&client, CSVN_COMMAND_HOST_CLOSE, c.circuit, 0, NULL, 0);
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
	for (int ended = 0; ended < 2; ended++) {
		test_timeout(ended);
		test_reset(ended);
	}
	client_close(&client);
	munmap(memory, BYTES);
	close(listener);
	return 0;
}
