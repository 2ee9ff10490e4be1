// SPDX-License-Identifier: GPL-2.0
/*
 * Is the switch there? It is met, lost, and met again.
 *
 * Theory of operation. Virtio has no word for a back-end that is dead: its queues stay silent. And an emulator whose back-end is gone may
 * not survive what is otherwise harmless: QEMU aborts when the configuration space is read. So all that the driver wants to know it
 * asks by its queues, the VM's name and addresses included, and it never reads the configuration space. What else QEMU does not survive:
 * see grave.c.
 *
 * CALLING: HELLO is in the control queue. When it is answered, the interface comes, and the listeners are registered: MET. From then on a
 * device that has heard nothing from the switch for a beat sends a PING; when several beats have passed without any answer, the
 * switch is taken for dead. Everything of it goes, as if the device had been unplugged: circuits break, connects fail, whoever sleeps is
 * woken, the interface goes. The queues stay as they are, for resetting a device whose back-end hangs would hang the whole guest. HELLO
 * goes into the control queue once more, and a switch that was only late, or its successor, answers it some day.
 *
 * Beats are counted, not seconds: a guest that was paused finds that much time has passed, but not that beats have.
 *
 * The work changes the state, and takes its time (RTNL, copies under way); nobody waits for it with a lock held that it needs.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/virtio.h>

#include "arena.h"
#include "call.h"
#include "circuit.h"
#include "circuit_lost.h"
#include "control.h"
#include "device.h"
#include "doorbell.h"
#include "grave.h"
#include "listener.h"
#include "netdev.h"
#include "presence.h"

#define CSVN_BEAT_MS 4000
#define CSVN_BEATS 4 /* without an answer, until the switch is taken for dead */

static const char *const csvn_presence_names[] = {
	[CSVN_CALLING] = "calling",
	[CSVN_MET] = "met",
	[CSVN_REFUSED] = "refused",
	[CSVN_LEFT] = "left",
};

/* The work's, or probe's and remove's while no work runs. */
static void csvn_presence_set(struct csvn_device *dev, enum csvn_presence presence)
{
	dev_dbg(&dev->vdev->dev, "switch: %s -> %s\n", csvn_presence_names[dev->presence],
		csvn_presence_names[presence]);
	WRITE_ONCE(dev->presence, presence);
	if (presence != CSVN_CALLING)
		complete_all(&dev->decided);
}

static void csvn_presence_kick(struct csvn_device *dev)
{
	/* Not the module's own queue, which the work waits for. */
	queue_work(system_long_wq, &dev->presence_work);
}

/* HELLO was answered, or the device goes. Any context. */
static void csvn_hello_done(struct csvn_request *req, int error)
{
	struct csvn_device *dev = container_of(req, struct csvn_device, hello);

	dev->hello_error = error;
	smp_store_release(&dev->hello_answered, true); /* pairs with csvn_presence_work() */
	csvn_presence_kick(dev);
}

static void csvn_hello_send(struct csvn_device *dev)
{
	struct csvn_hello *out = &dev->hello.out.hello;

	memset(&dev->hello, 0, sizeof(dev->hello));
	out->features = CSVN_FEATURE_STREAM | CSVN_FEATURE_HOST | CSVN_FEATURE_DATAGRAM;
	strscpy(out->driver, CSVN_DRIVER, sizeof(out->driver));
	csvn_request_init(&dev->hello, CSVN_REQ_HELLO, sizeof(*out), csvn_hello_done);
	dev->hello_answered = false;
	/* What the answer brings about (arenas) may come before we have seen it. */
	csvn_control_up(dev, true);
	csvn_request_send(dev, &dev->hello);
}

/* Take over what the switch said of itself and of this VM. */
static int csvn_hello_heard(struct csvn_device *dev)
{
	const struct csvn_hello_response *in = &dev->hello.in.hello_response;
	struct device *device = &dev->vdev->dev;

	if (dev->hello_error) {
		if (dev->hello.got >= sizeof(in->response.header) && in->response.header.version != CSVN_VERSION)
			dev_err(device, "the switch speaks version %u, this driver only %u\n",
				in->response.header.version, CSVN_VERSION);
		else
			dev_err(device, "HELLO failed (%d)\n", -dev->hello_error);
		return -dev->hello_error;
	}
	if (dev->hello.got < sizeof(*in) || in->magic != CSVN_MAGIC) {
		dev_info(device, "not a circuit device\n");
		return -ENODEV;
	}
	if (!(in->features & CSVN_FEATURE_STREAM)) {
		dev_err(device, "the switch offers no stream circuits\n");
		return -ENODEV;
	}
	dev->features = in->features;
	dev->identity = in->identity;
	dev->identity.name[CSVN_NAME_MAX] = 0;
	return 0;
}

