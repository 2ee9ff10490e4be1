// SPDX-License-Identifier: GPL-2.0
/*
 * Flows and circuits of a datagram socket: how they come and go.
 *
 * Theory of operation. A flow is a remote endpoint that was sent to, or that has sent. It is made by the first
 * datagram, and asks for a circuit by a CONNECT (struct csvn_reach), whose answer comes in an interrupt. Until then
 * datagrams wait in the flow. A circuit of another VM's making comes by INCOMING, for the listener that tells the
 * switch of the socket's port; it becomes the flow's, unless that has one: when both sides ask at once there are two,
 * each side sends by the one that came first, and both are read. To the host's stack there is one circuit, which many
 * flows share.
 *
 * A circuit is on the socket's ready list, or it is armed: then its wake puts it there. Readers take it off when they
 * find nothing, after arming. So nobody looks at idle circuits, however many there are, and no wake-up is lost.
 *
 * Circuits are closed, and flows freed, by the socket's work alone (csvn_dgram_sweep()): those that the other end has
 * left, once they are read; that broke a rule; on which nothing has passed for a time; and all, after close(). What was sent
 * outlives the socket, though (dgram_orphan.c). The
 * circuit to the host is not closed while CONNECTs are under way, whose answers may name it; and CLOSE is sent with tx
 * held, so that no later CONNECT overtakes it. For the same reason a socket asks for nothing while a closed one with its port does.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/jhash.h>
#include <linux/slab.h>

#include "dgram.h"

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
static bool csvn_flow_refused(struct csvn_dsock *ds, struct csvn_flow *flow, int err)
{
	struct csvn_waiting *w;
	bool told = false;

	list_for_each_entry(w, &flow->waiting, node)
		told |= csvn_dgram_error(ds, &flow->remote, err, w->data, w->size);
	return told;
}

/* Have the work done, after ms milliseconds at most. Any context. */
void csvn_dgram_kick(struct csvn_dsock *ds, unsigned int ms)
{
	unsigned long delay = msecs_to_jiffies(ms);
	bool late = delayed_work_pending(&ds->work) &&
		    time_before(jiffies + delay, READ_ONCE(ds->work.timer.expires)); /* it would come too late */

	refcount_inc(&ds->ref);
	if (ms && !late ? !queue_delayed_work(csvn_workqueue, &ds->work, delay) :
			  mod_delayed_work(csvn_workqueue, &ds->work, delay))
		csvn_dsock_put(ds); /* it was queued, and counted, already */
}

/* Circuits of a socket. */

struct csvn_dsock *csvn_circuit_dsock(struct csvn_circuit *c)
{
	struct csvn_dsock *ds;

	rcu_read_lock();
	ds = READ_ONCE(c->ds);
	if (ds && !refcount_inc_not_zero(&ds->ref))
		ds = NULL;
	rcu_read_unlock();
	return ds;
}

/*
 * Make c one of the socket's circuits, which takes over the caller's count. False when the device is going.
 * ds->lock is held.
 */
static bool csvn_dgram_attach(struct csvn_dsock *ds, struct csvn_circuit *c)
{
	c->used = jiffies;
	list_add_tail(&c->member, &ds->circuits);
	smp_store_release(&c->ds, ds); /* pairs with csvn_circuit_wake() */
	smp_mb(); /* pairs with csvn_circuits_lost() */
	if (READ_ONCE(c->lost)) {
		list_del_init(&c->member);
		WRITE_ONCE(c->ds, NULL);
		return false;
	}
	csvn_arm_rx(&c->end);
	if (csvn_readable(c) || csvn_over(c))
		list_add_tail(&c->ready, &ds->ready);
	return true;
}

