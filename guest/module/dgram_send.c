// SPDX-License-Identifier: GPL-2.0
/*
 * sendmsg() of datagrams.
 *
 * Theory of operation. The destination is that of the message, or the one that the socket is connected to. One whose
 * flow has a circuit needs no lookup: the datagram goes from the caller's memory into the ring, or is dropped where
 * there is no room, as in a full receive buffer. Otherwise the route decides whether it is a circuit's at all; if so
 * it is copied, waits in the flow, and the flow asks for a circuit. The sender waits for nobody but other senders on
 * the same socket.
 *
 * UDP_SEGMENT is done by hand, a frame for each segment. UDP_CORK and MSG_MORE are refused (EOPNOTSUPP).
 */
#include <linux/slab.h>
#include <linux/udp.h>
#include <linux/uio.h>
#include <net/udp.h>

#include "dgram.h"

static void csvn_dgram_dropped(struct csvn_device *dev)
{
	atomic64_inc(&dev->count.datagrams_dropped);
}

/* Send a datagram by a circuit, or drop it. tx is held. Returns 0, -EFAULT, -EMSGSIZE. */
static int csvn_dgram_put(struct csvn_dsock *ds, struct csvn_circuit *c, const struct csvn_endpoint *to,
			  struct iov_iter *from, u32 size)
{
	int err = csvn_frame_write(&c->end, to, from, size);

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
		csvn_dgram_put(ds, c, &flow->remote, &iter, w->size);
		kfree(w);
	}
}

/* The circuit that a flow is sent by, or NULL. tx is held, so it stays. */
static struct csvn_circuit *csvn_flow_circuit(struct csvn_dsock *ds, struct csvn_flow *flow)
{
	struct csvn_circuit *c;

	spin_lock_irq(&ds->lock);
	c = flow->circuit;
	if (c && unlikely(csvn_over(c))) {
		csvn_dgram_ended(ds, c);
		flow->circuit = c = csvn_flow_other(ds, flow);
		csvn_dgram_kick(ds, 0);
	}
	if (c)
		flow->used = jiffies;
	spin_unlock_irq(&ds->lock);
	return c;
}

/* Have a datagram wait in a flow; its circuit may come meanwhile. tx is held. */
static int csvn_flow_wait(struct csvn_dsock *ds, struct csvn_flow *flow, struct csvn_device *dev,
			  struct iov_iter *from, u32 size)
{
	u32 limit = max_t(u32, READ_ONCE(ds->sk->sk_sndbuf), CSVN_DATAGRAM_MAX);
	struct csvn_waiting *w;
	bool full;

