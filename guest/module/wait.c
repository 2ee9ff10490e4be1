// SPDX-License-Identifier: GPL-2.0
/*
 * Waiting for bytes and for room.
 *
 * Theory of operation. First a short spin: a look at a cache line costs nanoseconds, a wake-up tens of microseconds. Its
 * length adapts to whether it has paid lately, up to the module's parameter spin_us. Then: queue up on the
 * socket's wait queue, arm (a new sleep sequence, and a fence), look again, sleep. A wake that comes between arming and
 * sleeping is kept by wait_woken(). The waits return when there is something to look at, after a timeout and on a
 * signal; their callers look, and decide.
 *
 * Who returns "would block" arms as well, for edge-triggered pollers do not poll again; and so does a transfer that
 * leaves the ring empty (or full) while somebody sleeps on the socket.
 */
#include <linux/sched/signal.h>

#include "look.h"
#include "wait.h"

#define CSVN_SPIN_US_MAX 1000u

/* Longest look, in ns. */
u32 csvn_spin_most(void)
{
	return min(READ_ONCE(csvn_spin_us), CSVN_SPIN_US_MAX) * NSEC_PER_USEC;
}

static bool csvn_rx_due(struct csvn_sock *cs, struct csvn_circuit *c, u32 beyond)
{
	return csvn_readable(c) > beyond || csvn_peer_state(&c->end) || READ_ONCE(c->reset) ||
	       (READ_ONCE(cs->sk->sk_shutdown) & RCV_SHUTDOWN);
}

static bool csvn_tx_due(struct csvn_sock *cs, struct csvn_circuit *c)
{
	return csvn_tail(c) - CSVN_LOAD_ACQUIRE(&c->end.peer->head) != c->end.size ||
	       csvn_peer_state(&c->end) & (CSVN_STATE_CLOSED | CSVN_STATE_RESET) ||
	       READ_ONCE(c->reset) || (READ_ONCE(cs->sk->sk_shutdown) & SEND_SHUTDOWN);
}

/*
 * What the first wait for bytes on a circuit goes by: how those of the circuits before it went. A short connection has no other, and
 * would otherwise never learn. Hints, that any socket may change.
 */
static struct csvn_spin csvn_first_rx = { .ns = CSVN_SPIN_FIRST };

static struct csvn_spin *csvn_spin_rx(struct csvn_sock *cs)
{
	return READ_ONCE(cs->waited) ? &cs->spin_rx : &csvn_first_rx;
}

/* A wait for bytes has ended. */
static void csvn_waited(struct csvn_sock *cs)
{
	if (READ_ONCE(cs->waited))
		return;
	cs->spin_rx = csvn_first_rx;
	WRITE_ONCE(cs->waited, true);
}

/* The receiving lock is held. */
bool csvn_spin_readable(struct csvn_sock *cs, struct csvn_circuit *c, u32 beyond)
{
	bool due = csvn_rx_due(cs, c, beyond);

	if (!due) {
		due = csvn_spin(csvn_spin_rx(cs), csvn_rx_due(cs, c, beyond));
		if (due)
			csvn_waited(cs);
	}
	return due;
}

/* The sending lock is held. */
bool csvn_spin_room(struct csvn_sock *cs, struct csvn_circuit *c)
{
	return csvn_spin(&cs->spin_tx, csvn_tx_due(cs, c));
}

/*
 * Ask for one wake-up; look again afterwards. cs->lock is held. What is noted here csvn_circuit_wake() needs: a wake may
 * be for something that was taken already, between the peer's publishing and its look at our sequence, and uses that
 * sequence up all the same.
 */
void csvn_ask_rx(struct csvn_sock *cs, struct csvn_circuit *c)
{
	cs->armed_rx = true;
	csvn_arm_rx(&c->end);
}

void csvn_ask_tx(struct csvn_sock *cs, struct csvn_circuit *c)
{
	cs->armed_tx = true;
	csvn_arm_tx(&c->end);
}

/* Ask for a wake-up by bytes or state; true when there is something to look at already. */
bool csvn_arm_readable(struct csvn_sock *cs, u32 beyond)
{
	struct csvn_circuit *c;
	unsigned long flags;
	bool due = true;

	spin_lock_irqsave(&cs->lock, flags);
	c = rcu_dereference_protected(cs->circuit, lockdep_is_held(&cs->lock));
	if (c && !c->lost && !cs->broken) {
		csvn_ask_rx(cs, c);
		csvn_look(cs, c);
		due = cs->broken || csvn_rx_due(cs, c, beyond);
	}
	spin_unlock_irqrestore(&cs->lock, flags);
	return due;
}

/* Ask for a wake-up by room; true when there is some, or something else to look at. */
bool csvn_arm_room(struct csvn_sock *cs)
{
	struct csvn_circuit *c;
	unsigned long flags;
	bool due = true;

	spin_lock_irqsave(&cs->lock, flags);
	c = rcu_dereference_protected(cs->circuit, lockdep_is_held(&cs->lock));
	if (c && !c->lost && !cs->broken) {
		csvn_ask_tx(cs, c);
		csvn_look(cs, c);
		due = cs->broken || csvn_tx_due(cs, c);
	}
	spin_unlock_irqrestore(&cs->lock, flags);
	return due;
}

/* Wait until there is something to look at, the time is up, or a signal comes. */
void csvn_wait_readable(struct csvn_sock *cs, u32 beyond, long *timeo)
{
	DEFINE_WAIT_FUNC(wait, woken_wake_function);
	u64 began = local_clock();

	add_wait_queue(sk_sleep(cs->sk), &wait);
	while (!csvn_arm_readable(cs, beyond) && *timeo && !signal_pending(current))
		*timeo = wait_woken(&wait, TASK_INTERRUPTIBLE, *timeo);
	remove_wait_queue(sk_sleep(cs->sk), &wait);
	csvn_spin_slept(csvn_spin_rx(cs), local_clock() - began, csvn_spin_most());
	csvn_waited(cs);
}

void csvn_wait_room(struct csvn_sock *cs, long *timeo)
{
	DEFINE_WAIT_FUNC(wait, woken_wake_function);
	u64 began = local_clock();

	add_wait_queue(sk_sleep(cs->sk), &wait);
	while (!csvn_arm_room(cs) && *timeo && !signal_pending(current))
		*timeo = wait_woken(&wait, TASK_INTERRUPTIBLE, *timeo);
	remove_wait_queue(sk_sleep(cs->sk), &wait);
	csvn_spin_slept(&cs->spin_tx, local_clock() - began, csvn_spin_most());
}

/*
 * After receiving, with the receiving lock held: whoever sleeps on the socket is to be woken by what comes next.
 * What came since the ring was looked at has not rung, so it is announced here.
 */
void csvn_rearm(struct csvn_sock *cs, struct csvn_circuit *c)
{
	struct socket_wq *wq = &cs->sock->wq;
	unsigned long flags;
	bool more;

	if (!skwq_has_sleeper(wq) && !READ_ONCE(wq->fasync_list))
		return;
	if (!READ_ONCE(cs->edge) && c->end.peer_tail != c->end.head)
		return;
	spin_lock_irqsave(&cs->lock, flags);
	csvn_ask_rx(cs, c);
	more = CSVN_LOAD_ACQUIRE(&c->end.peer->tail) != c->end.peer_tail;
	spin_unlock_irqrestore(&cs->lock, flags);
	if (more)
		csvn_notify(cs->sock, EPOLLIN);
}
