/* SPDX-License-Identifier: MIT */
/*
 * csvn-standin: holds the front-ends' connections when the switch dies.
 *
 * Theory of operation. QEMU does not survive that the back-end of a vhost-user-test-device goes away: it aborts at once where the device is not
 * started, and later, when it is reset and started again, or its configuration is read. So each switch has a stand-in, a process that has a
 * duplicate of every front-end's connection and does nothing with it. When the switch is gone (the socket to it ends), the stand-in answers in its
 * place what vhost-user wants answered, as the switch has answered it before, and acknowledges everything else: QEMU and the guest live on,
 * can reboot and shut down, without a network. It ends with the last front-end.
 *
 * What was under way when the switch died stands in the table (csvn/keep.h): a request that was taken off the socket and not answered
 * is answered here; one that is still there, or half taken, is read on. A connection of which the table does not know is one that the switch had ended.
 *
 * A front-end's turn is bounded, so that one that asks all the time does not keep the others waiting; and what it sends as descriptors is closed without
 * waiting for it (foreign.h).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "csvn/keep.h"
#include "foreign.h"

#define HEADER KEEP_HEADER
#define PAYLOAD_MAX 4096u
#define DESCRIPTORS_MAX 253 /* of one message, by the kernel */
#define CALLS_A_TURN 64u

struct connection {
	uint32_t have; /* bytes of the message that is being read */
	uint32_t generation;
	uint32_t acknowledges;
	uint32_t header[3];
	uint8_t payload[PAYLOAD_MAX];
};

static const uint8_t *table;
static int fds[KEEP_SLOTS];
static struct connection *connections[KEEP_SLOTS];
static uint32_t count;

static const struct keep_slot *slot_of(uint32_t i)
{
	return (const void *)(table + (size_t)i * KEEP_SLOT_BYTES);
}

static void drop(uint32_t i)
{
	if (fds[i] < 0)
		return;
	foreign_close(fds[i]);
	fds[i] = -1;
	free(connections[i]);
	connections[i] = NULL;
	count--;
}

/* What came as descriptors is of no use here. */
static void close_descriptors(struct msghdr *msg)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); n-- > 0;) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + n * sizeof(int), sizeof(fd));
			foreign_close(fd);
		}
	}
}

/* Take bytes off a connection: how many, 0 when there are none now, -1 when it is over. */
static ssize_t take(int fd, void *bytes, size_t n)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * DESCRIPTORS_MAX)];
	} control;
	struct iovec iov = { bytes, n };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
	};
	ssize_t got = recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (got < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -1;
	close_descriptors(&msg);
	return got == 0 ? -1 : got;
}

/* Answer a message that wants it as the switch would have. payload: its first word, at least. */
static void answer(uint32_t i, const uint32_t header[3], const uint8_t *payload)
{
	const struct keep_slot *s = slot_of(i);
	uint32_t reply[3] = { header[0], KEEP_FLAGS_REPLY, 8 };
	uint8_t bytes[HEADER + PAYLOAD_MAX] = { 0 };
	int known = keep_reply_of(header[0]);

	if (known >= 0) {
		reply[2] = s->reply[known].size;
		if (reply[2] == 0 && known == KEEP_CONFIG) /* never asked before: as long as it is wanted, and empty */
			reply[2] = header[2] <= PAYLOAD_MAX ? header[2] : 0;
		else if (s->reply[known].offset + reply[2] <= sizeof(s->replies))
			memcpy(bytes + HEADER, s->replies + s->reply[known].offset, reply[2]);
	} else if (header[0] == KEEP_GET_VRING_BASE) {
		memcpy(bytes + HEADER, payload, 4); /* the queue; from the beginning */
	}
	memcpy(bytes, reply, HEADER);
	if (send(fds[i], bytes, HEADER + reply[2], MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)(HEADER + reply[2]))
		drop(i);
}

/* Is the message there as a whole? 1, 0, or -1 when it cannot be one. */
static int is_whole(const struct connection *c)
{
	if (c->have < HEADER)
		return 0;
	if (c->header[2] > PAYLOAD_MAX || c->have > HEADER + c->header[2])
		return -1;
	return c->have == HEADER + c->header[2];
}

static void serve(uint32_t i)
{
	struct connection *c = connections[i];
	uint32_t calls = 0;
	ssize_t n;

	for (;;) {
		int whole = is_whole(c);
		uint8_t *to;

		if (whole < 0)
			break;
		if (whole) {
			c->have = 0;
			if (keep_wants_reply(c->header, c->payload, &c->acknowledges))
				answer(i, c->header, c->payload);
			if (fds[i] < 0)
				return;
			continue;
		}
		if (calls++ == CALLS_A_TURN)
			return;
		/* SAFETY: less than the whole of it is there, which is at most a header and PAYLOAD_MAX. */
		to = c->have < HEADER ? (uint8_t *)c->header + c->have : c->payload + (c->have - HEADER);
		n = take(fds[i], to, (c->have < HEADER ? HEADER : HEADER + c->header[2]) - c->have);
		if (n == 0)
			return;
		if (n < 0)
			break;
		c->have += (uint32_t)n;
	}
	drop(i);
}

