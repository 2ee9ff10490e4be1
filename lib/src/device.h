/* SPDX-License-Identifier: MIT */
/*
 * The device: the four virtqueues of the VM. Control requests become events for the brain, which answers them by ticket;
 * announcements wait here for the driver's buffers; doorbells are turned into wakes, here or in other ports, without the brain.
 */
#ifndef CSVN_DEVICE_H
#define CSVN_DEVICE_H

#include "csvn/records.h"
#include "events.h"
#include "memory.h"
#include "route.h"
#include "virtqueue.h"
#include "watch.h"

#define RESPONSE_MIN 24u /* struct csvn_response */
#define DOORBELL_IDS 64u /* in one buffer */

struct announcement {
	uint32_t count;
	uint8_t bytes[CSVN_RECORD_MAX];
};

/* A control request that waits for its answer, by the head of its chain. */
struct pending_request {
	bool pending;
	struct chain chain;
};

struct port;

struct device {
	struct memory memory;
	struct virtqueue queues[CSVN_QUEUES];
	struct watch kicks[CSVN_QUEUES];
	struct burst burst;
	bool stalled; /* the control queue waits for room for events */
	uint32_t signals; /* queues, as bits: interrupts are due at the end of this batch */
	uint32_t again; /* what is looked at in its next turn: 0, or it has one before the thread sleeps */
	uint16_t control_generation; /* of tickets */
	struct pending_request *requests; /* VIRTQUEUE_SIZE_MAX of them */
	struct route_table routes;
	struct announcement *announcements; /* a ring */
	uint32_t announcement_capacity, announcement_first, announcement_count;
	uint64_t delivered, delivered_resets; /* announcements: see csvn_progress */
};

void device_init(struct device *d);

void device_kicked(struct port *p, struct device *d, uint32_t queue);
/* Look at a queue again in the device's next turn, after what else there is to do. */
void device_again(struct device *d, uint32_t queue);
/* What was to be looked at again. */
void device_turn(struct port *p, struct device *d);
void device_resume(struct port *p, struct device *d);
/* Let go of all that the guest holds. */
void device_end(struct port *p, struct device *d);
/* Interrupt the driver for what a queue was given, if it wants that. */
void device_interrupt(struct port *p, struct device *d, uint32_t queue);
/* The same at the end of this batch, with what else it is given until then. */
void device_signal(struct device *d, uint32_t queue);
void device_flush(struct port *p, struct device *d);
/* A queue is broken: say so, once. */
void device_fault(struct port *p, struct device *d, uint32_t queue, int rc, const char *why);

/* Commands: 0, or a value that is told, or -errno. Descriptors of a setup are taken over. */
int device_set_memory(struct port *p, struct device *d, const struct csvn_region *regions, uint32_t count);
int device_start_queue(struct port *p, struct device *d, const struct csvn_queue_setup *setup);
int device_set_call(struct port *p, struct device *d, uint32_t queue, int fd);
int device_stop_queue(struct port *p, struct device *d, uint32_t queue);

/* control.c */
void control_kicked(struct port *p, struct device *d);
/* Answer the request with that ticket; one that is not open any more is ignored. */
void control_reply(struct port *p, struct device *d, uint32_t ticket, const uint8_t *bytes, uint32_t count);
/* announce.c */
void announce_flush(struct port *p, struct device *d);
void announce_clear(struct device *d);
/* Put it on the event queue, now or when the driver posts a buffer. */
void announce(struct port *p, struct device *d, const uint8_t *bytes, uint32_t count);
/* doorbell.c */
void doorbell_kicked(struct port *p, struct device *d);
void wake_flush(struct port *p, struct device *d);
/* Commands. */
void doorbell_route(struct port *p, struct device *d, const struct csvn_route *r);
void doorbell_unroute(struct port *p, struct device *d, uint32_t id);

#endif
