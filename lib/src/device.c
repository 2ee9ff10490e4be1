/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "device.h"

#include <errno.h>

#include "events.h"

void device_fault(struct port *p, struct device *d, uint32_t queue, int rc, const char *why)
{
	d->queues[queue].broken = true;
	port_event_text(p, CSVN_EVENT_DEVICE_FAULT, queue << 16 | (uint32_t)-rc, why);
}

void device_again(struct device *d, uint32_t queue)
{
	d->again |= AGAIN_QUEUE(queue);
}

void device_call(struct port *p, struct device *d, uint32_t queue)
{
	int fd = d->queues[queue].call, rc = fd < 0 ? -EBADF : interrupter_signal(&p->interrupter, fd);

	if (rc == 0)
		p->counters.calls++;
	if (rc == -EAGAIN)
		d->again |= AGAIN_CALL(queue);
}

void device_interrupt(struct port *p, struct device *d, uint32_t queue)
{
	if (virtqueue_signal(&d->queues[queue]))
		device_call(p, d, queue);
}

void device_signal(struct device *d, uint32_t queue)
{
	d->signals |= 1u << queue;
}

void device_flush(struct port *p, struct device *d)
{
	uint32_t signals = d->signals;

	d->signals = 0;
	for (uint32_t queue = 0; signals >> queue; queue++)
		if (signals >> queue & 1)
			device_interrupt(p, d, queue);
}
