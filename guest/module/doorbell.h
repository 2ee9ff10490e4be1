/* SPDX-License-Identifier: GPL-2.0 */
/* The doorbell queue, towards the device, and the wake queue, from it. See doorbell.c. */
#ifndef CSVN_MODULE_DOORBELL_H
#define CSVN_MODULE_DOORBELL_H

#include "csvn.h"

int csvn_bells_alloc(struct csvn_device *dev);
void csvn_bells_free(struct csvn_device *dev);
void csvn_bells_forget(struct csvn_device *dev);
void csvn_bells_drop(struct csvn_device *dev);
void csvn_ring(struct csvn_circuit *c);
void csvn_bells_done(struct virtqueue *vq);
int csvn_wakes_post(struct csvn_device *dev);
void csvn_wakes_done(struct virtqueue *vq);

#endif
