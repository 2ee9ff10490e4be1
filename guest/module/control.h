/* SPDX-License-Identifier: GPL-2.0 */
/* The control queue: requests out, answers back, in any order. See control.c. */
#ifndef CSVN_MODULE_CONTROL_H
#define CSVN_MODULE_CONTROL_H

#include "csvn.h"

void csvn_control_init(struct csvn_device *dev);
int csvn_control_alloc(struct csvn_device *dev);
void csvn_control_free(struct csvn_device *dev);
void csvn_control_start(struct csvn_device *dev);
void csvn_control_up(struct csvn_device *dev, bool up);
void csvn_control_stop(struct csvn_device *dev);
void csvn_control_lose(struct csvn_device *dev);
void csvn_control_drop(struct csvn_device *dev);
void csvn_control_done(struct virtqueue *vq);
void csvn_request_init(struct csvn_request *req, u16 type, u32 size,
		       void (*done)(struct csvn_request *req, int error));
void csvn_request_send(struct csvn_device *dev, struct csvn_request *req);
void csvn_request_await(struct csvn_device *dev, struct csvn_request *req);
void csvn_control_look(struct csvn_device *dev);

#endif
