/* SPDX-License-Identifier: MIT */
/*
 * A virtqueue in memory that the fuzzer writes to between any two steps, beside a slow reading of the specification: what is taken, copied and
 * given back is what that says, a wrong ring breaks the queue, and nothing is written but what a step is to write.
 *
 * Regions of the memory table are adjacent for the guest, and apart here, each as long as it says, so that a sanitizer sees what is beyond.
 */
#include <errno.h>

#include "input.h"
#include "virtqueue.h"

#define REGIONS 3u
#define HELD 8u
#define COPY_MAX 512u

#define DESC_F_NEXT 1u
#define DESC_F_WRITE 2u
#define DESC_F_INDIRECT 4u

static const struct memory_region layout[REGIONS] = {
	{ .guest = 0x10000, .user = 0x7f0000001000, .size = 4096 },
	{ .guest = 0x11000, .user = 0x7f0000009000, .size = 264 },
	{ .guest = UINT64_MAX - 64, .user = UINT64_MAX - 4096, .size = 64 },
};

struct world {
	struct memory memory;
	struct virtqueue queue;
	uint8_t *before[REGIONS]; /* as it was before a step */
	struct chain held[HELD];
	uint32_t held_count;
};

static void remember(struct world *w)
{
	for (uint32_t i = 0; i < REGIONS; i++)
		memcpy(w->before[i], w->memory.regions[i].host, layout[i].size);
}

/* Nothing was written since, but in [from, from + count). */
static void check_written(struct world *w, const uint8_t *from, uint32_t count)
{
	for (uint32_t i = 0; i < REGIONS; i++) {
		uint8_t *host = w->memory.regions[i].host;

		if (from >= host && from < host + layout[i].size)
			memcpy(w->before[i] + (from - host), from, count);
		CHECK(memcmp(w->before[i], host, layout[i].size) == 0);
	}
}

/* A guest's byte, by the table; NULL where there is none. */
static uint8_t *byte_at(const struct world *w, uint64_t guest)
{
	for (uint32_t i = 0; i < w->memory.count; i++) {
		const struct memory_region *r = &w->memory.regions[i];

		if (guest >= r->guest && guest - r->guest < r->size)
			return r->host + (guest - r->guest);
	}
	return NULL;
}

/* Bytes of the guest that are there from an address on, 0 also where they are not in one region as a whole. */
static const uint8_t *table_at(const struct world *w, uint64_t guest, uint32_t bytes)
{
	const uint8_t *first = byte_at(w, guest), *last = byte_at(w, guest + bytes - 1);

	return first && last && guest + bytes - 1 >= guest && last == first + bytes - 1 ? first : NULL;
}

/* What a chain says, by the specification: its bytes of either kind; false: it is wrong. */
static bool read_chain(const struct world *w, uint16_t head, uint32_t *readable, uint32_t *writable)
{
	const struct virtqueue *q = &w->queue;
	const uint8_t *table = q->desc_ring;
	uint32_t entries = q->size, at = head, parts = 0;
	bool inside = false;
	uint64_t sums[2] = { 0, 0 };

	for (uint32_t steps = 0;; steps++) {
		uint64_t guest;
		uint32_t bytes;
		uint16_t flags, next;

		if (steps == entries || at >= entries)
			return false;
		memcpy(&guest, table + 16 * at, 8);
		memcpy(&bytes, table + 16 * at + 8, 4);
		memcpy(&flags, table + 16 * at + 12, 2);
		memcpy(&next, table + 16 * at + 14, 2);
		if (flags & DESC_F_INDIRECT) {
			table = table_at(w, guest, bytes);
			if (inside || !q->indirect || flags & DESC_F_NEXT || !bytes || bytes % 16 || bytes / 16 > 1024 || !table)
				return false;
			inside = true;
			entries = bytes / 16;
			at = 0;
			steps = UINT32_MAX;
			continue;
		}
		if (!(flags & DESC_F_WRITE) && sums[1])
			return false;
		for (uint64_t done = 0; done < bytes;) {
			const uint8_t *here = byte_at(w, guest + done);

			if (!here || guest + done < guest)
				return false;
			/* A part ends where its region does. */
			if (done == 0 || byte_at(w, guest + done - 1) + 1 != here)
				parts++;
			if (parts > VIRTQUEUE_SEGMENTS)
				return false;
			done++;
		}
		sums[flags & DESC_F_WRITE ? 1 : 0] += bytes;
		if (!(flags & DESC_F_NEXT))
			break;
		at = next;
	}
	*readable = (uint32_t)sums[0];
	*writable = (uint32_t)sums[1];
	return true;
}

