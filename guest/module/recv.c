// SPDX-License-Identifier: GPL-2.0
/*
 * recvmsg(), read(), splice().
 *
 * Theory of operation. Bytes go from the ring into the caller's memory, in pieces of at most CSVN_COPY_CHUNK, each given
 * back to the peer at once. The receiving lock is held while bytes are copied, and given up while waiting. The order
 * of things is tcp_recvmsg()'s: first what is in the ring, then end of file (SOCK_DONE), then the socket's error, then
 * shutdown, then waiting. The ring is looked at once more after the peer's state was taken over: only then a FIN that is
 * seen is known to stand behind the last byte.
 */
#include <linux/sched/signal.h>
#include <linux/splice.h>
#include <linux/tcp.h>
#include <linux/uio.h>
#include <net/tcp.h>

#include "attach.h"
#include "connecting.h"
#include "doorbell.h"
#include "look.h"
#include "recv.h"
#include "sock.h"
#include "times.h"
#include "wait.h"

/* Copy n bytes, from offset beyond head; offset + n is not more than what is ready. Returns the bytes copied. */
static u32 csvn_copy_out(struct csvn_end *e, struct iov_iter *to, u32 offset, u32 n)
{
	u32 at = (e->head + offset) & (e->size - 1);
	u32 first = min(n, e->size - at);
	u32 done;

	/* SAFETY: as in csvn_copy_in(). */
	done = _copy_to_iter(e->rx + at, first, to);
	if (done == first && n > first)
		done += _copy_to_iter(e->rx, n - first, to);
	return done;
}

struct csvn_read {
	struct msghdr *msg;
	size_t left; /* bytes still wanted */
	int flags;
	int peek; /* where MSG_PEEK begins, beyond head; 0 otherwise */
	int copied;
	u32 ready; /* bytes beyond peek and what was copied by it, when last seen */
	bool lie; /* the peer broke an invariant */
};

static u32 csvn_peeked(const struct csvn_read *r)
{
	return r->flags & MSG_PEEK ? r->peek + r->copied : 0;
}

/* The circuit, when bytes can be there. The receiving lock is held. */
static struct csvn_circuit *csvn_rx_circuit(struct csvn_sock *cs)
{
	struct csvn_circuit *c = rcu_dereference_protected(cs->circuit, lockdep_is_held(&cs->rx));

	return c && !c->lost ? c : NULL;
}

/* How much can be read: at least want is looked for. */
static u32 csvn_rx_look(struct csvn_circuit *c, struct csvn_read *r, size_t want)
{
	u32 skip = csvn_peeked(r);
	u32 ready;

	csvn_take_rx(c);
	if (csvn_rx_ready(&c->end, min_t(size_t, skip + want, c->end.size), &ready)) {
		r->lie = true;
		return 0;
	}
	return ready > skip ? ready - skip : 0;
}

/* Copy what is there; false on a fault. The receiving lock is held. */
static bool csvn_receive_some(struct csvn_circuit *c, struct csvn_read *r)
{
	struct csvn_end *e = &c->end;
	u32 n, done;

	do {
		r->ready = csvn_rx_look(c, r, max_t(size_t, min_t(size_t, r->left, CSVN_COPY_CHUNK), 1));
		n = min3((size_t)r->ready, r->left, (size_t)CSVN_COPY_CHUNK);
		if (!n)
			return true;
		done = n;
		if (!(r->flags & MSG_TRUNC))
			done = csvn_copy_out(e, &r->msg->msg_iter, csvn_peeked(r), n);
		r->copied += done;
		r->left -= done;
		r->ready -= done;
		if (!(r->flags & MSG_PEEK) && done) {
			csvn_rx_release(e, done);
			if (csvn_wants_tx(e))
				csvn_ring(c);
		}
	} while (done == n);
	return false;
}

/*
 * Nothing is there: take over what the peer says, and look again. True when there is something now. over: the end had come
 * before this last look, so that an empty ring is the end. What comes after it (an interrupt may take over a FIN
 * at any time) says nothing about the bytes in front of it, and is for the next round.
 */
static bool csvn_receive_look(struct csvn_sock *cs, struct csvn_circuit *c, struct csvn_read *r,
			      bool *over)
{
	struct sock *sk = cs->sk;
	unsigned long flags;

	spin_lock_irqsave(&cs->lock, flags);
	csvn_look(cs, c);
	*over = cs->broken || sock_flag(sk, SOCK_DONE) || READ_ONCE(sk->sk_err) ||
		(READ_ONCE(sk->sk_shutdown) & RCV_SHUTDOWN);
	spin_unlock_irqrestore(&cs->lock, flags);
	smp_rmb(); /* the end before the ring */
	return csvn_rx_look(c, r, 1) || r->lie;
}

/* The end of a receive that got nothing, as tcp_recvmsg() tells it; 1: wait, or look again. */
static int csvn_receive_end(struct csvn_sock *cs, long timeo, u32 beyond, bool again, bool over)
{
	struct sock *sk = cs->sk;

	if (over) {
		if (sock_flag(sk, SOCK_DONE))
			return 0;
		if (READ_ONCE(sk->sk_err))
			return sock_error(sk);
		if (READ_ONCE(sk->sk_shutdown) & RCV_SHUTDOWN)
			return 0;
		if (csvn_tcp_state(cs) == TCP_CLOSE)
			return -ENOTCONN;
	}
	if (!timeo)
		return csvn_arm_readable(cs, beyond) && again ? 1 : -EAGAIN; /* armed: see wait.c */
	if (signal_pending(current))
		return sock_intr_errno(timeo);
	return 1;
}

