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
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include "csvn.h"
#include "dgram.h"

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

/*
 * The peer broke an invariant, or a program that has the circuit mapped did: the circuit ends at once, for both. The
 * caller holds no lock; afterwards the socket has no circuit.
 */
void csvn_violation(struct csvn_sock *cs)
{
	struct csvn_circuit *c;
	unsigned long flags;

	mutex_lock(&cs->tx);
	mutex_lock(&cs->rx);
	spin_lock_irqsave(&cs->lock, flags);
	csvn_break(cs, ECONNRESET);
	sock_reset_flag(cs->sk, SOCK_DONE); /* the end of file was not one */
	spin_unlock_irqrestore(&cs->lock, flags);
	c = csvn_detach(cs);
	mutex_unlock(&cs->rx);
	mutex_unlock(&cs->tx);
	if (!c)
		return;
	c->violated = !c->mapping; /* else nobody knows who did, and nobody is accused */
	atomic64_inc(&c->dev->count.violations);
	pr_warn_ratelimited("circuit %u: %s broke the ring's invariants\n", c->id,
			    c->mapping ? "the program or its peer" : "the peer");
	csvn_circuit_close(c, CSVN_STATE_RESET | CSVN_STATE_CLOSED);
	csvn_notify(cs->sock, EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP);
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

/*
 * Somebody said that there is something to see in c. In an interrupt, under RCU; c and its socket's memory live at
 * least as long.
 */
void csvn_circuit_wake(struct csvn_circuit *c)
{
	struct csvn_sock *cs = smp_load_acquire(&c->cs); /* pairs with csvn_attach() */
	struct csvn_dsock *ds = READ_ONCE(c->ds);
	struct socket *sock = NULL;
	unsigned long flags;
	__poll_t mask = 0;

	if (ds)
		csvn_dgram_wake(ds, c);
	if (!cs)
		return; /* not accepted yet: accept() looks */
	spin_lock_irqsave(&cs->lock, flags);
	if (rcu_access_pointer(cs->circuit) == c && !c->lost) {
		sock = cs->sock;
		csvn_mapping_reset(c);
		csvn_look(cs, c);
		/*
		 * By what no wake has told yet, not by what has changed: a transfer may have taken the peer's state
		 * over before, after those who sleep had looked.
		 */
		if (cs->broken && !cs->told_break)
			mask = EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP | EPOLLRDHUP;
		else if ((cs->sk->sk_shutdown & RCV_SHUTDOWN) && !cs->told_end)
			mask = EPOLLIN | EPOLLRDHUP | EPOLLHUP;
		cs->told_break |= cs->broken;
		cs->told_end |= cs->sk->sk_shutdown & RCV_SHUTDOWN;
		/* Nothing there, but the sequence is used up: ask anew, for nobody else will before he is woken. */
		if (cs->armed_rx && !csvn_readable(c))
			csvn_ask_rx(cs, c);
		if (csvn_readable(c)) {
			cs->armed_rx = false;
			mask |= EPOLLIN;
		}
		if (cs->armed_tx && !csvn_writable(c))
			csvn_ask_tx(cs, c);
		if (cs->armed_tx && csvn_writable(c)) {
			cs->armed_tx = false;
			mask |= EPOLLOUT;
		}
	}
	spin_unlock_irqrestore(&cs->lock, flags);
	if (mask)
		csvn_notify(sock, mask);
}

void csvn_reset_event(struct csvn_device *dev, const union csvn_record *ev)
{
	struct csvn_circuit *c;

	rcu_read_lock();
	c = csvn_circuit_reset(dev, ev->reset.circuit, ev->reset.error);
	if (c)
		csvn_circuit_wake(c);
	rcu_read_unlock();
}
