// SPDX-License-Identifier: GPL-2.0
/*
 * accept(): from both queues, the switch's and the native one.
 *
 * Theory of operation. A listener's circuits wait in its queue, the guest's own clients in the inner listener's. When
 * both have something they take turns. A circuit gets a new socket by the family's original creation, whose inner
 * socket stays closed; it inherits what TCP's children inherit. A native child is made by the native accept(), and gets
 * the native operations, since it has nothing to do with us.
 */
#include <linux/module.h>
#include <linux/sched/signal.h>
#include <linux/security.h>
#include <linux/slab.h>
#include <net/inet_connection_sock.h>
#include <net/request_sock.h>

#include "accept.h"
#include "attach.h"
#include "circuit_close.h"
#include "credit.h"
#include "device.h"
#include "host_options.h"
#include "look.h"
#include "options.h"
#include "sock.h"

static bool csvn_native_waits(struct sock *sk)
{
	return !reqsk_queue_empty(&inet_csk(sk)->icsk_accept_queue);
}

static int csvn_accept_native(struct socket *sock, struct socket *newsock,
			      struct csvn_accept_arg *a, int flags)
{
	const struct proto_ops *native = csvn_native(sock);
	int err = csvn_native_accept(native, sock, newsock, a, flags);

	/*
	 * accept(2) has given newsock our operations, and counted the module for it. The listener counts the module
	 * too, so it stays.
	 */
	if (!err && newsock->ops == sock->ops) {
		newsock->ops = native;
		module_put(THIS_MODULE);
	}
	return err;
}

/* Close what waits, and was lost with its device. */
static void csvn_accept_skip_lost(struct csvn_sock *cs)
{
	struct csvn_circuit *c, *next;
	unsigned long flags;
	LIST_HEAD(lost);

	spin_lock_irqsave(&cs->lock, flags);
	if (cs->listener) {
		list_for_each_entry_safe(c, next, &cs->listener->pending, pending) {
			if (!READ_ONCE(c->lost))
				continue;
			list_move_tail(&c->pending, &lost);
			cs->listener->waiting--;
		}
	}
	spin_unlock_irqrestore(&cs->lock, flags);
	list_for_each_entry_safe(c, next, &lost, pending) {
		list_del_init(&c->pending);
		csvn_circuit_close(c, 0);
	}
}

/* The oldest circuit that waits, or NULL. The caller takes over its count. */
static struct csvn_circuit *csvn_accept_take(struct csvn_sock *cs, bool *listening)
{
	struct csvn_circuit *c = NULL;
	struct csvn_listener *l;

	spin_lock_irq(&cs->lock);
	l = cs->listener;
	*listening = l;
	if (l && l->native_next && csvn_native_waits(cs->sk)) {
		l->native_next = false;
	} else if (l) {
		c = list_first_entry_or_null(&l->pending, struct csvn_circuit, pending);
		if (c) {
			list_del_init(&c->pending);
			l->waiting--;
			l->native_next = true;
		}
	}
	spin_unlock_irq(&cs->lock);
	return c;
}

static void csvn_accept_return(struct csvn_sock *cs, struct csvn_circuit *c)
{
	struct csvn_listener *l;

	spin_lock_irq(&cs->lock);
	l = cs->listener;
	if (l) {
		list_add(&c->pending, &l->pending);
		l->waiting++;
	}
	spin_unlock_irq(&cs->lock);
	if (!l)
		csvn_circuit_close(c, CSVN_STATE_RESET | CSVN_STATE_CLOSED);
}

/* Make newsock the socket of c. */
static int csvn_accept_circuit(struct csvn_sock *cs, struct socket *newsock,
			       struct csvn_accept_arg *a, struct csvn_circuit *c)
{
	const struct proto_ops *ours = cs->sock->ops;
	struct csvn_device *dev = c->dev;
	struct csvn_sock *child;
	int err;

