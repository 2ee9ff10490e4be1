/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "stream.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "foreign.h"

/* Of one message, by the kernel. Those that are not received are closed all the same, and by this thread. */
#define DESCRIPTORS_MAX 253

void stream_init(struct stream *s, int fd)
{
	s->fd = fd;
	s->have = 0;
	s->descriptors = 0;
	memset(&s->own, 0, sizeof(s->own));
	s->reading = &s->own;
}

void stream_close(struct stream *s)
{
	for (uint32_t i = 0; i < s->descriptors; i++)
		foreign_close(s->fds[i]);
	if (s->fd >= 0)
		foreign_close(s->fd);
	stream_init(s, -1);
}

/* Keep the descriptors that fit and that are of a kind that is of use, close the others. */
static int keep_descriptors(struct stream *s, struct msghdr *msg)
{
	int rc = msg->msg_flags & MSG_CTRUNC ? -E2BIG : 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		size_t count;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			if (s->descriptors == CSVN_MESSAGE_FDS)
				rc = -E2BIG;
			else if (foreign_kind(fd) == FOREIGN_OTHER)
				rc = -EBADF;
			else
				s->fds[s->descriptors++] = fd;
			if (rc < 0)
				foreign_close(fd);
		}
	}
	return rc;
}

/* From the next call on, so many bytes of a message were taken before it. */
static void begin_call(struct stream *s, uint32_t before, bool asks)
{
	struct keep_reading *r = s->reading;
	uint32_t next = ~r->state & 1;

	r->calls[next].before = before;
	r->calls[next].moved.msg_len = 0;
	__atomic_store_n(&r->state, ((r->state >> 1) + asks) << 1 | next, __ATOMIC_RELEASE);
}

/* Where bytes of a message are received that have not come: its front as the kernel notes it, and the rest of its payload. */
static size_t pieces(struct stream *s, uint32_t whole, struct iovec iov[2])
{
	uint32_t front = whole < KEEP_FRONT ? whole : KEEP_FRONT;
	uint32_t from = s->have < front ? front : s->have;
	size_t n = 0;

	/* SAFETY: have < whole <= 12 + sizeof(payload); the first ends at front <= KEEP_FRONT, the second at whole. */
	if (s->have < front)
		iov[n++] = (struct iovec){ s->reading->front + s->have, front - s->have };
	if (from < whole)
		iov[n++] = (struct iovec){ s->payload + (from - STREAM_HEADER), whole - from };
	return n;
}

static void copy_front(struct stream *s)
{
	uint32_t front = s->have < KEEP_FRONT ? s->have : KEEP_FRONT;

	if (front < STREAM_HEADER)
		return;
	memcpy(s->header, s->reading->front, STREAM_HEADER);
	memcpy(s->payload, s->reading->front + STREAM_HEADER, front - STREAM_HEADER);
}

int stream_read(struct stream *s)
{
	for (;;) {
		union {
			struct cmsghdr align;
			char bytes[CMSG_SPACE(sizeof(int) * DESCRIPTORS_MAX)];
		} control;
		uint32_t whole = STREAM_HEADER;
		struct mmsghdr *moved;
		struct iovec iov[2];
		int rc;

		if (s->have >= STREAM_HEADER) {
			if (s->header[2] > CSVN_MESSAGE_MAX)
				return -EMSGSIZE;
			whole += s->header[2];
			if (s->have == whole)
				return 1;
		}
		if (keep_current(s->reading)->moved.msg_len)
			begin_call(s, s->have, false);
		moved = &s->reading->calls[s->reading->state & 1].moved;
		moved->msg_hdr = (struct msghdr){ .msg_iov = iov,
						  .msg_iovlen = pieces(s, whole, iov),
						  .msg_control = &control,
						  .msg_controllen = sizeof(control) };
		rc = recvmmsg(s->fd, moved, 1, MSG_DONTWAIT | MSG_CMSG_CLOEXEC, NULL);
		if (rc < 0 && errno == EINTR)
			continue;
		if (rc < 0)
			return errno == EAGAIN ? 0 : -errno;
		rc = keep_descriptors(s, &moved->msg_hdr);
		if (rc < 0)
			return rc;
		if (moved->msg_len == 0)
			return -EPIPE;
		s->have += moved->msg_len;
		copy_front(s);
	}
}

void stream_next(struct stream *s, bool asks)
{
	s->have = 0;
	s->descriptors = 0;
	begin_call(s, 0, asks);
}

int stream_send(const struct stream *s, const uint8_t *bytes, uint32_t count, int fd, struct mmsghdr *noted)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct iovec iov = { .iov_base = (uint8_t *)(uintptr_t)bytes, .iov_len = count };
	struct mmsghdr own = { .msg_len = 0 }, *moved = noted ? noted : &own;
	int rc;

	moved->msg_hdr = (struct msghdr){ .msg_iov = &iov, .msg_iovlen = 1 };
	if (fd >= 0) {
		struct cmsghdr *c;

		moved->msg_hdr.msg_control = &control;
		moved->msg_hdr.msg_controllen = sizeof(control);
		c = CMSG_FIRSTHDR(&moved->msg_hdr);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	}
	do {
		rc = sendmmsg(s->fd, moved, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
	} while (rc < 0 && errno == EINTR);
	if (rc < 0)
		return -errno;
	/* A part of a message cannot be taken back: the far end has stopped reading. */
	return moved->msg_len == count ? 0 : -EAGAIN;
}
