// SPDX-License-Identifier: GPL-2.0
/*
 * Flows of a datagram socket.
 *
 * Theory of operation. A flow is a remote endpoint that was sent to, or that has sent. It is made by the first
 * datagram, and asks for a circuit (dgram_attempt.c). Until it has one, datagrams wait in the flow. Flows are freed by
 * the socket's work alone (dgram_sweep.c).
 */
#include <linux/jhash.h>
#include <linux/slab.h>

#include "dgram_error.h"
#include "dgram_flow.h"
#include "dgram_sock.h"

static struct hlist_head *csvn_flow_bucket(struct csvn_dsock *ds, const struct csvn_endpoint *e)
{
	u32 hash = jhash(e->ip, sizeof(e->ip), e->port);

	return &ds->flows[hash & (ARRAY_SIZE(ds->flows) - 1)];
}

/* The flow of an endpoint, or NULL. ds->lock is held. */
struct csvn_flow *csvn_flow_find(struct csvn_dsock *ds, const struct csvn_endpoint *remote)
{
	struct csvn_flow *flow;

	hlist_for_each_entry(flow, csvn_flow_bucket(ds, remote), node)
		if (csvn_same(&flow->remote, remote))
			return flow;
	return NULL;
}

/* The flow of an endpoint, made if need be; NULL without memory, or when there are too many. Takes ds->lock. */
struct csvn_flow *csvn_flow_need(struct csvn_dsock *ds, const struct csvn_endpoint *remote, gfp_t gfp)
{
	struct csvn_flow *flow, *new;
	unsigned long flags;

	spin_lock_irqsave(&ds->lock, flags);
	flow = csvn_flow_find(ds, remote);
	spin_unlock_irqrestore(&ds->lock, flags);
	if (flow)
		return flow;
	new = kzalloc(sizeof(*new), gfp | __GFP_ACCOUNT);
	if (!new)
		return NULL;
	new->remote = *remote;
	new->used = jiffies;
	INIT_LIST_HEAD(&new->waiting);
	spin_lock_irqsave(&ds->lock, flags);
	flow = csvn_flow_find(ds, remote);
	if (!flow && ds->flow_count < CSVN_FLOWS_MAX) {
		flow = new;
		new = NULL;
		ds->flow_count++;
		hlist_add_head(&flow->node, csvn_flow_bucket(ds, remote));
	}
	spin_unlock_irqrestore(&ds->lock, flags);
	kfree(new);
	return flow;
}

/* Drop what waits in a flow. ds->lock is held. */
void csvn_flow_drop(struct csvn_dsock *ds, struct csvn_flow *flow, struct csvn_device *dev)
{
	struct csvn_waiting *w, *next;

	list_for_each_entry_safe(w, next, &flow->waiting, node) {
		list_del(&w->node);
		ds->waiting--;
		ds->waiting_bytes -= w->size;
		if (dev)
			atomic64_inc(&dev->count.datagrams_dropped);
		kfree(w);
	}
}

/* Tell of each datagram that waits in a flow that it came to nothing. ds->lock is held. */
bool csvn_flow_refused(struct csvn_dsock *ds, struct csvn_flow *flow, int err)
{
	struct csvn_waiting *w;
	bool told = false;

	list_for_each_entry(w, &flow->waiting, node)
		told |= csvn_dgram_error(ds, &flow->remote, err, w->data, w->size);
	return told;
}

/* Give a flow its circuit. ds->lock is held. */
void csvn_flow_attach(struct csvn_dsock *ds, struct csvn_flow *flow, struct csvn_circuit *c)
{
	if (flow->circuit && !csvn_over(flow->circuit))
		return;
	flow->circuit = c;
	flow->used = jiffies;
	if (!list_empty(&flow->waiting))
		csvn_dgram_kick(ds, 0);
}

/* The flow's circuit is over: another one that there is already, or NULL. ds->lock is held. */
struct csvn_circuit *csvn_flow_other(struct csvn_dsock *ds, const struct csvn_flow *flow)
{
	struct csvn_circuit *c;

	list_for_each_entry(c, &ds->circuits, member)
		if (!c->host && csvn_same(&c->remote, &flow->remote) && !csvn_over(c))
			return c;
	return NULL;
}

/* A datagram has come by the host's circuit: answers go the same way. */
void csvn_flow_learn(struct csvn_dsock *ds, struct csvn_circuit *c, const struct csvn_endpoint *remote)
{
	struct csvn_flow *flow = csvn_flow_need(ds, remote, GFP_KERNEL);
	unsigned long flags;

	if (!flow)
		return;
	spin_lock_irqsave(&ds->lock, flags);
	flow = csvn_flow_find(ds, remote); /* the work may have freed it */
	if (flow && csvn_dgram_has(ds, c) && !csvn_over(c)) {
		csvn_flow_attach(ds, flow, c);
		flow->used = jiffies;
	}
	spin_unlock_irqrestore(&ds->lock, flags);
}
