/* SPDX-License-Identifier: MIT */
#include "virtqueue.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define DESC_F_NEXT 1u
#define DESC_F_WRITE 2u
#define DESC_F_INDIRECT 4u
#define AVAIL_F_NO_INTERRUPT 1u

#define DESC_BYTES 16u

struct desc {
	uint64_t guest;
	uint32_t bytes;
	uint16_t flags;
	uint16_t next;
};

_Static_assert(sizeof(struct desc) == DESC_BYTES, "descriptor size");

/*
 * SAFETY, for all four: the rings were found to lie in one region as a whole by virtqueue_rebase(), with the alignment
 * of their fields; slots are masked by size - 1.
 */
static uint16_t *avail_field(const struct virtqueue *q, uint32_t index)
{
	return (uint16_t *)(void *)(q->avail_ring) + index;
}

static uint16_t *avail_event(const struct virtqueue *q)
{
	return (uint16_t *)(void *)(q->used_ring + 4 + 8 * (uint32_t)q->size);
}

static uint16_t *used_index(const struct virtqueue *q)
{
	return (uint16_t *)(void *)(q->used_ring + 2);
}

static uint32_t *used_slot(const struct virtqueue *q, uint16_t index)
{
	return (uint32_t *)(void *)(q->used_ring + 4 + 8 * (uint32_t)(index & q->mask));
}

void virtqueue_init(struct virtqueue *q)
{
	memset(q, 0, sizeof(*q));
	q->kick = q->call = -1;
}

int virtqueue_rebase(struct virtqueue *q, const struct memory *m)
{
	q->desc_ring = memory_user(m, q->desc_user, (uint64_t)DESC_BYTES * q->size);
	q->avail_ring = memory_user(m, q->avail_user, 6 + 2 * (uint64_t)q->size);
	q->used_ring = memory_user(m, q->used_user, 6 + 8 * (uint64_t)q->size);
	return q->desc_ring && q->avail_ring && q->used_ring ? 0 : -EFAULT;
}

static void close_fds(struct virtqueue *q)
{
	if (q->kick >= 0)
		close(q->kick);
	if (q->call >= 0)
		close(q->call);
	q->kick = q->call = -1;
}

int virtqueue_start(struct virtqueue *q, const struct memory *m, const struct csvn_queue_setup *setup)
{
	int rc = 0;

	virtqueue_init(q);
	q->kick = setup->kick;
	q->call = setup->call;
	q->desc_user = setup->desc;
	q->avail_user = setup->avail;
	q->used_user = setup->used;
	q->indirect = setup->features >> VIRTIO_F_INDIRECT_DESC & 1;
	q->event_index = setup->features >> VIRTIO_F_EVENT_IDX & 1;
	if (setup->size == 0 || setup->size > VIRTQUEUE_SIZE_MAX || (setup->size & (setup->size - 1)) ||
	    setup->base > UINT16_MAX) {
		rc = -EINVAL;
	} else if (setup->desc % 16 || setup->avail % 2 || setup->used % 4) {
		rc = -ENXIO;
	} else {
		q->size = (uint16_t)setup->size;
		q->mask = (uint16_t)(setup->size - 1);
		q->next_avail = (uint16_t)setup->base;
		rc = virtqueue_rebase(q, m);
	}
	/* User addresses and the file's offset need not agree in alignment: look at what was found. */
	if (rc == 0 && (((uintptr_t)q->avail_ring & 1) || ((uintptr_t)q->used_ring & 3)))
		rc = -ENXIO;
	if (rc < 0) {
		close_fds(q);
		virtqueue_init(q);
		return rc;
	}
	/* What was used before is known to the used ring alone; it is the device's own field, and only a start trusts it. */
	q->used = __atomic_load_n(used_index(q), __ATOMIC_RELAXED);
	q->signalled = q->used;
	q->running = true;
	return 0;
}

uint16_t virtqueue_stop(struct virtqueue *q)
{
	uint16_t base = q->next_avail;

	close_fds(q);
	virtqueue_init(q);
	return base;
}

static int broken(struct virtqueue *q, const char **why, const char *text)
{
	q->broken = true;
	*why = text;
	return -EPROTO;
}

static int add_segment(struct chain *c, const struct memory *m, const struct desc *d, const char **why)
{
	uint64_t guest = d->guest;
	uint32_t left = d->bytes;
	bool write = d->flags & DESC_F_WRITE;

	if (!write && c->writable) {
		*why = "readable descriptor after a writable one";
		return -EPROTO;
	}
	if (left > UINT32_MAX - (write ? c->writable_bytes : c->readable_bytes)) {
		*why = "buffer of 4 GiB or more";
		return -EPROTO;
	}
	while (left) {
		uint64_t part = left;

		if (!memory_guest(m, guest, &part)) {
			*why = "descriptor outside guest memory";
			return -EPROTO;
		}
		if (c->readable + c->writable == VIRTQUEUE_SEGMENTS) {
			*why = "buffer of too many parts";
			return -EPROTO;
		}
		c->segments[c->readable + c->writable] = (struct segment){ guest, (uint32_t)part };
		if (write) {
			c->writable++;
			c->writable_bytes += (uint32_t)part;
		} else {
			c->readable++;
			c->readable_bytes += (uint32_t)part;
		}
		guest += part;
		left -= (uint32_t)part;
	}
	return 0;
}

