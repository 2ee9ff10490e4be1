/* SPDX-License-Identifier: MIT */
#include "queue.h"

#include <errno.h>
#include <string.h>

int queue_init(struct queue *q, void *memory, uint32_t size, bool producer)
{
	if (size < QUEUE_SIZE_MIN || size > QUEUE_SIZE_MAX || size & (size - 1) || (uintptr_t)memory % 64)
		return -EINVAL;
	*q = (struct queue){ .shared = memory,
			     .ring = (uint8_t *)memory + sizeof(struct queue_shared),
			     .size = size,
			     .producer = producer };
	return 0;
}

/* Bytes that are in the ring, after the other side's cursor was loaded, or -EPROTO: it moved back, or beyond what it may have done. */
static int refresh(struct queue *q)
{
	uint32_t *cursor = q->producer ? &q->shared->consumed : &q->shared->produced;
	uint32_t other = __atomic_load_n(cursor, __ATOMIC_ACQUIRE); /* pairs with publish() of the other side */
	uint32_t used = q->producer ? q->own - q->other : q->other - q->own;
	uint32_t now = q->producer ? q->own - other : other - q->own;

	/* Seen from the last time, the consumer only makes it less, the producer only more. */
	if (now > q->size || now % QUEUE_ALIGN || (q->producer ? now > used : now < used))
		return -EPROTO;
	q->other = other;
	return (int)now; /* at most QUEUE_SIZE_MAX */
}

/* What was copied into the ring, or out of it, up to the own cursor is the other side's. */
static void publish(struct queue *q)
{
	uint32_t *cursor = q->producer ? &q->shared->produced : &q->shared->consumed;

	__atomic_store_n(cursor, q->own, __ATOMIC_RELEASE); /* pairs with refresh() */
}

/* How many of the bytes at a cursor are before the ring's end. */
static uint32_t before_end(const struct queue *q, uint32_t at, uint32_t count)
{
	uint32_t left = q->size - (at & (q->size - 1));

	return count < left ? count : left;
}

static void copy_in(struct queue *q, uint32_t at, const void *bytes, uint32_t count)
{
	uint32_t first = before_end(q, at, count);

	if (!count)
		return;
	/* SAFETY: count <= size; the first piece ends at the ring's end at most, the second, size - 1 bytes at most, begins at its beginning. */
	memcpy(q->ring + (at & (q->size - 1)), bytes, first);
	memcpy(q->ring, (const uint8_t *)bytes + first, count - first);
}

static void copy_out(const struct queue *q, uint32_t at, uint8_t *bytes, uint32_t count)
{
	uint32_t first = before_end(q, at, count);

	/* SAFETY: as copy_in(). The producer may write there meanwhile: that spoils the copy, and nothing else. */
	memcpy(bytes, q->ring + (at & (q->size - 1)), first);
	memcpy(bytes + first, q->ring, count - first);
}

/* Of the record at the own cursor. It is aligned, so that it is loaded whole; and it is loaded once, the next time it may be another. */
static uint32_t load_length(const struct queue *q)
{
	/* SAFETY: own is a multiple of QUEUE_ALIGN, which divides size. */
	return __atomic_load_n((const uint32_t *)(const void *)(q->ring + (q->own & (q->size - 1))), __ATOMIC_RELAXED);
}

int queue_put(struct queue *q, const struct queue_part *parts, uint32_t count)
{
	uint64_t bytes = 0;
	uint32_t length, at;

	for (uint32_t i = 0; i < count; i++)
		bytes += parts[i].count;
	if (QUEUE_HEADER + bytes > q->size / 2)
		return -EMSGSIZE;
	length = QUEUE_HEADER + (uint32_t)bytes;
	if (q->size - (q->own - q->other) < queue_record((uint32_t)bytes)) {
		int used = refresh(q);

		if (used < 0)
			return used;
		if (q->size - (uint32_t)used < queue_record((uint32_t)bytes))
			return -EAGAIN;
	}
	copy_in(q, q->own, &length, QUEUE_HEADER);
	at = q->own + QUEUE_HEADER;
	for (uint32_t i = 0; i < count; i++) {
		copy_in(q, at, parts[i].bytes, parts[i].count);
		at += parts[i].count;
	}
	q->own += queue_record((uint32_t)bytes);
	publish(q);
	return 0;
}

uint32_t queue_room(struct queue *q)
{
	int used = refresh(q);

	return used < 0 ? 0 : q->size - (uint32_t)used;
}

bool queue_rings(struct queue *q)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST); /* pairs with the fence of queue_sleep() */
	if (!__atomic_load_n(&q->shared->asleep, __ATOMIC_RELAXED))
		return false;
	/*
	 * It may have woken by itself by now, and sleep again, and is then not said to sleep: but we ring after this, and that
	 * wakes it once more.
	 */
	__atomic_store_n(&q->shared->asleep, 0, __ATOMIC_RELAXED);
	return true;
}

/*
 * Copy out the record at the own cursor, of which `used` bytes are in the ring, and go on behind it. Its length, or -EPROTO, or -EMSGSIZE when
 * buffer is too small for it and its padding.
 */
static int take_one(struct queue *q, uint32_t used, uint8_t *buffer, uint32_t bytes)
{
	uint32_t length = load_length(q);
	uint32_t whole;

	if (length < QUEUE_HEADER || length > q->size / 2)
		return -EPROTO;
	whole = queue_record(length - QUEUE_HEADER);
	if (whole > used)
		return -EPROTO;
	if (whole > bytes)
		return -EMSGSIZE;
	/* SAFETY: QUEUE_HEADER <= length <= whole <= bytes, the buffer's, and the padding begins within the last 8 bytes of whole. */
	memset(buffer + whole - QUEUE_ALIGN, 0, QUEUE_ALIGN);
	memcpy(buffer, &length, QUEUE_HEADER); /* not the ring's, which may be another by now */
	copy_out(q, q->own + QUEUE_HEADER, buffer + QUEUE_HEADER, length - QUEUE_HEADER);
	q->own += whole;
	return (int)length;
}

int queue_take(struct queue *q, uint8_t *buffer, uint32_t bytes)
{
	uint32_t taken = 0;
	int used = refresh(q), rc = 0;

	/* Each turn takes QUEUE_ALIGN bytes at least, and no more are looked for than were there at first. */
	while (used > 0) {
		rc = take_one(q, (uint32_t)used, buffer + taken, bytes - taken);
		if (rc < 0)
			break;
		used -= (int)queue_record((uint32_t)rc - QUEUE_HEADER);
		taken += queue_record((uint32_t)rc - QUEUE_HEADER);
	}
	if (taken)
		publish(q);
	if (used < 0 || rc == -EPROTO)
		return -EPROTO;
	return taken ? (int)taken : rc;
}

int queue_next(struct queue *q, uint8_t *buffer, uint32_t bytes)
{
	uint32_t used = q->other - q->own;
	int rc = (int)used;

	if (!used)
		rc = refresh(q);
	if (rc <= 0)
		return rc;
	rc = take_one(q, (uint32_t)rc, buffer, bytes);
	if (rc > 0)
		publish(q);
	return rc;
}

bool queue_sleep(struct queue *q)
{
	__atomic_store_n(&q->shared->asleep, 1, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_SEQ_CST); /* pairs with the fence of queue_rings() */
	if (__atomic_load_n(&q->shared->produced, __ATOMIC_RELAXED) == q->own)
		return true;
	queue_awake(q);
	return false;
}

void queue_awake(struct queue *q)
{
	__atomic_store_n(&q->shared->asleep, 0, __ATOMIC_RELAXED);
}
