// SPDX-License-Identifier: GPL-2.0
/*
 * poll(), select(), epoll, io_uring's polls.
 *
 * Theory of operation. The masks are tcp_poll()'s. What is asked for and is not there is armed, and looked at once more,
 * so that the peer rings. A change of the peer's state rings without being asked for. Edge-triggered pollers
 * do not come here again before the next event, so with EPOLLET bytes are armed for even while there are some, and the
 * socket is marked for transfers to arm again (wait.c).
 *
 * Writable means that at least half of the ring is free: the peer rings when it is.
 */
#include <net/tcp.h>

#include "accept.h"
#include "look.h"
#include "poll.h"
#include "sock.h"
#include "wait.h"

static __poll_t csvn_poll_circuit(struct csvn_sock *cs, __poll_t events)
{
	u32 target = sock_rcvlowat(cs->sk, 0, INT_MAX);
	struct csvn_circuit *c;
	unsigned long flags;
	__poll_t mask = 0;
	bool readable, edge;

	spin_lock_irqsave(&cs->lock, flags);
	c = rcu_dereference_protected(cs->circuit, lockdep_is_held(&cs->lock));
	if (!c || c->lost) {
		mask = EPOLLOUT | EPOLLWRNORM; /* writing does not block */
		goto out;
	}
	target = min(target, c->end.size);
	edge = events & EPOLLET;
	if (edge)
		WRITE_ONCE(cs->edge, true);
	csvn_watch(&c->end); /* whatever is polled for, the end is */
	csvn_look(cs, c);

	readable = csvn_readable(c) >= target;
	if ((events & (EPOLLIN | EPOLLRDNORM | EPOLLRDBAND)) && (!readable || edge) && !cs->broken) {
		csvn_ask_rx(cs, c);
		readable = csvn_readable(c) >= target;
	}
	if (readable)
		mask |= EPOLLIN | EPOLLRDNORM;

	if (csvn_writable(c)) {
		mask |= EPOLLOUT | EPOLLWRNORM;
	} else if ((events & (EPOLLOUT | EPOLLWRNORM | EPOLLWRBAND)) && !cs->broken) {
		sk_set_bit(SOCKWQ_ASYNC_NOSPACE, cs->sk);
		csvn_ask_tx(cs, c);
		if (csvn_writable(c))
			mask |= EPOLLOUT | EPOLLWRNORM;
	}
	csvn_look(cs, c);
out:
	spin_unlock_irqrestore(&cs->lock, flags);
	return mask;
}

__poll_t csvn_poll(struct file *file, struct socket *sock, struct poll_table_struct *wait)
{
	struct csvn_sock *cs = csvn_sk(sock);
	struct sock *sk = sock->sk;
	__poll_t mask = 0;
	u8 shutdown;
	int state;

	switch (csvn_state(cs)) {
	case CSVN_LISTENING:
		mask = csvn_native(sock)->poll(file, sock, wait);
		if (csvn_accept_ready(cs))
			mask |= EPOLLIN | EPOLLRDNORM;
		return mask;
	case CSVN_CONNECTING:
	case CSVN_FAILED:
	case CSVN_CONNECTED:
		break;
	default:
		return csvn_native(sock)->poll(file, sock, wait);
	}

	sock_poll_wait(file, sock, wait);
	if (csvn_state(cs) == CSVN_CONNECTED)
		mask = csvn_poll_circuit(cs, poll_requested_events(wait));
	state = csvn_tcp_state(cs);
	shutdown = READ_ONCE(sk->sk_shutdown);
	if (shutdown == SHUTDOWN_MASK || state == TCP_CLOSE)
		mask |= EPOLLHUP;
	if (shutdown & RCV_SHUTDOWN)
		mask |= EPOLLIN | EPOLLRDNORM | EPOLLRDHUP;
	if (state != TCP_SYN_SENT && (shutdown & SEND_SHUTDOWN))
		mask |= EPOLLOUT | EPOLLWRNORM;
	smp_rmb(); /* pairs with csvn_break() and csvn_attempt_failed() */
	if (READ_ONCE(sk->sk_err) || !skb_queue_empty_lockless(&sk->sk_error_queue))
		mask |= EPOLLERR;
	return mask;
}
