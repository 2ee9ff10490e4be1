// SPDX-License-Identifier: GPL-2.0
/*
 * close(), shutdown(), and the disconnecting connect().
 *
 * Theory of operation. As in TCP: shutdown() of the sending half publishes FIN; close() publishes FIN and CLOSED, or RESET and
 * CLOSED when received bytes were not read or linger is zero. Then the circuit is given back. What was sent stays in
 * the ring for the peer. The native close() of the inner socket, which is closed in its own eyes, follows; it frees the
 * port.
 */
#include <linux/sched/signal.h>
#include <net/inet_sock.h>
#include <net/tcp.h>

#include "async.h"
#include "attach.h"
#include "circuit_close.h"
#include "close.h"
#include "connecting.h"
#include "listen.h"
#include "names.h"
#include "sock.h"

/* Everything that was sent has been consumed, or nothing more will be. */
static bool csvn_drained(struct csvn_sock *cs)
{
	struct csvn_circuit *c;
	unsigned long flags;
	bool drained = true;

	spin_lock_irqsave(&cs->lock, flags);
	c = rcu_dereference_protected(cs->circuit, lockdep_is_held(&cs->lock));
	if (c && !c->lost && !cs->broken)
		drained = csvn_tail(c) == CSVN_LOAD_ACQUIRE(&c->end.peer->head) ||
			  csvn_peer_state(&c->end) & (CSVN_STATE_CLOSED | CSVN_STATE_RESET) ||
			  c->reset;
	spin_unlock_irqrestore(&cs->lock, flags);
	return drained;
}

static void csvn_send_fin(struct csvn_sock *cs)
{
	struct csvn_circuit *c;

	mutex_lock(&cs->tx);
	c = rcu_dereference_protected(cs->circuit, lockdep_is_held(&cs->tx));
	if (c && !cs->fin_sent && !c->lost)
		csvn_circuit_publish(c, CSVN_STATE_FIN);
	WRITE_ONCE(cs->fin_sent, true);
	mutex_unlock(&cs->tx);
}

/* Bytes for another VM are there at once; those for the host's stack are on their way until that has taken them. */
static bool csvn_on_its_way(struct csvn_sock *cs)
{
	struct csvn_circuit *c;
	bool on_its_way;

	mutex_lock(&cs->tx);
	c = rcu_dereference_protected(cs->circuit, lockdep_is_held(&cs->tx));
	on_its_way = c && c->host;
	mutex_unlock(&cs->tx);
	return on_its_way;
}

/* SO_LINGER with a time: there is no wake-up for "all consumed", so this looks every now and then. */
static void csvn_linger(struct csvn_sock *cs)
{
	const long step = max(msecs_to_jiffies(5), 1ul);
	struct sock *sk = cs->sk;
	long left = sk->sk_lingertime;

	if (!sock_flag(sk, SOCK_LINGER) || !left || current->flags & PF_EXITING || !csvn_on_its_way(cs))
		return;
	csvn_send_fin(cs);
	while (left > 0 && !signal_pending(current) && !csvn_drained(cs)) {
		long now = min(left, step);

		left -= now - schedule_timeout_interruptible(now);
	}
}

/* Take the circuit away, and end it. reset: whatever is in the rings. */
static void csvn_end_circuit(struct csvn_sock *cs, bool reset)
{
	struct csvn_circuit *c;
	u32 bits;

	mutex_lock(&cs->tx);
	mutex_lock(&cs->rx);
	c = csvn_detach(cs);
	mutex_unlock(&cs->rx);
	mutex_unlock(&cs->tx);
	if (!c)
		return;
	rcu_read_lock(); /* as in csvn_circuit_close() */
	if (!reset && !READ_ONCE(c->lost))
		reset = CSVN_LOAD_ACQUIRE(&c->end.peer->tail) != csvn_head(c);
	rcu_read_unlock();
	bits = CSVN_STATE_CLOSED | (reset ? CSVN_STATE_RESET : CSVN_STATE_FIN);
	csvn_circuit_close(c, bits);
}

