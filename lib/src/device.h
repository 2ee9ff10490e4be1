/* SPDX-License-Identifier: MIT */
/*
 * The device: the four virtqueues of the VM. Control requests become events for the brain, which answers them by ticket;
 * announcements wait here for the driver's buffers; doorbells are turned into wakes, here or in other ports, without the brain.
 */
#ifndef CSVN_DEVICE_H
#define CSVN_DEVICE_H

#include "port.h"

#define DOORBELL_IDS 64u /* in one buffer */

/* What a device is to be looked at again for: a queue, and one whose interrupt could not be sent. */
#define AGAIN_QUEUE(queue) (1u << (queue))
#define AGAIN_CALL(queue) (1u << (CSVN_QUEUES + (queue)))

/* Look at a queue again in the device's next turn, after what else there is to do. */
void device_again(struct device *d, uint32_t queue);
/* Interrupt the driver, whether it wants that or not; again in the next turn, where it cannot be done now. */
void device_call(struct port *p, struct device *d, uint32_t queue);
/* Interrupt it for what a queue was given, if it wants that. */
void device_interrupt(struct port *p, struct device *d, uint32_t queue);
/* The same at the end of this batch, with what else it is given until then. */
void device_signal(struct device *d, uint32_t queue);
void device_flush(struct port *p, struct device *d);
/* A queue is broken: say so, once. */
void device_fault(struct port *p, struct device *d, uint32_t queue, int rc, const char *why);

#endif
