/* SPDX-License-Identifier: MIT */
#include "alone.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Requests of vhost-user. */
enum request {
	GET_FEATURES = 1,
	GET_VRING_BASE = 11,
	GET_PROTOCOL_FEATURES = 15,
	SET_PROTOCOL_FEATURES = 16,
	GET_QUEUE_NUM = 17,
	GET_CONFIG = 24,
	GET_SHMEM_CONFIG = 44,
};

#define FLAGS_REPLY 0x5u /* version 1, an answer */
#define NEED_REPLY 0x8u
#define REPLY_ACK 0x8u /* of the protocol's features */
#define ACKNOWLEDGEMENT 8u /* bytes */

/* Which noted answer a request wants; -1: none of them. */
static int reply_of(uint32_t request)
{
	switch (request) {
	case GET_FEATURES:
		return ALONE_FEATURES;
	case GET_PROTOCOL_FEATURES:
		return ALONE_PROTOCOL_FEATURES;
	case GET_QUEUE_NUM:
		return ALONE_QUEUES;
	case GET_CONFIG:
		return ALONE_CONFIG;
	case GET_SHMEM_CONFIG:
		return ALONE_WINDOW;
	default:
		return -1;
	}
}

void alone_free(struct alone *a)
{
	for (int i = 0; i < ALONE_REPLIES; i++)
		free(a->replies[i].bytes);
	memset(a, 0, sizeof(*a));
}

/* As of now: a message may change it before it is answered itself. */
static bool wants_reply(struct alone *a, const struct stream *s)
{
	uint32_t features;

	if (s->header[0] == SET_PROTOCOL_FEATURES && s->header[2] >= sizeof(features)) {
		memcpy(&features, s->payload, sizeof(features));
		a->acknowledges = (features & REPLY_ACK) != 0;
	}
	return reply_of(s->header[0]) >= 0 || s->header[0] == GET_VRING_BASE ||
	       (s->header[1] & NEED_REPLY && a->acknowledges);
}

int alone_asked(struct alone *a, const struct stream *s)
{
	struct alone_request *r;

	if (!wants_reply(a, s))
		return 0;
	if (a->asked_count == ALONE_ASKED)
		return -ENOBUFS;
	r = &a->asked[(a->asked_first + a->asked_count++) % ALONE_ASKED];
	memcpy(r->header, s->header, sizeof(r->header));
	r->first = 0;
	if (s->header[2] >= sizeof(r->first))
		memcpy(&r->first, s->payload, sizeof(r->first));
	return 0;
}

static struct alone_request *next(struct alone *a)
{
	struct alone_request *r = a->asked_count ? &a->asked[a->asked_first] : NULL;

	if (r) {
		a->asked_first = (a->asked_first + 1) % ALONE_ASKED;
		a->asked_count--;
	}
	return r;
}

void alone_answered(struct alone *a, const uint8_t *bytes, uint32_t count)
{
	const struct alone_request *r = next(a);
	int known = r ? reply_of(r->header[0]) : -1;
	uint8_t *noted;

	if (known < 0 || count < STREAM_HEADER || count > ALONE_REPLY_MAX)
		return;
	noted = realloc(a->replies[known].bytes, count);
	if (!noted)
		return; /* what was answered before is as good */
	memcpy(noted, bytes, count);
	a->replies[known].bytes = noted;
	a->replies[known].count = count;
}

uint32_t alone_answer(struct alone *a, uint8_t *reply)
{
	const struct alone_request *r = next(a);
	uint32_t header[3], known;

	if (!r)
		return 0;
	memset(reply, 0, ALONE_REPLY_MAX);
	header[0] = r->header[0];
	header[1] = FLAGS_REPLY;
	header[2] = ACKNOWLEDGEMENT;
	known = (uint32_t)reply_of(r->header[0]);
	if (known < ALONE_REPLIES && a->replies[known].bytes) {
		memcpy(reply, a->replies[known].bytes, a->replies[known].count);
		return a->replies[known].count;
	}
	/* Never asked before: as long as it is wanted, and empty. */
	if (known == ALONE_CONFIG)
		header[2] = r->header[2] <= CSVN_MESSAGE_MAX ? r->header[2] : 0;
	/* The queue; from the beginning. */
	if (r->header[0] == GET_VRING_BASE)
		memcpy(reply + STREAM_HEADER, &r->first, sizeof(r->first));
	memcpy(reply, header, STREAM_HEADER);
	return STREAM_HEADER + header[2];
}
