/* SPDX-License-Identifier: MIT */
/*
 * A device: the four virtqueues of one VM. Control requests become events for TypeScript, which answers them by ticket;
 * announcements wait here for the driver's buffers; doorbells are turned into wakes of other devices, without TypeScript.
 */
#ifndef CSVN_DEVICE_H
#define CSVN_DEVICE_H

#include "csvn/records.h"
#include "memory.h"
#include "plane.h"
#include "route.h"
#include "virtqueue.h"

/*
 * Announcements that wait for the driver to post buffers. All circuits of a VM may be reset at once, through no fault of its
 * driver: those do not count with the others.
 */
#define ANNOUNCEMENTS_MAX 8192u
#define RESETS_MAX 122880u
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

struct device {
	int handle;
	struct memory memory;
	struct virtqueue queues[CSVN_QUEUES];
	struct watch kicks[CSVN_QUEUES];
	struct burst burst;
	bool stalled; /* the control queue waits for room for events */
	bool touched; /* wakes are due: on the list of a doorbell batch */
	bool held; /* interrupts are due: in plane->held */
	uint32_t again; /* what is looked at in its next turn: 0, or it is in plane->again */
	uint16_t control_generation; /* of tickets */
	struct pending_request *requests; /* VIRTQUEUE_SIZE_MAX of them */
	struct route_table routes;
	struct announcement *announcements; /* a ring */
	uint32_t announcement_capacity, announcement_first, announcement_count;
	uint32_t announcement_resets; /* of them */
};

void device_kicked(struct plane *p, struct device *d, uint32_t queue);
/* Look at a queue again, in this device's next turn in the thread, after the others'. */
void device_again(struct plane *p, struct device *d, uint32_t queue);
/* What was to be looked at again. It is not in plane->again any more. */
void device_turn(struct plane *p, struct device *d);
void device_resume(struct plane *p, struct device *d);
void device_destroy(struct plane *p, struct device *d);
/* Interrupt the driver for what a queue was given, if it wants that. */
void device_interrupt(struct plane *p, struct device *d, uint32_t queue);
/* The same, or when the plane holds interrupts no more. */
void device_signal(struct plane *p, struct device *d, uint32_t queue);
/* A queue is broken: say so, once. */
void device_fault(struct plane *p, struct device *d, uint32_t queue, int rc, const char *why);

/* control.c */
void control_kicked(struct plane *p, struct device *d);
/* announce.c */
void announce_flush(struct plane *p, struct device *d);
void announce_clear(struct device *d);
/* doorbell.c */
void doorbell_kicked(struct plane *p, struct device *d);
void wake_flush(struct plane *p, struct device *d);
/* Remove all routes of a device, and those of its peers back to it. */
void doorbell_forget(struct plane *p, struct device *d);

#endif