	w = kmalloc(struct_size(w, data, size), GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
	if (!w)
		return -ENOBUFS;
	w->size = size;
	if (copy_from_iter(w->data, size, from) != size) {
		kfree(w);
		return -EFAULT;
	}
	spin_lock_irq(&ds->lock);
	full = ds->waiting >= CSVN_WAITING_MAX || ds->waiting_bytes + size > limit;
	if (!full) {
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

struct csvn_dispatch {
	const void *addr; /* where to, for the routing table */
	int addr_len;
	struct csvn_endpoint remote; /* the same, for flows */
	u32 segment; /* bytes of each datagram */
	bool native; /* not by circuits */
};

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
		return csvn_dgram_put(ds, c, &remote, from, size);
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
	err = flow ? csvn_flow_wait(ds, flow, dev, from, size) : -ENOBUFS;
	if (err) {
		csvn_device_put(dev);
		return err;
	}
	if (csvn_flow_circuit(ds, flow))
		csvn_flow_flush(ds, flow);
	else if (!READ_ONCE(flow->reach))
		return csvn_flow_reach(ds, flow, dev, &local);
	csvn_device_put(dev);
	return 0;
}

static int csvn_dgram_send(struct csvn_dsock *ds, struct csvn_dispatch *d, struct msghdr *msg, size_t size)
{
	size_t done = 0;
	int err;
	u32 n;

	mutex_lock(&ds->tx);
	do {
		n = d->segment ? min_t(size_t, d->segment, size - done) : size;
		err = csvn_dgram_one(ds, d, &msg->msg_iter, n);
		if (err || d->native)
			break;
		done += n;
	} while (done < size);
	mutex_unlock(&ds->tx);
	return err && !done ? err : (int)size;
}

/* The socket's or the message's UDP_SEGMENT, 0 for none; or -EINVAL. */
static int csvn_dgram_segment(struct sock *sk, struct msghdr *msg)
{
	int segment = READ_ONCE(udp_sk(sk)->gso_size);
	struct sockcm_cookie sockc;
	struct cmsghdr *cmsg;

	if (likely(!msg->msg_controllen))
		return segment;
	for_each_cmsghdr(cmsg, msg) {
		if (!CMSG_OK(msg, cmsg))
			return -EINVAL;
		if (cmsg->cmsg_level != SOL_UDP)
			continue;
		if (cmsg->cmsg_type != UDP_SEGMENT || cmsg->cmsg_len != CMSG_LEN(sizeof(u16)))
			return -EINVAL;
		segment = *(u16 *)CMSG_DATA(cmsg);
	}
	sockcm_init(&sockc, sk);
	return sock_cmsg_send(sk, msg, &sockc) ?: segment;
}

/*
 * Where the message goes. False: to the native stack, which also has all the errors. addr is room for an address that
 * the socket's family does not have.
 */
static bool csvn_dgram_dispatch(struct csvn_dsock *ds, struct msghdr *msg, struct csvn_dispatch *d,
				struct sockaddr_in6 *addr)
{
	const struct sockaddr_in6 *sin6 = msg->msg_name;
	const struct sockaddr_in *sin = msg->msg_name;
	bool six = ds->sk->sk_family == AF_INET6;
	bool found;

	if (!sin) {
		spin_lock_irq(&ds->lock);
		found = ds->connected;
		d->remote = ds->peer;
		spin_unlock_irq(&ds->lock);
		if (found)
			d->addr_len = csvn_name((struct sockaddr *)addr, &d->remote, six);
		d->addr = addr;
		return found;
	}
	d->addr = sin;
	d->addr_len = msg->msg_namelen;
	if (d->addr_len < (int)sizeof(*sin) || !sin->sin_port)
		return false;
	if (sin->sin_family == AF_INET || (!six && sin->sin_family == AF_UNSPEC)) {
		csvn_endpoint4(&d->remote, sin->sin_addr.s_addr, sin->sin_port);
		d->addr_len = csvn_name((struct sockaddr *)addr, &d->remote, six);
		d->addr = addr;
		return true;
	}
	if (!six || sin6->sin6_family != AF_INET6 || d->addr_len < SIN6_LEN_RFC2133)
		return false;
	if (ipv6_addr_v4mapped(&sin6->sin6_addr))
		csvn_endpoint4(&d->remote, sin6->sin6_addr.s6_addr32[3], sin6->sin6_port);
	else
		csvn_endpoint6(&d->remote, &sin6->sin6_addr, sin6->sin6_port, 0);
	return true;
}

int csvn_dgram_sendmsg(struct socket *sock, struct msghdr *msg, size_t size)
{
	const struct proto_ops *native = csvn_dgram_native(sock);
	struct csvn_dsock *ds = csvn_ds(sock);
	struct csvn_dispatch d = {};
	struct csvn_endpoint local, remote;
	struct ubuf_info *uarg = NULL;
	struct sock *sk = sock->sk;
	struct sockaddr_in6 addr;
	struct csvn_device *dev;
	int err;

	if (!sock->file)
		return native->sendmsg(sock, msg, size);
	if (!ds) { /* does it concern circuits at all? */
		if (!msg->msg_name)
			return native->sendmsg(sock, msg, size);
		dev = csvn_device_get();
		if (!dev)
			return native->sendmsg(sock, msg, size);
		csvn_device_put(dev);
		ds = csvn_dsock_need(sock);
		if (!ds)
			return -ENOMEM;
	}
	if (!csvn_dgram_dispatch(ds, msg, &d, &addr))
		return native->sendmsg(sock, msg, size);

	/* What follows is said only of what goes by circuits. */
	spin_lock_irq(&ds->lock);
	d.native = !csvn_flow_find(ds, &d.remote);
	spin_unlock_irq(&ds->lock);
	if (d.native) {
		dev = csvn_dgram_route(sk, d.addr, d.addr_len, &local, &remote);
		if (!dev)
			return native->sendmsg(sock, msg, size);
		csvn_device_put(dev);
		d.native = false;
	}
	if (msg->msg_flags & (MSG_OOB | MSG_MORE) || csvn_udp_corked(sk))
		return -EOPNOTSUPP;
	err = csvn_dgram_segment(sk, msg);
	if (err < 0)
		return err;
	d.segment = err;
	if ((d.segment ?: size) > CSVN_DATAGRAM_MAX || size > CSVN_SEGMENTS_MAX * CSVN_DATAGRAM_MAX)
		return -EMSGSIZE;
	if (d.segment && size > (size_t)d.segment * CSVN_SEGMENTS_MAX)
		return -EINVAL;
	err = sock_error(sk);
	if (err)
		return err;
	if (READ_ONCE(sk->sk_shutdown) & SEND_SHUTDOWN)
		return -EPIPE;
	/* MSG_ZEROCOPY: copied all the same, as in send.c. */
	if (unlikely(msg->msg_flags & MSG_ZEROCOPY) && size && !msg->msg_ubuf && sock_flag(sk, SOCK_ZEROCOPY)) {
		uarg = csvn_zerocopy_start(sk, size);
		if (!uarg)
			return -ENOBUFS;
		uarg_to_msgzc(uarg)->zerocopy = 0;
	}
	err = csvn_dgram_send(ds, &d, msg, size);
	if (uarg && err >= 0 && !d.native)
		net_zcopy_put(uarg);
	else if (uarg)
		net_zcopy_put_abort(uarg, true);
	return d.native ? native->sendmsg(sock, msg, size) : err;
}
