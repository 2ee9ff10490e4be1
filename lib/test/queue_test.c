/* SPDX-License-Identifier: MIT */
/*
 * The queue between two processes: what is put is taken, whole and in order, wherever the ring wraps; and no lie of the other side yields a byte
 * beyond the ring, or an answer that is not in queue.h. Of sleeping is queue_sleep_test.c.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "queue.h"

#define SIZE 256u

/* A ring with bytes behind it that nobody may touch. */
static struct {
	struct queue_shared shared;
	uint8_t ring[SIZE];
	uint8_t fence[64];
} memory;

/* A child that does not outlive this process, should it fail. */
static pid_t begin_child(void)
{
	pid_t child = fork();

	CHECK(child >= 0);
	if (child == 0)
		CHECK(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0);
	return child;
}

static struct queue producer, consumer;
static uint8_t buffer[2 * SIZE];

/* Both sides of an empty queue whose cursors are at `at`. */
static void begin(uint32_t at)
{
	memset(&memory, 0, sizeof(memory));
	memset(memory.fence, 0x5a, sizeof(memory.fence));
	CHECK(queue_init(&producer, &memory, SIZE, true) == 0 && queue_init(&consumer, &memory, SIZE, false) == 0);
	memory.shared.produced = memory.shared.consumed = at;
	producer.own = producer.other = consumer.own = consumer.other = at;
}

static void check_fence(void)
{
	for (uint32_t i = 0; i < sizeof(memory.fence); i++)
		CHECK(memory.fence[i] == 0x5a);
}

static int put(const void *bytes, uint32_t count)
{
	struct queue_part part = { bytes, count };

	return queue_put(&producer, &part, 1);
}

static uint32_t length_at(const uint8_t *record)
{
	uint32_t length;

	memcpy(&length, record, sizeof(length));
	return length;
}

static void test_honest(void)
{
	struct queue_part parts[] = { { "ab", 2 }, { NULL, 0 }, { "cdefg", 5 } };
	uint8_t bytes[SIZE] = { 1 };

	CHECK(queue_init(&producer, &memory, SIZE - 8, true) == -EINVAL);
	CHECK(queue_init(&producer, &memory, QUEUE_SIZE_MIN / 2, true) == -EINVAL);
	CHECK(queue_init(&producer, &memory, QUEUE_SIZE_MAX * 2, true) == -EINVAL);
	CHECK(queue_init(&producer, memory.ring + 8, SIZE, true) == -EINVAL);
	begin(0);
	CHECK(queue_room(&producer) == SIZE);
	CHECK(queue_take(&consumer, buffer, sizeof(buffer)) == 0 && queue_next(&consumer, buffer, sizeof(buffer)) == 0);
	CHECK(queue_put(&producer, parts, 3) == 0 && queue_put(&producer, NULL, 0) == 0);
	CHECK(queue_room(&producer) == SIZE - 24);
	memset(buffer, 0xff, sizeof(buffer));
	CHECK(queue_next(&consumer, buffer, sizeof(buffer)) == 11);
	CHECK(length_at(buffer) == 11 && memcmp(buffer + 4, "abcdefg\0\0\0\0\0\xff", 13) == 0);
	CHECK(queue_room(&producer) == SIZE - 8);
	CHECK(queue_next(&consumer, buffer, sizeof(buffer)) == QUEUE_HEADER && length_at(buffer) == QUEUE_HEADER);
	CHECK(queue_next(&consumer, buffer, sizeof(buffer)) == 0 && queue_room(&producer) == SIZE);

	/* Half of the ring, but not more, wherever it is; and then another half. */
	CHECK(put(bytes, SIZE / 2 - 3) == -EMSGSIZE && put(bytes, UINT32_MAX) == -EMSGSIZE);
	CHECK(put(bytes, SIZE / 2 - 4) == 0 && put(bytes, SIZE / 2 - 4) == 0);
	CHECK(queue_room(&producer) == 0 && put(bytes, 0) == -EAGAIN);
	CHECK(queue_take(&consumer, buffer, SIZE / 2 - 1) == -EMSGSIZE && queue_next(&consumer, buffer, 0) == -EMSGSIZE);
	CHECK(queue_take(&consumer, buffer, SIZE - 1) == SIZE / 2 && put(bytes, 1) == 0);
	CHECK(queue_take(&consumer, buffer, SIZE) == SIZE / 2 + 8);
	CHECK(length_at(buffer + SIZE / 2) == 5 && queue_room(&producer) == SIZE);
	check_fence();
}

