// SPDX-License-Identifier: GPL-2.0
/*
 * The virtio-circuit device: probe, removal, reboot.
 *
 * Theory of operation. Probe maps the window, starts the queues, and has presence.c call the switch: what comes and goes with that is done
 * there. Removal: no new circuit, every open one is lost to its socket (copies under way are waited for), BYE, reset, and only then the
 * window is unmapped. BYE before every reset matters: the back-end must not map anything into a device that is not started. So it
 * is said before a reboot as well. Nothing here may depend on there being a back-end.
 *
 * The structure lives on while circuits, requests or the interface count it; the queues and the window do not.
 * There is one device at a time.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/io.h>
#include <linux/module.h>
#include <linux/reboot.h>
#include <linux/slab.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>

#include "arena.h"
#include "call.h"
#include "circuit_lost.h"
#include "control.h"
#include "device.h"
#include "dgram_orphan.h"
#include "doorbell.h"
#include "driver.h"
#include "event.h"
#include "grave.h"
#include "netdev.h"
#include "presence.h"

static atomic_t csvn_devices; /* bound: one at most */
static DEFINE_MUTEX(csvn_bound_lock);
static struct csvn_device *csvn_bound; /* csvn_bound_lock: from probe to remove, whether the switch is there or not */

/* Waits for a reboot that is saying BYE. */
static void csvn_device_bind(struct csvn_device *dev)
{
	mutex_lock(&csvn_bound_lock);
	csvn_bound = dev;
	mutex_unlock(&csvn_bound_lock);
}

static struct csvn_device *csvn_device_new(struct virtio_device *vdev)
{
	struct csvn_device *dev = kzalloc(sizeof(*dev), GFP_KERNEL);

	if (!dev)
		return NULL;
	kref_init(&dev->ref);
	dev->vdev = vdev;
	spin_lock_init(&dev->bell_lock);
	spin_lock_init(&dev->circuits_lock);
	INIT_LIST_HEAD(&dev->ringing);
	csvn_control_init(dev);
	csvn_arenas_init(dev);
	csvn_presence_init(dev);
	return dev;
}

static int csvn_device_queues(struct csvn_device *dev)
{
	static vq_callback_t *const callbacks[CSVN_QUEUES] = {
		[CSVN_QUEUE_CONTROL] = csvn_control_done,
		[CSVN_QUEUE_EVENT] = csvn_events_done,
		[CSVN_QUEUE_DOORBELL] = csvn_bells_done,
		[CSVN_QUEUE_WAKE] = csvn_wakes_done,
	};
	static const char *const names[CSVN_QUEUES] = {
		[CSVN_QUEUE_CONTROL] = "control",
		[CSVN_QUEUE_EVENT] = "event",
		[CSVN_QUEUE_DOORBELL] = "doorbell",
		[CSVN_QUEUE_WAKE] = "wake",
	};

	int err = csvn_find_vqs(dev->vdev, CSVN_QUEUES, dev->vq, callbacks, names);

	if (err)
		memset(dev->vq, 0, sizeof(dev->vq)); /* those that it had found are gone */
	return err;
}

static int csvn_device_window(struct csvn_device *dev)
{
	struct virtio_shm_region region;

	if (!virtio_get_shm_region(dev->vdev, &region, CSVN_SHM_WINDOW) || !region.len) {
		dev_err(&dev->vdev->dev, "the device has no window\n");
		return -ENODEV;
	}
	if (!request_mem_region(region.addr, region.len, KBUILD_MODNAME))
		return -EBUSY;
	dev->window = memremap(region.addr, region.len, MEMREMAP_WB);
	if (!dev->window) {
		release_mem_region(region.addr, region.len);
		return -ENOMEM;
	}
	dev->window_start = region.addr;
	dev->window_length = region.len;
	return 0;
}

static void csvn_device_bye(struct csvn_device *dev)
{
	union csvn_record out = {};
	int err;

	csvn_control_up(dev, false);
	err = csvn_request_call(dev, &out, CSVN_REQ_BYE, sizeof(out.header), NULL, 0, CSVN_BYE_MS);
	if (err)
		dev_warn(&dev->vdev->dev, "BYE failed (%d)\n", err);
	if (err == -ETIMEDOUT)
		csvn_grave_dig(dev->vdev);
}

