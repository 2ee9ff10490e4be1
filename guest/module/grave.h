/* SPDX-License-Identifier: GPL-2.0 */
/* A device that must not be started again, and a note of it that a reboot does not wipe out. See grave.c. */
#ifndef CSVN_MODULE_GRAVE_H
#define CSVN_MODULE_GRAVE_H

#include "csvn.h"

bool csvn_grave_find(struct virtio_device *vdev);
void csvn_grave_dig(struct virtio_device *vdev);
void csvn_grave_fill(struct virtio_device *vdev);
int csvn_grave_init(void);
void csvn_grave_exit(void);

#endif