/* Records as they were put: the next takes `count` bytes from `value` on. */
struct model {
	uint32_t counts[SIZE / QUEUE_ALIGN];
	uint32_t first, last; /* free-running */
	uint8_t taken, put;
};

static uint32_t *count_of(struct model *m, uint32_t i)
{
	return &m->counts[i % (SIZE / QUEUE_ALIGN)];
}

static uint32_t model_check(struct model *m, const uint8_t *record)
{
	uint32_t count = *count_of(m, m->first++);

	CHECK(length_at(record) == QUEUE_HEADER + count);
	for (uint32_t i = 0; i < count; i++)
		CHECK(record[QUEUE_HEADER + i] == m->taken++);
	for (uint32_t i = QUEUE_HEADER + count; i < queue_record(count); i++)
		CHECK(record[i] == 0);
	return queue_record(count);
}

static void model_put(struct model *m, uint32_t used)
{
	uint8_t bytes[SIZE];
	uint32_t count = test_below(test_below(4) ? 24 : SIZE / 2 + 8), a = test_below(count + 1);
	struct queue_part parts[] = { { bytes, a }, { bytes + a, count - a } };
	int rc;

	for (uint32_t i = 0; i < count; i++)
		bytes[i] = (uint8_t)(m->put + i);
	rc = queue_put(&producer, parts, 2);
	if (QUEUE_HEADER + count > SIZE / 2) {
		CHECK(rc == -EMSGSIZE);
		return;
	}
	CHECK(rc == (queue_record(count) > SIZE - used ? -EAGAIN : 0));
	if (rc < 0)
		return;
	m->put = (uint8_t)(m->put + count);
	*count_of(m, m->last++) = count;
}

/* Many or one, into a buffer that is often too small. */
static void model_take(struct model *m, uint32_t used)
{
	uint32_t room = test_below(SIZE + 32), at = 0;
	bool many = test_below(2);
	uint32_t first = used ? queue_record(*count_of(m, m->first)) : 0;
	int rc = many ? queue_take(&consumer, buffer, room) : queue_next(&consumer, buffer, room);

	if (first == 0 || first > room) {
		CHECK(rc == (first ? -EMSGSIZE : 0));
		return;
	}
	if (!many) {
		CHECK(rc == (int)length_at(buffer));
		(void)model_check(m, buffer);
		return;
	}
	while (at < (uint32_t)rc)
		at += model_check(m, buffer + at);
	CHECK(at == (uint32_t)rc && at <= room);
	/* It took all that it could. */
	CHECK(m->first == m->last || queue_record(*count_of(m, m->first)) > room - at);
}

static void test_model(void)
{
	static struct model m;
	uint32_t wraps = 0;

	for (uint32_t round = 0; round < 200; round++) {
		memset(&m, 0, sizeof(m));
		begin(round % 2 ? test_below(1 << 20) * QUEUE_ALIGN : 0u - test_below(400) * QUEUE_ALIGN);
		for (uint32_t step = 0; step < 1000; step++) {
			uint32_t used = producer.own - consumer.own, before = producer.own;

			CHECK(queue_room(&producer) == SIZE - used);
			if (test_below(2))
				model_put(&m, used);
			else
				model_take(&m, used);
			wraps += producer.own < before;
		}
		check_fence();
	}
	CHECK(wraps > 10); /* of the cursors themselves */
}

static void test_consumers_lies(void)
{
	const uint32_t lies[] = { 9, 4, 192 + 8, 0u - 8, 1u << 31, SIZE, UINT32_MAX };

	for (uint32_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		uint8_t bytes[SIZE] = { 0 };

		begin(0);
		CHECK(put(bytes, 60) == 0);
		memory.shared.consumed = lies[i];
		CHECK(queue_room(&producer) == 0);
		CHECK(put(bytes, SIZE / 2 - 4) == 0); /* there was room at the last look */
		CHECK(put(bytes, SIZE / 2 - 4) == -EPROTO);
	}
	/* Backwards. */
	begin(0);
	CHECK(put(buffer, 60) == 0);
	memory.shared.consumed = 64;
	CHECK(queue_room(&producer) == SIZE);
	memory.shared.consumed = 56;
	CHECK(queue_room(&producer) == 0);
}

