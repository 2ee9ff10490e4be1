/* SPDX-License-Identifier: MIT */
/*
 * Events that must come, for which there was no room in the queue to the brain: the ends and faults of objects. Each object has but a few of them,
 * so that this is bounded by what the brain has let there be.
 */
#ifndef CSVN_BACKLOG_H
#define CSVN_BACKLOG_H

#include <stdbool.h>
#include <stdint.h>

#include "queue.h"

struct backlog {
	uint8_t *bytes; /* whole records, each at a multiple of 8 */
	uint32_t used, capacity;
};

void backlog_free(struct backlog *b);
static inline bool backlog_is_empty(const struct backlog *b)
{
	return b->used == 0;
}
/* Append a record of these parts, behind a length as queue_put() has it. Without memory for a few bytes there is nothing left to say it with: the process ends. */
void backlog_put(struct backlog *b, const struct queue_part *parts, uint32_t count);
/* Move as many records as there is room for. -EPROTO as queue_put(). */
int backlog_flush(struct backlog *b, struct queue *to);

#endif
