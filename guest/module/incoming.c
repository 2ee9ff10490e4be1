// SPDX-License-Identifier: GPL-2.0
/* INCOMING: a circuit that another has made comes to its listener. See listen.c, dgram_circuit.c. */
#include "call.h"
#include "circuit.h"
#include "circuit_close.h"
#include "credit.h"
#include "dgram_circuit.h"
#include "incoming.h"
#include "listener.h"
#include "look.h"

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
		    csvn_listener_find(in->listener) : NULL;
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
