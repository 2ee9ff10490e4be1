/* SPDX-License-Identifier: MIT */
/* The device's queues as the front-end has them, and who looks at which when it was kicked. */
#ifndef CSVN_DEVICE_QUEUES_H
#define CSVN_DEVICE_QUEUES_H

#include "port.h"

void device_init(struct device *d);

void device_kicked(struct port *p, struct device *d, uint32_t queue);
/* What was to be looked at again. */
void device_turn(struct port *p, struct device *d);
void device_resume(struct port *p, struct device *d);
/* Let go of all that the guest holds. */
void device_end(struct port *p, struct device *d);

/* Commands: 0, or a value that is told, or -errno. Descriptors of a setup are taken over. */
int device_set_memory(struct port *p, struct device *d, const struct csvn_region *regions, uint32_t count);
int device_start_queue(struct port *p, struct device *d, const struct csvn_queue_setup *setup);
int device_set_call(struct port *p, struct device *d, uint32_t queue, int fd);
int device_stop_queue(struct port *p, struct device *d, uint32_t queue);

#endif
