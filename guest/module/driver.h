/* SPDX-License-Identifier: GPL-2.0 */
/* The virtio-circuit device: probe, removal, reboot. See driver.c. */
#ifndef CSVN_MODULE_DRIVER_H
#define CSVN_MODULE_DRIVER_H

#include "csvn.h"

int csvn_device_init(void);
void csvn_device_exit(void);

#endif
