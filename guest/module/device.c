// SPDX-License-Identifier: GPL-2.0
/*
 * The virtio-circuit device: probe, removal, reboot.
 *
 * Theory of operation. Probe reads the configuration space once, maps the window, starts the queues, says HELLO, makes the
 * interface, and registers the sockets that are listening already. Removal goes the other way: no new circuit, every
 * open one is lost to its socket (copies under way are waited for), BYE, reset, and only then the window is
 * unmapped. BYE before every reset matters: the back-end must not map anything into a device that is not started. So it
 * is said before a reboot as well.
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

#include "csvn.h"

static DEFINE_SPINLOCK(csvn_active_lock);
static struct csvn_device *csvn_active; /* csvn_active_lock */
static atomic_t csvn_devices; /* bound: one at most */

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

static void csvn_activate(struct csvn_device *dev)
{
	unsigned long flags;

	spin_lock_irqsave(&csvn_active_lock, flags);
	csvn_active = dev;
	spin_unlock_irqrestore(&csvn_active_lock, flags);
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
	csvn_heartbeat_init(dev);
	return dev;
}

/*
 * Each access costs a message to the switch, whatever its width. The beginning comes first: another device with this
 * id may have a shorter configuration, and reading past it is fatal.
 */
static int csvn_device_config(struct csvn_device *dev)
{
	struct virtio_device *vdev = dev->vdev;
	struct csvn_config *config = &dev->config;

	if (!vdev->config->get)
		return -ENODEV;
	vdev->config->get(vdev, 0, config, 8);
	if (config->magic != CSVN_MAGIC) {
		dev_info(&vdev->dev, "not a circuit device (magic %#x)\n", config->magic);
		return -ENODEV;
	}
	if (config->version != CSVN_VERSION || config->size < sizeof(*config)) {
		dev_err(&vdev->dev, "version %u of %u bytes is not supported, only version %u\n",
			config->version, config->size, CSVN_VERSION);
		return -ENODEV;
	}
	__virtio_cread_many(vdev, 8, (u8 *)config + 8, (sizeof(*config) - 8) / 8, 8);
	config->name[CSVN_NAME_MAX] = 0;
	if (!(config->features & CSVN_FEATURE_STREAM)) {
		dev_err(&vdev->dev, "the switch offers no stream circuits\n");
		return -ENODEV;
	}
	return 0;
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

	return csvn_find_vqs(dev->vdev, CSVN_QUEUES, dev->vq, callbacks, names);
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

static int csvn_device_hello(struct csvn_device *dev)
{
	union csvn_record out = {}, in;
	int err;

	out.hello.features = dev->config.features &
			     (CSVN_FEATURE_STREAM | CSVN_FEATURE_HOST | CSVN_FEATURE_DATAGRAM);
	strscpy(out.hello.driver, CSVN_DRIVER, sizeof(out.hello.driver));
	/* What the answer brings about (arenas) may come before we have seen it. */
	csvn_control_up(dev, true);
	err = csvn_request_call(dev, &out, CSVN_REQ_HELLO, sizeof(out.hello), &in,
				sizeof(in.hello_response), CSVN_ANSWER_MS);
	if (err) {
		dev_err(&dev->vdev->dev, "HELLO failed (%d)\n", err);
		return err;
	}
	dev->features = in.hello_response.features;
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
}

/* Undo what probe has done so far. Nothing of the device is touched when this returns. */
static void csvn_device_stop(struct csvn_device *dev, bool started)
{
	struct virtio_device *vdev = dev->vdev;
	bool drained = true;

	csvn_activate(NULL);
	csvn_heartbeat_stop(dev);
	csvn_netdev_remove(dev);
	if (started) {
		csvn_control_up(dev, false);
		drained = csvn_circuits_lost(dev);
		csvn_device_bye(dev);
	}
	csvn_control_stop(dev);
	virtio_reset_device(vdev); /* no callback runs any more */
	if (dev->vq[0]) {
		csvn_control_drop(dev);
		csvn_bells_drop(dev);
		drained &= csvn_circuits_lost(dev); /* of answers that came meanwhile */
		csvn_arenas_drop(dev);
		vdev->config->del_vqs(vdev);
	}
	if (dev->window) {
		if (drained)
			memunmap(dev->window);
		else
			dev_warn(&vdev->dev, "copies are stuck, the window stays mapped\n");
		release_mem_region(dev->window_start, dev->window_length);
	}
	csvn_events_free(dev);
	csvn_bells_free(dev);
	csvn_spares_free(dev);
	vdev->priv = NULL;
	csvn_device_put(dev);
	atomic_set(&csvn_devices, 0);
}

static int csvn_probe(struct virtio_device *vdev)
{
	struct csvn_device *dev = csvn_device_new(vdev);
	bool started = false;
	int err;

	if (!dev)
		return -ENOMEM;
	err = csvn_device_config(dev);
	if (!err && atomic_cmpxchg(&csvn_devices, 0, 1)) {
		dev_err(&vdev->dev, "there is a circuit device already\n");
		err = -EBUSY;
	}
	if (err) {
		csvn_device_put(dev);
		return err;
	}
	vdev->priv = dev;
	err = csvn_device_window(dev);
	if (!err)
		err = csvn_device_queues(dev);
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
	if (err)
		goto fail;
	csvn_control_start(dev);
	virtio_device_ready(vdev);
	virtqueue_kick(dev->vq[CSVN_QUEUE_EVENT]);
	virtqueue_kick(dev->vq[CSVN_QUEUE_WAKE]);
	started = true;
	err = csvn_device_hello(dev);
	if (!err)
		err = csvn_netdev_add(dev);
	if (err)
		goto fail;
	csvn_activate(dev);
	csvn_listeners_register(dev);
	csvn_heartbeat_start(dev);
	dev_info(&vdev->dev, "circuits of VM %s, IPv4 %pI4/%u, IPv6 %pI6c/%u, window %llu MiB\n",
		 dev->config.name, dev->config.ipv4, dev->config.prefix4, dev->config.ipv6,
		 dev->config.prefix6, dev->window_length >> 20);
	return 0;
fail:
	dev_err(&vdev->dev, "probe failed (%d)\n", err);
	csvn_device_stop(dev, started);
	return err;
}

static void csvn_remove(struct virtio_device *vdev)
{
	csvn_device_stop(vdev->priv, true);
}

static int csvn_reboot(struct notifier_block *nb, unsigned long action, void *data)
{
	struct csvn_device *dev = csvn_device_get();

	if (dev) {
		csvn_device_bye(dev);
		csvn_device_put(dev);
	}
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
	int err = register_reboot_notifier(&csvn_reboot_notifier);

	if (err)
		return err;
	err = register_virtio_driver(&csvn_driver);
	if (err)
		unregister_reboot_notifier(&csvn_reboot_notifier);
	return err;
}

void csvn_device_exit(void)
{
	unregister_virtio_driver(&csvn_driver);
	csvn_heartbeat_exit();
	unregister_reboot_notifier(&csvn_reboot_notifier);
}
