/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "device.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "foreign.h"

void device_fault(struct plane *p, struct device *d, uint32_t queue, int rc, const char *why)
{
	d->queues[queue].broken = true;
	plane_event_text(p, CSVN_EVENT_DEVICE_FAULT, d->handle, queue << 16 | (uint32_t)-rc, why);
}

/* What a device is to be looked at again for: a queue, and one whose interrupt could not be sent. */
#define AGAIN_QUEUE(queue) (1u << (queue))
#define AGAIN_CALL(queue) (1u << (CSVN_QUEUES + (queue)))

/* Give a device another turn in the thread, before that sleeps. */
static void look_later(struct plane *p, struct device *d, uint32_t what)
{
	/* SAFETY: a device is in the list once, and there are no more than it has room for. */
	if (!d->again)
		p->again[p->again_count++] = d->handle;
	d->again |= what;
	if (!p->looks)
		(void)eventfd_write(p->wake, 1);
}

void device_again(struct plane *p, struct device *d, uint32_t queue)
{
	look_later(p, d, AGAIN_QUEUE(queue));
}

static void forget_again(struct plane *p, const struct device *d)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < p->again_count; i++)
		if (p->again[i] != d->handle)
			p->again[kept++] = p->again[i];
	p->again_count = kept;
}

static void call(struct plane *p, struct device *d, uint32_t queue)
{
	int fd = d->queues[queue].call, rc = fd < 0 ? -EBADF : interrupter_signal(&p->interrupter, fd);

	if (rc == 0)
		p->counters.calls++;
	if (rc == -EAGAIN)
		look_later(p, d, AGAIN_CALL(queue));
}

void device_interrupt(struct plane *p, struct device *d, uint32_t queue)
{
	if (virtqueue_signal(&d->queues[queue]))
		call(p, d, queue);
}

void device_signal(struct plane *p, struct device *d, uint32_t queue)
{
	if (p->holding && d->held)
		return;
	/* The list may be full of devices that are gone by now. */
	if (p->holding && p->held_count < DEVICES_MAX) {
		p->held[p->held_count++] = d->handle;
		d->held = true;
	} else {
		device_interrupt(p, d, queue);
	}
}

int csvn_signals(int plane, uint32_t hold)
{
	struct plane *p = plane_enter(plane);

	if (!p)
		return -EBADF;
	for (uint32_t i = 0; i < p->held_count; i++) {
		struct device *d = handle_get(&p->devices, p->held[i]);

		if (!d)
			continue;
		d->held = false;
		device_interrupt(p, d, CSVN_QUEUE_CONTROL);
		device_interrupt(p, d, CSVN_QUEUE_EVENT);
	}
	p->held_count = 0;
	p->holding = hold != 0;
	plane_leave(p);
	return 0;
}

static void look_at(struct plane *p, struct device *d, uint32_t queue)
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

void device_kicked(struct plane *p, struct device *d, uint32_t queue)
{
	struct virtqueue *q = &d->queues[queue];
	int rc;

	if (q->kick < 0)
		return;
	/* One that cannot be read empty is not to keep the thread busy. */
	rc = foreign_take(q->kick);
	if (rc < 0) {
		watch_drop(p, &d->kicks[queue]);
		device_fault(p, d, queue, rc, "kick descriptor cannot be read");
		return;
	}
	look_at(p, d, queue);
}

void device_turn(struct plane *p, struct device *d)
{
	uint32_t again = d->again;

	d->again = 0;
	for (uint32_t queue = 0; queue < CSVN_QUEUES; queue++) {
		if (again & AGAIN_QUEUE(queue))
			look_at(p, d, queue);
		if (again & AGAIN_CALL(queue))
			call(p, d, queue);
	}
}

void device_resume(struct plane *p, struct device *d)
{
	if (d->stalled) {
		d->stalled = false;
		control_kicked(p, d);
	}
}

static void stop_queue(struct plane *p, struct device *d, uint32_t queue)
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

void device_destroy(struct plane *p, struct device *d)
{
	handle_remove(&p->devices, d->handle);
	for (uint32_t i = 0; i < CSVN_QUEUES; i++) {
		stop_queue(p, d, i);
		(void)virtqueue_stop(&d->queues[i]);
	}
	forget_again(p, d);
	doorbell_forget(p, d);
	route_table_free(&d->routes);
	memory_unmap(&d->memory);
	free(d->announcements);
	free(d);
}

