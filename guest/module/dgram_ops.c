// SPDX-License-Identifier: GPL-2.0
/*
 * Datagram sockets: which operations they have.
 *
 * Theory of operation. As with streams (sock.c), a socket that family.c takes over is a genuine UDP socket of which
 * only sock->ops is exchanged. Unlike there, it also is what it seems to be: bind(), connect(), names, options,
 * shutdown() and everything that is not routed to csvn0 are the native operations', and a connected socket is
 * connected natively too, so that nothing but its peer's datagrams come by either way. What we add are circuits:
 * dgram_flow.c and dgram_circuit.c have them, dgram_attempt.c brings them together, dgram_sweep.c ends them,
 * dgram_frame.c has the layout of their rings, dgram_send.c and dgram_recv.c move datagrams.
 *
 * The state (struct csvn_dsock, dgram_sock.c) hangs off the inode's private pointer, like that of streams; which of the two it is is
 * told by the operations. A socket that is bound to any address, or the VM's, has a listener, by which the switch
 * knows its port.
 */
#include <net/tcp_states.h>
#include <net/udp.h>

#include "device.h"
#include "dgram_attempt.h"
#include "dgram_bind.h"
#include "dgram_cork.h"
#include "dgram_flow.h"
#include "dgram_ops.h"
#include "dgram_orphan.h"
#include "dgram_recv.h"
#include "dgram_sendmsg.h"
#include "dgram_sock.h"
#include "dgram_sweep.h"

static int csvn_dgram_bind(struct socket *sock, csvn_sockaddr *addr, int len)
{
	struct csvn_dsock *ds;
	int err;

	if (!sock->file)
		return csvn_dgram_native(sock)->bind(sock, addr, len);
	ds = csvn_dsock_need(sock);
	if (!ds)
		return -ENOMEM;
	err = csvn_dgram_native(sock)->bind(sock, addr, len);
	if (err)
		return err;
	mutex_lock(&ds->tx);
	csvn_dgram_bound(ds, CSVN_BIND_MS);
	mutex_unlock(&ds->tx);
	return 0;
}

/* The socket is connected natively, or not any more: to a circuit's end, if peer is not NULL. */
static void csvn_dgram_peer(struct csvn_dsock *ds, const struct csvn_endpoint *peer)
{
	spin_lock_irq(&ds->lock);
	ds->connected = peer;
	if (peer)
		ds->peer = *peer;
	spin_unlock_irq(&ds->lock);
}

/* connect() to a circuit's end: it is asked for at once. Whether it is granted is told to senders. */
static void csvn_dgram_connected(struct csvn_dsock *ds, struct csvn_device *dev,
				 const struct csvn_endpoint *local, const struct csvn_endpoint *remote)
{
	struct sock *sk = ds->sk;
	struct csvn_flow *flow;

	csvn_dgram_peer(ds, remote);
	csvn_dgram_forget(ds, remote);
	mutex_lock(&ds->tx);
	/*
	 * The switch knows nothing of peers. Where another socket may have the port too (a server that connects one
	 * socket for each client), others' circuits must come to that one.
	 */
	if (sk->sk_reuse || sk->sk_reuseport)
		csvn_dgram_unbound(ds);
	else
		csvn_dgram_bound(ds, 0);
	flow = remote->port && local->port ? csvn_flow_need(ds, remote, GFP_KERNEL) : NULL;
	if (flow && !READ_ONCE(flow->circuit) && !READ_ONCE(flow->attempt))
		csvn_flow_ask(ds, flow, dev, local);
	else
		csvn_device_put(dev);
	mutex_unlock(&ds->tx);
}

static int csvn_dgram_connect(struct socket *sock, csvn_sockaddr *addr, int len, int flags)
{
	const struct proto_ops *native = csvn_dgram_native(sock);
	struct csvn_dsock *ds = csvn_ds(sock);
	struct csvn_endpoint local, remote;
	struct csvn_device *dev = NULL;
	struct sock *sk = sock->sk;
	int err;

	err = native->connect(sock, addr, len, flags);
	if (err || !sock->file)
		return err;
	if (addr->sa_family != AF_UNSPEC) {
		lock_sock(sk);
		dev = csvn_dgram_route(sk, addr, len, &local, &remote);
		release_sock(sk);
	}
	if (dev) {
		ds = csvn_dsock_need(sock);
		if (!ds) {
			csvn_device_put(dev);
			return -ENOMEM;
		}
		csvn_dgram_connected(ds, dev, &local, &remote);
		return 0;
	}
	if (!ds)
		return 0;
	csvn_dgram_peer(ds, NULL);
	if (addr->sa_family != AF_UNSPEC || !inet_sk(sk)->inet_num)
		csvn_dgram_forget(ds, NULL);
	mutex_lock(&ds->tx);
	if (!inet_sk(sk)->inet_num)
		csvn_dgram_unbound(ds);
	else
		csvn_dgram_bound(ds, 0); /* connecting may have ended it */
	mutex_unlock(&ds->tx);
	return 0;
}