int csvn_release(struct socket *sock)
{
	const struct proto_ops *native = csvn_native(sock);
	struct csvn_sock *cs = csvn_sk(sock);
	struct sock *sk = sock->sk;
	unsigned long flags;

	if (!cs)
		return native->release(sock);
	switch (csvn_state(cs)) {
	case CSVN_CONNECTING:
		csvn_connecting_cancel(cs, CSVN_RELEASED);
		fallthrough; /* it may just have been connected */
	case CSVN_CONNECTED:
		csvn_linger(cs);
		csvn_end_circuit(cs, sock_flag(sk, SOCK_LINGER) && !sk->sk_lingertime);
		break;
	case CSVN_LISTENING:
		csvn_unlisten(cs);
		break;
	default:
		break;
	}
	spin_lock_irqsave(&cs->lock, flags);
	csvn_sock_set(cs, CSVN_RELEASED);
	spin_unlock_irqrestore(&cs->lock, flags);
	csvn_async_leave(cs);
	SOCK_INODE(sock)->i_private = NULL;
	csvn_sock_put(cs);
	return native->release(sock);
}

/*
 * connect() to AF_UNSPEC, as tcp_disconnect(): whatever there is ends by a reset, and the socket may connect anew.
 * The socket is locked, and connecting or connected.
 */
void csvn_disconnect(struct csvn_sock *cs)
{
	struct sock *sk = cs->sk;
	int state = csvn_tcp_state(cs);
	unsigned long flags;

	csvn_connecting_cancel(cs, CSVN_IDLE);
	csvn_end_circuit(cs, true);

	spin_lock_irqsave(&cs->lock, flags);
	if (state != TCP_CLOSE)
		WRITE_ONCE(sk->sk_err, ECONNRESET);
	WRITE_ONCE(sk->sk_shutdown, 0);
	sock_reset_flag(sk, SOCK_DONE);
	cs->fin_sent = false;
	cs->broken = false;
	csvn_sock_set(cs, CSVN_IDLE);
	spin_unlock_irqrestore(&cs->lock, flags);
	csvn_async_leave(cs);
	cs->sock->state = SS_UNCONNECTED;
	cs->disconnects++;
	csvn_forget_port(sk);
	sk->sk_state_change(sk);
}

int csvn_shutdown(struct socket *sock, int how)
{
	struct csvn_sock *cs = csvn_sk(sock);
	struct sock *sk = sock->sk;
	unsigned long flags;
	int err = 0, bits = how + 1; /* 1: receiving, 2: sending, 3: both */

	switch (csvn_state(cs)) {
	case CSVN_CONNECTING:
	case CSVN_CONNECTED:
		break;
	case CSVN_LISTENING:
		if (bits & RCV_SHUTDOWN)
			csvn_unlisten(cs);
		fallthrough;
	default:
		return csvn_native(sock)->shutdown(sock, how);
	}
	if ((bits & ~SHUTDOWN_MASK) || !bits)
		return -EINVAL;

	lock_sock(sk);
	switch (csvn_tcp_state(cs)) {
	case TCP_SYN_SENT:
		csvn_disconnect(cs);
		break;
	case TCP_CLOSE:
		err = -ENOTCONN;
		fallthrough;
	default:
		if (sock->state == SS_CONNECTING)
			sock->state = SS_CONNECTED;
		spin_lock_irqsave(&cs->lock, flags);
		WRITE_ONCE(sk->sk_shutdown, sk->sk_shutdown | bits);
		spin_unlock_irqrestore(&cs->lock, flags);
		if (bits & SEND_SHUTDOWN)
			csvn_send_fin(cs);
	}
	sk->sk_state_change(sk); /* whoever sleeps looks again */
	release_sock(sk);
	return err;
}
