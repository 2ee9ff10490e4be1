/* SPDX-License-Identifier: MIT */
/*
 * Connections that come in by published ports: how many may be on their way to the brain, what becomes of those that it has not decided about,
 * and what happens while there are no descriptors.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "descriptors.h"
#include "descriptor.h"
#include "host.h"
#include "port_client.h"
#include "rest.h"

#define LOOPBACK 0x7f4d6205u /* 127.77.98.5: this test's own */
#define LISTENER 3 /* numbers */
#define OTHER 4

static struct client client;
static uint16_t port;

static int dial(void)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	CHECK(fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0);
	return fd;
}

struct seen {
	uint32_t accepted, gone;
	int connections[512];
	int gone_connection;
	int shorts[16];
	uint32_t short_count;
};

/* A turn, and what it told. */
static void take(struct seen *seen)
{
	struct client_event e;

	client_turn(&client);
	while (client_find(&client, CSVN_EVENT_HOST_ACCEPTED, &e)) {
		struct csvn_host_address from;

		memcpy(&from, e.bytes, sizeof(from));
		CHECK(e.header.handle == LISTENER || e.header.handle == OTHER);
		CHECK(from.family == 4 && from.port && seen->accepted < 512);
		seen->connections[seen->accepted++] = (int)e.header.aux;
	}
	while (client_find(&client, CSVN_EVENT_HOST_GONE, &e)) {
		seen->gone++;
		seen->gone_connection = e.header.handle;
	}
	while (client_find(&client, CSVN_EVENT_SHORT, &e)) {
		CHECK(seen->short_count < 16);
		seen->shorts[seen->short_count++] = (int)e.header.aux;
	}
	CHECK(client.count == 0);
}

/* Until something is seen, or 20 s have passed. */
#define AWAIT(seen, cond)                                                \
	do {                                                             \
		for (int tries = 0; !(cond) && tries < 20000; tries++) { \
			usleep(1000);                                    \
			take(seen);                                      \
		}                                                        \
		CHECK(cond);                                             \
	} while (0)

static int listen_at(int number)
{
	struct csvn_host_address address = { .family = 4 };
	uint32_t ip = htonl(LOOPBACK);

	memcpy(address.ip, &ip, sizeof(ip));
	return client_ask(&client, CSVN_COMMAND_LISTEN, number, 0, &address, sizeof(address));
}

static void refuse(int connection)
{
	client_command(&client, CSVN_COMMAND_REFUSE, connection, 0, NULL, 0);
}

/* The far end has been reset. */
static bool is_reset(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char byte;

	return poll(&p, 1, 20000) == 1 && recv(fd, &byte, 1, MSG_DONTWAIT) < 0 && errno == ECONNRESET;
}

/* One that waits is told of when its client has reset it, not when it has but finished writing; at most once. */
static void test_wait(void)
{
	struct linger reset = { .l_onoff = 1, .l_linger = 0 };
	struct seen seen = { 0 };
	int clients[3];

	for (int i = 0; i < 3; i++)
		clients[i] = dial();
	AWAIT(&seen, seen.accepted == 3);
	for (int i = 0; i < 3; i++)
		client_command(&client, CSVN_COMMAND_WAIT, seen.connections[i], 0, NULL, 0);
	CHECK(write(clients[0], "x", 1) == 1 && shutdown(clients[0], SHUT_WR) == 0);
	CHECK(setsockopt(clients[1], SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)) == 0);
	close(clients[1]);
	AWAIT(&seen, seen.gone == 1);
	CHECK(seen.gone_connection == seen.connections[1]);
	for (int i = 0; i < 20; i++) {
		usleep(1000);
		take(&seen);
	}
	CHECK(seen.gone == 1);
	for (int i = 0; i < 3; i++) {
		refuse(seen.connections[i]);
		refuse(seen.connections[i]);
		take(&seen);
		CHECK(seen.gone == 1);
		/* One that is not there any more is gone. */
		client_put(&client, CSVN_COMMAND_WAIT, seen.connections[i], 0, NULL, 0);
		take(&seen);
		CHECK(seen.gone == 2 && seen.gone_connection == seen.connections[i]);
		seen.gone = 1;
	}
	CHECK(is_reset(clients[0]) && is_reset(clients[2]));
	close(clients[0]);
	close(clients[2]);
}

