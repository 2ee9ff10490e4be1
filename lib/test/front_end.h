/* SPDX-License-Identifier: MIT */
/* What a front-end does with a socket. */
#ifndef CSVN_TEST_FRONT_END_H
#define CSVN_TEST_FRONT_END_H

#include <sys/socket.h>

#include "check.h"

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

#endif