static void take(struct world *w)
{
	struct virtqueue *q = &w->queue;
	uint32_t readable = 0, writable = 0;
	const char *why = NULL;
	uint16_t index, head;
	struct chain chain;
	int rc, expected = 0;

	if (!q->running || w->held_count == HELD)
		return;
	memcpy(&index, q->avail_ring + 2, 2);
	memcpy(&head, q->avail_ring + 4 + 2 * (q->next_avail & q->mask), 2);
	index = (uint16_t)(index - q->next_avail);
	if (!q->broken && index)
		expected = index <= q->size && head < q->size && read_chain(w, head, &readable, &writable) ? 1 : -EPROTO;
	remember(w);
	rc = virtqueue_take(q, &w->memory, &chain, &why);
	check_written(w, NULL, 0);
	CHECK(rc == expected);
	if (rc < 0) {
		CHECK(q->broken && why);
		CHECK(virtqueue_take(q, &w->memory, &chain, &why) == 0 && virtqueue_rest(q) == 0 && virtqueue_signal(q) == 0);
	}
	if (rc <= 0)
		return;
	CHECK(chain.head == head && chain.readable_bytes == readable && chain.writable_bytes == writable);
	CHECK(chain.readable + chain.writable <= (int)VIRTQUEUE_SEGMENTS);
	w->held[w->held_count++] = chain;
}

/* The host's bytes of a chain's part, in their order; -1: some are not there any more. */
static int gather(const struct world *w, const struct chain *c, bool write, uint8_t **bytes, uint32_t most)
{
	uint32_t first = write ? c->readable : 0, end = write ? c->readable + (uint32_t)c->writable : c->readable, n = 0;

	for (uint32_t i = first; i < end; i++)
		for (uint32_t k = 0; k < c->segments[i].bytes && n < most; k++) {
			bytes[n] = byte_at(w, c->segments[i].guest + k);
			if (!bytes[n++])
				return -1;
		}
	return (int)n;
}

/* Copy out of the oldest chain that is held, into it, and give it back. */
static void give(struct world *w, struct input *in)
{
	static uint8_t *where[COPY_MAX];
	struct virtqueue *q = &w->queue;
	uint32_t count = input_u16(in) % COPY_MAX;
	uint8_t *bytes = malloc(count ? count : 1);
	struct chain chain = w->held[0];
	uint16_t used = q->used;
	const uint8_t *slot;
	int n, rc;

	CHECK(bytes);
	if (w->held_count == 0) {
		free(bytes);
		return;
	}
	memmove(&w->held[0], &w->held[1], --w->held_count * sizeof(w->held[0]));
	remember(w);
	n = gather(w, &chain, false, where, count);
	rc = chain_read(&chain, &w->memory, bytes, count);
	/* The table may be another by now; then it is enough that a part of a segment is missing. */
	CHECK(n < 0 ? rc == -EFAULT : rc == n || rc == -EFAULT);
	for (int i = 0; i < rc; i++)
		CHECK(bytes[i] == *where[i]);
	check_written(w, NULL, 0);
	memset(bytes, input_byte(in), count);
	n = gather(w, &chain, true, where, count);
	rc = chain_write(&chain, &w->memory, bytes, count);
	CHECK(n < 0 ? rc == -EFAULT : rc == n || rc == -EFAULT);
	if (rc >= 0) {
		for (int i = 0; i < rc; i++)
			for (uint32_t k = 0; k < REGIONS; k++) {
				uint8_t *host = w->memory.regions[k].host;

				if (where[i] >= host && where[i] < host + layout[k].size)
					w->before[k][where[i] - host] = bytes[i];
			}
		check_written(w, NULL, 0);
	}
	free(bytes);
	if (!q->running || rc < 0)
		return;
	remember(w);
	virtqueue_give(q, chain.head, (uint32_t)rc);
	CHECK(q->used == (uint16_t)(used + 1));
	slot = q->used_ring + 4 + 8 * (used & q->mask);
	/* The rings may lie over each other: the index comes last. */
	for (uint32_t i = 0; i < REGIONS; i++) {
		uint8_t *host = w->memory.regions[i].host;

		if (slot >= host && slot < host + layout[i].size)
			memcpy(w->before[i] + (slot - host), slot, 8);
	}
	check_written(w, q->used_ring + 2, 2);
}

static void rest(struct world *w)
{
	struct virtqueue *q = &w->queue;
	int rc;

	remember(w);
	rc = virtqueue_rest(q);
	CHECK(rc == 0 || rc == 1);
	if (q->running)
		check_written(w, q->used_ring + 4 + 8 * q->size, q->event_index && !q->broken ? 2 : 0);
	remember(w);
	rc = virtqueue_signal(q);
	CHECK((rc == 0 || rc == 1) && virtqueue_signal(q) == 0);
	check_written(w, NULL, 0);
}

