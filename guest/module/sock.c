// SPDX-License-Identifier: GPL-2.0
/*
 * The sockets: the state that hangs off them. Which operations they have: ops.c.
 *
 * Theory of operation. A socket that family.c takes over is a genuine TCP socket, of which only sock->ops is
 * exchanged. Options, bind(), port allocation and everything on the guest's own interfaces (loopback, a NIC) is done by
 * the native operations, which ours call. The inner struct sock never leaves TCP_CLOSE for a circuit, so that
 * no timer or route of the native stack acts on it; but its error, shutdown bits, wait queue, timeouts and flags are the
 * ones that we use too, and so the rest of the kernel sees them.
 *
 * What we keep ourselves (struct csvn_sock) hangs off the private pointer of the socket's inode, which sockfs does not
 * use: in-kernel users of sk_user_data do not clash with it. It is made when a socket first gets to do with circuits,
 * and freed after close().
 *
 * The module's reference count: the socket layer takes one for each socket by sock->ops->owner, and drops it by the same
 * field at close(). So sock->ops must stay ours for the socket's life: where the kernel exchanges it (kTLS,
 * IPV6_ADDRFORM), options.c takes note of the new native operations and puts ours back.
 */
#include <linux/slab.h>
#include <net/net_namespace.h>
#include <net/tcp_states.h>

#include "sock.h"

struct proto_ops csvn_ops4, csvn_ops6; /* ops.c fills them */

static const struct proto_ops *csvn_native4, *csvn_native6;
static csvn_create_fn *csvn_create4, *csvn_create6; /* of the native sockets */

void csvn_natives_set(const struct proto_ops *native4, const struct proto_ops *native6)
{
	csvn_native4 = native4;
	csvn_native6 = native6;
}

void csvn_creates_set(csvn_create_fn *create4, csvn_create_fn *create6)
{
	csvn_create4 = create4;
	csvn_create6 = create6;
}

/* The original creation, for a socket that accept() makes. */
int csvn_sock_create(struct socket *sock, int family, int kern)
{
	return (family == PF_INET6 ? csvn_create6 : csvn_create4)(&init_net, sock, IPPROTO_TCP, kern);
}

const struct proto_ops *csvn_native(struct socket *sock)
{
	struct csvn_sock *cs = csvn_sk(sock);

	if (cs)
		return READ_ONCE(cs->native);
	return READ_ONCE(sock->ops)->family == PF_INET6 ? csvn_native6 : csvn_native4;
}

static const char *const csvn_state_names[] = {
	[CSVN_IDLE] = "idle",
	[CSVN_CONNECTING] = "connecting",
	[CSVN_FAILED] = "failed",
	[CSVN_CONNECTED] = "connected",
	[CSVN_LISTENING] = "listening",
	[CSVN_RELEASED] = "released",
};

/* cs->lock is held. */
void csvn_sock_set(struct csvn_sock *cs, enum csvn_state state)
{
	lockdep_assert_held(&cs->lock);
	pr_debug("socket %p: %s -> %s\n", cs, csvn_state_names[cs->state], csvn_state_names[state]);
	smp_store_release(&cs->state, state); /* pairs with csvn_state() */
}

struct csvn_sock *csvn_sock_new(struct socket *sock)
{
	struct csvn_sock *cs = kzalloc(sizeof(*cs), GFP_KERNEL_ACCOUNT);

	if (!cs)
		return NULL;
	spin_lock_init(&cs->lock);
	mutex_init(&cs->tx);
	mutex_init(&cs->rx);
	refcount_set(&cs->ref, 1);
	cs->sock = sock;
	cs->sk = sock->sk;
	cs->native = sock->sk->sk_family == PF_INET6 ? csvn_native6 : csvn_native4;
	return cs;
}

/* The socket's state, made if there is none yet. */
struct csvn_sock *csvn_sock_need(struct socket *sock)
{
	struct csvn_sock *cs = csvn_sk(sock), *old;

	if (cs)
		return cs;
	cs = csvn_sock_new(sock);
	if (!cs)
		return NULL;
	old = cmpxchg((struct csvn_sock **)&SOCK_INODE(sock)->i_private, NULL, cs);
	if (old) {
		kfree(cs);
		cs = old;
	}
	return cs;
}

void csvn_sock_put(struct csvn_sock *cs)
{
	if (refcount_dec_and_test(&cs->ref))
		kfree_rcu(cs, rcu);
}

/* What the state would be called in TCP. */
int csvn_tcp_state(struct csvn_sock *cs)
{
	bool done;

	switch (csvn_state(cs)) {
	case CSVN_CONNECTING:
		return TCP_SYN_SENT;
	case CSVN_CONNECTED:
		if (READ_ONCE(cs->broken))
			return TCP_CLOSE;
		done = sock_flag(cs->sk, SOCK_DONE);
		if (READ_ONCE(cs->fin_sent))
			return done ? TCP_CLOSE : TCP_FIN_WAIT2;
		return done ? TCP_CLOSE_WAIT : TCP_ESTABLISHED;
	case CSVN_LISTENING:
		return TCP_LISTEN;
	default:
		return TCP_CLOSE;
	}
}