/* The opposite: nobody touches its memory through the socket any more. tx, rx and ds->lock are held. */
static void csvn_dgram_detach(struct csvn_dsock *ds, struct csvn_circuit *c)
{
	struct csvn_flow *flow;
	unsigned int i;

	list_del_init(&c->member);
	list_del_init(&c->ready);
	WRITE_ONCE(c->ds, NULL);
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

/* Give a flow its circuit. ds->lock is held. */
static void csvn_flow_attach(struct csvn_dsock *ds, struct csvn_flow *flow, struct csvn_circuit *c)
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
	if (flow && READ_ONCE(c->ds) == ds && !csvn_over(c)) {
		csvn_flow_attach(ds, flow, c);
		flow->used = jiffies;
	}
	spin_unlock_irqrestore(&ds->lock, flags);
}

/* A circuit that was sent to a listener is over. Any context. */
static void csvn_dgram_credit(struct csvn_device *dev, u32 listener, gfp_t gfp)
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
		csvn_dgram_kick(ds, CSVN_REACH_MS);
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
void csvn_dgram_wake(struct csvn_dsock *ds, struct csvn_circuit *c)
{
	struct socket *sock = NULL;
	unsigned long flags;
	__poll_t mask = 0;

	spin_lock_irqsave(&ds->lock, flags);
	if (READ_ONCE(c->ds) == ds && !c->lost) {
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
bool csvn_dgram_lost(struct csvn_dsock *ds, struct csvn_circuit *c, unsigned long deadline)
{
	struct socket *sock = NULL;
	unsigned long flags;
	bool tx, rx, mine;

	tx = csvn_lock_by(&ds->tx, deadline);
	rx = csvn_lock_by(&ds->rx, deadline);
	rcu_read_lock();
	spin_lock_irqsave(&ds->lock, flags);
	mine = READ_ONCE(c->ds) == ds;
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

/* CONNECT */

static void csvn_reach_put(struct csvn_reach *a)
{
	if (!refcount_dec_and_test(&a->ref))
		return;
	if (a->circuit)
		csvn_circuit_put(a->circuit);
	csvn_dsock_put(a->ds);
	csvn_device_put(a->dev);
	kfree(a);
}

/* The circuit of this id that there is already, counted, or NULL. */
static struct csvn_circuit *csvn_reach_known(struct csvn_reach *a, u32 id)
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
static struct csvn_circuit *csvn_reach_circuit(struct csvn_reach *a, bool *known, int *error)
{
	const struct csvn_connect_response *in = &a->req.in.connect_response;
	const struct csvn_dsock *owner;
	struct csvn_circuit *c;

	if (in->flags & CSVN_CONNECT_HOST) {
		c = csvn_reach_known(a, in->circuit);
		owner = c ? READ_ONCE(c->ds) : NULL;
		*known = c && (!owner || owner == a->ds);
		if (*known)
			return c;
		if (c) {
			*error = EADDRINUSE; /* another socket has the same port */
			csvn_circuit_put(c);
			return NULL;
		}
	}
	c = a->circuit;
	c->host = in->flags & CSVN_CONNECT_HOST;
	*error = -csvn_circuit_map(c, in->circuit, &in->extents, a->req.out.header.token);
	if (*error) {
		if (*error != EEXIST)
			csvn_close_unseen(a->dev, in->circuit);
		*error = EPROTO;
		return NULL;
	}
	a->circuit = NULL;
	if (in->local.family == c->local.family && in->local.port)
		c->local = in->local;
	return c;
}

/* CONNECT was answered (or failed by itself). Any context. */
static void csvn_reach_done(struct csvn_request *req, int error)
{
	struct csvn_reach *a = container_of(req, struct csvn_reach, req);
	struct csvn_device *dev = a->dev;
	struct csvn_dsock *ds = a->ds;
	struct csvn_circuit *c = NULL;
	struct csvn_flow *flow;
	struct socket *sock = NULL;
	bool known = false, has = false, report = false, readable = false;
	unsigned long flags;

	if (!error && req->got < sizeof(req->in.connect_response))
		error = EPROTO;
	if (!error)
		c = csvn_reach_circuit(a, &known, &error);

	rcu_read_lock(); /* for sock */
	spin_lock_irqsave(&ds->lock, flags);
	flow = a->flow;
	a->flow = NULL;
	if (flow)
		flow->reach = NULL;
	/* That to the host is kept even if nobody wants it now: the next answer may name it. */
	if (known)
		has = READ_ONCE(c->ds) == ds; /* still */
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
	ds->reaching--;
	if (!ds->released)
		sock = ds->sock;
	csvn_dgram_kick(ds, ds->released || error || !has ? 0 : CSVN_REACH_MS);
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
		csvn_reach_put(a); /* the flow's */
	csvn_reach_put(a);
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
void csvn_flow_reach(struct csvn_dsock *ds, struct csvn_flow *flow, struct csvn_device *dev,
		     const struct csvn_endpoint *local)
{
	struct csvn_reach *a = NULL;
	struct csvn_connect *out;

	if (!csvn_orphan_has(ds, local->port))
		a = kzalloc(sizeof(*a), GFP_KERNEL_ACCOUNT);
	if (a)
		a->circuit = csvn_circuit_new(dev, GFP_KERNEL_ACCOUNT);
	if (!a || !a->circuit) {
		kfree(a);
		csvn_flow_later(ds, flow, local);
		csvn_device_put(dev);
		return;
	}
	a->circuit->datagram = true;
	a->circuit->local = *local;
	a->circuit->remote = flow->remote;
	a->dev = dev;
	a->ds = ds;
	refcount_inc(&ds->ref);
	refcount_set(&a->ref, 2); /* the request's and the flow's */
	out = &a->req.out.connect;
	out->local = *local;
	out->remote = flow->remote;
	out->protocol = CSVN_PROTOCOL_DATAGRAM;
	csvn_request_init(&a->req, CSVN_REQ_CONNECT, sizeof(*out), csvn_reach_done);

	spin_lock_irq(&ds->lock);
	a->flow = flow;
	flow->reach = a;
	if (list_empty(&flow->waiting) && !flow->again)
		flow->since = jiffies;
	flow->again = false;
	ds->reaching++;
	if (ds->released)
		csvn_orphan_charge(ds);
	spin_unlock_irq(&ds->lock);
	csvn_dgram_kick(ds, CSVN_REACH_MS);
	csvn_request_send(dev, &a->req);
}

/* Give up a flow's attempt; false when there is none. What waits is dropped. tx is held. */
bool csvn_flow_give_up(struct csvn_dsock *ds, struct csvn_flow *flow)
{
	struct csvn_reach *a;

	spin_lock_irq(&ds->lock);
	a = flow->reach;
	if (a) {
		flow->reach = NULL;
		a->flow = NULL;
		csvn_flow_drop(ds, flow, a->dev);
	}
	spin_unlock_irq(&ds->lock);
	if (!a)
		return false;
	csvn_request_cancel(a->dev, &a->req);
	csvn_reach_put(a);
	return true;
}

/* The end of circuits and flows. */

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

	if (c->host && ds->reaching)
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
		csvn_flow_reach(ds, flow, dev, &flow->local);
	else if (dev)
		csvn_device_put(dev);
}

/*
 * Send what waits for flows that have got a circuit, and give up what waits for too long. What waits for nothing (its circuit was over
 * before it could be sent, or there was no memory to ask) has one asked for again. tx is held.
 */
static void csvn_dgram_flush(struct csvn_dsock *ds)
{
	unsigned long limit = jiffies - msecs_to_jiffies(CSVN_REACH_MS);
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
			give_up = flow->reach && (late || (ds->released && !waits));
			again = flow->again;
			if (waits && !flow->circuit && !flow->reach)
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
			if (flow->reach || flow->again)
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
	more = ds->waiting || (!ds->released && (!list_empty(&ds->circuits) || ds->reaching));
	if (more)
		csvn_dgram_kick(ds, ds->waiting ? min(ms, CSVN_WAITING_MS) : min(ms, CSVN_REACH_MS));
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
