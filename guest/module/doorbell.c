// SPDX-License-Identifier: GPL-2.0
/*
 * The doorbell queue, towards the device, and the wake queue, from it.
 *
 * Theory of operation. A doorbell is a buffer with up to CSVN_IDS circuit ids. The buffers are made once; ringing
 * takes a free one, and never allocates or sleeps. When all are with the device, the circuit goes on a list (once, however
 * often it rings), and the list is sent in batches when buffers come back. The queue's interrupt is off but while
 * that list has something in it.
 *
 * Wakes are handled in the interrupt: each id is looked up, and who sleeps on its socket is told.
 */
#include <linux/slab.h>

#include "circuit.h"
#include "doorbell.h"

int csvn_bells_alloc(struct csvn_device *dev)
{
	u32 n = min(CSVN_BELLS, virtqueue_get_vring_size(dev->vq[CSVN_QUEUE_DOORBELL]));

	dev->bells = kcalloc(n, sizeof(*dev->bells), GFP_KERNEL);
	dev->wakes = kcalloc(CSVN_WAKE_BUFFERS, sizeof(*dev->wakes), GFP_KERNEL);
	if (!dev->bells || !dev->wakes)
		return -ENOMEM;
	for (dev->bells_free = 0; dev->bells_free < n; dev->bells_free++)
		dev->bell_stack[dev->bells_free] = &dev->bells[dev->bells_free];
	virtqueue_disable_cb(dev->vq[CSVN_QUEUE_DOORBELL]);
	return 0;
}

void csvn_bells_free(struct csvn_device *dev)
{
	kfree(dev->bells);
	kfree(dev->wakes);
}

/* Take back what the device has seen. bell_lock is held. */
static void csvn_bells_reap(struct csvn_device *dev)
{
	struct csvn_bell *bell;
	unsigned int len;

	while ((bell = virtqueue_get_buf(dev->vq[CSVN_QUEUE_DOORBELL], &len)))
		dev->bell_stack[dev->bells_free++] = bell;
}

static bool csvn_bell_send(struct csvn_device *dev, struct csvn_bell *bell, u32 n)
{
	struct scatterlist sg;

	sg_init_one(&sg, bell->ids, n * sizeof(bell->ids[0]));
	if (virtqueue_add_outbuf(dev->vq[CSVN_QUEUE_DOORBELL], &sg, 1, bell, GFP_ATOMIC)) {
		dev->bell_stack[dev->bells_free++] = bell;
		return false;
	}
	atomic64_add(n, &dev->count.doorbells);
	return true;
}

/* Send what waits, as far as there are buffers; true when the device must be notified. bell_lock is held. */
static bool csvn_bells_flush(struct csvn_device *dev)
{
	struct virtqueue *vq = dev->vq[CSVN_QUEUE_DOORBELL];
	struct csvn_circuit *c;
	struct csvn_bell *bell;
	bool sent = false;
	u32 n;

	do {
		virtqueue_disable_cb(vq);
		csvn_bells_reap(dev);
		while (dev->bells_free && !list_empty(&dev->ringing)) {
			bell = dev->bell_stack[--dev->bells_free];
			for (n = 0; n < CSVN_IDS && !list_empty(&dev->ringing); n++) {
				c = list_first_entry(&dev->ringing, struct csvn_circuit, ringing);
				bell->ids[n] = c->id;
				list_del_init(&c->ringing);
				csvn_circuit_put(c);
			}
			sent |= csvn_bell_send(dev, bell, n);
		}
	} while (!list_empty(&dev->ringing) && !virtqueue_enable_cb(vq));
	return sent && virtqueue_kick_prepare(vq);
}

