// SPDX-License-Identifier: GPL-2.0
/* All listeners, of streams and of datagrams: by their ids, and as the switch knows them. */
#include <linux/rculist.h>

#include "call.h"
#include "device.h"
#include "listener.h"
#include "route.h"

static DEFINE_XARRAY_ALLOC1(csvn_listener_ids); /* id to struct csvn_listener, under RCU */
static DEFINE_MUTEX(csvn_listeners_lock);
static LIST_HEAD(csvn_listeners); /* all; csvn_listeners_lock */

static void csvn_listen_record(const struct csvn_listener *l, union csvn_record *out)
{
	memset(out, 0, sizeof(*out));
	out->listen.local = l->local;
	out->listen.listener = l->id;
	out->listen.backlog = READ_ONCE(l->backlog);
	out->listen.flags = l->flags;
	out->listen.protocol = l->protocol;
}

static bool csvn_listener_here(const struct csvn_listener *l, struct csvn_device *dev)
{
	if (l->protocol == CSVN_PROTOCOL_DATAGRAM && !(dev->features & CSVN_FEATURE_DATAGRAM))
		return false;
	return csvn_is_mine(dev, &l->local) &&
	       (!l->bound_dev_if || l->bound_dev_if == dev->ifindex);
}

/* A device has come: every listener is registered with it. */
void csvn_listeners_register(struct csvn_device *dev)
{
	struct csvn_listener *l;
	union csvn_record out;

	mutex_lock(&csvn_listeners_lock);
	list_for_each_entry(l, &csvn_listeners, node) {
		if (l->cs) {
			spin_lock_irq(&l->cs->lock);
			l->gathered = 0;
			spin_unlock_irq(&l->cs->lock);
		}
		if (!csvn_listener_here(l, dev))
			continue;
		csvn_listen_record(l, &out);
		csvn_request_tell(dev, &out, CSVN_REQ_LISTEN, sizeof(out.listen), GFP_KERNEL);
	}
	mutex_unlock(&csvn_listeners_lock);
}

void csvn_listeners_exit(void)
{
	WARN_ON(!list_empty(&csvn_listeners));
	xa_destroy(&csvn_listener_ids);
}

/*
 * Tell the switch, and wait for its answer for at most ms, or not at all if that is 0. Errors that leave the socket a
 * good native listener are none.
 */
int csvn_listener_tell(struct csvn_listener *l, unsigned int ms)
{
	struct csvn_device *dev = csvn_device_get();
	union csvn_record out;
	int err;

	if (!dev)
		return 0;
	if (!csvn_listener_here(l, dev)) {
		csvn_device_put(dev);
		return 0;
	}
	csvn_listen_record(l, &out);
	if (ms)
		err = csvn_request_call(dev, &out, CSVN_REQ_LISTEN, sizeof(out.listen), NULL, 0, ms);
	else
		err = csvn_request_tell(dev, &out, CSVN_REQ_LISTEN, sizeof(out.listen), GFP_KERNEL);
	if (err == -EADDRNOTAVAIL || err == -ENETDOWN)
		err = 0;
	csvn_device_put(dev);
	return err;
}

/* Give a listener its id, and have it registered with every device that comes. */
int csvn_listener_publish(struct csvn_listener *l)
{
	static u32 next;
	/* Each number once, for long: an INCOMING that is on its way for one that is gone is not for whoever comes next. */
	int err = xa_alloc_cyclic(&csvn_listener_ids, &l->id, l, XA_LIMIT(1, INT_MAX), &next, GFP_KERNEL);

	if (err < 0)
		return err;
	mutex_lock(&csvn_listeners_lock);
	list_add_tail(&l->node, &csvn_listeners);
	mutex_unlock(&csvn_listeners_lock);
	return 0;
}

/* Of INCOMING's id, or NULL. Caller holds RCU. */
struct csvn_listener *csvn_listener_find(u32 id)
{
	return xa_load(&csvn_listener_ids, id);
}

/* The opposite of csvn_listener_publish(). Readers of RCU may still have it. */
void csvn_listener_retract(struct csvn_listener *l)
{
	union csvn_record out = {};
	struct csvn_device *dev;

	mutex_lock(&csvn_listeners_lock);
	list_del(&l->node);
	mutex_unlock(&csvn_listeners_lock);
	xa_erase(&csvn_listener_ids, l->id);
	dev = csvn_device_get();
	if (dev) {
		out.unlisten.listener = l->id;
		csvn_request_tell(dev, &out, CSVN_REQ_UNLISTEN, sizeof(out.unlisten), GFP_KERNEL);
		csvn_device_put(dev);
	}
}
