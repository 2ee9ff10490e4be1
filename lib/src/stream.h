/* SPDX-License-Identifier: MIT */
/*
 * vhost-user messages on a unix stream socket: a header of 12 bytes (request, flags, payload size), the payload, and descriptors
 * that came with any of its bytes: of memory, eventfds and unix stream sockets, which are all that front-ends have reason to send (foreign.h). Used
 * for a front-end's connection and for its back-end channel alike. Never blocks.
 */
#ifndef CSVN_STREAM_H
#define CSVN_STREAM_H

#include <stdbool.h>
#include <stdint.h>

#include "csvn/abi.h"

#define STREAM_HEADER 12u

struct interrupter;

struct stream {
	int fd; /* -1: none */
	struct interrupter *interrupter;
	uint32_t have; /* bytes of the message that is being read */
	uint32_t descriptors;
	int fds[CSVN_MESSAGE_FDS];
	uint32_t header[3];
	uint8_t payload[CSVN_MESSAGE_MAX];
};

/* i: by which foreign descriptors are told (foreign.h); it stays. */
void stream_init(struct stream *s, int fd, struct interrupter *i);
/* Close it, and the descriptors of a message that was not completed. */
void stream_close(struct stream *s);
/*
 * Read on: 1 when a whole message is there (take it, then stream_next()), 0 when more must come, -ECONNRESET and the like,
 * -EPIPE at the end of file, -EMSGSIZE for a payload over the limit, -E2BIG for too many descriptors, -EBADF for one of another kind.
 */
int stream_read(struct stream *s);
/* The message was taken, with its descriptors. */
void stream_next(struct stream *s);
/* Send it as a whole, with fd if that is >= 0. -EAGAIN: the far end does not read. */
int stream_send(const struct stream *s, const uint8_t *bytes, uint32_t count, int fd);

#endif
