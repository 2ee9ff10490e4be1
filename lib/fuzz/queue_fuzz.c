/* SPDX-License-Identifier: MIT */
/* Both sides of a queue at work, while the fuzzer writes to the memory between: nothing beyond the ring, and no answer that is not in queue.h. */
#include <errno.h>

#include "input.h"
#include "queue.h"

#define SIZE 256u

static const uint8_t bytes_to_put[2 * SIZE];

static void check_sides(const struct queue *producer, const struct queue *consumer)
{
	CHECK(producer->own - producer->other <= SIZE && producer->own % QUEUE_ALIGN == 0);
	CHECK(consumer->other - consumer->own <= SIZE && consumer->own % QUEUE_ALIGN == 0);
}

static void put(struct queue *q, struct input *in)
{
	uint32_t first = input_u16(in) % (SIZE / 2 + 16), second = input_byte(in) % 16;
	struct queue_part parts[] = { { bytes_to_put, first }, { bytes_to_put, second } };
	uint32_t before = q->own;
	int rc = queue_put(q, parts, 2);

	CHECK(rc == 0 || rc == -EAGAIN || rc == -EMSGSIZE || rc == -EPROTO);
	CHECK((rc == -EMSGSIZE) == (QUEUE_HEADER + first + second > SIZE / 2));
	CHECK(q->own - before == (rc ? 0 : queue_record(first + second)));
}

/* Into a buffer that is no longer than it says, so that the sanitizer sees what is beyond. */
static void take(struct queue *q, struct input *in)
{
	uint32_t room = input_u16(in) % (SIZE + 16), before = q->own, at = 0, length;
	uint8_t *buffer = malloc(room ? room : 1);
	int rc;

	CHECK(buffer);
	if (input_byte(in) % 2) {
		rc = queue_next(q, buffer, room);
		CHECK(rc == 0 || rc == -EMSGSIZE || rc == -EPROTO || rc >= (int)QUEUE_HEADER);
		if (rc > 0) {
			memcpy(&length, buffer, sizeof(length));
			CHECK(length == (uint32_t)rc && queue_record(length - QUEUE_HEADER) <= room);
			CHECK(q->own - before == queue_record(length - QUEUE_HEADER));
		}
	} else {
		rc = queue_take(q, buffer, room);
		CHECK(rc == 0 || rc == -EMSGSIZE || rc == -EPROTO || (rc > 0 && (uint32_t)rc <= room));
		for (; rc > 0 && at < (uint32_t)rc; at += queue_record(length - QUEUE_HEADER)) {
			memcpy(&length, buffer + at, sizeof(length));
			CHECK(length >= QUEUE_HEADER && length <= SIZE / 2);
		}
		CHECK(rc <= 0 || (at == (uint32_t)rc && q->own - before == at));
	}
	free(buffer);
}

static void scribble(uint8_t *memory, struct input *in)
{
	uint32_t where = input_u16(in), value = input_u32(in);

	/* The words that matter most are the likeliest. */
	if (where & 0x8000)
		where = (where & 1) * 64 + (where & 2) * 2;
	memcpy(memory + where % (queue_bytes(SIZE) / 4) * 4, &value, sizeof(value));
}

/* A small step of a cursor: the lies that are nearly true. */
static void shift(struct queue_shared *shared, struct input *in)
{
	uint32_t by = (uint32_t)(int8_t)input_byte(in) * 4u;

	if (input_byte(in) % 2)
		shared->produced += by;
	else
		shared->consumed += by;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	struct input in = { bytes, bytes + count };
	uint8_t *memory = aligned_alloc(64, queue_bytes(SIZE));
	struct queue producer, consumer;
	uint32_t start = input_u32(&in) / QUEUE_ALIGN * QUEUE_ALIGN;

	CHECK(memory);
	memset(memory, 0, queue_bytes(SIZE));
	CHECK(queue_init(&producer, memory, SIZE, true) == 0 && queue_init(&consumer, memory, SIZE, false) == 0);
	producer.own = producer.other = consumer.own = consumer.other = start;
	producer.shared->produced = producer.shared->consumed = start;
	while (in.at < in.end) {
		switch (input_byte(&in) % 8) {
		case 0:
		case 1:
			put(&producer, &in);
			break;
		case 2:
		case 3:
			take(&consumer, &in);
			break;
		case 4:
			scribble(memory, &in);
			break;
		case 5:
			shift(producer.shared, &in);
			break;
		case 6:
			CHECK(queue_room(&producer) <= SIZE);
			(void)queue_rings(&producer);
			CHECK(!queue_rings(&producer));
			break;
		case 7:
			if (!queue_sleep(&consumer))
				CHECK(!producer.shared->asleep);
			else
				CHECK(producer.shared->produced == consumer.own);
			break;
		}
		check_sides(&producer, &consumer);
	}
	free(memory);
	return 0;
}
