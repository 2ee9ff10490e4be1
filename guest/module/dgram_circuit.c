// SPDX-License-Identifier: GPL-2.0
/*
 * Circuits of a datagram socket: how they come, and what happens to them.
 *
 * Theory of operation. A circuit of another VM's making comes by INCOMING, for the listener that tells the switch of
 * the socket's port; it becomes the flow's, unless that has one: when both sides ask at once there are two, each side
 * sends by the one that came first, and both are read. To the host's stack there is one circuit, which many flows
 * share.
 *
 * A circuit is on the socket's ready list, or it is armed: then its wake puts it there. Readers take it off when they
 * find nothing, after arming. So nobody looks at idle circuits, however many there are, and no wake-up is lost.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include "call.h"
#include "circuit.h"
#include "circuit_close.h"
#include "circuit_lost.h"
#include "device.h"
#include "dgram_circuit.h"
#include "dgram_error.h"
#include "dgram_flow.h"
#include "dgram_frame.h"
#include "dgram_sock.h"
#include "look.h"

static const struct csvn_owner_ops csvn_dgram_owner;

/* A datagram socket as the owner of circuits. */
struct csvn_owner *csvn_dgram(struct csvn_dsock *ds)
{
	ds->owner.ops = &csvn_dgram_owner;
	return &ds->owner;
}

/*
 * Make c one of the socket's circuits, which takes over the caller's count. False when the device is going.
 * ds->lock is held.
 */
bool csvn_dgram_attach(struct csvn_dsock *ds, struct csvn_circuit *c)
{
	c->used = jiffies;
	list_add_tail(&c->member, &ds->circuits);
	smp_store_release(&c->owner, csvn_dgram(ds)); /* pairs with csvn_circuit_wake() */
	smp_mb(); /* pairs with csvn_circuits_lost() */
	if (READ_ONCE(c->lost)) {
		list_del_init(&c->member);
		WRITE_ONCE(c->owner, NULL);
		return false;
	}
	csvn_arm_rx(&c->end);
	if (csvn_readable(c) || csvn_over(c))
		list_add_tail(&c->ready, &ds->ready);
	return true;
}

/* The opposite: nobody touches its memory through the socket any more. tx, rx and ds->lock are held. */
void csvn_dgram_detach(struct csvn_dsock *ds, struct csvn_circuit *c)
{
	struct csvn_flow *flow;
	unsigned int i;

	list_del_init(&c->member);
	list_del_init(&c->ready);
	WRITE_ONCE(c->owner, NULL);
	if (!c->host) {
		flow = csvn_flow_find(ds, &c->remote);
		if (flow && flow->circuit == c)
			flow->circuit = NULL;
		return;
	}
	for (i = 0; i < ARRAY_SIZE(ds->flows); i++)
		hlist_for_each_entry(flow, &ds->flows[i], node)
			if (flow->circuit == c)
				flow->circuit = NULL;
}

/* A circuit that was sent to a listener is over. Any context. */
void csvn_dgram_credit(struct csvn_device *dev, u32 listener, gfp_t gfp)
{
	union csvn_record out = {};

	out.credit.listener = listener;
	out.credit.count = 1;
	csvn_request_tell(dev, &out, CSVN_REQ_CREDIT, sizeof(out.credit), gfp);
}

static bool csvn_unspecified(const struct csvn_endpoint *e)
{
	return !memchr_inv(e->ip, 0, sizeof(e->ip));
}

/* A circuit for a bound socket has come, whose count is handed over. In an interrupt, under RCU, which holds l. */
void csvn_dgram_incoming(struct csvn_listener *l, struct csvn_circuit *c)
{
	struct csvn_device *dev = c->dev;
	struct csvn_dsock *ds = l->ds;
	struct csvn_flow *flow = NULL;
	struct socket *sock = NULL;
	bool taken = false;
	unsigned long flags;

	c->datagram = true;
	c->credit = l->id;
	c->host = csvn_unspecified(&c->remote);
	if (!c->host)
		flow = csvn_flow_need(ds, &c->remote, GFP_ATOMIC);
	spin_lock_irqsave(&ds->lock, flags);
	if (ds->listener == l && !ds->released &&
	    (c->host || !ds->connected || csvn_same(&c->remote, &ds->peer)) &&
	    csvn_dgram_attach(ds, c)) {
		taken = true;
		sock = ds->sock;
		flow = flow ? csvn_flow_find(ds, &c->remote) : NULL;
		if (flow && !csvn_over(c))
			csvn_flow_attach(ds, flow, c);
		csvn_dgram_kick(ds, CSVN_ASK_MS);
	}
	spin_unlock_irqrestore(&ds->lock, flags);
	if (taken) {
		atomic64_inc(&dev->count.accepts);
		csvn_notify(sock, EPOLLIN);
		return;
	}
	atomic64_inc(&dev->count.refused);
	kref_get(&dev->ref);
	csvn_circuit_close(c, CSVN_STATE_RESET | CSVN_STATE_CLOSED);
	csvn_dgram_credit(dev, l->id, GFP_ATOMIC);
	csvn_device_put(dev);
}

