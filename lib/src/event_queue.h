/* SPDX-License-Identifier: MIT */
/* The one bounded queue of events from the data plane to TypeScript. Guarded by the plane's lock. */
#ifndef CSVN_EVENT_QUEUE_H
#define CSVN_EVENT_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

#include "csvn/abi.h"

struct event_queue {
	uint8_t *bytes;
	uint32_t used;
	uint32_t capacity; /* of bytes */
	uint32_t limit; /* for ordinary events */
};

struct event_part {
	const void *bytes;
	uint32_t count;
};

int event_queue_init(struct event_queue *q, uint32_t limit);
void event_queue_free(struct event_queue *q);
bool event_queue_has_room(const struct event_queue *q, uint32_t bytes);
/*
 * Append an event of a header and up to two parts. Ordinary events were asked room for; the ends and faults of objects
 * may go beyond the limit, since each object has but a few. Only -ENOMEM.
 */
int event_queue_put(struct event_queue *q, enum csvn_event_kind kind, int handle, uint32_t aux, struct event_part a,
		    struct event_part b);
/* Move as many whole events as fit to buffer; the bytes moved. */
uint32_t event_queue_take(struct event_queue *q, uint8_t *buffer, uint32_t bytes, uint64_t *events);

#endif