	err = csvn_sock_create(newsock, ours->family, a->kern);
	newsock->ops = ours;
	if (err) {
		newsock->sk = NULL;
		return err;
	}
	child = csvn_sock_new(newsock);
	if (!child) {
		cs->native->release(newsock);
		newsock->sk = NULL;
		return -ENOMEM;
	}
	security_sock_graft(newsock->sk, newsock);
	csvn_inherit(newsock, cs->sk);
	newsock->state = SS_CONNECTED;
	SOCK_INODE(newsock)->i_private = child;

	kref_get(&dev->ref); /* for the credit: the circuit may be closed by then */
	spin_lock_irq(&child->lock);
	csvn_attach(child, c);
	csvn_sock_set(child, CSVN_CONNECTED);
	smp_mb(); /* the device may be going: pairs with csvn_circuits_lost() */
	if (!READ_ONCE(c->lost))
		csvn_look(child, c);
	else
		csvn_break(child, ECONNRESET);
	spin_unlock_irq(&child->lock);
	csvn_host_options_tell(child);
	atomic64_inc(&dev->count.accepts);
	csvn_credit(cs, dev, true);
	csvn_device_put(dev);
	return 0;
}

/* Sleep until one of the queues has something, or the listener is gone. One sleeper is woken by each connection. */
static long csvn_accept_wait(struct csvn_sock *cs, long timeo)
{
	struct sock *sk = cs->sk;
	DEFINE_WAIT(wait);
	bool idle;

	prepare_to_wait_exclusive(sk_sleep(sk), &wait, TASK_INTERRUPTIBLE);
	spin_lock_irq(&cs->lock);
	idle = cs->listener && list_empty(&cs->listener->pending);
	spin_unlock_irq(&cs->lock);
	if (idle && !csvn_native_waits(sk))
		timeo = schedule_timeout(timeo);
	finish_wait(sk_sleep(sk), &wait);
	return timeo;
}

int csvn_accept(struct socket *sock, struct socket *newsock, CSVN_ACCEPT_PARAMS)
{
	struct csvn_accept_arg *a = CSVN_ACCEPT_ARG;
	struct csvn_sock *cs = csvn_sk(sock);
	struct csvn_circuit *c;
	bool listening;
	long timeo;
	int err;

	if (csvn_state(cs) != CSVN_LISTENING)
		return csvn_accept_native(sock, newsock, a, a->flags);
	timeo = sock_rcvtimeo(cs->sk, a->flags & O_NONBLOCK);
	for (;;) {
		c = csvn_accept_take(cs, &listening);
		if (c) {
			if (READ_ONCE(c->lost)) { /* of a device that is gone */
				csvn_circuit_close(c, 0);
				continue;
			}
			err = csvn_accept_circuit(cs, newsock, a, c);
			if (err)
				csvn_accept_return(cs, c);
			csvn_accept_is_empty(a, !csvn_accept_ready(cs) && !csvn_native_waits(cs->sk));
			return err;
		}
		if (!listening)
			return -EINVAL;
		err = csvn_accept_native(sock, newsock, a, a->flags | O_NONBLOCK);
		if (err != -EAGAIN)
			return err;
		if (csvn_accept_ready(cs))
			continue; /* it was the native queue's turn, and that had nothing */
		if (!timeo)
			return -EAGAIN;
		if (signal_pending(current))
			return sock_intr_errno(timeo);
		timeo = csvn_accept_wait(cs, timeo);
	}
}

/* A circuit waits for accept(). */
bool csvn_accept_ready(struct csvn_sock *cs)
{
	struct csvn_circuit *c = NULL;
	unsigned long flags;
	bool lost;

	do {
		spin_lock_irqsave(&cs->lock, flags);
		if (cs->listener)
			c = list_first_entry_or_null(&cs->listener->pending, struct csvn_circuit, pending);
		lost = c && READ_ONCE(c->lost);
		spin_unlock_irqrestore(&cs->lock, flags);
		if (lost) {
			csvn_accept_skip_lost(cs);
			c = NULL;
		}
	} while (lost);
	return c;
}