static int csvn_dgram_release_sock(struct socket *sock)
{
	const struct proto_ops *native = csvn_dgram_native(sock);
	struct csvn_dsock *ds = csvn_ds(sock);

	if (!ds)
		return native->release(sock);
	mutex_lock(&ds->tx);
	csvn_dgram_unbound(ds);
	mutex_unlock(&ds->tx);
	spin_lock_irq(&ds->lock);
	ds->released = true; /* the socket is not touched any more by interrupts and the work */
	spin_unlock_irq(&ds->lock);
	if (cancel_delayed_work_sync(&ds->work))
		csvn_dsock_put(ds);
	csvn_cork_free(ds);
	ds->port = inet_sk(sock->sk)->inet_num;
	csvn_orphan_begin(ds);
	csvn_dgram_sweep(ds);
	spin_lock_irq(&ds->lock);
	if (ds->waiting) /* somebody must see to it that they do not wait for too long */
		csvn_dgram_kick(ds, CSVN_WAITING_MS);
	spin_unlock_irq(&ds->lock);
	csvn_orphan_end(ds);
	SOCK_INODE(sock)->i_private = NULL;
	csvn_dsock_put(ds);
	return native->release(sock);
}

/* As csvn_setsockopt(): the kernel may give the socket other operations (IPV6_ADDRFORM). */
static int csvn_dgram_setsockopt(struct socket *sock, int level, int name, sockptr_t val, unsigned int len)
{
	const struct proto_ops *ops;
	struct csvn_dsock *ds;
	int err;

	if (level != SOL_IPV6 || name != IPV6_ADDRFORM) {
		err = csvn_dgram_native(sock)->setsockopt(sock, level, name, val, len);
		ds = csvn_ds(sock);
		if (level == SOL_UDP && name == UDP_CORK && !err && ds && !csvn_udp_corked(sock->sk))
			csvn_uncork(ds);
		return err;
	}
	ds = csvn_dsock_need(sock);
	if (!ds)
		return -ENOMEM;
	err = csvn_dgram_native(sock)->setsockopt(sock, level, name, val, len);
	ops = READ_ONCE(sock->ops);
	if (ops != &csvn_dgram_ops4 && ops != &csvn_dgram_ops6) {
		WRITE_ONCE(ds->native, ops);
		WRITE_ONCE(sock->ops, ops->family == PF_INET6 ? &csvn_dgram_ops6 : &csvn_dgram_ops4);
	}
	return err;
}

#ifdef CSVN_HAVE_SENDPAGE
static ssize_t csvn_dgram_sendpage(struct socket *sock, struct page *page, int offset, size_t size, int flags)
{
	if (!csvn_ds(sock) || !sock->file)
		return csvn_dgram_native(sock)->sendpage(sock, page, offset, size, flags);
	return sock_no_sendpage(sock, page, offset, size, flags & ~MSG_MORE);
}
#endif

static void csvn_dgram_ops_take(struct proto_ops *ops, const struct proto_ops *native)
{
	*ops = *native;
	ops->owner = THIS_MODULE;
	ops->release = csvn_dgram_release_sock;
	ops->bind = csvn_dgram_bind;
	ops->connect = csvn_dgram_connect;
	ops->poll = csvn_dgram_poll;
	ops->ioctl = csvn_dgram_ioctl;
	ops->setsockopt = csvn_dgram_setsockopt;
	ops->sendmsg = csvn_dgram_sendmsg;
	ops->recvmsg = csvn_dgram_recvmsg;
#ifdef CSVN_HAVE_SENDPAGE
	ops->sendpage = csvn_dgram_sendpage;
#endif
}

void csvn_dgram_ops_init(const struct proto_ops *native4, const struct proto_ops *native6)
{
	csvn_dsocks_init(native4, native6, csvn_dgram_work);
	csvn_dgram_ops_take(&csvn_dgram_ops4, native4);
	if (native6)
		csvn_dgram_ops_take(&csvn_dgram_ops6, native6);
}
