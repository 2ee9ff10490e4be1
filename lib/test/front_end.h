/* SPDX-License-Identifier: MIT */
/* A front-end's connection to a plane that listens at a socket of the test's own, and the plane's events. */
#ifndef CSVN_TEST_FRONT_END_H
#define CSVN_TEST_FRONT_END_H

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "check.h"
#include "csvn/abi.h"

#define FRONT_END_PATIENCE_MS 20000

static struct sockaddr_un front_end_address = { .sun_family = AF_UNIX };

/* Let a plane listen for front-ends. */
static inline void front_end_listen(int plane)
{
	const char *path = front_end_address.sun_path;

	snprintf(front_end_address.sun_path, sizeof(front_end_address.sun_path), "/tmp/csvn-test-%d.sock", getpid());
	CHECK(csvn_listen(plane, (const uint8_t *)path, (uint32_t)strlen(path), 0600) >= 0);
}

static inline int front_end_dial(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	CHECK(fd >= 0 && connect(fd, (struct sockaddr *)&front_end_address, sizeof(front_end_address)) == 0);
	return fd;
}

/* Send bytes, with a descriptor if that is >= 0. */
static inline void front_end_send(int to, const void *bytes, size_t count, int fd)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct iovec iov = { .iov_base = (void *)(uintptr_t)bytes, .iov_len = count };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (fd >= 0) {
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control);
		control.align.cmsg_level = SOL_SOCKET;
		control.align.cmsg_type = SCM_RIGHTS;
		control.align.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.align), &fd, sizeof(fd));
	}
	CHECK(sendmsg(to, &msg, MSG_NOSIGNAL) == (ssize_t)count);
}

/* An event, with the beginning of what it brought. */
struct front_end_event {
	struct csvn_event_header header;
	uint8_t bytes[256];
};

/* The next event of a plane, of which there is one. False: there is none. */
static inline bool front_end_event(int plane, struct front_end_event *out)
{
	static uint8_t events[65536];
	static int count, at;
	uint32_t length;

	if (at == count) {
		count = csvn_events_take(plane, events, sizeof(events));
		at = 0;
	}
	CHECK(count >= 0);
	if (at == count)
		return false;
	memset(out, 0, sizeof(*out));
	memcpy(&out->header, events + at, sizeof(out->header));
	length = out->header.length;
	memcpy(out, events + at, length < sizeof(*out) ? length : sizeof(*out));
	at += (int)((length + 7) & ~7u);
	return true;
}

/* Wait for an event of a kind; what comes before it is dropped. */
static inline struct front_end_event front_end_await(int plane, uint32_t kind)
{
	struct front_end_event event;

	for (int ms = 0; ms < FRONT_END_PATIENCE_MS;) {
		if (!front_end_event(plane, &event)) {
			usleep(1000);
			ms++;
		} else if (event.header.kind == kind) {
			return event;
		}
	}
	fprintf(stderr, "event %u does not come\n", kind);
	exit(1);
}

#endif