/* Not more at once than any other object may have, and all in the end; those that nobody takes go with the port. */
static void test_burst(void)
{
	static int clients[240]; /* a burst, and the kernel's own backlog */
	struct seen seen = { 0 };

	take(&seen);
	for (int i = 0; i < 240; i++) {
		clients[i] = dial();
		/* The brain takes none meanwhile. */
		port_turn(&client.port, false);
	}
	for (int i = 0; i < 1000 && client.port.host_connections.count < EVENT_BURST; i++) {
		usleep(1000);
		port_turn(&client.port, false);
	}
	CHECK(client.port.host_connections.count == EVENT_BURST);
	/* The others wait in the kernel, and do not keep the port busy. */
	for (int i = 0; i < 10; i++)
		port_turn(&client.port, false);
	CHECK(client.port.host_connections.count == EVENT_BURST);
	CHECK(client.port.stalled && client.link.shared->stalled && !client.port.more);
	CHECK(epoll_wait(client.port.epoll, &(struct epoll_event){ .events = 0 }, 1, 0) == 0);
	AWAIT(&seen, seen.accepted == 240);
	CHECK(!client.port.stalled && !client.link.shared->stalled);
	for (int i = 0; i < 240; i++) {
		refuse(seen.connections[i]);
		close(clients[i]);
	}
}

static void set_limit(rlim_t limit)
{
	struct rlimit now;

	CHECK(getrlimit(RLIMIT_NOFILE, &now) == 0);
	now.rlim_cur = limit;
	CHECK(setrlimit(RLIMIT_NOFILE, &now) == 0);
}

/* Nobody accepts, spins, or takes the last descriptors; it is said once; when there are some again, all are served. */
static void test_short(void)
{
	struct csvn_counters before = client.port.counters;
	struct seen seen = { 0 };
	struct rlimit old;
	int clients[10], other, spare;

	other = listen_at(OTHER);
	CHECK(other > 0);
	CHECK(getrlimit(RLIMIT_NOFILE, &old) == 0);
	/* All but three of the numbers that there are, are ours already. */
	for (int i = 0; i < 10; i++)
		clients[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	set_limit((rlim_t)clients[9] + 4);
	CHECK(descriptor_made(dup(clients[0])) == -EMFILE);
	for (int i = 0; i < 10; i++) {
		struct sockaddr_in a = { .sin_family = AF_INET,
					 .sin_port = htons((uint16_t)(i % 2 ? other : port)),
					 .sin_addr.s_addr = htonl(LOOPBACK) };

		CHECK(connect(clients[i], (struct sockaddr *)&a, sizeof(a)) == 0);
	}
	AWAIT(&seen, seen.short_count == 1);
	for (int i = 0; i < 5; i++) {
		usleep(REST_MS * 1000);
		take(&seen);
	}
	/* Each listening socket had one more at most; the process can still open its files; and nothing is told again and again. */
	CHECK(seen.accepted <= 2 && seen.short_count == 1 && seen.shorts[0] == EMFILE);
	spare = dup(clients[0]);
	CHECK(spare >= 0);
	close(spare);
	CHECK(client.port.resting >= 1);
	CHECK(epoll_wait(client.port.epoll, &(struct epoll_event){ .events = 0 }, 1, 0) == 0);
	set_limit(old.rlim_cur);
	AWAIT(&seen, seen.accepted == 10 && seen.short_count == 2);
	CHECK(seen.shorts[1] == 0 && client.port.counters.rests == before.rests + 1);
	for (int i = 0; i < 10; i++)
		close(clients[i]);
	client_command(&client, CSVN_COMMAND_UNLISTEN, OTHER, 0, NULL, 0);
}

/* Commands for listeners that are not there, are there already, or cannot be. */
static void test_numbers(void)
{
	struct csvn_host_address nowhere = { .family = 5 };

	CHECK(listen_at(LISTENER) == -EEXIST);
	CHECK(client_ask(&client, CSVN_COMMAND_LISTEN, OTHER, 0, &nowhere, sizeof(nowhere)) == -EAFNOSUPPORT);
	CHECK(client_ask(&client, CSVN_COMMAND_LISTEN, OTHER, 0, &nowhere, 3) == -EINVAL);
	client_command(&client, CSVN_COMMAND_UNLISTEN, OTHER, 0, NULL, 0);
	CHECK(listen_at(OTHER) > 0);
	client_command(&client, CSVN_COMMAND_UNLISTEN, OTHER, 0, NULL, 0);
	CHECK(client.port.host_listeners.count == 1);
}

int main(int argc, char **argv)
{
	int before, clients[5];

	test_seed(argc, argv);
	before = descriptors();
	client_open(&client, -1);
	port = (uint16_t)listen_at(LISTENER);
	CHECK(port > 0);
	test_numbers();
	test_wait();
	test_burst();
	test_short();
	/* Some that the brain has never heard of, and some that it has, but not decided about. */
	for (int i = 0; i < 5; i++) {
		clients[i] = dial();
		if (i == 3)
			(void)client_await(&client, CSVN_EVENT_HOST_ACCEPTED);
	}
	client_close(&client);
	for (int i = 0; i < 5; i++) {
		CHECK(is_reset(clients[i]));
		close(clients[i]);
	}
	CHECK(descriptors() == before);
	return 0;
}
