// SPDX-License-Identifier: GPL-2.0
/*
 * How a flow gets its circuit: by a CONNECT (struct csvn_attempt), whose answer comes in an interrupt.
 *
 * A socket asks for nothing while a closed one with its port has circuits left (dgram_orphan.c): the switch would take
 * the new one for another socket's.
 */
#include "attempt.h"
#include "call.h"
#include "circuit.h"
#include "circuit_close.h"
#include "control.h"
#include "device.h"
#include "dgram_attempt.h"
#include "dgram_circuit.h"
#include "dgram_flow.h"
#include "dgram_orphan.h"
#include "dgram_sock.h"
#include "look.h"

/* The circuit of this id that there is already, counted, or NULL. */
static struct csvn_circuit *csvn_flow_known(struct csvn_attempt *a, u32 id)
{
	struct csvn_circuit *c;

	rcu_read_lock();
	c = csvn_circuit_find(a->dev, id);
	if (c && !refcount_inc_not_zero(&c->ref))
		c = NULL;
	rcu_read_unlock();
	return c;
}

/*
 * The circuit that was granted, counted; *known when there is one already, of the socket, or of nobody yet (another answer brings it
 * just now): that to the host. NULL, and *error, when it cannot be used.
 */
static struct csvn_circuit *csvn_flow_granted(struct csvn_attempt *a, bool *known, int *error)
{
	const struct csvn_connect_response *in = &a->req.in.connect_response;
	const struct csvn_owner *owner;
	struct csvn_circuit *c;

	if (in->flags & CSVN_CONNECT_HOST) {
		c = csvn_flow_known(a, in->circuit);
		owner = c ? READ_ONCE(c->owner) : NULL;
		*known = c && (!owner || owner == a->owner);
		if (*known)
			return c;
		if (c) {
			*error = EADDRINUSE; /* another socket has the same port */
			csvn_circuit_put(c);
			return NULL;
		}
	}
	return csvn_attempt_granted(a, error);
}

/* CONNECT was answered (or failed by itself). Any context. */
static void csvn_flow_answered(struct csvn_request *req, int error)
{
	struct csvn_attempt *a = container_of(req, struct csvn_attempt, req);
	struct csvn_device *dev = a->dev;
	struct csvn_dsock *ds = csvn_owner_dsock(a->owner);
	struct csvn_circuit *c = NULL;
	struct csvn_flow *flow;
	struct socket *sock = NULL;
	bool known = false, has = false, report = false, readable = false;
	unsigned long flags;

	if (!error && req->got < sizeof(req->in.connect_response))
		error = EPROTO;
	if (!error)
		c = csvn_flow_granted(a, &known, &error);

	rcu_read_lock(); /* for sock */
	spin_lock_irqsave(&ds->lock, flags);
	flow = a->flow;
	a->flow = NULL;
	if (flow)
		flow->attempt = NULL;
	/* That to the host is kept even if nobody wants it now: the next answer may name it. */
	if (known)
		has = csvn_dgram_has(ds, c); /* still */
	else if (c && (flow || c->host))
		has = csvn_dgram_attach(ds, c);
	if (has && !known)
		readable = csvn_readable(c);
	else if (c && !has && !known && flow)
		error = ENETDOWN;
	if (flow && has) {
		csvn_flow_attach(ds, flow, c);
	} else if (flow && !flow->circuit && !known) { /* known: the work asks again */
		/* As with ICMP: nobody is told who has sent nothing, and what is only full is no error. */
		if (error != ENOBUFS && error != EAGAIN)
			report = csvn_flow_refused(ds, flow, error ?: ECONNREFUSED);
		csvn_flow_drop(ds, flow, dev);
	}
	ds->attempts--;
	if (!ds->released)
		sock = ds->sock;
	csvn_dgram_kick(ds, ds->released || error || !has ? 0 : CSVN_ASK_MS);
	spin_unlock_irqrestore(&ds->lock, flags);
	if (sock && (report || readable))
		csvn_notify(sock, EPOLLIN | (report ? EPOLLOUT | EPOLLERR : 0));
	rcu_read_unlock();

	atomic64_inc(error ? &dev->count.connects_failed : &dev->count.connects);
	if (known)
		csvn_circuit_put(c);
	else if (c && !has) /* nobody wants it any more */
		csvn_circuit_close(c, CSVN_STATE_FIN | CSVN_STATE_CLOSED);
	if (flow)
		csvn_attempt_put(a); /* the flow's */
	csvn_attempt_put(a);
}

/* Ask later: a closed socket with the same port is not done with it, or there is no memory. tx is held. */
static void csvn_flow_later(struct csvn_dsock *ds, struct csvn_flow *flow, const struct csvn_endpoint *local)
{
	spin_lock_irq(&ds->lock);
	if (list_empty(&flow->waiting) && !flow->again)
		flow->since = jiffies;
	flow->again = true;
	flow->local = *local;
	csvn_dgram_kick(ds, ds->again_ms);
	spin_unlock_irq(&ds->lock);
}

/* Ask for a circuit for a flow that has none, now or later. Takes over the caller's count of dev. tx is held. */
void csvn_flow_ask(struct csvn_dsock *ds, struct csvn_flow *flow, struct csvn_device *dev,
		   const struct csvn_endpoint *local)
{
	struct csvn_attempt *a = NULL;

	if (!csvn_orphan_has(ds, local->port))
		a = csvn_attempt_new(dev, csvn_dgram(ds), local, &flow->remote, CSVN_PROTOCOL_DATAGRAM,
				     GFP_KERNEL_ACCOUNT);
	if (!a) {
		csvn_flow_later(ds, flow, local);
		csvn_device_put(dev);
		return;
	}
	csvn_request_init(&a->req, CSVN_REQ_CONNECT, sizeof(a->req.out.connect), csvn_flow_answered);

	spin_lock_irq(&ds->lock);
	a->flow = flow;
	flow->attempt = a;
	if (list_empty(&flow->waiting) && !flow->again)
		flow->since = jiffies;
	flow->again = false;
	ds->attempts++;
	if (ds->released)
		csvn_orphan_charge(ds);
	spin_unlock_irq(&ds->lock);
	csvn_dgram_kick(ds, CSVN_ASK_MS);
	csvn_request_send(dev, &a->req);
}

/* Give up a flow's attempt; false when there is none. What waits is dropped. tx is held. */
bool csvn_flow_give_up(struct csvn_dsock *ds, struct csvn_flow *flow)
{
	struct csvn_attempt *a;

	spin_lock_irq(&ds->lock);
	a = flow->attempt;
	if (a) {
		flow->attempt = NULL;
		a->flow = NULL;
		csvn_flow_drop(ds, flow, a->dev);
	}
	spin_unlock_irq(&ds->lock);
	if (!a)
		return false;
	csvn_request_cancel(a->dev, &a->req);
	csvn_attempt_put(a);
	return true;
}