/* Answer what the switch was asked and has not answered. False: there is no way to go on. */
static bool answer_asked(uint32_t i)
{
	const struct keep_slot *s = slot_of(i);
	uint32_t asked = keep_asked(&s->reading), answered = s->answered;

	/* It has sent one more than it has said. */
	if (s->answer.moved.msg_len && ((s->answer.before - answered) & KEEP_NUMBERS) < KEEP_ASKED) {
		if (s->answer.moved.msg_len != s->answer_bytes)
			return false;
		answered = s->answer.before + 1;
	}
	if (((asked - answered) & KEEP_NUMBERS) > KEEP_ASKED)
		return false;
	for (; ((asked - answered) & KEEP_NUMBERS) != 0 && fds[i] >= 0; answered++) {
		const struct keep_request *r = &s->asked[answered % KEEP_ASKED];
		uint8_t payload[sizeof(r->first)];

		memcpy(payload, &r->first, sizeof(payload));
		answer(i, r->header, payload);
	}
	return true;
}

/* The switch has died: go on where it was. */
static void take_over(uint32_t i)
{
	const struct keep_slot *s = slot_of(i);
	const struct keep_call *call = keep_current(&s->reading);
	struct connection *c = connections[i];
	uint32_t front;

	if (s->generation == 0 || s->generation != c->generation || !answer_asked(i)) {
		drop(i);
		return;
	}
	if (fds[i] < 0)
		return;
	c->acknowledges = s->acknowledges;
	c->have = call->before + call->moved.msg_len;
	front = c->have < KEEP_FRONT ? c->have : KEEP_FRONT;
	memcpy(c->header, s->reading.front, front < HEADER ? front : HEADER);
	if (front > HEADER)
		memcpy(c->payload, s->reading.front + HEADER, front - HEADER);
	serve(i);
}

static void add(uint32_t i, uint32_t generation, const struct cmsghdr *c)
{
	int fd;

	memcpy(&fd, CMSG_DATA(c), sizeof(fd));
	connections[i] = calloc(1, sizeof(struct connection));
	if (!connections[i]) {
		close(fd); /* the switch goes on with it */
		return;
	}
	connections[i]->generation = generation;
	fds[i] = fd;
	count++;
}

/* A message of the switch: 1, 0 when it is gone. */
static int obey(void)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct keep_message m = { 0 };
	struct iovec iov = { &m, sizeof(m) };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
	};
	struct cmsghdr *c;
	ssize_t n = recvmsg(KEEP_SOCKET_FD, &msg, MSG_CMSG_CLOEXEC);

	if (n < 0 && errno == EINTR)
		return 1;
	if (n <= 0)
		return 0;
	c = CMSG_FIRSTHDR(&msg);
	if (m.slot >= KEEP_SLOTS)
		return 1;
	drop(m.slot);
	if (m.order == KEEP_ADD && c && c->cmsg_type == SCM_RIGHTS)
		add(m.slot, m.generation, c);
	return 1;
}

static void keep_on(void)
{
	static struct pollfd polled[KEEP_SLOTS];
	static uint32_t slots[KEEP_SLOTS];

	for (uint32_t i = 0; i < KEEP_SLOTS; i++)
		if (fds[i] >= 0)
			take_over(i);
	while (count) {
		nfds_t n = 0;

		for (uint32_t i = 0; i < KEEP_SLOTS; i++) {
			if (fds[i] < 0)
				continue;
			slots[n] = i;
			polled[n++] = (struct pollfd){ .fd = fds[i], .events = POLLIN };
		}
		if (poll(polled, n, -1) < 0 && errno != EINTR)
			return;
		for (nfds_t k = 0; k < n; k++)
			if (polled[k].revents)
				serve(slots[k]);
	}
}

int main(void)
{
	struct rlimit limit;

	/* One for each connection that there may be. */
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
	(void)prctl(PR_SET_NAME, "csvn-standin");
	/* It is for when the switch is told to stop that it is there. */
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	memset(fds, 0xff, sizeof(fds));
	table = mmap(NULL, (size_t)KEEP_SLOTS * KEEP_SLOT_BYTES, PROT_READ, MAP_SHARED, KEEP_TABLE_FD, 0);
	if (table == MAP_FAILED)
		return 1;
	while (obey())
		;
	keep_on();
	return 0;
}
