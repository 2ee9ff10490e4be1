/* SPDX-License-Identifier: MIT */
/*
 * A port in the test's own process, and the brain's side of its link. The test gives it its turns: so it is at rest between two calls, and may be looked into.
 * Its tokens are the process's descriptors.
 */
#ifndef CSVN_TEST_PORT_CLIENT_H
#define CSVN_TEST_PORT_CLIENT_H

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"
#include "busy_poll.h"
#include "turn.h"

#define CLIENT_PATIENCE_MS 20000u
#define CLIENT_EVENTS 1024u /* that were not looked at */

/* An event, with the beginning of what it brought. */
struct client_event {
	struct csvn_record header;
	uint8_t bytes[512];
};

struct client {
	struct port port;
	struct link link; /* the brain's side */
	int bell; /* the brain's end */
	uint64_t given;
	int next_file;
	uint32_t first, count;
	struct client_event events[CLIENT_EVENTS];
};

static inline uint64_t client_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static inline void client_open(struct client *c, int front)
{
	int memory = memfd_create("link", MFD_CLOEXEC), wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), files[2];
	struct port_parts parts = { .front = front, .wake = wake };

	memset(c, 0, sizeof(*c));
	CHECK(memory >= 0 && ftruncate(memory, (off_t)LINK_BYTES) == 0 && wake >= 0);
	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, files) == 0);
	c->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	CHECK(c->bell >= 0);
	parts.memory = fcntl(memory, F_DUPFD_CLOEXEC, 0);
	parts.files = files[1];
	parts.bell = fcntl(c->bell, F_DUPFD_CLOEXEC, 0);
	CHECK(link_open(&c->link, memory, true) == 0);
	c->link.files = files[0];
	c->link.wake = fcntl(wake, F_DUPFD_CLOEXEC, 0);
	CHECK(port_open(&c->port, &parts) == 0);
}

static inline void client_close(struct client *c)
{
	port_close(&c->port);
	link_close(&c->link);
	close(c->bell);
}

/* What the port has told is taken. */
static inline void client_take(struct client *c)
{
	uint8_t bytes[LINK_RECORD_MAX];
	int length;

	while (c->count < CLIENT_EVENTS && (length = queue_next(&c->link.events, bytes, sizeof(bytes))) != 0) {
		struct client_event *e = &c->events[(c->first + c->count++) % CLIENT_EVENTS];

		CHECK(length >= (int)sizeof(e->header));
		memset(e, 0, sizeof(*e));
		memcpy(e, bytes, (size_t)length < sizeof(*e) ? (size_t)length : sizeof(*e));
	}
}

/* One turn. */
static inline void client_turn(struct client *c)
{
	port_turn(&c->port, false);
	client_take(c);
}

/* The first event of a kind that was not looked at, which is taken out. False: there is none. */
static inline bool client_find(struct client *c, uint32_t kind, struct client_event *out)
{
	for (uint32_t i = 0; i < c->count; i++) {
		struct client_event *e = &c->events[(c->first + i) % CLIENT_EVENTS];

		if (e->header.kind != kind)
			continue;
		*out = *e;
		for (; i > 0; i--)
			c->events[(c->first + i) % CLIENT_EVENTS] = c->events[(c->first + i - 1) % CLIENT_EVENTS];
		c->first = (c->first + 1) % CLIENT_EVENTS;
		c->count--;
		return true;
	}
	return false;
}

/* Give turns until there is an event of a kind. */
static inline struct client_event client_await(struct client *c, uint32_t kind)
{
	uint64_t began = client_ms();
	struct client_event e;

	while (!client_find(c, kind, &e)) {
		client_turn(c);
		if (client_ms() - began > CLIENT_PATIENCE_MS) {
			fprintf(stderr, "event %u does not come\n", kind);
			exit(1);
		}
	}
	return e;
}

/* Give a command, which is done in the next turns. */
static inline void client_put(struct client *c, uint32_t kind, int handle, uint32_t aux, const void *bytes, uint32_t count)
{
	struct csvn_record r = { .kind = kind, .handle = handle, .aux = aux };
	struct queue_part parts[2] = { { &r.kind, sizeof(r) - QUEUE_HEADER }, { bytes, count } };

	CHECK(queue_put(&c->link.commands, parts, 2) == 0);
	c->given++;
}

/* Give a command, and turns until it is done. */
static inline void client_command(struct client *c, uint32_t kind, int handle, uint32_t aux, const void *bytes,
				  uint32_t count)
{
	client_put(c, kind, handle, aux, bytes, count);
	while (c->port.done < c->given)
		client_turn(c);
}

/* The outcome of a command that has one. */
static inline int client_ask(struct client *c, uint32_t kind, int handle, uint32_t aux, const void *bytes, uint32_t count)
{
	struct client_event e;

	client_command(c, kind, handle, aux, bytes, count);
	CHECK(client_find(c, CSVN_EVENT_RESULT, &e) && e.header.handle == (int)((c->given - 1) & 0x7fffffff));
	return (int)e.header.aux;
}

/* Give a file: its number. The descriptor stays the caller's. */
static inline int client_give(struct client *c, int fd)
{
	CHECK(link_give_file(&c->link, c->next_file, fd) == 0);
	return c->next_file++;
}

/* Map an arena, by this number. */
static inline void client_map(struct client *c, int arena, int fd, uint64_t bytes)
{
	int file = client_give(c, fd);

	CHECK(client_ask(c, CSVN_COMMAND_ARENA, arena, (uint32_t)file, &bytes, sizeof(bytes)) == 0);
	client_command(c, CSVN_COMMAND_FILE_CLOSE, file, 0, NULL, 0);
}

/* Nothing moves by itself any more: nothing is to be done, no descriptor is ready, and nobody is looked at. */
static inline void client_settle(struct client *c)
{
	uint64_t began = client_ms();

	for (int quiet = 0; quiet < 2;) {
		uint64_t turns = c->port.counters.host_turns;

		(void)busy_poll_end(&c->port);
		queue_awake(&c->port.link.commands);
		c->port.polls = true;
		client_turn(c);
		quiet = c->port.counters.host_turns == turns && !c->port.polled_count && !c->port.device.again ? quiet + 1 : 0;
		if (client_ms() - began > CLIENT_PATIENCE_MS) {
			fprintf(stderr, "the port does not come to rest\n");
			exit(1);
		}
	}
}

#endif