static void csvn_presence_meet(struct csvn_device *dev)
{
	const struct csvn_identity *id = &dev->identity;
	int err;

	err = csvn_hello_heard(dev);
	if (!err)
		err = csvn_netdev_add(dev);
	if (err) {
		dev->refusal = err;
		csvn_control_up(dev, false);
		csvn_presence_set(dev, CSVN_REFUSED);
		return;
	}
	csvn_device_activate(dev);
	csvn_listeners_register(dev);
	dev_info(&dev->vdev->dev, "circuits of VM %s, IPv4 %pI4/%u, IPv6 %pI6c/%u, window %llu MiB\n",
		 id->name, id->ipv4, id->prefix4, id->ipv6, id->prefix6, dev->window_length >> 20);
	dev->beats = 0;
	atomic_set(&dev->heard, 1);
	csvn_presence_set(dev, CSVN_MET);
	csvn_grave_fill(dev->vdev); /* afterwards: see csvn_presence_begin() */
	queue_delayed_work(csvn_workqueue, &dev->beat, msecs_to_jiffies(CSVN_BEAT_MS));
}

static void csvn_presence_lose(struct csvn_device *dev)
{
	dev_err(&dev->vdev->dev, "the switch does not answer: its circuits are given up\n");
	csvn_grave_dig(dev->vdev);
	WRITE_ONCE(dev->silent, false);
	WRITE_ONCE(dev->heeds, false);
	csvn_device_activate(NULL);
	csvn_netdev_remove(dev);
	csvn_control_lose(dev);
	if (!csvn_circuits_lost(dev)) {
		/* A new circuit might get the memory that they write to. */
		dev_err(&dev->vdev->dev, "copies are stuck: this device is of no use until it is plugged in anew\n");
		dev->refusal = -EIO;
		csvn_presence_set(dev, CSVN_REFUSED);
		return;
	}
	csvn_bells_forget(dev);
	csvn_arenas_drop(dev);
	csvn_circuits_open(dev);
	csvn_presence_set(dev, CSVN_CALLING);
	csvn_hello_send(dev);
}

static void csvn_presence_work(struct work_struct *work)
{
	struct csvn_device *dev = container_of(work, struct csvn_device, presence_work);

	if (READ_ONCE(dev->leaving))
		return;
	switch (dev->presence) {
	case CSVN_CALLING:
		if (smp_load_acquire(&dev->hello_answered)) /* pairs with csvn_hello_done() */
			csvn_presence_meet(dev);
		break;
	case CSVN_MET:
		if (READ_ONCE(dev->silent))
			csvn_presence_lose(dev);
		break;
	case CSVN_REFUSED:
	case CSVN_LEFT:
		break;
	}
}

static void csvn_beat(struct work_struct *work)
{
	struct csvn_device *dev = container_of(to_delayed_work(work), struct csvn_device, beat);
	union csvn_record out = {};

	if (READ_ONCE(dev->leaving))
		return;
	if (atomic_xchg(&dev->heard, 0)) {
		dev->beats = 0;
		dev->ping = false;
	} else if (++dev->beats > CSVN_BEATS) {
		WRITE_ONCE(dev->silent, true);
		csvn_presence_kick(dev);
		return;
	} else if (dev->beats == 1) {
		dev->ping = true;
	}
	if (dev->ping) /* without memory: with the next beat */
		dev->ping = csvn_request_tell(dev, &out, CSVN_REQ_PING, sizeof(out.header), GFP_KERNEL);
	queue_delayed_work(csvn_workqueue, &dev->beat, msecs_to_jiffies(CSVN_BEAT_MS));
}

/* The device is new. */
void csvn_presence_init(struct csvn_device *dev)
{
	INIT_DELAYED_WORK(&dev->beat, csvn_beat);
	INIT_WORK(&dev->presence_work, csvn_presence_work);
	init_completion(&dev->decided);
}

/*
 * The queues run: call the switch, and wait for at most ms until it is met. 0: it is, or it has not answered yet and may do so later.
 * Otherwise the device is of no use.
 */
int csvn_presence_begin(struct csvn_device *dev, unsigned int ms)
{
	csvn_hello_send(dev);
	if (!wait_for_completion_timeout(&dev->decided, msecs_to_jiffies(ms))) {
		dev_warn(&dev->vdev->dev, "no switch answers yet\n");
		/* It may be dead already, and the device started. If it is not, who meets it tears the note up: one of the two comes last. */
		csvn_grave_dig(dev->vdev);
		if (READ_ONCE(dev->presence) == CSVN_MET)
			csvn_grave_fill(dev->vdev);
	}
	return READ_ONCE(dev->presence) == CSVN_REFUSED ? dev->refusal : 0;
}

/*
 * The device goes: nothing of the switch changes any more when this returns. True when it was there to the last, and, the next time, false.
 */
bool csvn_presence_end(struct csvn_device *dev)
{
	bool met;

	csvn_device_activate(NULL);
	WRITE_ONCE(dev->leaving, true); /* HELLO may be answered at any time, and the work queued again */
	/* Each may start the other, but not any more. */
	cancel_delayed_work_sync(&dev->beat);
	cancel_work_sync(&dev->presence_work);
	cancel_delayed_work_sync(&dev->beat);
	csvn_device_activate(NULL); /* the work may just have met it */
	met = dev->presence == CSVN_MET;
	csvn_presence_set(dev, CSVN_LEFT);
	return met;
}

/* No request is under way any more: nothing of this file runs when this returns. */
void csvn_presence_exit(struct csvn_device *dev)
{
	cancel_work_sync(&dev->presence_work);
}
