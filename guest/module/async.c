// SPDX-License-Identifier: GPL-2.0
/*
 * SIGIO and SO_KEEPALIVE: learning of what the socket layer does without a call of ours.
 *
 * Theory of operation. Somebody must have armed the circuit for a signal to be sent (wait.c), and who sets O_ASYNC
 * calls nothing of ours; nor does who sets an option of SOL_SOCKET. But the socket layer notes it in the socket with the socket locked, and
 * what a protocol wants to be done when the lock is given up, its release_cb, is done then. So a socket with a circuit has a copy of its
 * protocol, in which that is ours: it arms where signals are wanted, and has options told that have changed. The copy is given back
 * before the socket goes its own way again; everything else in it is the native protocol's.
 */
#include <net/tcp.h>

#include "async.h"
#include "host_options.h"
#include "wait.h"

static struct proto *csvn_native_prot4, *csvn_native_prot6;
static struct proto csvn_prot4, csvn_prot6;

static void csvn_async_ask(struct csvn_sock *cs, struct csvn_circuit *c)
{
	csvn_watch(&c->end);
	csvn_ask_rx(cs, c);
}

/* The socket's lock is given up: its spinlock is held. */
static void csvn_async_look(struct sock *sk)
{
	struct csvn_circuit *c;
	struct csvn_sock *cs;
	unsigned long flags;

	cs = sk->sk_socket ? csvn_sk(sk->sk_socket) : NULL;
	if (csvn_state(cs) != CSVN_CONNECTED)
		return;
	csvn_host_options_tell(cs);
	if (likely(!sock_flag(sk, SOCK_FASYNC)))
		return;
	spin_lock_irqsave(&cs->lock, flags);
	c = rcu_dereference_protected(cs->circuit, lockdep_is_held(&cs->lock));
	if (c && !c->lost && !cs->broken)
		csvn_async_ask(cs, c);
	spin_unlock_irqrestore(&cs->lock, flags);
}

static void csvn_release_cb4(struct sock *sk)
{
	csvn_native_prot4->release_cb(sk);
	csvn_async_look(sk);
}

static void csvn_release_cb6(struct sock *sk)
{
	csvn_native_prot6->release_cb(sk);
	csvn_async_look(sk);
}

/* The socket has got a circuit. cs->lock is held. */
void csvn_async_watch(struct csvn_sock *cs)
{
	struct sock *sk = cs->sk;

	if (sk->sk_prot == csvn_native_prot4)
		WRITE_ONCE(sk->sk_prot, &csvn_prot4);
	else if (sk->sk_prot == csvn_native_prot6)
		WRITE_ONCE(sk->sk_prot, &csvn_prot6);
	if (sock_flag(sk, SOCK_FASYNC))
		csvn_async_ask(cs, rcu_dereference_protected(cs->circuit, lockdep_is_held(&cs->lock)));
}

/* It has none any more, or is to be released. */
void csvn_async_leave(struct csvn_sock *cs)
{
	struct sock *sk = cs->sk;

	if (sk->sk_prot == &csvn_prot4)
		WRITE_ONCE(sk->sk_prot, csvn_native_prot4);
	else if (sk->sk_prot == &csvn_prot6)
		WRITE_ONCE(sk->sk_prot, csvn_native_prot6);
}

void csvn_async_init(struct proto *native4, struct proto *native6)
{
	csvn_native_prot4 = native4;
	csvn_prot4 = *native4;
	csvn_prot4.release_cb = csvn_release_cb4;
	csvn_native_prot6 = native6;
	if (!native6)
		return;
	csvn_prot6 = *native6;
	csvn_prot6.release_cb = csvn_release_cb6;
}
