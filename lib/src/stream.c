/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "stream.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "foreign.h"

/* Of one message, by the kernel. Those that are not received are closed all the same, and by this thread. */
#define DESCRIPTORS_MAX 253

void stream_init(struct stream *s, int fd, struct interrupter *i)
{
	s->fd = fd;
	s->interrupter = i;
	s->have = 0;
	s->descriptors = 0;
}

void stream_close(struct stream *s)
{
	for (uint32_t i = 0; i < s->descriptors; i++)
		foreign_close(s->interrupter, s->fds[i]);
	if (s->fd >= 0)
		foreign_close(s->interrupter, s->fd);
	stream_init(s, -1, s->interrupter);
}

/* Keep the descriptors that fit and that are of a kind that is of use, up to the first that is not; close the others. */
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
			if (rc == 0 && s->descriptors == CSVN_MESSAGE_FDS)
				rc = -E2BIG;
			else if (rc == 0 && foreign_kind(s->interrupter, fd) == FOREIGN_OTHER)
				rc = -EBADF;
			if (rc < 0)
				foreign_close(s->interrupter, fd);
			else
				s->fds[s->descriptors++] = fd;
		}
	}
	return rc;
}

int stream_read(struct stream *s)
{
	for (;;) {
		union {
			struct cmsghdr align;
			char bytes[CMSG_SPACE(sizeof(int) * DESCRIPTORS_MAX)];
		} control;
		uint32_t whole = STREAM_HEADER;
		struct iovec iov;
		struct msghdr msg = { .msg_iov = &iov,
				      .msg_iovlen = 1,
				      .msg_control = &control,
				      .msg_controllen = sizeof(control) };
		ssize_t n;
		int rc;

		if (s->have >= STREAM_HEADER) {
			if (s->header[2] > CSVN_MESSAGE_MAX)
				return -EMSGSIZE;
			whole += s->header[2];
			if (s->have == whole)
				return 1;
		}
		/* SAFETY: have < whole, which is at most the header and sizeof(payload). */
		iov.iov_base = s->have < STREAM_HEADER ? (uint8_t *)s->header + s->have :
							 s->payload + (s->have - STREAM_HEADER);
		iov.iov_len = whole - s->have;
		n = recvmsg(s->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? 0 : -errno;
		rc = keep_descriptors(s, &msg);
		if (rc < 0)
			return rc;
		if (n == 0)
			return -EPIPE;
		s->have += (uint32_t)n;
	}
}

void stream_next(struct stream *s)
{
	s->have = 0;
	s->descriptors = 0;
}

int stream_send(const struct stream *s, const uint8_t *bytes, uint32_t count, int fd)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct iovec iov = { .iov_base = (uint8_t *)(uintptr_t)bytes, .iov_len = count };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;

	if (fd >= 0) {
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control);
		control.align.cmsg_level = SOL_SOCKET;
		control.align.cmsg_type = SCM_RIGHTS;
		control.align.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.align), &fd, sizeof(fd));
	}
	do {
		n = sendmsg(s->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	/* A part of a message cannot be taken back: the far end has stopped reading. */
	return n == (ssize_t)count ? 0 : -EAGAIN;
}
