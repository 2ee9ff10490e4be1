// SPDX-License-Identifier: GPL-2.0
/*
 * sendmsg(), and what becomes of it: write(), sendfile(), splice().
 *
 * Theory of operation. Bytes go from the caller's memory into the ring, in pieces of at most CSVN_COPY_CHUNK, each published
 * at once, so that the reader copies while we do. The sending lock is held while bytes are copied, and given up while
 * waiting for room. Errors come in tcp_sendmsg()'s order: what was copied is reported first, the error by the next call;
 * EPIPE comes with SIGPIPE. The first write after the peer has closed succeeds and goes nowhere, as with TCP, where
 * the reset is still on its way then.
 */
#include <linux/sched/signal.h>
#include <linux/uio.h>
#include <net/tcp.h>

#include "attach.h"
#include "connect.h"
#include "connecting.h"
#include "doorbell.h"
#include "look.h"
#include "send.h"
#include "sock.h"
#include "wait.h"

/* Copy n bytes behind tail; n is not more than the room. Returns the bytes copied. */
static u32 csvn_copy_in(struct csvn_end *e, struct iov_iter *from, u32 n)
{
	u32 at = e->tail & (e->size - 1);
	u32 first = min(n, e->size - at);
	u32 done;

	/*
	 * SAFETY: at < size, first <= size - at, the rest <= at. The checks of copy_from_iter() would look the
	 * window up in a global tree for each call; the bounds are ours to keep.
	 */
	done = _copy_from_iter(e->tx + at, first, from);
	if (done == first && n > first)
		done += _copy_from_iter(e->tx, n - first, from);
	return done;
}

/*
 * The peer reads nothing any more: take as many bytes as a send buffer would have taken before the reset came, and break the socket.
 * The sending lock is held.
 */
static size_t csvn_send_nowhere(struct csvn_sock *cs, struct msghdr *msg)
{
	size_t n = min_t(size_t, msg_data_left(msg), max_t(int, READ_ONCE(cs->sk->sk_sndbuf), SOCK_MIN_SNDBUF));
	unsigned long flags;

	iov_iter_advance(&msg->msg_iter, n);
	spin_lock_irqsave(&cs->lock, flags);
	csvn_break(cs, EPIPE);
	spin_unlock_irqrestore(&cs->lock, flags);
	csvn_notify(cs->sock, EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP);
	return n;
}

/* The peer's state is not plainly open: take it over. True when it has closed without that having broken the socket. */
static bool csvn_peer_gone(struct csvn_sock *cs, struct csvn_circuit *c)
{
	unsigned long flags;

	spin_lock_irqsave(&cs->lock, flags);
	csvn_look(cs, c);
	spin_unlock_irqrestore(&cs->lock, flags);
	return !cs->broken &&
	       (READ_ONCE(c->reset) || csvn_peer_state(&c->end) & CSVN_STATE_CLOSED);
}

enum csvn_step {
	CSVN_DONE, /* all was copied */
	CSVN_FULL, /* no room */
	CSVN_STOP, /* err says why */
	CSVN_LIE, /* the peer broke an invariant */
};

/* Copy as much as there is room for. The sending lock is held. */
static enum csvn_step csvn_send_some(struct csvn_sock *cs, struct msghdr *msg, ssize_t *copied,
				     int *err)
{
	struct sock *sk = cs->sk;
	struct csvn_circuit *c;
	u32 room, n, done;

	for (;;) {
		*err = -EPIPE;
		if (READ_ONCE(sk->sk_err) || (READ_ONCE(sk->sk_shutdown) & SEND_SHUTDOWN))
			return CSVN_STOP;
		c = rcu_dereference_protected(cs->circuit, lockdep_is_held(&cs->tx));
		if (!c)
			return CSVN_STOP;
		if (c->lost) { /* after the end of file: see csvn_stream_lost() */
			if (msg_data_left(msg))
				*copied += csvn_send_nowhere(cs, msg);
			return CSVN_DONE;
		}
		if (unlikely(csvn_peer_state(&c->end) || READ_ONCE(c->reset))) {
			bool gone = csvn_peer_gone(cs, c);

			if (READ_ONCE(sk->sk_shutdown) & SEND_SHUTDOWN)
				continue;
			if (gone && msg_data_left(msg)) {
				*copied += csvn_send_nowhere(cs, msg);
				return CSVN_DONE;
			}
		}
		if (!msg_data_left(msg))
			return CSVN_DONE;

		n = min_t(size_t, msg_data_left(msg), CSVN_COPY_CHUNK);
		csvn_take_tx(c);
		if (csvn_tx_room(&c->end, min(n, c->end.size), &room))
			return CSVN_LIE;
		if (!room && !(csvn_spin_room(cs, c) && !csvn_tx_room(&c->end, 1, &room) && room))
			return CSVN_FULL;
		n = min(n, room);
		done = csvn_copy_in(&c->end, &msg->msg_iter, n);
		if (done) {
			csvn_tx_publish(&c->end, done);
			*copied += done;
			if (csvn_wants_rx(&c->end))
				csvn_ring(c);
		}
		if (done < n) {
			*err = -EFAULT;
			return CSVN_STOP;
		}
	}
}

