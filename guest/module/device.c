// SPDX-License-Identifier: GPL-2.0
/* The device that sockets use, and how its structure is counted. What becomes of it: driver.c, presence.c. */
#include <linux/slab.h>

#include "device.h"

static DEFINE_SPINLOCK(csvn_active_lock);
static struct csvn_device *csvn_active; /* csvn_active_lock */

struct csvn_device *csvn_device_get(void)
{
	struct csvn_device *dev;
	unsigned long flags;

	spin_lock_irqsave(&csvn_active_lock, flags);
	dev = csvn_active;
	if (dev)
		kref_get(&dev->ref);
	spin_unlock_irqrestore(&csvn_active_lock, flags);
	return dev;
}

static void csvn_device_release(struct kref *ref)
{
	kfree(container_of(ref, struct csvn_device, ref));
}

/* Any context. */
void csvn_device_put(struct csvn_device *dev)
{
	kref_put(&dev->ref, csvn_device_release);
}

/* Sockets use this device from now on, or none (NULL). */
void csvn_device_activate(struct csvn_device *dev)
{
	unsigned long flags;

	spin_lock_irqsave(&csvn_active_lock, flags);
	csvn_active = dev;
	spin_unlock_irqrestore(&csvn_active_lock, flags);
}
