/* SPDX-License-Identifier: MIT */
/*
 * The event queue: announcements to the driver, kept in order until it posts buffers for them. How many may wait the brain knows, which counts those that
 * are delivered (csvn_progress).
 */
#include "announce.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "device.h"

#define FIRST_CAPACITY 64u
#define ANNOUNCEMENTS_A_TURN 256u

static bool is_reset(const uint8_t *bytes, uint32_t count)
{
	struct csvn_header header;

	if (count < sizeof(header))
		return false;
	memcpy(&header, bytes, sizeof(header));
	return header.type == CSVN_EV_RESET;
}

static void count_delivered(struct device *d, const struct announcement *a)
{
	if (is_reset(a->bytes, a->count))
		d->delivered_resets++;
	else
		d->delivered++;
}

void announce_clear(struct device *d)
{
	for (; d->announcement_count; d->announcement_count--) {
		count_delivered(d, &d->announcements[d->announcement_first]);
		d->announcement_first = (d->announcement_first + 1) % d->announcement_capacity;
	}
	d->announcement_first = 0;
}

static void grow(struct device *d)
{
	uint32_t capacity = d->announcement_capacity ? d->announcement_capacity * 2 : FIRST_CAPACITY;
	struct announcement *a;

	a = calloc(capacity, sizeof(*a));
	/* Nothing that must arrive may be lost: without memory for it the port ends, and its circuits with it. */
	if (!a)
		abort();
	for (uint32_t i = 0; i < d->announcement_count; i++)
		a[i] = d->announcements[(d->announcement_first + i) % d->announcement_capacity];
	free(d->announcements);
	d->announcements = a;
	d->announcement_capacity = capacity;
	d->announcement_first = 0;
}

/* Hand announcements over, as far as there are buffers; the driver is not interrupted. */
static int deliver(struct port *p, struct device *d)
{
	struct virtqueue *q = &d->queues[CSVN_QUEUE_EVENT];
	const char *why = "";
	struct chain chain;
	uint32_t left = ANNOUNCEMENTS_A_TURN;
	int rc = 0;

	while (d->announcement_count) {
		const struct announcement *a = &d->announcements[d->announcement_first];

		if (left-- == 0) {
			device_again(d, CSVN_QUEUE_EVENT);
			break;
		}
		rc = virtqueue_take(q, &d->memory, &chain, &why);
		if (rc == 0 && virtqueue_rest(q))
			continue;
		if (rc <= 0)
			break;
		if (chain.writable_bytes < CSVN_RECORD_MAX) {
			why = "buffer on the event queue is too small";
			rc = -EPROTO;
			break;
		}
		if (chain_write(&chain, &d->memory, a->bytes, a->count) < 0) {
			why = "buffer on the event queue is outside guest memory";
			rc = -EPROTO;
			break;
		}
		virtqueue_give(q, chain.head, a->count);
		p->counters.announcements++;
		count_delivered(d, a);
		d->announcement_first = (d->announcement_first + 1) % d->announcement_capacity;
		d->announcement_count--;
	}
	if (rc < 0)
		device_fault(p, d, CSVN_QUEUE_EVENT, rc, why);
	return rc < 0 ? rc : 0;
}

void announce_flush(struct port *p, struct device *d)
{
	if (deliver(p, d) == 0)
		device_interrupt(p, d, CSVN_QUEUE_EVENT);
}

void announce(struct port *p, struct device *d, const uint8_t *bytes, uint32_t count)
{
	const struct virtqueue *q = &d->queues[CSVN_QUEUE_EVENT];
	struct announcement *a;

	if (count > CSVN_RECORD_MAX)
		return;
	if (d->announcement_count == d->announcement_capacity)
		grow(d);
	a = &d->announcements[(d->announcement_first + d->announcement_count) % d->announcement_capacity];
	a->count = count;
	memcpy(a->bytes, bytes, count);
	/* A driver that is not there, or has broken its queue, has lost all of them. */
	if (!q->running || q->broken) {
		count_delivered(d, a);
		return;
	}
	d->announcement_count++;
	if (deliver(p, d) == 0)
		device_signal(d, CSVN_QUEUE_EVENT);
}
