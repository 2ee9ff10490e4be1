// SPDX-License-Identifier: GPL-2.0
/*
 * The work of a datagram socket: it sends what waits, closes circuits, and frees flows.
 *
 * Theory of operation. Circuits are closed here alone: those that the other end has left, once they are read; that
 * broke a rule; on which nothing has passed for a time; and all, after close(). What was sent outlives the socket,
 * though (dgram_orphan.c). The circuit to the host is not closed while CONNECTs are under way, whose answers may name
 * it; and CLOSE is sent with tx held, so that no later CONNECT overtakes it.
 */
#include <linux/slab.h>

#include "circuit_close.h"
#include "device.h"
#include "dgram_attempt.h"
#include "dgram_circuit.h"
#include "dgram_flow.h"
#include "dgram_orphan.h"
#include "dgram_recv.h"
#include "dgram_send.h"
#include "dgram_sock.h"
#include "dgram_sweep.h"
#include "look.h"

static bool csvn_idle(unsigned long used)
{
	return time_after_eq(jiffies, used + READ_ONCE(csvn_datagram_idle) * HZ);
}

/* Does anything wait that is to be sent by c? ds->lock is held. */
static bool csvn_dgram_awaited(struct csvn_dsock *ds, const struct csvn_circuit *c)
{
	struct csvn_flow *flow;
	unsigned int i;

	if (!ds->waiting)
		return false;
	if (!c->host) {
		flow = csvn_flow_find(ds, &c->remote);
		return flow && flow->circuit == c && !list_empty(&flow->waiting);
	}
	for (i = 0; i < ARRAY_SIZE(ds->flows); i++)
		hlist_for_each_entry(flow, &ds->flows[i], node)
			if (flow->circuit == c && !list_empty(&flow->waiting))
				return true;
	return false;
}

/* Is c to be closed? tx, rx and ds->lock are held. */
static bool csvn_dgram_useless(struct csvn_dsock *ds, struct csvn_circuit *c)
{
	bool over;

	if (c->host && ds->attempts)
		return false;
	if (c->dropped)
		return true;
	if (ds->released)
		return !csvn_dgram_awaited(ds, c); /* what waits may have got this circuit just now */
	over = csvn_over(c);
	if (csvn_readable(c)) /* afterwards: the other end may just have sent something, and left */
		return false;
	/* That of a published port is the switch's to close. */
	return over || (csvn_idle(READ_ONCE(c->used)) && !(c->host && c->credit));
}

/* Close what is useless. tx and rx are held. */
static void csvn_dgram_close_some(struct csvn_dsock *ds)
{
	struct csvn_circuit *c, *next;
	struct csvn_device *dev;
	LIST_HEAD(useless);
	u32 credit, listener;

	spin_lock_irq(&ds->lock);
	list_for_each_entry_safe(c, next, &ds->circuits, member) {
		if (!csvn_dgram_useless(ds, c))
			continue;
		/* What was sent and is not read by an end that has left is lost. */
		if (csvn_over(c) && !c->violated && c->end.tail != CSVN_LOAD_ACQUIRE(&c->end.peer->head))
			atomic64_inc(&c->dev->count.datagrams_dropped);
		csvn_dgram_detach(ds, c);
		list_add_tail(&c->member, &useless);
	}
	listener = ds->listener ? ds->listener->id : 0;
	spin_unlock_irq(&ds->lock);

	list_for_each_entry_safe(c, next, &useless, member) {
		list_del_init(&c->member);
		dev = c->dev;
		kref_get(&dev->ref);
		credit = c->lost ? 0 : c->credit;
		csvn_circuit_close(c, CSVN_STATE_CLOSED | (c->violated ? CSVN_STATE_RESET : CSVN_STATE_FIN));
		if (credit && credit == listener)
			csvn_dgram_credit(dev, credit, GFP_KERNEL);
		csvn_device_put(dev);
	}
}

/* Ask once more, if it is worth it: what waits is not too old, and nobody else has the port. tx is held. */
static void csvn_flow_again(struct csvn_dsock *ds, struct csvn_flow *flow, bool late, bool busy)
{
	struct csvn_device *dev = csvn_device_get();
	bool ask;

	spin_lock_irq(&ds->lock);
	/* It may have got a circuit by itself; and connect() alone is nothing to go on with after close(). */
	if (late || !dev || flow->circuit || (ds->released && list_empty(&flow->waiting))) {
		if (!flow->circuit)
			csvn_flow_drop(ds, flow, dev);
		flow->again = false;
	}
	ask = flow->again && !busy && csvn_orphan_may_ask(ds);
	spin_unlock_irq(&ds->lock);
	if (ask)
		csvn_flow_ask(ds, flow, dev, &flow->local);
	else if (dev)
		csvn_device_put(dev);
}

/*
 * Send what waits for flows that have got a circuit, and give up what waits for too long. What waits for nothing (its circuit was over
 * before it could be sent, or there was no memory to ask) has one asked for again. tx is held.
 */
