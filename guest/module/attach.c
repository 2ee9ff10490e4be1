// SPDX-License-Identifier: GPL-2.0
/*
 * A stream socket and its circuit: how it gets one, and how that is taken away from it; and what happens to a circuit that is a stream
 * socket's.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include "async.h"
#include "attach.h"
#include "circuit_close.h"
#include "circuit_lost.h"
#include "look.h"
#include "mapping.h"
#include "sock.h"
#include "wait.h"

static const struct csvn_owner_ops csvn_stream_owner;

/* A stream socket as the owner of circuits. */
struct csvn_owner *csvn_stream(struct csvn_sock *cs)
{
	cs->owner.ops = &csvn_stream_owner;
	return &cs->owner;
}

/* Make c the socket's circuit. The socket takes over the caller's count. cs->lock is held. */
void csvn_attach(struct csvn_sock *cs, struct csvn_circuit *c)
{
	cs->local = c->local;
	cs->remote = c->remote;
	cs->armed_rx = cs->armed_tx = false;
	cs->told_end = cs->told_break = false;
	cs->waited = false;
	csvn_spin_init(&cs->spin_tx);
	rcu_assign_pointer(cs->circuit, c);
	smp_store_release(&c->owner, csvn_stream(cs)); /* pairs with csvn_circuit_wake(), csvn_circuits_lost() */
	csvn_async_watch(cs);
}

/*
 * Take the socket's circuit away from it, with its count, or NULL. When this returns, nobody touches its memory through the
 * socket, or has it mapped. The caller holds tx and rx.
 */
struct csvn_circuit *csvn_detach(struct csvn_sock *cs)
{
	struct csvn_circuit *c;
	unsigned long flags;

	c = rcu_dereference_protected(cs->circuit, lockdep_is_held(&cs->tx) && lockdep_is_held(&cs->rx));
	if (c && c->mapping)
		csvn_mapping_end(c->mapping);
	spin_lock_irqsave(&cs->lock, flags);
	c = rcu_dereference_protected(cs->circuit, lockdep_is_held(&cs->lock));
	RCU_INIT_POINTER(cs->circuit, NULL);
	if (c)
		WRITE_ONCE(c->owner, NULL);
	spin_unlock_irqrestore(&cs->lock, flags);
	return c;
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

/* Somebody said that there is something to see in c. */
static void csvn_stream_wake(struct csvn_owner *owner, struct csvn_circuit *c)
{
	struct csvn_sock *cs = csvn_owner_sock(owner);
	struct socket *sock = NULL;
	unsigned long flags;
	__poll_t mask = 0;

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

/*
 * A circuit whose device goes ends for its socket: with the end of file where that was all that was left to read, else
 * with ECONNRESET. False when a copy is under way that does not end (by a fault that nobody serves).
 */
static bool csvn_stream_lost(struct csvn_owner *owner, struct csvn_circuit *c, unsigned long deadline)
{
	struct csvn_sock *cs = csvn_owner_sock(owner);
	struct file *mapping = NULL;
	unsigned long flags;
	bool tx, rx;

	tx = csvn_lock_by(&cs->tx, deadline);
	rx = csvn_lock_by(&cs->rx, deadline);
	rcu_read_lock();
	spin_lock_irqsave(&cs->lock, flags);
	if (rcu_access_pointer(cs->circuit) == c) {
		csvn_look(cs, c);
		if (sock_flag(cs->sk, SOCK_DONE) && !csvn_readable(c))
			c->reset = ECONNRESET; /* what is sent from now on goes nowhere */
		else
			csvn_break(cs, ECONNRESET);
		WRITE_ONCE(c->lost, true);
		mapping = csvn_mapping_get(c);
		spin_unlock_irqrestore(&cs->lock, flags);
		csvn_notify(cs->sock, EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP);
	} else {
		WRITE_ONCE(c->lost, true);
		spin_unlock_irqrestore(&cs->lock, flags);
	}
	rcu_read_unlock();
	if (mapping) {
		csvn_mapping_end(mapping->private_data);
		fput(mapping);
	}
	if (rx)
		mutex_unlock(&cs->rx);
	if (tx)
		mutex_unlock(&cs->tx);
	return rx && tx;
}

static bool csvn_stream_get(struct csvn_owner *owner)
{
	return refcount_inc_not_zero(&csvn_owner_sock(owner)->ref);
}

static void csvn_stream_put(struct csvn_owner *owner)
{
	csvn_sock_put(csvn_owner_sock(owner));
}

static const struct csvn_owner_ops csvn_stream_owner = {
	.get = csvn_stream_get,
	.put = csvn_stream_put,
	.wake = csvn_stream_wake,
	.lost = csvn_stream_lost,
};
