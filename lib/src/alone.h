/* SPDX-License-Identifier: MIT */
/*
 * What a port answers its front-end once the brain is gone.
 *
 * QEMU does not survive that the back-end of a vhost-user-test-device goes away: it aborts at once where the device is not
 * started, and later, when it is reset and started again, or its configuration is read. So a port outlives the brain: it answers what vhost-user wants
 * answered as the brain has answered it before, and acknowledges everything else. QEMU and the guest live on, can reboot and shut down,
 * without a network.
 *
 * For that it notes which requests want an answer and have none yet, and what some were answered.
 */
#ifndef CSVN_ALONE_H
#define CSVN_ALONE_H

#include <stdbool.h>
#include <stdint.h>

#include "stream.h"

#define ALONE_ASKED 2048u /* requests without an answer; the brain lets a front-end have fewer */
#define ALONE_REPLY_MAX (STREAM_HEADER + CSVN_MESSAGE_MAX)

/* The requests whose answers are noted. */
enum alone_reply { ALONE_FEATURES, ALONE_PROTOCOL_FEATURES, ALONE_QUEUES, ALONE_CONFIG, ALONE_WINDOW, ALONE_REPLIES };

struct alone_request {
	uint32_t header[3];
	uint32_t first; /* word of its payload */
};

struct alone {
	bool acknowledges; /* REPLY_ACK was negotiated */
	uint32_t asked_first, asked_count;
	struct alone_request asked[ALONE_ASKED];
	struct {
		uint8_t *bytes; /* NULL: not known */
		uint32_t count;
	} replies[ALONE_REPLIES];
};

void alone_free(struct alone *a);
/* A message was read as a whole. -ENOBUFS: its front-end does not wait for answers. */
int alone_asked(struct alone *a, const struct stream *s);
/* The brain has answered the first of those that were asked. */
void alone_answered(struct alone *a, const uint8_t *bytes, uint32_t count);
/* Make the answer to the first of them in the brain's place: its bytes, or 0 when there is none. reply: ALONE_REPLY_MAX. */
uint32_t alone_answer(struct alone *a, uint8_t *reply);

#endif