static void csvn_dgram_flush(struct csvn_dsock *ds)
{
	unsigned long limit = jiffies - msecs_to_jiffies(CSVN_ASK_MS);
	bool looked = false, busy = false, later = false;
	struct csvn_flow *flow;
	struct hlist_node *next;
	unsigned int i;

	/* Flows are freed with tx held alone, and added at the front: the list may be walked without the lock. */
	for (i = 0; i < ARRAY_SIZE(ds->flows); i++) {
		hlist_for_each_entry_safe(flow, next, &ds->flows[i], node) {
			bool give_up, late, again, waits;

			csvn_flow_flush(ds, flow);
			spin_lock_irq(&ds->lock);
			waits = !list_empty(&flow->waiting);
			late = time_before_eq(flow->since, limit);
			give_up = flow->attempt && (late || (ds->released && !waits));
			again = flow->again;
			if (waits && !flow->circuit && !flow->attempt)
				flow->again = later = true; /* with the next pass: not as fast as the other end leaves */
			spin_unlock_irq(&ds->lock);
			if (give_up)
				csvn_flow_give_up(ds, flow);
			if (!again)
				continue;
			if (!looked)
				busy = csvn_orphan_has(ds, flow->local.port); /* the port is the socket's, of all flows */
			looked = true;
			csvn_flow_again(ds, flow, late, busy);
			later |= flow->again;
		}
	}
	if (!later) {
		ds->again_ms = CSVN_AGAIN_MS;
		return;
	}
	csvn_dgram_kick(ds, ds->again_ms);
	ds->again_ms = min(2 * ds->again_ms, CSVN_AGAIN_MOST_MS);
}

static void csvn_dgram_free_flows(struct csvn_dsock *ds)
{
	struct csvn_flow *flow;
	struct hlist_node *next;
	unsigned int i;

	spin_lock_irq(&ds->lock);
	for (i = 0; i < ARRAY_SIZE(ds->flows); i++) {
		hlist_for_each_entry_safe(flow, next, &ds->flows[i], node) {
			if (flow->attempt || flow->again)
				continue;
			if (!list_empty(&flow->waiting))
				continue;
			if (!ds->released && flow->circuit && !(flow->circuit->host && csvn_idle(flow->used)))
				continue;
			hlist_del(&flow->node);
			ds->flow_count--;
			kfree(flow);
		}
	}
	spin_unlock_irq(&ds->lock);
}

/* All that the socket's work does. */
void csvn_dgram_sweep(struct csvn_dsock *ds)
{
	mutex_lock(&ds->tx);
	csvn_dgram_flush(ds);
	mutex_lock(&ds->rx);
	csvn_dgram_errors(ds);
	csvn_dgram_close_some(ds);
	mutex_unlock(&ds->rx);
	csvn_dgram_free_flows(ds);
	mutex_unlock(&ds->tx);
}

void csvn_dgram_work(struct work_struct *work)
{
	struct csvn_dsock *ds = container_of(to_delayed_work(work), struct csvn_dsock, work);
	unsigned int ms = clamp(READ_ONCE(csvn_datagram_idle) * MSEC_PER_SEC / 4, 250u, 15000u);
	bool more;

	csvn_dgram_sweep(ds);
	spin_lock_irq(&ds->lock);
	more = ds->waiting || (!ds->released && (!list_empty(&ds->circuits) || ds->attempts));
	if (more)
		csvn_dgram_kick(ds, ds->waiting ? min(ms, CSVN_WAITING_MS) : min(ms, CSVN_ASK_MS));
	spin_unlock_irq(&ds->lock);
	csvn_orphan_end(ds);
	csvn_dsock_put(ds);
}

/* Give up every flow and circuit but that of keep, or all. Their circuits are closed by the work. */
void csvn_dgram_forget(struct csvn_dsock *ds, const struct csvn_endpoint *keep)
{
	struct csvn_circuit *c;
	struct csvn_flow *flow;
	struct hlist_node *next;
	unsigned int i;

	mutex_lock(&ds->tx);
	for (i = 0; i < ARRAY_SIZE(ds->flows); i++)
		hlist_for_each_entry_safe(flow, next, &ds->flows[i], node)
			/* What was sent is on its way. */
			if (list_empty(&flow->waiting) && (!keep || !csvn_same(&flow->remote, keep)))
				csvn_flow_give_up(ds, flow);
	spin_lock_irq(&ds->lock);
	list_for_each_entry(c, &ds->circuits, member) {
		if (keep && (c->host || csvn_same(&c->remote, keep)))
			continue;
		WRITE_ONCE(c->dropped, true);
		WRITE_ONCE(c->ended, true);
	}
	spin_unlock_irq(&ds->lock);
	mutex_unlock(&ds->tx);
	/* At once: until the other ends see it, they send to where nobody reads any more. */
	csvn_dgram_sweep(ds);
}
