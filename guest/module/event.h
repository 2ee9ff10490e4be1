/* SPDX-License-Identifier: GPL-2.0 */
/* The event queue: the device's announcements, one per buffer. See event.c. */
#ifndef CSVN_MODULE_EVENT_H
#define CSVN_MODULE_EVENT_H

#include "csvn.h"

int csvn_events_alloc(struct csvn_device *dev);
void csvn_events_free(struct csvn_device *dev);
int csvn_events_post(struct csvn_device *dev);
void csvn_events_done(struct virtqueue *vq);

#endif
