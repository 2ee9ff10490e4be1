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
 * is answered here; one that is still there, or half taken, is read on.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "csvn/keep.h"

#define HEADER 12u
#define PAYLOAD_MAX 4096u
#define DESCRIPTORS_MAX 32

struct connection {
	uint32_t have; /* bytes of the message that is being read */
	uint32_t skip; /* bytes of one that the switch has begun to read */
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
	close(fds[i]);
	fds[i] = -1;
	free(connections[i]);
	connections[i] = NULL;
	count--;
}

/* What came as descriptors is of no use here. False when the connection is over. */
static void close_descriptors(struct msghdr *msg)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); n-- > 0;) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + n * sizeof(int), sizeof(fd));
			close(fd);
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

/* Answer a message as the switch would have. */
static void answer(uint32_t i, const uint32_t header[3], const uint8_t *payload)
{
	const struct keep_slot *s = slot_of(i);
	uint32_t reply[3] = { header[0], KEEP_FLAGS_REPLY, 8 };
	uint8_t bytes[HEADER + PAYLOAD_MAX] = { 0 };
	int known = keep_reply_of(header[0]);

	if (!keep_wants_reply(header))
		return;
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

static void serve(uint32_t i)
{
	struct connection *c = connections[i];
	ssize_t n;

	for (;;) {
		uint32_t whole = HEADER;
		void *to;

		if (c->skip) {
			whole = c->skip < PAYLOAD_MAX ? c->skip : PAYLOAD_MAX;
			n = take(fds[i], c->payload, whole);
			if (n > 0)
				c->skip -= (uint32_t)n;
		} else {
			if (c->have >= HEADER) {
				if (c->header[2] > PAYLOAD_MAX) {
					drop(i);
					return;
				}
				whole += c->header[2];
			}
			if (c->have == whole && c->have >= HEADER) {
				c->have = 0;
				answer(i, c->header, c->payload);
				if (fds[i] < 0)
					return;
				continue;
			}
			to = c->have >= HEADER ? (void *)(c->payload + (c->have - HEADER)) :
						 (void *)((uint8_t *)c->header + c->have);
			n = take(fds[i], to, whole - c->have);
			if (n > 0)
				c->have += (uint32_t)n;
		}
		if (n == 0)
			return;
		if (n < 0) {
			drop(i);
			return;
		}
	}
}

/* The switch has died: go on where it was. */
static void take_over(uint32_t i)
{
	const struct keep_slot *s = slot_of(i);
	struct connection *c = connections[i];
	uint32_t next[3];
	int unread = 0;

	if (s->state == KEEP_TAKEN)
		answer(i, s->header, s->payload);
	if (fds[i] < 0 || s->state != KEEP_READING)
		return;
	if (s->have == 0 && recv(fds[i], next, HEADER, MSG_PEEK | MSG_DONTWAIT) == (ssize_t)HEADER &&
	    memcmp(next, s->header, HEADER) == 0)
		return; /* it was not taken */
	if (s->have && s->have < HEADER) {
		memcpy(c->header, s->header, HEADER);
		c->have = s->have;
		return;
	}
	/* Its header was taken. Its payload is there as a whole, or was taken as well; who waits for an answer has sent nothing more. */
	(void)ioctl(fds[i], FIONREAD, &unread);
	if (unread >= (int)s->header[2] && s->header[2] <= PAYLOAD_MAX)
		c->skip = s->header[2];
	serve(i);
	if (fds[i] >= 0)
		answer(i, s->header, s->payload);
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
	if (m.order != KEEP_ADD || !c || c->cmsg_type != SCM_RIGHTS)
		return 1;
	memcpy(&fds[m.slot], CMSG_DATA(c), sizeof(int));
	count++;
	connections[m.slot] = calloc(1, sizeof(struct connection));
	if (!connections[m.slot])
		drop(m.slot);
	return 1;
}

static void keep_on(void)
{
	struct pollfd *polled = calloc(KEEP_SLOTS, sizeof(*polled));
	uint32_t *slots = calloc(KEEP_SLOTS, sizeof(*slots));

	for (uint32_t i = 0; i < KEEP_SLOTS; i++)
		if (fds[i] >= 0)
			take_over(i);
	while (count && polled && slots) {
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
