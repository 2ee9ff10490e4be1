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
 * How it is sent: dgram_send.c. What is corked goes by dgram_cork.c.
 */
#include <linux/udp.h>
#include <linux/uio.h>
#include <net/udp.h>

#include "device.h"
#include "dgram_bind.h"
#include "dgram_cmsg.h"
#include "dgram_cork.h"
#include "dgram_flow.h"
#include "dgram_send.h"
#include "dgram_sendmsg.h"
#include "dgram_sock.h"
#include "names.h"

/* Where the message goes. False: to the native stack, which also has all the errors. */
static bool csvn_dgram_dispatch(struct csvn_dsock *ds, struct msghdr *msg, struct csvn_dispatch *d)
{
	struct sockaddr *room = (struct sockaddr *)&d->room;
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
			d->addr_len = csvn_name(room, &d->remote, six);
		d->addr = room;
		return found;
	}
	d->addr = sin;
	d->addr_len = msg->msg_namelen;
	if (d->addr_len < (int)sizeof(*sin) || !sin->sin_port)
		return false;
	if (sin->sin_family == AF_INET || (!six && sin->sin_family == AF_UNSPEC)) {
		csvn_endpoint4(&d->remote, sin->sin_addr.s_addr, sin->sin_port);
		d->addr_len = csvn_name(room, &d->remote, six);
		d->addr = room;
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

/* Is it by circuits at all? What a flow is known for is not looked up again. */
static bool csvn_dgram_by_circuits(struct csvn_dsock *ds, struct csvn_dispatch *d)
{
	struct csvn_endpoint local, remote;
	struct csvn_device *dev;
	bool known;

	spin_lock_irq(&ds->lock);
	known = csvn_flow_find(ds, &d->remote);
	spin_unlock_irq(&ds->lock);
	if (known)
		return true;
	dev = csvn_dgram_route(ds->sk, d->addr, d->addr_len, &local, &remote);
	if (dev)
		csvn_device_put(dev);
	return dev;
}

/* The state of a socket that may have to do with circuits; NULL: it has not. */
static struct csvn_dsock *csvn_dgram_concerned(struct socket *sock, struct msghdr *msg, int *err)
{
	struct csvn_dsock *ds = csvn_ds(sock);
	struct csvn_device *dev;

	*err = 0;
	/* What the native stack keeps back is its own to send. */
	if (!sock->file || READ_ONCE(udp_sk(sock->sk)->pending))
		return NULL;
	if (ds || !msg->msg_name)
		return ds;
	dev = csvn_device_get();
	if (!dev)
		return NULL;
	csvn_device_put(dev);
	ds = csvn_dsock_need(sock);
	if (!ds)
		*err = -ENOMEM;
	return ds;
}

/* Errors that come before anything is sent, in udp_sendmsg()'s order. */
static int csvn_dgram_check(struct sock *sk, const struct csvn_dispatch *d, size_t size)
{
	if ((d->segment ?: size) > CSVN_DATAGRAM_MAX || size > CSVN_SEGMENTS_MAX * CSVN_DATAGRAM_MAX)
		return -EMSGSIZE;
	if (d->segment && size > (size_t)d->segment * CSVN_SEGMENTS_MAX)
		return -EINVAL;
	if (READ_ONCE(sk->sk_shutdown) & SEND_SHUTDOWN)
		return -EPIPE;
	return sock_error(sk);
}

int csvn_dgram_sendmsg(struct socket *sock, struct msghdr *msg, size_t size)
{
	const struct proto_ops *native = csvn_dgram_native(sock);
	struct ubuf_info *uarg = NULL;
	struct csvn_dispatch d = {};
	struct sock *sk = sock->sk;
	struct csvn_dsock *ds;
	bool more;
	int err;

	ds = csvn_dgram_concerned(sock, msg, &err);
	if (err)
		return err;
	if (!ds)
		return native->sendmsg(sock, msg, size);
	more = msg->msg_flags & MSG_MORE || csvn_udp_corked(sk);
	if (READ_ONCE(ds->cork)) { /* its destination stays, whatever the message says */
		err = csvn_cork(ds, NULL, msg, size, more);
		if (err != -EAGAIN)
			return err;
	}
	if (!csvn_dgram_dispatch(ds, msg, &d) || !csvn_dgram_by_circuits(ds, &d))
		return native->sendmsg(sock, msg, size);

	if (msg->msg_flags & MSG_OOB)
		return -EOPNOTSUPP;
	err = csvn_dgram_cmsg_send(sk, msg, &d) ?: csvn_dgram_check(sk, &d, size);
	if (err)
		return err;
	if (more)
		return csvn_cork(ds, &d, msg, size, true);
	/* MSG_ZEROCOPY: copied all the same, as in send.c. */
	if (unlikely(msg->msg_flags & MSG_ZEROCOPY) && size && !msg->msg_ubuf && sock_flag(sk, SOCK_ZEROCOPY)) {
		uarg = csvn_zerocopy_start(sk, size);
		if (!uarg)
			return -ENOBUFS;
		uarg_to_msgzc(uarg)->zerocopy = 0;
	}
	mutex_lock(&ds->tx);
	err = csvn_dgram_send(ds, &d, &msg->msg_iter, size);
	mutex_unlock(&ds->tx);
	if (uarg && err >= 0 && !d.native)
		net_zcopy_put(uarg);
	else if (uarg)
		net_zcopy_put_abort(uarg, true);
	return d.native ? native->sendmsg(sock, msg, size) : err;
}
