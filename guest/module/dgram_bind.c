// SPDX-License-Identifier: GPL-2.0
/* The ports of datagram sockets at the switch, and where the routing table leads. */
#include <linux/slab.h>
#include <net/udp.h>

#include "device.h"
#include "dgram_bind.h"
#include "dgram_sock.h"
#include "listener.h"
#include "route.h"

/* The device by whose circuits addr is reached, as csvn_route() tells it, if it takes datagrams. */
struct csvn_device *csvn_dgram_route(struct sock *sk, const void *addr, int len,
				     struct csvn_endpoint *local, struct csvn_endpoint *remote)
{
	struct csvn_device *dev = csvn_route(sk, addr, len, local, remote);

	if (dev && !(dev->features & CSVN_FEATURE_DATAGRAM)) {
		csvn_device_put(dev);
		dev = NULL;
	}
	if (dev)
		remote->scope = 0;
	return dev;
}

/*
 * The socket is bound: tell the switch, unless it knows, or the address is none of its. Waits for at most ms, or not
 * at all if that is 0. The caller holds tx.
 */
int csvn_dgram_bound(struct csvn_dsock *ds, unsigned int ms)
{
	struct csvn_listener *l;
	int err;

	if (ds->listener)
		return 0;
	l = kzalloc(sizeof(*l), GFP_KERNEL_ACCOUNT);
	if (!l)
		return -ENOMEM;
	if (!inet_sk(ds->sk)->inet_num || !csvn_listen_address(ds->sk, &l->local, &l->flags)) {
		kfree(l);
		return 0;
	}
	l->bound_dev_if = ds->sk->sk_bound_dev_if;
	l->protocol = CSVN_PROTOCOL_DATAGRAM;
	l->backlog = CSVN_DGRAM_BACKLOG;
	l->ds = ds;
	INIT_LIST_HEAD(&l->pending);
	refcount_inc(&ds->ref);
	spin_lock_irq(&ds->lock);
	ds->listener = l;
	spin_unlock_irq(&ds->lock);
	err = csvn_listener_publish(l);
	if (!err) {
		csvn_listener_tell(l, ms); /* a switch that does not want it leaves a good native socket */
		return 0;
	}
	spin_lock_irq(&ds->lock);
	ds->listener = NULL;
	spin_unlock_irq(&ds->lock);
	kfree(l);
	csvn_dsock_put(ds);
	return err;
}

/* The socket is not bound any more. The caller holds tx. */
void csvn_dgram_unbound(struct csvn_dsock *ds)
{
	struct csvn_listener *l;

	spin_lock_irq(&ds->lock);
	l = ds->listener;
	ds->listener = NULL;
	spin_unlock_irq(&ds->lock);
	if (!l)
		return;
	csvn_listener_retract(l);
	kfree_rcu(l, rcu);
	csvn_dsock_put(ds);
}
