/* SPDX-License-Identifier: MIT */
#include "event_queue.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "foreign.h"

static uint32_t padded(uint32_t bytes)
{
	return (bytes + 7u) & ~7u;
}

int event_queue_init(struct event_queue *q, uint32_t limit)
{
	memset(q, 0, sizeof(*q));
	q->bytes = malloc(limit);
	if (!q->bytes)
		return -ENOMEM;
	q->capacity = q->limit = limit;
	return 0;
}

/* Events that nobody will take may carry descriptors. */
static void close_descriptors(const struct event_queue *q)
{
	struct csvn_event_message m;
	struct csvn_event_header h;

	for (uint32_t at = 0; at < q->used; at += padded(h.length)) {
		memcpy(&h, q->bytes + at, sizeof(h));
		if (h.kind != CSVN_EVENT_MESSAGE && h.kind != CSVN_EVENT_BACKEND_MESSAGE)
			continue;
		memcpy(&m, q->bytes + at + sizeof(h), sizeof(m));
		for (uint32_t i = 0; i < m.descriptors; i++)
			foreign_close(m.fds[i]);
	}
}

void event_queue_free(struct event_queue *q)
{
	close_descriptors(q);
	free(q->bytes);
	memset(q, 0, sizeof(*q));
}

bool event_queue_has_room(const struct event_queue *q, uint32_t bytes)
{
	return q->used <= q->limit && q->limit - q->used >= padded(bytes + (uint32_t)sizeof(struct csvn_event_header));
}

int event_queue_put(struct event_queue *q, enum csvn_event_kind kind, int handle, uint32_t aux, struct event_part a,
		    struct event_part b)
{
	struct csvn_event_header h = { .kind = kind, .handle = handle, .aux = aux };
	uint8_t *at;

	h.length = (uint32_t)sizeof(h) + a.count + b.count;
	if (q->capacity - q->used < padded(h.length)) {
		uint32_t capacity = q->capacity + q->capacity / 2 + padded(h.length);
		uint8_t *bytes = realloc(q->bytes, capacity);

		if (!bytes)
			return -ENOMEM;
		q->bytes = bytes;
		q->capacity = capacity;
	}
	/* SAFETY: padded(h.length) bytes are free behind used, see above. */
	at = q->bytes + q->used;
	memset(at + padded(h.length) - 8, 0, 8);
	memcpy(at, &h, sizeof(h));
	if (a.count)
		memcpy(at + sizeof(h), a.bytes, a.count);
	if (b.count)
		memcpy(at + sizeof(h) + a.count, b.bytes, b.count);
	q->used += padded(h.length);
	return 0;
}

uint32_t event_queue_take(struct event_queue *q, uint8_t *buffer, uint32_t bytes, uint64_t *events)
{
	uint32_t taken = 0;

	while (taken < q->used) {
		struct csvn_event_header h;

		memcpy(&h, q->bytes + taken, sizeof(h));
		if (bytes - taken < padded(h.length))
			break;
		taken += padded(h.length);
		++*events;
	}
	if (taken)
		memcpy(buffer, q->bytes, taken);
	q->used -= taken;
	if (q->used)
		memmove(q->bytes, q->bytes + taken, q->used);
	return taken;
}
