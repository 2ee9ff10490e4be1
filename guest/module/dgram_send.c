// SPDX-License-Identifier: GPL-2.0
/*
 * Datagrams into rings, or into flows, where they wait for a circuit. See dgram_sendmsg.c.
 *
 * UDP_SEGMENT is done by hand, a frame for each segment.
 */
#include <linux/slab.h>
#include <linux/udp.h>
#include <linux/uio.h>
#include <net/udp.h>

#include "device.h"
#include "dgram_attempt.h"
#include "dgram_bind.h"
#include "dgram_circuit.h"
#include "dgram_flow.h"
#include "dgram_frame.h"
#include "dgram_send.h"
#include "dgram_sock.h"
#include "doorbell.h"
#include "names.h"

static void csvn_dgram_dropped(struct csvn_device *dev)
{
	atomic64_inc(&dev->count.datagrams_dropped);
}

/* Send a datagram by a circuit, or drop it. tx is held. Returns 0, -EFAULT, -EMSGSIZE. */
static int csvn_dgram_put(struct csvn_dsock *ds, struct csvn_circuit *c, const struct csvn_endpoint *to,
			  struct csvn_marks marks, struct iov_iter *from, u32 size)
{
	int err = csvn_frame_write(&c->end, to, marks, from, size);

	switch (err) {
	case 0:
		WRITE_ONCE(c->used, jiffies);
		atomic64_inc(&c->dev->count.datagrams_sent);
		if (csvn_wants_rx(&c->end))
			csvn_ring(c);
		return 0;
	case -EPROTO:
		csvn_dgram_violation(ds, c);
		fallthrough;
	case -ENOBUFS:
		csvn_dgram_dropped(c->dev);
		iov_iter_advance(from, size);
		return 0;
	default:
		return err;
	}
}

/*
 * The circuit that a flow is sent by, or NULL: the other end has left it, and there is no other one. tx is held, so it stays.
 * ds->lock is held.
 */
static struct csvn_circuit *csvn_flow_present(struct csvn_dsock *ds, struct csvn_flow *flow)
{
	struct csvn_circuit *c = flow->circuit;

	if (c && unlikely(csvn_over(c))) {
		csvn_dgram_ended(ds, c);
		flow->circuit = c = csvn_flow_other(ds, flow);
		csvn_dgram_kick(ds, 0);
	}
	return c;
}

/* The other end did not want the circuit: natively, what is sent there now is lost as well. */
static bool csvn_flow_unwanted(const struct csvn_circuit *c)
{
	return READ_ONCE(c->reset) || csvn_peer_state(&c->end) & CSVN_STATE_RESET;
}

/* Send what waits in a flow, if it has a circuit. tx is held. */
void csvn_flow_flush(struct csvn_dsock *ds, struct csvn_flow *flow)
{
	struct csvn_waiting *w;
	struct csvn_circuit *c;
	struct iov_iter iter;
	struct kvec vec;

	for (;;) {
		spin_lock_irq(&ds->lock);
		c = flow->circuit; /* stays while tx is held */
		/* One that this side is done with takes what was sent before; and one that refuses us takes it from us. */
		if (c && !list_empty(&flow->waiting) && !READ_ONCE(c->dropped) && !csvn_flow_unwanted(c))
			c = csvn_flow_present(ds, flow);
		w = c ? list_first_entry_or_null(&flow->waiting, struct csvn_waiting, node) : NULL;
		if (w) {
			list_del(&w->node);
			ds->waiting--;
			ds->waiting_bytes -= w->size;
		}
		spin_unlock_irq(&ds->lock);
		if (!w)
			return;
		vec = (struct kvec){ .iov_base = w->data, .iov_len = w->size };
		iov_iter_kvec(&iter, ITER_SOURCE, &vec, 1, w->size);
		csvn_dgram_put(ds, c, &flow->remote, w->marks, &iter, w->size);
		kfree(w);
	}
}

/* The circuit that a flow is sent by, or NULL. tx is held, so it stays. */
static struct csvn_circuit *csvn_flow_circuit(struct csvn_dsock *ds, struct csvn_flow *flow)
{
	struct csvn_circuit *c;

