/* SPDX-License-Identifier: MIT */
/*
 * What the switch and its stand-in (lib/standin) have in common: a table in shared memory with a slot for each front-end's connection, and a socket
 * on which the stand-in is given the connections.
 *
 * Theory of operation. A slot is written by the switch alone, and read by the stand-in when the switch is gone, which may be between any two
 * instructions, and most likely is at the end of a system call, where signals are delivered. What was taken off a connection, and what was sent on it, must
 * be in the table by then. So it is the kernel that writes it there, within the call: a message's first bytes are received into the table, and the number of bytes that
 * the call has moved is a word of the table too (msg_len of recvmmsg() and sendmmsg()). Nobody is killed within a call. What the switch makes of that afterwards
 * counts from one store on: before it, the stand-in finds the same out by itself.
 *
 *   reading     the bytes of the message that is being read: `before` of the current call and what that call has taken. Each call has the entry that the one
 *               before it has not; the state says which is current.
 *   passed      a message that was read as a whole is over when the state says that the other entry is current, which begins the next one. If it wants an answer it
 *               is one of asked[] by then, and by the same store there is one more of those.
 *   answered    asked[] up to here were answered, and one more when the kernel has sent the answer that is noted.
 *
 * Equal messages in a row are no riddle then, nor is what came with them as descriptors: those are gone with the switch, or still in the socket.
 */
#ifndef CSVN_KEEP_H
#define CSVN_KEEP_H

#ifndef _GNU_SOURCE
#error "struct mmsghdr needs _GNU_SOURCE"
#endif
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#define KEEP_SLOTS 4096u /* as many as there may be sessions */
#define KEEP_SLOT_BYTES 8192u

/* Descriptors that the stand-in is started with. */
#define KEEP_TABLE_FD 3
#define KEEP_SOCKET_FD 4

/* The requests whose answers the stand-in must know. */
enum keep_reply { KEEP_FEATURES, KEEP_PROTOCOL_FEATURES, KEEP_QUEUES, KEEP_CONFIG, KEEP_WINDOW, KEEP_REPLIES };

#define KEEP_HEADER 12u /* bytes of a message's header: request, flags, payload size */
#define KEEP_FRONT 28u /* bytes of a message that are in the table: the header, and its payload's beginning */
#define KEEP_ASKED 256u /* requests without an answer: as many as one session may have events, queued and taken */

/* A call that moves bytes. */
struct keep_call {
	uint32_t before; /* reading: bytes of the message that were taken earlier; answering: which of asked[] */
	uint32_t reserved;
	struct mmsghdr moved; /* msg_len: what it has moved, stored by the kernel. The pointers are the switch's. */
};

/* Of the connection's reading end. */
struct keep_reading {
	uint32_t state; /* how many were asked, times 2, and which of calls[] is current */
	uint8_t front[KEEP_FRONT];
	struct keep_call calls[2];
};

struct keep_request {
	uint32_t header[3];
	uint32_t first; /* word of its payload */
};

struct keep_slot {
	uint32_t generation; /* of the connection that this is about: the stand-in lets go of any other. 0: of none */
	uint32_t acknowledges; /* REPLY_ACK was negotiated */
	struct keep_reading reading;
	uint32_t answered; /* of those that were asked */
	uint32_t answer_bytes; /* of the answer */
	struct keep_call answer;
	struct keep_request asked[KEEP_ASKED];
	struct {
		uint32_t size; /* 0: not known */
		uint32_t offset; /* in replies[] */
	} reply[KEEP_REPLIES];
	uint8_t replies[3072];
};

_Static_assert(sizeof(struct keep_slot) <= KEEP_SLOT_BYTES, "keep_slot size");

/* Numbers of requests are counted to 2^31, and over. */
#define KEEP_NUMBERS 0x7fffffffu

static inline uint32_t keep_asked(const struct keep_reading *r)
{
	return __atomic_load_n(&r->state, __ATOMIC_RELAXED) >> 1;
}

static inline const struct keep_call *keep_current(const struct keep_reading *r)
{
	return &r->calls[__atomic_load_n(&r->state, __ATOMIC_RELAXED) & 1];
}

/* A message to the stand-in; ADD brings the connection's descriptor along. */
enum keep_order { KEEP_ADD = 1, KEEP_DROP = 2 };

struct keep_message {
	uint32_t order;
	uint32_t slot;
	uint32_t generation;
};

/* Requests of vhost-user. */
enum keep_request_id {
	KEEP_GET_FEATURES = 1,
	KEEP_GET_VRING_BASE = 11,
	KEEP_GET_PROTOCOL_FEATURES = 15,
	KEEP_SET_PROTOCOL_FEATURES = 16,
	KEEP_GET_QUEUE_NUM = 17,
	KEEP_GET_CONFIG = 24,
	KEEP_GET_SHMEM_CONFIG = 44,
};

#define KEEP_FLAGS_REPLY 0x5u /* version 1, an answer */
#define KEEP_NEED_REPLY 0x8u
#define KEEP_REPLY_ACK 0x8u /* of the protocol's features */

/* Which known answer a request wants; -1: none of them. */
static inline int keep_reply_of(uint32_t request)
{
	switch (request) {
	case KEEP_GET_FEATURES:
		return KEEP_FEATURES;
	case KEEP_GET_PROTOCOL_FEATURES:
		return KEEP_PROTOCOL_FEATURES;
	case KEEP_GET_QUEUE_NUM:
		return KEEP_QUEUES;
	case KEEP_GET_CONFIG:
		return KEEP_CONFIG;
	case KEEP_GET_SHMEM_CONFIG:
		return KEEP_WINDOW;
	default:
		return -1;
	}
}

/* acknowledges: as of now; a message may change it before it is answered itself. */
static inline bool keep_wants_reply(const uint32_t header[3], const uint8_t *payload, uint32_t *acknowledges)
{
	uint32_t features;

	if (header[0] == KEEP_SET_PROTOCOL_FEATURES && header[2] >= sizeof(features)) {
		memcpy(&features, payload, sizeof(features));
		*acknowledges = (features & KEEP_REPLY_ACK) != 0;
	}
	return keep_reply_of(header[0]) >= 0 || header[0] == KEEP_GET_VRING_BASE ||
	       (header[1] & KEEP_NEED_REPLY && *acknowledges);
}

#endif