int csvn_device_open(int plane)
{
	struct plane *p = plane_enter(plane);
	struct device *d;
	int rc = -ENOMEM;

	if (!p)
		return -EBADF;
	d = calloc(1, sizeof(*d));
	if (d) {
		rc = d->handle = handle_add(&p->devices, d);
		for (uint32_t i = 0; i < CSVN_QUEUES; i++) {
			virtqueue_init(&d->queues[i]);
			watch_init(&d->kicks[i], WATCHED_KICK, d->handle, i);
		}
		if (rc < 0)
			free(d);
	}
	plane_leave(p);
	return rc;
}

int csvn_device_close(int plane, int device)
{
	struct plane *p = plane_enter(plane);
	struct device *d;

	if (!p)
		return -EBADF;
	d = handle_get(&p->devices, device);
	if (d)
		device_destroy(p, d);
	plane_leave(p);
	return d ? 0 : -EBADF;
}

static int set_memory(struct plane *p, struct device *d, const struct csvn_region *regions, uint32_t count)
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

int csvn_device_memory(int plane, int device, const struct csvn_region *regions, uint32_t count)
{
	struct plane *p = plane_enter(plane);
	struct device *d;
	int rc = -EBADF;

	if (!p)
		return rc;
	d = handle_get(&p->devices, device);
	if (d)
		rc = set_memory(p, d, regions, count);
	plane_leave(p);
	return rc;
}

static bool is_eventfd(int fd)
{
	return foreign_kind(fd) == FOREIGN_EVENTFD;
}

static void close_setup(const struct csvn_queue_setup *setup)
{
	if (setup->kick >= 0)
		foreign_close(setup->kick);
	if (setup->call >= 0)
		foreign_close(setup->call);
}

static int start_queue(struct plane *p, struct device *d, const struct csvn_queue_setup *setup)
{
	struct virtqueue *q = &d->queues[setup->index];
	int rc;

	if (q->running) {
		stop_queue(p, d, setup->index);
		(void)virtqueue_stop(q);
	}
	if (!is_eventfd(setup->kick) || (setup->call >= 0 && !is_eventfd(setup->call))) {
		close_setup(setup);
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
		rc = watch_for(p, &d->kicks[setup->index], q->kick, EPOLLIN);
	if (rc == 0) {
		/* What came before the start is looked at now. */
		device_again(p, d, setup->index);
		return 0;
	}
	stop_queue(p, d, setup->index);
	(void)virtqueue_stop(q);
	return rc;
}

int csvn_queue_start(int plane, int device, const struct csvn_queue_setup *setup)
{
	struct plane *p = plane_enter(plane);
	struct device *d = p ? handle_get(&p->devices, device) : NULL;
	int rc = d ? -EINVAL : -EBADF;

	if (d && setup->index < CSVN_QUEUES) {
		rc = start_queue(p, d, setup);
	} else {
		close_setup(setup);
	}
	if (p)
		plane_leave(p);
	return rc;
}

int csvn_queue_set_call(int plane, int device, uint32_t queue, int fd)
{
	struct plane *p = plane_enter(plane);
	struct device *d = p ? handle_get(&p->devices, device) : NULL;
	int rc = d ? -EINVAL : -EBADF;

	if (d && queue < CSVN_QUEUES && d->queues[queue].running)
		rc = fd < 0 || is_eventfd(fd) ? 0 : -EBADF;
	if (rc == 0) {
		struct virtqueue *q = &d->queues[queue];

		if (q->call >= 0)
			foreign_close(q->call);
		q->call = fd;
		/* An interrupt may have gone to the old descriptor. */
		if (fd >= 0)
			call(p, d, queue);
	} else if (fd >= 0) {
		foreign_close(fd);
	}
	if (p)
		plane_leave(p);
	return rc;
}

int csvn_queue_stop(int plane, int device, uint32_t queue)
{
	struct plane *p = plane_enter(plane);
	struct device *d = p ? handle_get(&p->devices, device) : NULL;
	int rc = d ? -EINVAL : -EBADF;

	if (d && queue < CSVN_QUEUES) {
		stop_queue(p, d, queue);
		rc = virtqueue_stop(&d->queues[queue]);
	}
	if (p)
		plane_leave(p);
	return rc;
}