/* Tell the peer of the circuit to look. Any context. */
void csvn_ring(struct csvn_circuit *c)
{
	struct csvn_device *dev = c->dev;
	struct csvn_bell *bell;
	unsigned long flags;
	bool kick = false;

	rcu_read_lock(); /* as in csvn_request_send() */
	spin_lock_irqsave(&dev->bell_lock, flags);
	if (READ_ONCE(dev->dead) || c->lost)
		goto out;
	if (list_empty(&dev->ringing)) {
		if (!dev->bells_free)
			csvn_bells_reap(dev);
		if (dev->bells_free) {
			bell = dev->bell_stack[--dev->bells_free];
			bell->ids[0] = c->id;
			kick = csvn_bell_send(dev, bell, 1) &&
			       virtqueue_kick_prepare(dev->vq[CSVN_QUEUE_DOORBELL]);
			goto out;
		}
	}
	if (list_empty(&c->ringing)) {
		refcount_inc(&c->ref);
		list_add_tail(&c->ringing, &dev->ringing);
	}
	kick = csvn_bells_flush(dev);
out:
	spin_unlock_irqrestore(&dev->bell_lock, flags);
	if (kick)
		virtqueue_notify(dev->vq[CSVN_QUEUE_DOORBELL]);
	rcu_read_unlock();
}

/* Buffers came back while circuits waited for one. */
void csvn_bells_done(struct virtqueue *vq)
{
	struct csvn_device *dev = vq->vdev->priv;
	unsigned long flags;
	bool kick;

	spin_lock_irqsave(&dev->bell_lock, flags);
	kick = !dev->dead && csvn_bells_flush(dev);
	spin_unlock_irqrestore(&dev->bell_lock, flags);
	if (kick)
		virtqueue_notify(vq);
}

/* All circuits are lost: none of them rings any more. */
void csvn_bells_forget(struct csvn_device *dev)
{
	struct csvn_circuit *c, *next;
	unsigned long flags;

	spin_lock_irqsave(&dev->bell_lock, flags);
	list_for_each_entry_safe(c, next, &dev->ringing, ringing) {
		list_del_init(&c->ringing);
		csvn_circuit_put(c);
	}
	spin_unlock_irqrestore(&dev->bell_lock, flags);
}

/* The device is reset: nothing will ring any more. */
void csvn_bells_drop(struct csvn_device *dev)
{
	unsigned long flags;

	csvn_bells_forget(dev);
	spin_lock_irqsave(&dev->bell_lock, flags);
	while (virtqueue_detach_unused_buf(dev->vq[CSVN_QUEUE_DOORBELL]))
		;
	while (virtqueue_detach_unused_buf(dev->vq[CSVN_QUEUE_WAKE]))
		;
	spin_unlock_irqrestore(&dev->bell_lock, flags);
}

static int csvn_wake_post(struct virtqueue *vq, struct csvn_bell *wake)
{
	struct scatterlist sg;

	sg_init_one(&sg, wake->ids, sizeof(wake->ids));
	return virtqueue_add_inbuf(vq, &sg, 1, wake, GFP_ATOMIC);
}

int csvn_wakes_post(struct csvn_device *dev)
{
	struct virtqueue *vq = dev->vq[CSVN_QUEUE_WAKE];
	u32 i, n = min(CSVN_WAKE_BUFFERS, virtqueue_get_vring_size(vq));
	int err;

	for (i = 0; i < n; i++) {
		err = csvn_wake_post(vq, &dev->wakes[i]);
		if (err)
			return err;
	}
	return 0;
}

void csvn_wakes_done(struct virtqueue *vq)
{
	struct csvn_device *dev = vq->vdev->priv;
	struct csvn_circuit *c;
	struct csvn_bell *wake;
	unsigned int len, i;

	/* The core calls a queue's callback on one CPU at a time, and nobody else touches this queue. */
	do {
		virtqueue_disable_cb(vq);
		while ((wake = virtqueue_get_buf(vq, &len))) {
			u32 n = min_t(u32, len / sizeof(wake->ids[0]), CSVN_IDS);

			atomic64_add(n, &dev->count.wakes);
			rcu_read_lock();
			for (i = 0; i < n; i++) {
				c = csvn_circuit_find(dev, READ_ONCE(wake->ids[i]));
				if (c)
					csvn_circuit_wake(c);
			}
			rcu_read_unlock();
			csvn_wake_post(vq, wake);
		}
	} while (!virtqueue_enable_cb(vq));
	virtqueue_kick(vq);
}