/* Something happened to c: who is connected by it is told. ds->lock is held. */
static bool csvn_dgram_blame(struct csvn_dsock *ds, struct csvn_circuit *c, int err)
{
	const struct csvn_endpoint *remote = c->host ? &ds->peer : &c->remote;
	struct csvn_flow *flow = c->host && !ds->connected ? NULL : csvn_flow_find(ds, remote);

	return flow && flow->circuit == c && csvn_dgram_error(ds, remote, err, NULL, 0);
}

/* The other end has left the circuit with an error: who is connected by it is told, once. ds->lock is held. */
bool csvn_dgram_ended(struct csvn_dsock *ds, struct csvn_circuit *c)
{
	int err = READ_ONCE(c->reset);

	if (!err && csvn_peer_state(&c->end) & CSVN_STATE_RESET)
		err = ECONNREFUSED; /* it did not want us */
	if (!err || c->told)
		return false;
	c->told = true;
	return csvn_dgram_blame(ds, c, err);
}

/* Somebody said that there is something to see in c. In an interrupt, under RCU. */
static void csvn_dgram_wake(struct csvn_owner *owner, struct csvn_circuit *c)
{
	struct csvn_dsock *ds = csvn_owner_dsock(owner);
	struct socket *sock = NULL;
	unsigned long flags;
	__poll_t mask = 0;

	spin_lock_irqsave(&ds->lock, flags);
	if (csvn_dgram_has(ds, c) && !c->lost) {
		if (list_empty(&c->ready)) {
			/*
			 * The wake may be for what was taken before it came. It has used the sleep sequence up all
			 * the same: who sleeps is only woken by the next one.
			 */
			if (!csvn_has_frame(c) && !csvn_over(c))
				csvn_arm_rx(&c->end);
			if (csvn_has_frame(c) || csvn_over(c))
				list_add_tail(&c->ready, &ds->ready);
		}
		if (csvn_has_frame(c)) {
			mask |= EPOLLIN;
			if (c->host && !ds->released && csvn_dgram_hears(ds) && csvn_frame_is_error(&c->end))
				csvn_dgram_kick(ds, 0);
		}
		if (csvn_over(c)) {
			if (csvn_dgram_ended(ds, c))
				mask |= EPOLLIN | EPOLLOUT | EPOLLERR;
			csvn_dgram_kick(ds, 0);
		}
		if (!ds->released)
			sock = ds->sock;
	}
	spin_unlock_irqrestore(&ds->lock, flags);
	if (sock && mask)
		csvn_notify(sock, mask);
}

/* The peer broke a rule: the circuit ends. tx or rx is held. */
void csvn_dgram_violation(struct csvn_dsock *ds, struct csvn_circuit *c)
{
	unsigned long flags;

	spin_lock_irqsave(&ds->lock, flags);
	if (!c->violated) {
		atomic64_inc(&c->dev->count.violations);
		pr_warn_ratelimited("circuit %u: the peer broke the rules of datagrams\n", c->id);
	}
	c->violated = true;
	WRITE_ONCE(c->dropped, true);
	WRITE_ONCE(c->ended, true);
	spin_unlock_irqrestore(&ds->lock, flags);
	csvn_dgram_kick(ds, 0);
}

/* The circuit's device is gone. False when a copy is under way that does not end. */
static bool csvn_dgram_lost(struct csvn_owner *owner, struct csvn_circuit *c, unsigned long deadline)
{
	struct csvn_dsock *ds = csvn_owner_dsock(owner);
	struct socket *sock = NULL;
	unsigned long flags;
	bool tx, rx, mine;

	tx = csvn_lock_by(&ds->tx, deadline);
	rx = csvn_lock_by(&ds->rx, deadline);
	rcu_read_lock();
	spin_lock_irqsave(&ds->lock, flags);
	mine = csvn_dgram_has(ds, c);
	WRITE_ONCE(c->lost, true);
	if (mine) {
		if (csvn_dgram_blame(ds, c, ENETDOWN))
			sock = ds->sock;
		csvn_dgram_detach(ds, c);
	}
	spin_unlock_irqrestore(&ds->lock, flags);
	if (sock)
		csvn_notify(sock, EPOLLIN | EPOLLOUT | EPOLLERR);
	rcu_read_unlock();
	if (rx)
		mutex_unlock(&ds->rx);
	if (tx)
		mutex_unlock(&ds->tx);
	if (mine && rx && tx)
		csvn_circuit_put(c); /* else whoever is stuck has it, for good */
	return rx && tx;
}

static bool csvn_dgram_get(struct csvn_owner *owner)
{
	return refcount_inc_not_zero(&csvn_owner_dsock(owner)->ref);
}

static void csvn_dgram_put(struct csvn_owner *owner)
{
	csvn_dsock_put(csvn_owner_dsock(owner));
}

static const struct csvn_owner_ops csvn_dgram_owner = {
	.get = csvn_dgram_get,
	.put = csvn_dgram_put,
	.wake = csvn_dgram_wake,
	.lost = csvn_dgram_lost,
};
