/* SPDX-License-Identifier: MIT */
/* The event queue: announcements to the driver, kept in order until it posts buffers for them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "device.h"

#define FIRST_CAPACITY 64u
#define ANNOUNCEMENTS_A_TURN 256u

void announce_clear(struct device *d)
{
	d->announcement_first = d->announcement_count = d->announcement_resets = 0;
}

static bool is_reset(const uint8_t *bytes, uint32_t count)
{
	struct csvn_header header;

	if (count < sizeof(header))
		return false;
	memcpy(&header, bytes, sizeof(header));
	return header.type == CSVN_EV_RESET;
}

static bool has_room(const struct device *d, bool reset)
{
	if (reset)
		return d->announcement_resets < RESETS_MAX;
	return d->announcement_count - d->announcement_resets < ANNOUNCEMENTS_MAX;
}

static int grow(struct device *d)
{
	uint32_t capacity = d->announcement_capacity ? d->announcement_capacity * 2 : FIRST_CAPACITY;
	struct announcement *a;

	a = calloc(capacity, sizeof(*a));
	if (!a)
		return -ENOMEM;
	for (uint32_t i = 0; i < d->announcement_count; i++)
		a[i] = d->announcements[(d->announcement_first + i) % d->announcement_capacity];
	free(d->announcements);
	d->announcements = a;
	d->announcement_capacity = capacity;
	d->announcement_first = 0;
	return 0;
}

/* Hand announcements over, as far as there are buffers; the driver is not interrupted. */
static int deliver(struct plane *p, struct device *d)
{
	struct virtqueue *q = &d->queues[CSVN_QUEUE_EVENT];
	const char *why = "";
	struct chain chain;
	uint32_t left = ANNOUNCEMENTS_A_TURN;
	int rc = 0;

	while (d->announcement_count) {
		const struct announcement *a = &d->announcements[d->announcement_first];

		if (left-- == 0) {
			device_again(p, d, CSVN_QUEUE_EVENT);
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
		d->announcement_first = (d->announcement_first + 1) % d->announcement_capacity;
		d->announcement_count--;
		d->announcement_resets -= is_reset(a->bytes, a->count);
	}
	if (rc < 0)
		device_fault(p, d, CSVN_QUEUE_EVENT, rc, why);
	return rc < 0 ? rc : 0;
}

void announce_flush(struct plane *p, struct device *d)
{
	if (deliver(p, d) == 0)
		device_interrupt(p, d, CSVN_QUEUE_EVENT);
}

int csvn_device_announce(int plane, int device, const uint8_t *bytes, uint32_t count)
{
	struct plane *p;
	struct device *d;
	int rc = -EBADF;

	if (count > CSVN_RECORD_MAX)
		return -EMSGSIZE;
	p = plane_enter(plane);
	if (!p)
		return rc;
	d = handle_get(&p->devices, device);
	if (d) {
		struct virtqueue *q = &d->queues[CSVN_QUEUE_EVENT];

		bool reset = is_reset(bytes, count);

		rc = !q->running || q->broken ? -ESHUTDOWN : has_room(d, reset) ? 0 : -ENOBUFS;
		if (rc == 0 && d->announcement_count == d->announcement_capacity)
			rc = grow(d);
		if (rc == 0) {
			uint32_t at = (d->announcement_first + d->announcement_count++) % d->announcement_capacity;

			d->announcements[at].count = count;
			memcpy(d->announcements[at].bytes, bytes, count);
			d->announcement_resets += reset;
			if (deliver(p, d) == 0)
				device_signal(p, d, CSVN_QUEUE_EVENT);
		}
	}
	plane_leave(p);
	return rc;
}