static int csvn_send(struct csvn_sock *cs, struct msghdr *msg)
{
	struct sock *sk = cs->sk;
	int flags = msg->msg_flags;
	int tries = CSVN_TRIES;
	enum csvn_step step;
	ssize_t copied = 0;
	int err = 0;
	long timeo;

	timeo = sock_sndtimeo(sk, flags & MSG_DONTWAIT);
	if (csvn_state(cs) == CSVN_CONNECTING) {
		err = csvn_wait_connected(cs, &timeo);
		if (err)
			return err;
	}
	for (;;) {
		mutex_lock(&cs->tx);
		step = csvn_send_some(cs, msg, &copied, &err);
		mutex_unlock(&cs->tx);
		switch (step) {
		case CSVN_DONE:
			return copied;
		case CSVN_LIE:
			csvn_violation(cs);
			continue;
		case CSVN_STOP:
			if (copied)
				return copied;
			return sk_stream_error(sk, flags, err);
		case CSVN_FULL:
			break;
		}
		/* Arm whatever comes: edge-triggered pollers rely on it after a short write too. */
		if (!timeo) {
			sk_set_bit(SOCKWQ_ASYNC_NOSPACE, sk);
			if (csvn_arm_room(cs) && tries-- > 0)
				continue;
			return copied ? copied : -EAGAIN;
		}
		csvn_wait_room(cs, &timeo);
		if (signal_pending(current)) {
			if (copied)
				return copied;
			return sock_intr_errno(timeo);
		}
	}
}

/*
 * MSG_ZEROCOPY: bytes are copied all the same, and the completion says so, as TCP's does where the route cannot
 * do without.
 */
static int csvn_send_zerocopy(struct csvn_sock *cs, struct msghdr *msg, size_t size)
{
	struct ubuf_info *uarg = csvn_zerocopy_start(cs->sk, size);
	int ret;

	if (!uarg)
		return -ENOBUFS;
	uarg_to_msgzc(uarg)->zerocopy = 0;
	ret = csvn_send(cs, msg);
	if (ret >= 0)
		net_zcopy_put(uarg);
	else
		net_zcopy_put_abort(uarg, true);
	return ret;
}

/* connect() and send in one call: an ordinary connect() first. */
static int csvn_send_fastopen(struct socket *sock, struct msghdr *msg)
{
	csvn_sockaddr *addr = msg->msg_name;
	int flags = msg->msg_flags & MSG_DONTWAIT ? O_NONBLOCK : 0;

	if (!addr || msg->msg_namelen < (int)sizeof(addr->sa_family))
		return -EINVAL;
	if (addr->sa_family == AF_UNSPEC)
		return -EOPNOTSUPP;
	msg->msg_flags &= ~MSG_FASTOPEN;
	return csvn_connect(sock, addr, msg->msg_namelen, flags);
}

int csvn_sendmsg(struct socket *sock, struct msghdr *msg, size_t size)
{
	struct csvn_sock *cs = csvn_sk(sock);
	struct sockcm_cookie sockc;
	int err;

	if (unlikely(msg->msg_flags & MSG_FASTOPEN) && sock->file && csvn_state(cs) != CSVN_LISTENING &&
	    (csvn_state(cs) != CSVN_IDLE || sock->state == SS_UNCONNECTED)) {
		err = csvn_send_fastopen(sock, msg);
		if (err)
			return err;
		cs = csvn_sk(sock);
	}
	switch (csvn_state(cs)) {
	case CSVN_CONNECTED:
	case CSVN_CONNECTING:
	case CSVN_FAILED:
		break;
	default:
		return csvn_native(sock)->sendmsg(sock, msg, size);
	}
	if (msg->msg_flags & MSG_OOB)
		return -EOPNOTSUPP;
	if (unlikely(msg->msg_controllen)) {
		sockcm_init(&sockc, cs->sk);
		if (sock_cmsg_send(cs->sk, msg, &sockc))
			return -EINVAL;
	}
	if (unlikely(msg->msg_flags & MSG_ZEROCOPY) && size && !msg->msg_ubuf &&
	    sock_flag(cs->sk, SOCK_ZEROCOPY))
		return csvn_send_zerocopy(cs, msg, size);
	return csvn_send(cs, msg);
}

#ifdef CSVN_HAVE_SENDPAGE
ssize_t csvn_sendpage(struct socket *sock, struct page *page, int offset, size_t size, int flags)
{
	if (csvn_state(csvn_sk(sock)) == CSVN_IDLE)
		return csvn_native(sock)->sendpage(sock, page, offset, size, flags);
	return sock_no_sendpage(sock, page, offset, size, flags);
}
#endif
