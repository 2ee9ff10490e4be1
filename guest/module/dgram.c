// SPDX-License-Identifier: GPL-2.0
/*
 * Datagram sockets: which operations they have, and the state that hangs off them.
 *
 * Theory of operation. As with streams (sock.c), a socket that family.c takes over is a genuine UDP socket of which
 * only sock->ops is exchanged. Unlike there, it also is what it seems to be: bind(), connect(), names, options,
 * shutdown() and everything that is not routed to csvn0 are the native operations', and a connected socket is
 * connected natively too, so that nothing but its peer's datagrams come by either way. What we add are circuits:
 * dgram_flow.c and dgram_circuit.c have them, dgram_reach.c brings them together, dgram_sweep.c ends them,
 * dgram_frame.c has the layout of their rings, dgram_send.c and dgram_recv.c move datagrams.
 *
 * The state (struct csvn_dsock) hangs off the inode's private pointer, like that of streams; which of the two it is is
 * told by the operations. A socket that is bound to any address, or the VM's, has a listener, by which the switch
 * knows its port.
 */
#include <linux/slab.h>
#include <net/tcp_states.h>
#include <net/udp.h>

#include "dgram.h"

static const struct proto_ops *csvn_dgram_native4, *csvn_dgram_native6;
struct proto_ops csvn_dgram_ops4, csvn_dgram_ops6;

static const struct proto_ops *csvn_dgram_family(int family)
{
	return family == PF_INET6 ? csvn_dgram_native6 : csvn_dgram_native4;
}

const struct proto_ops *csvn_dgram_native(struct socket *sock)
{
	struct csvn_dsock *ds = csvn_ds(sock);

	return ds ? READ_ONCE(ds->native) : csvn_dgram_family(READ_ONCE(sock->ops)->family);
}

void csvn_dsock_put(struct csvn_dsock *ds)
{
	if (refcount_dec_and_test(&ds->ref))
		kfree_rcu(ds, rcu);
}

/* The socket's state, made if there is none yet. */
struct csvn_dsock *csvn_dsock_need(struct socket *sock)
{
	struct csvn_dsock *ds = csvn_ds(sock), *old;

	if (ds)
		return ds;
	ds = kzalloc(sizeof(*ds), GFP_KERNEL_ACCOUNT);
	if (!ds)
		return NULL;
	spin_lock_init(&ds->lock);
	mutex_init(&ds->tx);
	mutex_init(&ds->rx);
	INIT_LIST_HEAD(&ds->circuits);
	INIT_LIST_HEAD(&ds->ready);
	INIT_LIST_HEAD(&ds->orphan);
	INIT_LIST_HEAD(&ds->heir);
	INIT_DELAYED_WORK(&ds->work, csvn_dgram_work);
	refcount_set(&ds->ref, 1);
	ds->sock = sock;
	ds->sk = sock->sk;
	ds->native = csvn_dgram_family(sock->sk->sk_family);
	ds->again_ms = CSVN_AGAIN_MS;
	csvn_spin_init(&ds->spin_rx);
	old = cmpxchg((struct csvn_dsock **)&SOCK_INODE(sock)->i_private, NULL, ds);
	if (old) {
		kfree(ds);
		ds = old;
	}
	return ds;
}

/* The device by whose circuits addr is reached, as csvn_route() tells it, if it takes datagrams. */
struct csvn_device *csvn_dgram_route(struct sock *sk, const void *addr, int len,
				     struct csvn_endpoint *local, struct csvn_endpoint *remote)
{
	struct csvn_device *dev = csvn_route(sk, addr, len, local, remote);

	if (dev && !(dev->features & CSVN_FEATURE_DATAGRAM)) {
		csvn_device_put(dev);
		dev = NULL;
	}
	if (dev)
		remote->scope = 0;
	return dev;
}

/*
 * The socket is bound: tell the switch, unless it knows, or the address is none of its. Waits for at most ms, or not
 * at all if that is 0. The caller holds tx.
 */
int csvn_dgram_bound(struct csvn_dsock *ds, unsigned int ms)
{
	struct csvn_listener *l;
	int err;

	if (ds->listener)
		return 0;
	l = kzalloc(sizeof(*l), GFP_KERNEL_ACCOUNT);
	if (!l)
		return -ENOMEM;
	if (!inet_sk(ds->sk)->inet_num || !csvn_listen_address(ds->sk, &l->local, &l->flags)) {
		kfree(l);
		return 0;
	}
	l->bound_dev_if = ds->sk->sk_bound_dev_if;
	l->protocol = CSVN_PROTOCOL_DATAGRAM;
	l->backlog = CSVN_DGRAM_BACKLOG;
	l->ds = ds;
	INIT_LIST_HEAD(&l->pending);
	refcount_inc(&ds->ref);
	spin_lock_irq(&ds->lock);
	ds->listener = l;
	spin_unlock_irq(&ds->lock);
	err = csvn_listener_publish(l);
	if (!err) {
		csvn_listener_tell(l, ms); /* a switch that does not want it leaves a good native socket */
		return 0;
	}
	spin_lock_irq(&ds->lock);
	ds->listener = NULL;
	spin_unlock_irq(&ds->lock);
	kfree(l);
	csvn_dsock_put(ds);
	return err;
}

/* The socket is not bound any more. The caller holds tx. */
static void csvn_dgram_unbound(struct csvn_dsock *ds)
{
	struct csvn_listener *l;

	spin_lock_irq(&ds->lock);
	l = ds->listener;
	ds->listener = NULL;
	spin_unlock_irq(&ds->lock);
	if (!l)
		return;
	csvn_listener_retract(l);
	kfree_rcu(l, rcu);
	csvn_dsock_put(ds);
}

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
	if (flow && !READ_ONCE(flow->circuit) && !READ_ONCE(flow->reach))
		csvn_flow_reach(ds, flow, dev, local);
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
	csvn_dgram_native4 = native4;
	csvn_dgram_ops_take(&csvn_dgram_ops4, native4);
	csvn_dgram_native6 = native6;
	if (native6)
		csvn_dgram_ops_take(&csvn_dgram_ops6, native6);
}
