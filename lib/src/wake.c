/* SPDX-License-Identifier: MIT */
/* Wakes out: the list of those that are due to this device is written to its wake queue, as the driver has buffers there. */
#include "wake.h"

#include <errno.h>

#include "device.h"

#define WAKES_A_TURN 256u

void wake_flush(struct port *p, struct device *d)
{
	struct virtqueue *q = &d->queues[CSVN_QUEUE_WAKE];
	const char *why = "";
	struct chain chain;
	uint32_t buffers = 0;
	int rc = 0;

	while (d->routes.heads[ROUTES_DUE] && q->running && !q->broken) {
		uint32_t ids[DOORBELL_IDS];
		uint32_t count = 0, room;
		struct route *r;

		if (buffers++ == WAKES_A_TURN) {
			device_again(d, CSVN_QUEUE_WAKE);
			break;
		}
		rc = virtqueue_take(q, &d->memory, &chain, &why);
		if (rc == 0 && virtqueue_rest(q))
			continue;
		if (rc <= 0)
			break;
		room = chain.writable_bytes / (uint32_t)sizeof(ids[0]);
		if (room == 0) {
			why = "buffer on the wake queue is too small";
			rc = -EPROTO;
			break;
		}
		while (count < room && count < DOORBELL_IDS && (r = route_next(&d->routes, ROUTES_DUE)))
			ids[count++] = r->id;
		if (chain_write(&chain, &d->memory, ids, count * (uint32_t)sizeof(ids[0])) < 0) {
			why = "buffer on the wake queue is outside guest memory";
			rc = -EPROTO;
			break;
		}
		virtqueue_give(q, chain.head, count * (uint32_t)sizeof(ids[0]));
		p->counters.wakes += count;
	}
	if (rc < 0)
		device_fault(p, d, CSVN_QUEUE_WAKE, rc, why);
	else
		device_interrupt(p, d, CSVN_QUEUE_WAKE);
}