/* Follow a table of `entries` descriptors from `next`, at most `entries` steps, so that a loop ends. */
static int walk(struct virtqueue *q, const struct memory *m, const uint8_t *table, uint32_t entries, uint16_t next,
		bool inside, struct chain *c, const char **why)
{
	for (uint32_t steps = 0; steps < entries; steps++) {
		struct desc d;
		int rc;

		if (next >= entries)
			return broken(q, why, "descriptor index out of range");
		/* SAFETY: next < entries, and table holds that many descriptors. One copy; the guest may change it meanwhile. */
		memcpy(&d, table + (size_t)next * DESC_BYTES, sizeof(d));
		if (d.flags & DESC_F_INDIRECT) {
			uint64_t bytes = d.bytes;
			const uint8_t *inner;

			if (inside || !q->indirect)
				return broken(q, why, "indirect descriptor where none may be");
			if (d.flags & DESC_F_NEXT)
				return broken(q, why, "indirect descriptor with a next");
			if (bytes == 0 || bytes % DESC_BYTES || bytes / DESC_BYTES > VIRTQUEUE_SIZE_MAX)
				return broken(q, why, "indirect table of a wrong size");
			inner = memory_guest(m, d.guest, &bytes);
			if (!inner || bytes != d.bytes)
				return broken(q, why, "indirect table outside guest memory");
			return walk(q, m, inner, d.bytes / DESC_BYTES, 0, true, c, why);
		}
		rc = add_segment(c, m, &d, why);
		if (rc < 0)
			return broken(q, why, *why);
		if (!(d.flags & DESC_F_NEXT))
			return 1;
		next = d.next;
	}
	return broken(q, why, "descriptor chain is a loop");
}

int virtqueue_take(struct virtqueue *q, const struct memory *m, struct chain *chain, const char **why)
{
	uint16_t available, waiting;

	if (!q->running || q->broken)
		return 0;
	/* Pairs with the driver's barrier between its ring slot and its index. */
	available = __atomic_load_n(avail_field(q, 1), __ATOMIC_ACQUIRE);
	waiting = (uint16_t)(available - q->next_avail);
	if (waiting == 0)
		return 0;
	if (waiting > q->size)
		return broken(q, why, "available index runs ahead of the queue's size");
	memset(chain, 0, sizeof(*chain));
	chain->head = __atomic_load_n(avail_field(q, 2u + (q->next_avail & q->mask)), __ATOMIC_RELAXED);
	if (chain->head >= q->size)
		return broken(q, why, "available head out of range");
	q->next_avail++;
	return walk(q, m, q->desc_ring, q->size, chain->head, false, chain, why);
}

int virtqueue_rest(struct virtqueue *q)
{
	if (!q->running || q->broken)
		return 0;
	if (q->event_index)
		__atomic_store_n(avail_event(q), q->next_avail, __ATOMIC_RELAXED);
	/* Pairs with the driver's barrier between its index and its look at avail_event. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return __atomic_load_n(avail_field(q, 1), __ATOMIC_ACQUIRE) != q->next_avail;
}

void virtqueue_give(struct virtqueue *q, uint16_t head, uint32_t written)
{
	uint32_t *slot = used_slot(q, q->used);

	slot[0] = head;
	slot[1] = written;
	q->used++;
	/* Pairs with the driver's acquire of used->idx. */
	__atomic_store_n(used_index(q), q->used, __ATOMIC_RELEASE);
}

int virtqueue_signal(struct virtqueue *q)
{
	uint16_t before = q->signalled;

	if (!q->running || q->broken || before == q->used)
		return 0;
	q->signalled = q->used;
	/* Pairs with the driver's barrier between used_event and its look at used->idx. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (q->event_index) {
		uint16_t event = __atomic_load_n(avail_field(q, 2u + q->size), __ATOMIC_RELAXED);

		if ((uint16_t)(q->used - event - 1) >= (uint16_t)(q->used - before))
			return 0;
	} else if (__atomic_load_n(avail_field(q, 0), __ATOMIC_RELAXED) & AVAIL_F_NO_INTERRUPT) {
		return 0;
	}
	return q->call >= 0;
}

static int chain_copy(const struct chain *c, const struct memory *m, bool write, uint8_t *bytes, uint32_t count)
{
	uint32_t first = write ? c->readable : 0;
	uint32_t end = write ? (uint32_t)c->readable + c->writable : c->readable;
	uint32_t done = 0;

	for (uint32_t i = first; i < end && done < count; i++) {
		uint64_t part = c->segments[i].bytes;
		uint8_t *host;

		if (part > count - done)
			part = count - done;
		uint64_t got = part;

		host = memory_guest(m, c->segments[i].guest, &got);
		if (!host || got != part)
			return -EFAULT;
		/* SAFETY: memory_guest() vouches for part bytes at host; done + part <= count. */
		if (write)
			memcpy(host, bytes + done, part);
		else
			memcpy(bytes + done, host, part);
		done += (uint32_t)part;
	}
	return (int)done;
}

int chain_read(const struct chain *c, const struct memory *m, void *bytes, uint32_t count)
{
	return chain_copy(c, m, false, bytes, count);
}

int chain_write(const struct chain *c, const struct memory *m, const void *bytes, uint32_t count)
{
	/* The cast does not write: with write set, bytes are only read. */
	return chain_copy(c, m, true, (uint8_t *)(uintptr_t)bytes, count);
}
