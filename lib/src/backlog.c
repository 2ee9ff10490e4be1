/* SPDX-License-Identifier: MIT */
#include "backlog.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static uint32_t padded(uint32_t bytes)
{
	return (bytes + 7u) & ~7u;
}

void backlog_free(struct backlog *b)
{
	free(b->bytes);
	*b = (struct backlog){ .bytes = NULL };
}

void backlog_put(struct backlog *b, const struct queue_part *parts, uint32_t count)
{
	uint32_t length = QUEUE_HEADER;

	for (uint32_t i = 0; i < count; i++)
		length += parts[i].count;
	if (b->capacity - b->used < padded(length)) {
		uint32_t capacity = b->capacity + b->capacity / 2 + padded(length);
		uint8_t *bytes = realloc(b->bytes, capacity);

		if (!bytes)
			abort();
		b->bytes = bytes;
		b->capacity = capacity;
	}
	/* SAFETY: padded(length) bytes are free behind used, see above. */
	memcpy(b->bytes + b->used, &length, QUEUE_HEADER);
	for (uint32_t i = 0, at = b->used + QUEUE_HEADER; i < count; at += parts[i++].count)
		if (parts[i].count)
			memcpy(b->bytes + at, parts[i].bytes, parts[i].count);
	b->used += padded(length);
}

int backlog_flush(struct backlog *b, struct queue *to)
{
	uint32_t at = 0;
	int rc = 0;

	while (at < b->used) {
		uint32_t length;

		memcpy(&length, b->bytes + at, QUEUE_HEADER);
		rc = queue_put(to, &(struct queue_part){ b->bytes + at + QUEUE_HEADER, length - QUEUE_HEADER }, 1);
		if (rc < 0)
			break;
		at += padded(length);
	}
	if (at) {
		b->used -= at;
		memmove(b->bytes, b->bytes + at, b->used);
	}
	return rc == -EPROTO ? rc : 0;
}
