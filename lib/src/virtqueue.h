/* SPDX-License-Identifier: MIT */
/*
 * The device's end of a split virtqueue (virtio 1.2, section 2.7), with indirect descriptors and event indices.
 *
 * Everything in the rings is the guest's and hostile: each field is loaded once, checked, and only then used. A queue in which something is
 * wrong is broken until it is started again; an empty queue is another answer than a wrong one.
 */
#ifndef CSVN_VIRTQUEUE_H
#define CSVN_VIRTQUEUE_H

#include <stdbool.h>
#include <stdint.h>

#include "memory.h"

#define VIRTQUEUE_SIZE_MAX 1024u /* entries; QEMU's own limit */
#define VIRTQUEUE_SEGMENTS 8u /* of a chain that this device takes; its records are small */

#define VIRTIO_F_INDIRECT_DESC 28
#define VIRTIO_F_EVENT_IDX 29

/* A part of a buffer, by guest-physical address: memory tables may change while a request waits for its answer. */
struct segment {
	uint64_t guest;
	uint32_t bytes;
};

struct chain {
	uint16_t head;
	uint8_t readable, writable; /* segments: the readable ones come first */
	uint32_t readable_bytes, writable_bytes;
	struct segment segments[VIRTQUEUE_SEGMENTS];
};

struct virtqueue {
	bool running, broken;
	bool event_index, indirect;
	uint16_t size, mask;
	uint16_t next_avail; /* what is taken next */
	uint16_t used; /* what is put next */
	uint16_t signalled; /* used at the last look at used_event */
	uint64_t desc_user, avail_user, used_user;
	uint8_t *desc_ring, *avail_ring, *used_ring;
	int kick, call;
};

void virtqueue_init(struct virtqueue *q);
/* Take the setup's descriptors over, also on an error. -EINVAL: size; -EFAULT: a ring outside memory; -ENXIO: alignment. */
int virtqueue_start(struct virtqueue *q, const struct memory *m, const struct csvn_queue_setup *setup);
/* Find the rings again in a new memory table. */
int virtqueue_rebase(struct virtqueue *q, const struct memory *m);
uint16_t virtqueue_stop(struct virtqueue *q);

/* Take a buffer: 1, 0 when there is none, or -EPROTO (the queue is then broken) with a reason. */
int virtqueue_take(struct virtqueue *q, const struct memory *m, struct chain *chain, const char **why);
/* Ask for kicks again: 1 when there is a buffer by now. */
int virtqueue_rest(struct virtqueue *q);
/* Give a buffer back, of which the first `written` writable bytes were written. Follow with device_interrupt(). */
void virtqueue_give(struct virtqueue *q, uint16_t head, uint32_t written);
/* Is the driver to be interrupted for what it was given since this was asked last? */
int virtqueue_signal(struct virtqueue *q);

/* Copy out of a chain's readable part, into its writable part: bytes copied, or -EFAULT where there is no memory. */
int chain_read(const struct chain *c, const struct memory *m, void *bytes, uint32_t count);
int chain_write(const struct chain *c, const struct memory *m, const void *bytes, uint32_t count);

#endif
