// SPDX-License-Identifier: GPL-2.0
/*
 * Is the switch still there?
 *
 * Theory of operation. Virtio has no word for a back-end that is dead: its queues stay silent. So a device that has heard nothing from the
 * switch for a beat sends a PING; when several beats have passed without any answer, the switch is taken for dead, and the driver is
 * probed anew, as if the device had been unplugged and plugged in: circuits break, connects fail, whoever sleeps is woken, and the interface
 * goes. A probe that finds nobody leaves the device without a driver; plugging it in again, with a switch behind it, brings everything back.
 *
 * Beats are counted, not seconds: a guest that was paused finds that much time has passed, but not that beats have.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/device.h>
#include <linux/slab.h>

#include "csvn.h"

#define CSVN_BEAT_MS 4000
#define CSVN_BEATS 4 /* without an answer, until the switch is taken for dead */

/* One at a time, since there is one device at a time; the work holds the device that it is to probe. */
static struct device *csvn_silent; /* csvn_silent_lock */
static DEFINE_SPINLOCK(csvn_silent_lock);

static struct device *csvn_silent_take(void)
{
	struct device *silent;

	spin_lock(&csvn_silent_lock);
	silent = csvn_silent;
	csvn_silent = NULL;
	spin_unlock(&csvn_silent_lock);
	return silent;
}

static void csvn_probe_anew(struct work_struct *work)
{
	struct device *silent = csvn_silent_take();

	if (!silent)
		return;
	if (device_reprobe(silent))
		dev_err(silent, "cannot be probed anew\n");
	put_device(silent);
}

static DECLARE_WORK(csvn_probe_work, csvn_probe_anew);

static void csvn_silence(struct csvn_device *dev)
{
	struct device *device = &dev->vdev->dev;

	dev_err(device, "the switch does not answer: its circuits are given up\n");
	spin_lock(&csvn_silent_lock);
	if (!csvn_silent)
		csvn_silent = get_device(device);
	spin_unlock(&csvn_silent_lock);
	/* Not the module's own queue, which removal waits for. */
	queue_work(system_long_wq, &csvn_probe_work);
}

static void csvn_beat(struct work_struct *work)
{
	struct csvn_device *dev = container_of(to_delayed_work(work), struct csvn_device, beat);
	union csvn_record out = {};

	if (atomic_xchg(&dev->heard, 0)) {
		dev->beats = 0;
	} else if (++dev->beats > CSVN_BEATS) {
		csvn_silence(dev);
		return;
	} else if (dev->beats == 1) {
		csvn_request_tell(dev, &out, CSVN_REQ_PING, sizeof(out.header), GFP_KERNEL);
	}
	queue_delayed_work(csvn_workqueue, &dev->beat, msecs_to_jiffies(CSVN_BEAT_MS));
}

/* The device is new. */
void csvn_heartbeat_init(struct csvn_device *dev)
{
	INIT_DELAYED_WORK(&dev->beat, csvn_beat);
}

/* The switch has answered HELLO. */
void csvn_heartbeat_start(struct csvn_device *dev)
{
	atomic_set(&dev->heard, 1);
	queue_delayed_work(csvn_workqueue, &dev->beat, msecs_to_jiffies(CSVN_BEAT_MS));
}

/* The device goes: no beat is under way when this returns. */
void csvn_heartbeat_stop(struct csvn_device *dev)
{
	cancel_delayed_work_sync(&dev->beat);
}

/* The module goes, and its driver is unregistered: nothing is probed any more. */
void csvn_heartbeat_exit(void)
{
	struct device *silent;

	cancel_work_sync(&csvn_probe_work);
	silent = csvn_silent_take();
	if (silent)
		put_device(silent);
}