	spin_lock_irq(&ds->lock);
	c = csvn_flow_present(ds, flow);
	if (c)
		flow->used = jiffies;
	spin_unlock_irq(&ds->lock);
	return c;
}

/* Have a datagram wait in a flow; its circuit may come meanwhile. tx is held. */
static int csvn_flow_wait(struct csvn_dsock *ds, struct csvn_flow *flow, struct csvn_device *dev,
			  const struct csvn_endpoint *local, struct csvn_marks marks, struct iov_iter *from,
			  u32 size)
{
	u32 limit = max_t(u32, READ_ONCE(ds->sk->sk_sndbuf), CSVN_DATAGRAM_MAX);
	struct csvn_waiting *w;
	bool full;

	w = kmalloc(struct_size(w, data, size), GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
	if (!w)
		return -ENOBUFS;
	w->size = size;
	w->marks = marks;
	if (copy_from_iter(w->data, size, from) != size) {
		kfree(w);
		return -EFAULT;
	}
	spin_lock_irq(&ds->lock);
	full = ds->waiting >= CSVN_WAITING_MAX || ds->waiting_bytes + size > limit;
	if (!full) {
		if (list_empty(&flow->waiting))
			flow->since = jiffies;
		flow->local = *local;
		list_add_tail(&w->node, &flow->waiting);
		ds->waiting++;
		ds->waiting_bytes += size;
	}
	spin_unlock_irq(&ds->lock);
	if (full) {
		csvn_dgram_dropped(dev);
		kfree(w);
	}
	return 0;
}

/* Send size bytes as one datagram. tx is held. */
static int csvn_dgram_one(struct csvn_dsock *ds, struct csvn_dispatch *d, struct iov_iter *from, u32 size)
{
	struct csvn_endpoint local, remote = d->remote;
	struct sock *sk = ds->sk;
	struct csvn_circuit *c;
	struct csvn_device *dev;
	struct csvn_flow *flow;
	int err;

	spin_lock_irq(&ds->lock);
	flow = csvn_flow_find(ds, &remote);
	spin_unlock_irq(&ds->lock);
	c = flow ? csvn_flow_circuit(ds, flow) : NULL;
	if (c) {
		csvn_flow_flush(ds, flow);
		return csvn_dgram_put(ds, c, &remote, d->marks, from, size);
	}

	dev = csvn_dgram_route(sk, d->addr, d->addr_len, &local, &remote);
	if (!dev) {
		d->native = true;
		return 0;
	}
	if (!local.port) {
		lock_sock(sk);
		err = csvn_take_port(sk, &local);
		release_sock(sk);
		if (err) {
			csvn_device_put(dev);
			return -EAGAIN; /* as udp_sendmsg() */
		}
	}
	if (!READ_ONCE(ds->connected))
		csvn_dgram_bound(ds, 0); /* the port must be known before the CONNECT, for answers to come */
	flow = csvn_flow_need(ds, &remote, GFP_KERNEL);
	err = flow ? csvn_flow_wait(ds, flow, dev, &local, d->marks, from, size) : -ENOBUFS;
	if (err) {
		csvn_device_put(dev);
		return err;
	}
	if (!csvn_flow_circuit(ds, flow) && !READ_ONCE(flow->attempt)) {
		if (!flow->again)
			csvn_flow_ask(ds, flow, dev, &local);
		else
			csvn_device_put(dev);
		return 0;
	}
	csvn_flow_flush(ds, flow);
	csvn_device_put(dev);
	return 0;
}

/* Send size bytes, in segments if that is asked for. tx is held. */
int csvn_dgram_send(struct csvn_dsock *ds, struct csvn_dispatch *d, struct iov_iter *from, size_t size)
{
	size_t done = 0;
	int err;
	u32 n;

	do {
		n = d->segment ? min_t(size_t, d->segment, size - done) : size;
		err = csvn_dgram_one(ds, d, from, n);
		if (err || d->native)
			break;
		done += n;
	} while (done < size);
	return err && !done ? err : (int)size;
}
