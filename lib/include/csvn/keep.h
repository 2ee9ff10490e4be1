/* SPDX-License-Identifier: MIT */
/*
 * What the switch and its stand-in (lib/standin) have in common: a table in shared memory with a slot for each front-end's connection, and a socket
 * on which the stand-in is given the connections.
 *
 * A slot is written by the switch alone, and read by the stand-in when the switch is gone: what was going on with the front-end, and what it
 * was told before.
 */
#ifndef CSVN_KEEP_H
#define CSVN_KEEP_H

#include <stdint.h>

#define KEEP_SLOTS 4096u /* as many as there may be sessions */
#define KEEP_SLOT_BYTES 4096u

/* Descriptors that the stand-in is started with. */
#define KEEP_TABLE_FD 3
#define KEEP_SOCKET_FD 4

/* The requests whose answers the stand-in must know. */
enum keep_reply { KEEP_FEATURES, KEEP_PROTOCOL_FEATURES, KEEP_QUEUES, KEEP_CONFIG, KEEP_WINDOW, KEEP_REPLIES };

enum keep_state {
	KEEP_IDLE = 0, /* between messages, or the last one was answered */
	KEEP_READING = 1, /* a message is at the socket's front, or half taken off it */
	KEEP_TAKEN = 2, /* a message was taken off the socket, and not answered if it wants to be */
};

struct keep_slot {
	uint32_t state;
	uint32_t have; /* READING: bytes of it that were taken off the socket, as far as is known */
	uint32_t header[3]; /* of the message: request, flags, payload size */
	uint8_t payload[16]; /* of a message that was taken: its beginning */
	struct {
		uint32_t size; /* 0: not known */
		uint32_t offset; /* in replies[] */
	} reply[KEEP_REPLIES];
	uint8_t replies[3072];
};

_Static_assert(sizeof(struct keep_slot) <= KEEP_SLOT_BYTES, "keep_slot size");

/* A message to the stand-in; ADD brings the connection's descriptor along. */
enum keep_order { KEEP_ADD = 1, KEEP_DROP = 2 };

struct keep_message {
	uint32_t order;
	uint32_t slot;
};

/* Requests of vhost-user. */
enum keep_request {
	KEEP_GET_FEATURES = 1,
	KEEP_GET_VRING_BASE = 11,
	KEEP_GET_PROTOCOL_FEATURES = 15,
	KEEP_GET_QUEUE_NUM = 17,
	KEEP_GET_CONFIG = 24,
	KEEP_GET_SHMEM_CONFIG = 44,
};

#define KEEP_FLAGS_REPLY 0x5u /* version 1, an answer */
#define KEEP_NEED_REPLY 0x8u

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

static inline int keep_wants_reply(const uint32_t header[3])
{
	return keep_reply_of(header[0]) >= 0 || header[0] == KEEP_GET_VRING_BASE || header[1] & KEEP_NEED_REPLY;
}

#endif
