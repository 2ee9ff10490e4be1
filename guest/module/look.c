// SPDX-License-Identifier: GPL-2.0
/*
 * What a socket learns from its circuit, and who is woken by it.
 *
 * Theory of operation. The peer's control page says everything: cursors and state. Nothing is signalled but "look". What
 * TCP does when a FIN or RST arrives, csvn_look() does when it sees the peer's state, in whoever looks first: the
 * interrupt of a wake, poll(), or a transfer. It sets the fields that the rest of the kernel knows (sk_shutdown,
 * SOCK_DONE, sk_err), so that SO_ERROR, poll() and the like answer as for TCP:
 *
 *   FIN                          end of file after the ring's last byte; SOCK_DONE, RCV_SHUTDOWN
 *   RESET without FIN            ECONNRESET after the ring's last byte
 *   RESET after FIN              writers get EPIPE, readers the end of file (TCP's RST in CLOSE_WAIT)
 *   CLOSED, not all was read     the same: what was sent is lost
 *   CLOSED, all was read         nothing yet: the next write succeeds, goes nowhere, and breaks the socket
 *   the switch's RESET event     its error; ECONNRESET after FIN: as CLOSED
 */
#include "look.h"

/* Nothing will move over the circuit any more. cs->lock is held. err 0: no error to be reported. */
void csvn_break(struct csvn_sock *cs, int err)
{
	struct sock *sk = cs->sk;

	if (cs->broken)
		return;
	cs->broken = true;
	if (err)
		WRITE_ONCE(sk->sk_err, err);
	smp_wmb(); /* as in tcp_done_with_error(): poll() sees the error with the shutdown */
	WRITE_ONCE(sk->sk_shutdown, SHUTDOWN_MASK);
}

/* Bytes that can be read. Only a hint outside of the receiving lock: cursors may be checked by nobody but its holder. */
u32 csvn_readable(const struct csvn_circuit *c)
{
	const struct csvn_end *e = &c->end;
	u64 head = csvn_head(c); /* first: tail comes after it */
	u64 have = CSVN_LOAD_ACQUIRE(&e->peer->tail) - head;

	return have <= e->size ? have : e->size;
}

/* At least half of the own ring is free, or nobody reads it any more. A hint in the same way. */
bool csvn_writable(const struct csvn_circuit *c)
{
	const struct csvn_end *e = &c->end;
	u64 head = CSVN_LOAD_ACQUIRE(&e->peer->head); /* first: the own tail comes after it */
	u64 used = csvn_tail(c) - head;

	return used <= e->size / 2 || used > e->size || READ_ONCE(c->reset) ||
	       csvn_peer_state(e) & (CSVN_STATE_CLOSED | CSVN_STATE_RESET);
}

/* Take over what the peer's state says. cs->lock is held, c is its circuit and not lost. */
void csvn_look(struct csvn_sock *cs, struct csvn_circuit *c)
{
	u32 state = csvn_peer_state(&c->end);
	struct sock *sk = cs->sk;
	int reset = READ_ONCE(c->reset);
	int err = 0;

	if (likely(!state && !reset) || cs->broken)
		return;
	if ((state & CSVN_STATE_FIN) && !sock_flag(sk, SOCK_DONE)) {
		WRITE_ONCE(sk->sk_shutdown, sk->sk_shutdown | RCV_SHUTDOWN);
		sock_set_flag(sk, SOCK_DONE);
	}
	if ((state & CSVN_STATE_RESET) || state == CSVN_STATE_CLOSED)
		err = state & CSVN_STATE_FIN ? EPIPE : ECONNRESET; /* CLOSED alone is against the rules */
	else if (reset && (reset != ECONNRESET || !(state & CSVN_STATE_FIN)))
		err = reset;
	else if ((state & CSVN_STATE_CLOSED) &&
		 csvn_tail(c) != CSVN_LOAD_ACQUIRE(&c->end.peer->head))
		err = EPIPE;
	if (!err)
		return;
	atomic64_inc(&c->dev->count.resets);
	csvn_break(cs, err);
}

/* Wake who waits on the socket for any of mask. Caller holds RCU or the socket. */
void csvn_notify(struct socket *sock, __poll_t mask)
{
	struct socket_wq *wq = &sock->wq;

	if (mask & EPOLLIN)
		mask |= EPOLLRDNORM | EPOLLRDBAND;
	if (mask & EPOLLOUT)
		mask |= EPOLLWRNORM | EPOLLWRBAND;
	if (skwq_has_sleeper(wq))
		wake_up_interruptible_poll(&wq->wait, mask);
	rcu_read_lock();
	if (READ_ONCE(wq->fasync_list)) {
		if (mask & EPOLLIN)
			sock_wake_async(wq, SOCK_WAKE_WAITD, POLL_IN);
		if (mask & EPOLLOUT)
			sock_wake_async(wq, SOCK_WAKE_SPACE, POLL_OUT);
	}
	rcu_read_unlock();
}
