/* SPDX-License-Identifier: MIT */
/* The control queue: requests to the brain, and its answers back to the driver. */
#include "control.h"

#include <errno.h>
#include <string.h>

#include "device.h"
#include "events.h"

static uint32_t ticket(const struct device *d, uint16_t head)
{
	return (uint32_t)d->control_generation << 16 | head;
}

static int pass_request(struct port *p, struct device *d, const struct chain *chain, const char **why)
{
	struct csvn_event_control c = { .size = chain->readable_bytes, .room = chain->writable_bytes };
	uint8_t bytes[CSVN_RECORD_MAX];
	int count;

	if (chain->writable_bytes < RESPONSE_MIN) {
		*why = "request without room for a response";
		return -EPROTO;
	}
	if (d->requests[chain->head].pending) {
		*why = "request in a buffer that the device still holds";
		return -EPROTO;
	}
	count = chain_read(chain, &d->memory, bytes, sizeof(bytes));
	if (count < 0) {
		*why = "request outside guest memory";
		return count;
	}
	d->requests[chain->head] = (struct pending_request){ .pending = true, .chain = *chain };
	p->counters.requests++;
	port_event(p, CSVN_EVENT_CONTROL, 0, ticket(d, chain->head), (struct event_part){ &c, sizeof(c) },
		   (struct event_part){ bytes, (uint32_t)count });
	return 0;
}

void control_kicked(struct port *p, struct device *d)
{
	struct virtqueue *q = &d->queues[CSVN_QUEUE_CONTROL];
	const char *why = "";
	struct chain chain;
	int rc;

	if (!q->running || q->broken)
		return;
	do {
		for (;;) {
			if (!port_admits(p, &d->burst, sizeof(struct csvn_event_control) + CSVN_RECORD_MAX)) {
				d->stalled = true;
				return;
			}
			rc = virtqueue_take(q, &d->memory, &chain, &why);
			if (rc > 0)
				rc = pass_request(p, d, &chain, &why) < 0 ? -EPROTO : 1;
			if (rc <= 0)
				break;
		}
		if (rc < 0) {
			device_fault(p, d, CSVN_QUEUE_CONTROL, rc, why);
			return;
		}
	} while (virtqueue_rest(q));
}

static int reply(struct device *d, uint32_t name, const uint8_t *bytes, uint32_t count)
{
	struct virtqueue *q = &d->queues[CSVN_QUEUE_CONTROL];
	uint16_t head = (uint16_t)name;
	struct pending_request *r;
	int written;

	if (!q->running || q->broken || head >= q->size || name != ticket(d, head))
		return -ESTALE;
	r = &d->requests[head];
	if (!r->pending)
		return -ESTALE;
	r->pending = false;
	written = chain_write(&r->chain, &d->memory, bytes, count);
	if (written < 0)
		return written;
	virtqueue_give(q, head, (uint32_t)written);
	return 0;
}

void control_reply(struct port *p, struct device *d, uint32_t name, const uint8_t *bytes, uint32_t count)
{
	int rc = reply(d, name, bytes, count);

	if (rc == -EFAULT)
		device_fault(p, d, CSVN_QUEUE_CONTROL, rc, "response outside guest memory");
	if (rc == 0)
		device_signal(d, CSVN_QUEUE_CONTROL);
}
