// SPDX-License-Identifier: GPL-2.0
/*
 * The event queue: the device's announcements, one per buffer.
 *
 * Theory of operation. Events are handled in the interrupt, in the order in which they came; nothing in them needs
 * to sleep, since a circuit's socket is made by accept() and an arena's nonce is waited for elsewhere (arena.c). Each is
 * checked by its row in the table (version, length), handled, and its buffer is posted again.
 */
#include <linux/slab.h>

#include "arena.h"
#include "circuit.h"
#include "event.h"
#include "incoming.h"

static void csvn_reset_event(struct csvn_device *dev, const union csvn_record *ev)
{
	struct csvn_circuit *c;

	rcu_read_lock();
	c = csvn_circuit_reset(dev, ev->reset.circuit, ev->reset.error);
	if (c)
		csvn_circuit_wake(c);
	rcu_read_unlock();
}

static const struct csvn_event_row {
	const char *name;
	u32 size; /* at least, bytes */
	void (*handle)(struct csvn_device *dev, const union csvn_record *ev);
} csvn_event_rows[] = {
	[CSVN_EV_INCOMING] = { "INCOMING", sizeof(struct csvn_incoming), csvn_incoming },
	[CSVN_EV_RESET] = { "RESET", sizeof(struct csvn_reset), csvn_reset_event },
	[CSVN_EV_ARENA_PREPARE] = { "ARENA_PREPARE", sizeof(struct csvn_arena_event),
				    csvn_arena_prepare },
	[CSVN_EV_ARENA_MAPPED] = { "ARENA_MAPPED", sizeof(struct csvn_arena_event),
				   csvn_arena_mapped },
	[CSVN_EV_ARENA_RETIRE] = { "ARENA_RETIRE", sizeof(struct csvn_arena_event),
				   csvn_arena_retire },
};

static void csvn_event(struct csvn_device *dev, const union csvn_record *ev, u32 len)
{
	const struct csvn_header *h = &ev->header;
	const struct csvn_event_row *row;

	if (len < sizeof(*h) || h->version != CSVN_VERSION || h->length > len) {
		dev_warn_ratelimited(&dev->vdev->dev, "malformed event of %u bytes\n", len);
		return;
	}
	/* The switch numbers them from 0 after each HELLO: what another switch said before is nobody's business any more. */
	if (!READ_ONCE(dev->heeds)) {
		if (h->token)
			return;
		WRITE_ONCE(dev->heeds, true);
	}
	row = h->type < ARRAY_SIZE(csvn_event_rows) ? &csvn_event_rows[h->type] : NULL;
	if (!row || !row->handle) {
		dev_warn_ratelimited(&dev->vdev->dev, "unknown event %u\n", h->type);
		return;
	}
	if (h->length < row->size) {
		dev_warn_ratelimited(&dev->vdev->dev, "event %s of %u bytes is too short\n",
				     row->name, h->length);
		return;
	}
	row->handle(dev, ev);
}

static int csvn_event_post(struct virtqueue *vq, union csvn_record *ev)
{
	struct scatterlist sg;

	sg_init_one(&sg, ev, sizeof(*ev));
	return virtqueue_add_inbuf(vq, &sg, 1, ev, GFP_ATOMIC);
}

int csvn_events_alloc(struct csvn_device *dev)
{
	dev->events = kcalloc(CSVN_EVENT_BUFFERS, sizeof(*dev->events), GFP_KERNEL);
	return dev->events ? 0 : -ENOMEM;
}

void csvn_events_free(struct csvn_device *dev)
{
	kfree(dev->events);
}

int csvn_events_post(struct csvn_device *dev)
{
	struct virtqueue *vq = dev->vq[CSVN_QUEUE_EVENT];
	u32 i, n = min(CSVN_EVENT_BUFFERS, virtqueue_get_vring_size(vq));
	int err;

	for (i = 0; i < n; i++) {
		err = csvn_event_post(vq, &dev->events[i]);
		if (err)
			return err;
	}
	return 0;
}

void csvn_events_done(struct virtqueue *vq)
{
	struct csvn_device *dev = vq->vdev->priv;
	union csvn_record *ev;
	unsigned int len;

	atomic_set(&dev->heard, 1);
	do {
		virtqueue_disable_cb(vq);
		while ((ev = virtqueue_get_buf(vq, &len))) {
			csvn_event(dev, ev, min_t(u32, len, sizeof(*ev)));
			csvn_event_post(vq, ev);
		}
	} while (!virtqueue_enable_cb(vq));
	virtqueue_kick(vq);
}