static int csvn_receive(struct csvn_sock *cs, struct csvn_read *r)
{
	struct sock *sk = cs->sk;
	int target = sock_rcvlowat(sk, r->flags & MSG_WAITALL, r->left);
	long timeo = sock_rcvtimeo(sk, r->flags & MSG_DONTWAIT);
	int tries = CSVN_TRIES;
	struct csvn_circuit *c;
	int err, skip;
	bool over;

	if (csvn_state(cs) == CSVN_CONNECTING) {
		err = csvn_wait_connected(cs, &timeo);
		if (err)
			return err;
	}
	for (;;) {
		over = true; /* without a circuit */
		mutex_lock(&cs->rx);
		c = csvn_rx_circuit(cs);
		if (c) {
			if (!csvn_receive_some(c, r) && !r->copied) {
				mutex_unlock(&cs->rx);
				return -EFAULT;
			}
			/* Enough, or stopped by a fault; with nothing asked for, something is there. */
			if (r->ready || r->copied >= target || (!r->left && r->copied)) {
				if (r->copied && !(r->flags & MSG_PEEK))
					csvn_rearm(cs, c);
				mutex_unlock(&cs->rx);
				return r->copied;
			}
			if (csvn_receive_look(cs, c, r, &over) && !r->lie) {
				mutex_unlock(&cs->rx);
				continue;
			}
			if (!r->lie && timeo && !r->copied &&
			    csvn_spin_readable(cs, c, csvn_peeked(r)) &&
			    csvn_rx_look(c, r, 1)) {
				mutex_unlock(&cs->rx);
				continue;
			}
		}
		mutex_unlock(&cs->rx);
		if (r->lie) {
			r->lie = false;
			csvn_violation(cs);
			continue;
		}

		skip = csvn_peeked(r);
		if (r->copied) {
			if (!timeo || READ_ONCE(sk->sk_err) || signal_pending(current) ||
			    (READ_ONCE(sk->sk_shutdown) & RCV_SHUTDOWN) ||
			    csvn_tcp_state(cs) == TCP_CLOSE)
				return r->copied;
		} else {
			err = csvn_receive_end(cs, timeo, skip, tries-- > 0, over);
			if (err <= 0)
				return err;
		}
		if (timeo)
			csvn_wait_readable(cs, skip, &timeo);
	}
}

/* What the receiver wants to know beside the bytes: how many are left. */
static void csvn_receive_inq(struct csvn_sock *cs, struct msghdr *msg)
{
	struct sock *sk = cs->sk;
	bool cmsg = tcp_sk(sk)->recvmsg_inq;
	struct csvn_circuit *c;

	if (!cmsg && !msg->msg_get_inq)
		return;
	msg->msg_inq = 0;
	mutex_lock(&cs->rx);
	c = csvn_rx_circuit(cs);
	if (c)
		msg->msg_inq = csvn_readable(c);
	mutex_unlock(&cs->rx);
	if (!msg->msg_inq && sock_flag(sk, SOCK_DONE))
		msg->msg_inq = 1; /* the end of file, as tcp_inq_hint() counts it */
	if (cmsg)
		put_cmsg(msg, SOL_TCP, TCP_CM_INQ, sizeof(msg->msg_inq), &msg->msg_inq);
}

int csvn_recvmsg(struct socket *sock, struct msghdr *msg, size_t size, int flags)
{
	struct csvn_sock *cs = csvn_sk(sock);
	struct csvn_read r = { .msg = msg, .left = size, .flags = flags };
	int ret;

	switch (csvn_state(cs)) {
	case CSVN_CONNECTED:
	case CSVN_CONNECTING:
	case CSVN_FAILED:
		break;
	default:
		return csvn_native(sock)->recvmsg(sock, msg, size, flags);
	}
	if (unlikely(flags & MSG_ERRQUEUE))
		return csvn_native(sock)->recvmsg(sock, msg, size, flags);
	if (flags & MSG_OOB)
		return -EINVAL; /* there is no urgent data */
	r.peek = max(sk_peek_offset(cs->sk, flags), 0);
	ret = csvn_receive(cs, &r);
	if (ret < 0)
		return ret;
	if (flags & MSG_PEEK)
		sk_peek_offset_fwd(cs->sk, ret);
	else
		sk_peek_offset_bwd(cs->sk, ret);
	if (ret > 0)
		csvn_put_times(cs->sk, msg);
	csvn_receive_inq(cs, msg);
	msg->msg_namelen = 0;
	return ret;
}

ssize_t csvn_splice_read(struct socket *sock, loff_t *ppos, struct pipe_inode_info *pipe,
			 size_t len, unsigned int flags)
{
	if (csvn_state(csvn_sk(sock)) == CSVN_IDLE || !sock->file)
		return csvn_native(sock)->splice_read(sock, ppos, pipe, len, flags);
	if (*ppos)
		return -ESPIPE;
	return csvn_copy_splice_read(sock->file, ppos, pipe, len, flags);
}
