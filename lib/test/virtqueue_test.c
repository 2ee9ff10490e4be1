/* SPDX-License-Identifier: MIT */
/*
 * Virtqueues full of random rubbish: whatever a guest writes into its rings, at any moment, nothing outside its memory is
 * touched (the sanitizers see to that: the regions end at inaccessible pages), a wrong queue is broken for good, and an empty
 * one is not wrong. A second thread goes on scribbling while the queue is read.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "check.h"
#include "virtqueue.h"

#define PAGE 4096u
#define REGION (16u * PAGE)
#define GUEST 0x100000ull
#define USER 0x7f0000000000ull
#define SIZE 16u
#define AVAIL PAGE
#define USED (2u * PAGE)

static uint8_t *region;
static atomic_bool scribbling;

/* Memory between two pages that nobody may touch. */
static void make_memory(struct memory *m)
{
	uint8_t *at = mmap(NULL, REGION + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(at != MAP_FAILED);
	region = at + PAGE;
	CHECK(mprotect(region, REGION, PROT_READ | PROT_WRITE) == 0);
	*m = (struct memory){ .count = 1 };
	m->regions[0] = (struct memory_region){ .guest = GUEST, .user = USER, .size = REGION, .host = region };
}

static struct csvn_queue_setup setup(uint64_t features)
{
	return (struct csvn_queue_setup){ .features = features,
					  .desc = USER,
					  .used = USER + USED,
					  .avail = USER + AVAIL,
					  .size = SIZE,
					  .kick = eventfd(0, EFD_NONBLOCK),
					  .call = eventfd(0, EFD_NONBLOCK) };
}

static uint16_t *avail(void)
{
	return (uint16_t *)(void *)(region + AVAIL);
}

static void put16(uint16_t *at, uint16_t value)
{
	__atomic_store_n(at, value, __ATOMIC_RELEASE);
}

/* A descriptor that is half right: addresses near the edges, lengths that wrap, flags of all kinds. */
static void random_desc(uint8_t *at)
{
	const uint64_t guests[] = { GUEST, GUEST + REGION - 8, GUEST - 8,     GUEST + REGION,
				    0,	   UINT64_MAX - 7,     test_random(), GUEST + test_below(REGION) };
	const uint32_t lengths[] = { 0, 1, 16, 32, 128, REGION, UINT32_MAX, 16 * SIZE, (uint32_t)test_random() };
	uint64_t guest = guests[test_below(8)];
	uint32_t bytes = lengths[test_below(9)];
	uint16_t flags = (uint16_t)(test_below(4) ? test_below(4) : test_below(8)),
		 next = (uint16_t)(test_below(8) ? test_below(SIZE + 2) : test_random());

	memcpy(at, &guest, 8);
	memcpy(at + 8, &bytes, 4);
	memcpy(at + 12, &flags, 2);
	memcpy(at + 14, &next, 2);
}

/* Take, copy and give until there is nothing more, or the queue is broken. */
static uint32_t drain(struct virtqueue *q, const struct memory *m)
{
	uint8_t buffer[256];
	const char *why = NULL;
	struct chain chain;
	uint32_t taken = 0;
	int rc;

	while ((rc = virtqueue_take(q, m, &chain, &why)) > 0 && taken < 4 * SIZE) {
		CHECK(chain.head < q->size && chain.readable + chain.writable <= VIRTQUEUE_SEGMENTS);
		rc = chain_read(&chain, m, buffer, sizeof(buffer));
		CHECK(rc >= 0 && (uint32_t)rc <= chain.readable_bytes);
		rc = chain_write(&chain, m, buffer, sizeof(buffer));
		CHECK(rc >= 0 && (uint32_t)rc <= chain.writable_bytes);
		virtqueue_give(q, chain.head, (uint32_t)rc);
		(void)virtqueue_signal(q);
		taken++;
	}
	if (rc < 0) {
		CHECK(q->broken && why && rc == -EPROTO);
		CHECK(virtqueue_take(q, m, &chain, &why) == 0 && virtqueue_rest(q) == 0 && virtqueue_signal(q) == 0);
	} else {
		(void)virtqueue_rest(q);
	}
	return taken;
}

static void test_random_rings(const struct memory *m)
{
	uint32_t taken = 0, broken = 0;

	for (uint32_t round = 0; round < 20000; round++) {
		struct csvn_queue_setup s =
			setup(test_random() & (1ull << VIRTIO_F_INDIRECT_DESC | 1ull << VIRTIO_F_EVENT_IDX));
		struct virtqueue q;
		uint16_t index = (uint16_t)test_random();

		for (uint32_t i = 0; i < REGION / 16 && (i < SIZE || round % 16 == 0); i++)
			random_desc(region + 16 * i);
		s.base = index;
		CHECK(virtqueue_start(&q, m, &s) == 0);
		for (uint32_t i = 0; i < 4; i++) {
			put16(avail() + 2 + (index + i) % SIZE, (uint16_t)test_below(SIZE + (test_below(20) == 0)));
			/* A head with a table behind it that looks like descriptors. */
			if (test_below(4) == 0) {
				uint64_t inner = GUEST + 3 * PAGE + 16 * test_below(SIZE);
				uint32_t bytes = 16 * (1 + test_below(4));
				uint16_t flags = 4;
				uint8_t *at = region + 16 * (avail()[2 + (index + i) % SIZE] % SIZE);

				for (uint32_t k = 0; k < SIZE + 4; k++)
					random_desc(region + 3 * PAGE + 16 * k);
				memcpy(at, &inner, 8);
				memcpy(at + 8, &bytes, 4);
				memcpy(at + 12, &flags, 2);
			}
		}
		put16(avail() + 1, (uint16_t)(index + (test_below(20) ? test_below(5) : (uint32_t)test_random())));
		taken += drain(&q, m);
		broken += q.broken;
		(void)virtqueue_stop(&q);
		CHECK(q.kick == -1 && q.call == -1 && !q.running);
	}
	CHECK(taken > 1000 && broken > 1000);
}

/* Rings in places where they may not be. */
static void test_random_setups(const struct memory *m)
{
	uint32_t started = 0;

	for (uint32_t round = 0; round < 20000; round++) {
		struct csvn_queue_setup s = setup(0);
		struct virtqueue q;
		uint64_t *const fields[] = { &s.desc, &s.avail, &s.used };
		int rc;

		for (uint32_t i = 0; i < 3; i++) {
			if (test_below(3))
				continue;
			*fields[i] = test_below(2) ? USER + REGION - test_below(2 * REGION)
						   : UINT64_MAX - test_below(REGION);
		}
		s.size = test_below(2) ? 1u << test_below(12) : test_below(3000);
		rc = virtqueue_start(&q, m, &s);
		CHECK(rc == 0 || rc == -EINVAL || rc == -ENXIO || rc == -EFAULT);
		CHECK(q.running == (rc == 0));
		started += rc == 0;
		if (rc == 0)
			(void)drain(&q, m);
		(void)virtqueue_stop(&q);
	}
	CHECK(started > 100);
}

/* Word by word, as a guest's stores are. Not seen by ThreadSanitizer, since the device reads descriptors by memcpy(), on purpose. */
__attribute__((no_sanitize("thread"))) static void *scribble(void *arg)
{
	volatile uint64_t *words = (volatile uint64_t *)(void *)region;
	uint64_t r = (uintptr_t)arg | 1;

	while (atomic_load(&scribbling)) {
		r ^= r << 13;
		r ^= r >> 7;
		r ^= r << 17;
		words[r % (16 * SIZE / 8)] = r & 1 ? r : GUEST + (r >> 32) % REGION;
	}
	return NULL;
}

static void test_scribbling(const struct memory *m)
{
	pthread_t thread;

	atomic_store(&scribbling, true);
	CHECK(pthread_create(&thread, NULL, scribble, (void *)(uintptr_t)test_random()) == 0);
	for (uint32_t round = 0; round < 20000; round++) {
		struct csvn_queue_setup s = setup(1ull << VIRTIO_F_INDIRECT_DESC);
		struct virtqueue q;

		s.base = avail()[1];
		CHECK(virtqueue_start(&q, m, &s) == 0);
		for (uint32_t i = 0; i < SIZE; i++)
			put16(avail() + 2 + i, (uint16_t)test_below(SIZE));
		put16(avail() + 1, (uint16_t)(s.base + SIZE));
		(void)drain(&q, m);
		(void)virtqueue_stop(&q);
	}
	atomic_store(&scribbling, false);
	pthread_join(thread, NULL);
}

int main(int argc, char **argv)
{
	struct memory m;

	test_seed(argc, argv);
	make_memory(&m);
	test_random_rings(&m);
	test_random_setups(&m);
	test_scribbling(&m);
	return 0;
}
