// SPDX-License-Identifier: GPL-2.0
/*
 * listen(): at the switch and natively.
 *
 * Theory of operation. A socket that listens on more than the loopback addresses has a struct csvn_listener with an id,
 * by which the switch knows it from LISTEN to UNLISTEN. It also listens natively, for the guest's own clients. Without a
 * device, the listener waits in csvn_listeners, and is registered when one comes (and again after a change of devices).
 *
 * INCOMING brings an established circuit, in an interrupt: it goes into the listener's queue, until accept() makes a
 * socket for it. The switch may send as many as the listener has credit for (credit.c).
 */
#include <linux/rculist.h>
#include <linux/slab.h>
#include <net/inet_sock.h>
#include <net/tcp_states.h>

#include "csvn.h"
#include "dgram.h"

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
	int err = xa_alloc(&csvn_listener_ids, &l->id, l, XA_LIMIT(1, INT_MAX), GFP_KERNEL);

	if (err)
		return err;
	mutex_lock(&csvn_listeners_lock);
	list_add_tail(&l->node, &csvn_listeners);
	mutex_unlock(&csvn_listeners_lock);
	return 0;
}

/* The opposite. Readers of RCU may still have it. */
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

/* Make the listener of a socket that listens natively. cs->tx is held. */
static int csvn_listener_add(struct csvn_sock *cs, u32 backlog)
{
	struct csvn_listener *l = kzalloc(sizeof(*l), GFP_KERNEL_ACCOUNT);
	int err;

	if (!l)
		return -ENOMEM;
	if (!csvn_listen_address(cs->sk, &l->local, &l->flags)) {
		kfree(l);
		return 0;
	}
	l->bound_dev_if = cs->sk->sk_bound_dev_if;
	l->protocol = CSVN_PROTOCOL_STREAM;
	l->backlog = backlog;
	l->cs = cs;
	INIT_LIST_HEAD(&l->pending);
	csvn_credit_init(l);
	refcount_inc(&cs->ref);
	spin_lock_irq(&cs->lock);
	cs->listener = l;
	csvn_sock_set(cs, CSVN_LISTENING);
	spin_unlock_irq(&cs->lock);
	err = csvn_listener_publish(l);
	if (!err)
		return 0;
	spin_lock_irq(&cs->lock);
	cs->listener = NULL;
	csvn_sock_set(cs, CSVN_IDLE);
	spin_unlock_irq(&cs->lock);
	csvn_sock_put(cs);
	kfree(l);
	return err;
}

/* The listener ends, and with it what waits for accept(). cs->tx is held. */
static void csvn_listener_remove(struct csvn_sock *cs)
{
	struct csvn_circuit *c, *next;
	struct csvn_listener *l;
	LIST_HEAD(pending);

	spin_lock_irq(&cs->lock);
	l = cs->listener;
	cs->listener = NULL;
	if (l) {
		list_splice_init(&l->pending, &pending);
		csvn_sock_set(cs, CSVN_IDLE);
	}
	spin_unlock_irq(&cs->lock);
	if (!l)
		return;

	csvn_credit_end(l);
	csvn_listener_retract(l);
	list_for_each_entry_safe(c, next, &pending, pending) {
		list_del_init(&c->pending);
		csvn_circuit_close(c, CSVN_STATE_RESET | CSVN_STATE_CLOSED);
	}
	kfree_rcu(l, rcu);
	csvn_sock_put(cs);
}

void csvn_unlisten(struct csvn_sock *cs)
{
	mutex_lock(&cs->tx);
	csvn_listener_remove(cs);
	mutex_unlock(&cs->tx);
}

int csvn_listen(struct socket *sock, int backlog)
{
	const struct proto_ops *native = csvn_native(sock);
	struct csvn_sock *cs;
	int err;

	/* Sockets without a file are the kernel's own. */
	if (!sock->file)
		return native->listen(sock, backlog);
	cs = csvn_sock_need(sock);
	if (!cs)
		return -ENOMEM;
	mutex_lock(&cs->tx); /* serializes listen(), and is used for nothing else by a listener */
	err = native->listen(sock, backlog);
	if (err)
		goto out;
	if (cs->listener)
		WRITE_ONCE(cs->listener->backlog, backlog);
	else
		err = csvn_listener_add(cs, backlog);
	if (!err && cs->listener)
		err = csvn_listener_tell(cs->listener, CSVN_ANSWER_MS);
	if (err) {
		csvn_listener_remove(cs);
		native->shutdown(sock, SHUT_RD);
	}
out:
	mutex_unlock(&cs->tx);
	return err;
}

static bool csvn_endpoint_valid(const struct csvn_endpoint *e)
{
	return e->family == 4 || e->family == 6;
}

/* A connection has come. In an interrupt. */
void csvn_incoming(struct csvn_device *dev, const union csvn_record *ev)
{
	const struct csvn_incoming *in = &ev->incoming;
	struct csvn_circuit *c = csvn_circuit_new(dev, GFP_ATOMIC);
	struct csvn_listener *l;
	struct csvn_sock *cs;
	unsigned long flags;
	int err;

	if (!c) {
		csvn_circuit_refuse(dev, in->circuit, &in->extents);
		goto refused;
	}
	err = csvn_circuit_map(c, in->circuit, &in->extents, 0);
	if (err) {
		csvn_circuit_put(c);
		if (err != -EEXIST)
			csvn_close_unseen(dev, in->circuit);
		goto refused;
	}
	c->local = in->local;
	c->remote = in->remote;
	c->host = in->flags & CSVN_CONNECT_HOST;
	rcu_read_lock();
	l = csvn_endpoint_valid(&c->local) && csvn_endpoint_valid(&c->remote) ?
		    xa_load(&csvn_listener_ids, in->listener) : NULL;
	if (l && l->ds) {
		csvn_dgram_incoming(l, c);
		rcu_read_unlock();
		return;
	}
	if (l) {
		cs = l->cs;
		spin_lock_irqsave(&cs->lock, flags);
		if (cs->listener == l) {
			list_add_tail(&c->pending, &l->pending);
			l->waiting++;
		} else {
			l = NULL;
		}
		spin_unlock_irqrestore(&cs->lock, flags);
	}
	if (l) {
		csvn_credit(cs, dev, false);
		csvn_notify(cs->sock, EPOLLIN);
		rcu_read_unlock();
		return;
	}
	rcu_read_unlock();
	csvn_circuit_close(c, CSVN_STATE_RESET | CSVN_STATE_CLOSED);
refused:
	atomic64_inc(&dev->count.refused);
}