static void test_producers_lies(void)
{
	const uint32_t cursors[] = { 1, 4, SIZE + 8, 0u - 8, 1u << 31, UINT32_MAX };
	const uint32_t lengths[] = { 0, 1, 3, 17, 24, SIZE / 2 + 1, SIZE, 1u << 31, UINT32_MAX - 7, UINT32_MAX };

	for (uint32_t i = 0; i < sizeof(cursors) / sizeof(cursors[0]); i++) {
		begin(0);
		memory.shared.produced = cursors[i];
		CHECK(queue_take(&consumer, buffer, sizeof(buffer)) == -EPROTO);
		CHECK(queue_next(&consumer, buffer, sizeof(buffer)) == -EPROTO);
		CHECK(consumer.own == 0);
	}
	for (uint32_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		begin(0u - 8);
		CHECK(put("", 0) == 0 && put("abcdefgh", 8) == 0);
		memcpy(memory.ring, &lengths[i], sizeof(lengths[i]));
		if (test_below(2)) {
			CHECK(queue_next(&consumer, buffer, sizeof(buffer)) == QUEUE_HEADER);
			CHECK(queue_next(&consumer, buffer, sizeof(buffer)) == -EPROTO);
		} else {
			CHECK(queue_take(&consumer, buffer, sizeof(buffer)) == -EPROTO);
		}
	}
	/* Backwards. */
	begin(0);
	CHECK(put("", 0) == 0 && put("", 0) == 0 && queue_next(&consumer, buffer, sizeof(buffer)) == 4);
	memory.shared.produced = 8;
	CHECK(queue_take(&consumer, buffer, sizeof(buffer)) == -EPROTO);
}

/* Memory that a child has too. */
static void *share(size_t bytes)
{
	int fd = memfd_create("csvn-test", MFD_CLOEXEC);
	void *at;

	CHECK(fd >= 0 && ftruncate(fd, (off_t)bytes) == 0);
	at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(at != MAP_FAILED);
	close(fd);
	return at;
}

static void scribble(uint8_t *shared, uint32_t bytes)
{
	for (;;) {
		uint32_t *word = (uint32_t *)(void *)(shared + test_below(bytes / 4) * 4);
		uint32_t value = test_below(2) ? test_below(2 * SIZE) : (uint32_t)test_random();

		if (test_below(3) == 0)
			word = (uint32_t *)(void *)(shared + test_below(2) * 64);
		__atomic_store_n(word, value, __ATOMIC_RELAXED);
	}
}

/* Another process writes what it likes, where it likes, while both sides work. */
static void test_scribbler(void)
{
	uint8_t *shared = share(4096);
	uint32_t done[3] = { 0 };
	pid_t child = begin_child();

	if (child == 0)
		scribble(shared, queue_bytes(SIZE));
	for (uint32_t i = 0; i < 400000; i++) {
		struct queue *q = i % 2 ? &producer : &consumer;
		uint32_t room = test_below(SIZE), at;
		int rc;

		if (i % 64 < 2) {
			/* They agree again. */
			at = test_below(64) * QUEUE_ALIGN;
			CHECK(queue_init(q, shared, SIZE, i % 2) == 0);
			q->own = q->other = at;
		}
		if (q->producer) {
			rc = queue_put(q, &(struct queue_part){ buffer, room }, 1);
			CHECK(rc == 0 || rc == -EAGAIN || rc == -EMSGSIZE || rc == -EPROTO);
			CHECK(queue_room(q) <= SIZE && q->own - q->other <= SIZE);
			(void)queue_rings(q);
		} else {
			uint8_t *exact = malloc(room ? room : 1);

			CHECK(exact);
			rc = test_below(2) ? queue_take(q, exact, room) : queue_next(q, exact, room);
			CHECK(rc == -EMSGSIZE || rc == -EPROTO || (rc >= 0 && rc <= (int)room));
			CHECK(q->other - q->own <= SIZE);
			(void)queue_sleep(q);
			if (rc > 0) {
				CHECK(length_at(exact) >= QUEUE_HEADER && length_at(exact) <= SIZE / 2);
			}
			free(exact);
		}
		done[rc == -EPROTO ? 0 : rc > 0 || (rc == 0 && q->producer) ? 1 : 2]++;
	}
	CHECK(kill(child, SIGKILL) == 0 && waitpid(child, NULL, 0) == child);
	CHECK(done[0] > 0 && done[1] > 0);
	munmap(shared, 4096);
}

int main(int argc, char **argv)
{
	test_seed(argc, argv);
	test_honest();
	test_model();
	test_consumers_lies();
	test_producers_lies();
	test_scribbler();
	return 0;
}