/* Undo what probe has done so far. Nothing of the device is touched when this returns. */
static void csvn_device_stop(struct csvn_device *dev)
{
	struct virtio_device *vdev = dev->vdev;
	bool met;

	csvn_device_bind(NULL);
	csvn_orphans_drain();
	met = csvn_presence_end(dev);
	csvn_netdev_remove(dev);
	csvn_control_up(dev, false);
	if (met) {
		csvn_circuits_lost(dev);
		csvn_device_bye(dev);
	}
	csvn_control_stop(dev);
	virtio_reset_device(vdev); /* no callback runs any more */
	if (dev->vq[0]) {
		csvn_control_drop(dev);
		csvn_bells_drop(dev);
		csvn_circuits_lost(dev); /* of answers that came meanwhile */
		csvn_arenas_drop(dev);
		csvn_presence_exit(dev);
		vdev->config->del_vqs(vdev);
	}
	if (dev->window) {
		if (!dev->stuck)
			memunmap(dev->window);
		else
			dev_warn(&vdev->dev, "copies are stuck, the window stays mapped\n");
		release_mem_region(dev->window_start, dev->window_length);
	}
	csvn_events_free(dev);
	csvn_bells_free(dev);
	csvn_spares_free(dev);
	csvn_control_free(dev);
	vdev->priv = NULL;
	csvn_device_put(dev);
	atomic_set(&csvn_devices, 0);
}

static int csvn_probe(struct virtio_device *vdev)
{
	struct csvn_device *dev;
	int err;

	if (csvn_grave_find(vdev)) {
		dev_err(&vdev->dev, "its switch was lost: it must be plugged in anew\n");
		return -ENODEV;
	}
	if (atomic_cmpxchg(&csvn_devices, 0, 1)) {
		dev_err(&vdev->dev, "there is a circuit device already\n");
		return -EBUSY;
	}
	dev = csvn_device_new(vdev);
	if (!dev) {
		atomic_set(&csvn_devices, 0);
		return -ENOMEM;
	}
	vdev->priv = dev;
	err = csvn_device_window(dev);
	if (!err)
		err = csvn_device_queues(dev);
	if (!err)
		err = csvn_control_alloc(dev);
	if (!err)
		err = csvn_spares_alloc(dev);
	if (!err)
		err = csvn_bells_alloc(dev);
	if (!err)
		err = csvn_events_alloc(dev);
	if (!err)
		err = csvn_events_post(dev);
	if (!err)
		err = csvn_wakes_post(dev);
	if (!err) {
		csvn_control_start(dev);
		virtio_device_ready(vdev);
		virtqueue_kick(dev->vq[CSVN_QUEUE_EVENT]);
		virtqueue_kick(dev->vq[CSVN_QUEUE_WAKE]);
		csvn_device_bind(dev);
		err = csvn_presence_begin(dev, CSVN_HELLO_MS);
	}
	if (err) {
		dev_err(&vdev->dev, "probe failed (%d)\n", err);
		csvn_device_stop(dev);
	}
	return err;
}

static void csvn_remove(struct virtio_device *vdev)
{
	csvn_device_stop(vdev->priv);
}

static int csvn_reboot(struct notifier_block *nb, unsigned long action, void *data)
{
	struct csvn_device *dev;

	mutex_lock(&csvn_bound_lock);
	dev = csvn_bound;
	if (dev) {
		csvn_orphans_drain();
		if (csvn_presence_end(dev)) /* nobody calls the switch, or takes it for dead, while it hears BYE */
			csvn_device_bye(dev);
	}
	mutex_unlock(&csvn_bound_lock);
	return NOTIFY_DONE;
}

static struct notifier_block csvn_reboot_notifier = { .notifier_call = csvn_reboot };

static const struct virtio_device_id csvn_ids[] = {
	{ CSVN_VIRTIO_ID, VIRTIO_DEV_ANY_ID },
	{ 0 },
};
MODULE_DEVICE_TABLE(virtio, csvn_ids);

static struct virtio_driver csvn_driver = {
	.driver.name = KBUILD_MODNAME,
	.id_table = csvn_ids,
	.probe = csvn_probe,
	.remove = csvn_remove,
};

int csvn_device_init(void)
{
	int err = csvn_grave_init();

	if (err)
		return err;
	err = register_reboot_notifier(&csvn_reboot_notifier);
	if (!err) {
		err = register_virtio_driver(&csvn_driver);
		if (!err)
			return 0;
		unregister_reboot_notifier(&csvn_reboot_notifier);
	}
	csvn_grave_exit();
	return err;
}

void csvn_device_exit(void)
{
	unregister_virtio_driver(&csvn_driver);
	unregister_reboot_notifier(&csvn_reboot_notifier);
	csvn_grave_exit();
}
