/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "device_queues.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "announce.h"
#include "control.h"
#include "device.h"
#include "doorbell.h"
#include "foreign.h"
#include "wake.h"
#include "watch.h"

static void look_at(struct port *p, struct device *d, uint32_t queue)
{
	switch (queue) {
	case CSVN_QUEUE_CONTROL:
		control_kicked(p, d);
		break;
	case CSVN_QUEUE_EVENT:
		announce_flush(p, d);
		break;
	case CSVN_QUEUE_DOORBELL:
		doorbell_kicked(p, d);
		break;
	case CSVN_QUEUE_WAKE:
		wake_flush(p, d);
		break;
	}
}

void device_kicked(struct port *p, struct device *d, uint32_t queue)
{
	if (d->queues[queue].kick >= 0)
		look_at(p, d, queue);
}

void device_turn(struct port *p, struct device *d)
{
	uint32_t again = d->again;

	d->again = 0;
	for (uint32_t queue = 0; queue < CSVN_QUEUES; queue++) {
		if (again & AGAIN_QUEUE(queue))
			look_at(p, d, queue);
		if (again & AGAIN_CALL(queue))
			device_call(p, d, queue);
	}
}

void device_resume(struct port *p, struct device *d)
{
	if (d->stalled) {
		d->stalled = false;
		control_kicked(p, d);
	}
}

static void stop_queue(struct port *p, struct device *d, uint32_t queue)
{
	/* An interrupt that is held would find a queue that has forgotten what it is for. */
	device_interrupt(p, d, queue);
	watch_drop(p, &d->kicks[queue]);
	if (queue == CSVN_QUEUE_CONTROL) {
		d->stalled = false;
		d->control_generation++;
		free(d->requests);
		d->requests = NULL;
	}
	if (queue == CSVN_QUEUE_EVENT)
		announce_clear(d);
}

void device_init(struct device *d)
{
	memset(d, 0, sizeof(*d));
	for (uint32_t i = 0; i < CSVN_QUEUES; i++) {
		virtqueue_init(&d->queues[i]);
		watch_init(&d->kicks[i], WATCHED_KICK, 0, i);
	}
}

void device_end(struct port *p, struct device *d)
{
	for (uint32_t i = 0; i < CSVN_QUEUES; i++) {
		stop_queue(p, d, i);
		(void)virtqueue_stop(&d->queues[i]);
	}
	route_table_free(&d->routes);
	memory_unmap(&d->memory);
	free(d->announcements);
	device_init(d);
}

int device_set_memory(struct port *p, struct device *d, const struct csvn_region *regions, uint32_t count)
{
	struct memory before = d->memory;
	struct memory next;
	int rc;

	if (memory_same(&before, regions, count))
		return 0;
	rc = memory_map(&next, regions, count);
	if (rc < 0)
		return rc;
	d->memory = next;
	for (uint32_t i = 0; i < CSVN_QUEUES; i++) {
		struct virtqueue *q = &d->queues[i];

		if (!q->running)
			continue;
		if (virtqueue_rebase(q, &d->memory) < 0) {
			watch_drop(p, &d->kicks[i]);
			device_fault(p, d, i, -EFAULT, "rings are outside the new memory table");
			q->running = false;
		}
	}
	memory_unmap(&before);
	return 0;
}

static bool is_eventfd(struct port *p, int fd)
{
	return foreign_kind(&p->interrupter, fd) == FOREIGN_EVENTFD;
}

static void close_setup(struct port *p, const struct csvn_queue_setup *setup)
{
	if (setup->kick >= 0)
		foreign_close(&p->interrupter, setup->kick);
	if (setup->call >= 0)
		foreign_close(&p->interrupter, setup->call);
}

static int start_queue(struct port *p, struct device *d, const struct csvn_queue_setup *setup)
{
	struct virtqueue *q = &d->queues[setup->index];
	int rc;

	if (q->running) {
		stop_queue(p, d, setup->index);
		(void)virtqueue_stop(q);
	}
	if (!is_eventfd(p, setup->kick) || (setup->call >= 0 && !is_eventfd(p, setup->call))) {
		close_setup(p, setup);
		return -EBADF;
	}
	rc = virtqueue_start(q, &d->memory, setup);
	if (rc < 0)
		return rc;
	if (setup->index == CSVN_QUEUE_CONTROL) {
		d->requests = calloc(VIRTQUEUE_SIZE_MAX, sizeof(*d->requests));
		if (!d->requests)
			rc = -ENOMEM;
	}
	if (rc == 0)
		/* Each kick is told once, so that it need not be read, which may block: the front-end chooses the flags of its file. */
		rc = watch_for(p, &d->kicks[setup->index], q->kick, EPOLLIN | EPOLLET);
	if (rc == 0) {
		/* What came before the start is looked at now. */
		device_again(d, setup->index);
		return 0;
	}
	stop_queue(p, d, setup->index);
	(void)virtqueue_stop(q);
	return rc;
}

int device_start_queue(struct port *p, struct device *d, const struct csvn_queue_setup *setup)
{
	if (setup->index < CSVN_QUEUES)
		return start_queue(p, d, setup);
	close_setup(p, setup);
	return -EINVAL;
}

int device_set_call(struct port *p, struct device *d, uint32_t queue, int fd)
{
	int rc = -EINVAL;

	if (queue < CSVN_QUEUES && d->queues[queue].running)
		rc = fd < 0 || is_eventfd(p, fd) ? 0 : -EBADF;
	if (rc == 0) {
		struct virtqueue *q = &d->queues[queue];

		if (q->call >= 0)
			foreign_close(&p->interrupter, q->call);
		q->call = fd;
		/* An interrupt may have gone to the old descriptor. */
		if (fd >= 0)
			device_call(p, d, queue);
	} else if (fd >= 0) {
		foreign_close(&p->interrupter, fd);
	}
	return rc;
}

int device_stop_queue(struct port *p, struct device *d, uint32_t queue)
{
	if (queue >= CSVN_QUEUES)
		return -EINVAL;
	stop_queue(p, d, queue);
	return virtqueue_stop(&d->queues[queue]);
}
