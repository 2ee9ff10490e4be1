/* SPDX-License-Identifier: GPL-2.0 */
/* The device that sockets use, and how its structure is counted. See device.c. */
#ifndef CSVN_MODULE_DEVICE_H
#define CSVN_MODULE_DEVICE_H

#include "csvn.h"

struct csvn_device *csvn_device_get(void);
void csvn_device_put(struct csvn_device *dev);
void csvn_device_activate(struct csvn_device *dev);

#endif