/* A table that says less, or something else, of the same memory. */
static void change_table(struct world *w, struct input *in)
{
	uint32_t what = input_byte(in);
	struct memory_region *r = &w->memory.regions[what % REGIONS];

	r->size = what & 0x80 ? layout[what % REGIONS].size : input_u16(in) % (layout[what % REGIONS].size + 1);
	r->guest = what & 0x40 ? layout[what % REGIONS].guest : r->guest + (uint64_t)(int8_t)input_byte(in);
	w->memory.count = what >> 4 & 3;
	if (w->queue.running && virtqueue_rebase(&w->queue, &w->memory) < 0)
		w->queue.running = false; /* as device_set_memory() does */
}

static void start(struct world *w, struct input *in)
{
	static const uint32_t sizes[] = { 1, 2, 4, 8, 16, 32, 64, 1024 };
	uint32_t what = input_byte(in), wrong = input_byte(in);
	uint64_t user = layout[0].user;
	struct csvn_queue_setup setup = { .features = (uint64_t)(what & 1) << VIRTIO_F_INDIRECT_DESC |
						      (uint64_t)(what >> 1 & 1) << VIRTIO_F_EVENT_IDX,
					  .size = sizes[what >> 2 & 7],
					  .desc = user,
					  .avail = user + 1024,
					  .used = user + 2048,
					  .base = input_u16(in),
					  .kick = -1,
					  .call = -1 };
	int rc;

	/* Now and then. */
	if (wrong < 12)
		setup.size = input_u16(in);
	else if (wrong < 24)
		setup.desc += (uint64_t)input_u16(in) - 0x4000;
	else if (wrong < 36)
		setup.used = input_u64(in);
	(void)virtqueue_stop(&w->queue);
	w->held_count = 0;
	rc = virtqueue_start(&w->queue, &w->memory, &setup);
	CHECK(rc == 0 || rc == -EINVAL || rc == -EFAULT || rc == -ENXIO);
	CHECK(w->queue.running == (rc == 0));
}

static const uint32_t lengths[] = { 0, 1, 16, 32, 128, 264, 4096, UINT32_MAX };

/* A descriptor that is nearly right. */
static void describe(struct world *w, struct input *in)
{
	uint8_t *at = w->memory.regions[0].host + 16 * (input_byte(in) % 64u);
	uint32_t what = input_byte(in), bytes = lengths[what & 7];
	uint64_t guest = layout[0].guest + input_u16(in) % (4096 + 264 + 32);
	uint16_t flags = (uint16_t)(what >> 5), next = (uint16_t)(input_byte(in) % 65u);

	if ((what >> 3 & 3) == 3)
		guest = UINT64_MAX - input_byte(in);
	memcpy(at, &guest, 8);
	memcpy(at + 8, &bytes, 4);
	memcpy(at + 12, &flags, 2);
	memcpy(at + 14, &next, 2);
}

/* As a driver offers a buffer, mostly. */
static void offer(struct world *w, struct input *in)
{
	struct virtqueue *q = &w->queue;
	uint32_t what = input_byte(in);
	uint16_t index, head = (uint16_t)(what >> 2);

	if (!q->running)
		return;
	memcpy(&index, q->avail_ring + 2, 2);
	if ((what & 3) == 3)
		index = (uint16_t)(q->next_avail + (int8_t)input_byte(in));
	else
		memcpy(q->avail_ring + 4 + 2 * (index++ & q->mask), &head, 2);
	memcpy(q->avail_ring + 2, &index, 2);
}

static void scribble(struct world *w, struct input *in)
{
	uint32_t value = input_u32(in), where = input_u16(in) % (4096 - 4);

	memcpy(w->memory.regions[0].host + where, &value, sizeof(value));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	struct input in = { bytes, bytes + count };
	struct world w = { .memory = { .count = REGIONS } };

	for (uint32_t i = 0; i < REGIONS; i++) {
		w.memory.regions[i] = layout[i];
		w.memory.regions[i].host = calloc(1, layout[i].size);
		w.before[i] = calloc(1, layout[i].size);
		CHECK(w.memory.regions[i].host && w.before[i]);
	}
	virtqueue_init(&w.queue);
	start(&w, &in);
	while (in.at < in.end) {
		switch (input_byte(&in) % 16) {
		case 0:
		case 1:
		case 2:
		case 3:
			describe(&w, &in);
			break;
		case 4:
		case 5:
		case 6:
			offer(&w, &in);
			break;
		case 7:
		case 8:
		case 9:
			take(&w);
			break;
		case 10:
		case 11:
			give(&w, &in);
			break;
		case 12:
			rest(&w);
			break;
		case 13:
			scribble(&w, &in);
			break;
		case 14:
			change_table(&w, &in);
			break;
		case 15:
			start(&w, &in);
			break;
		}
	}
	(void)virtqueue_stop(&w.queue);
	for (uint32_t i = 0; i < REGIONS; i++) {
		free(w.memory.regions[i].host);
		free(w.before[i]);
	}
	return 0;
}
