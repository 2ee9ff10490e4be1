// SPDX-License-Identifier: GPL-2.0
/*
 * listen(): at the switch and natively.
 *
 * Theory of operation. A socket that listens on more than the loopback addresses has a struct csvn_listener with an id,
 * by which the switch knows it from LISTEN to UNLISTEN. It also listens natively, for the guest's own clients. Without a
 * device, the listener waits in csvn_listeners, and is registered when one comes (and again after a change of devices).
 * Where all are: listener.c.
 *
 * INCOMING (incoming.c) brings an established circuit, in an interrupt: it goes into the listener's queue, until accept() makes a
 * socket for it. The switch may send as many as the listener has credit for (credit.c).
 */
#include <linux/slab.h>
#include <net/inet_sock.h>
#include <net/tcp_states.h>

#include "circuit_close.h"
#include "credit.h"
#include "listen.h"
#include "listener.h"
#include "route.h"
#include "sock.h"

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
