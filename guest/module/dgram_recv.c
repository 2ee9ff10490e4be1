// SPDX-License-Identifier: GPL-2.0
/*
 * recvmsg(), poll() and FIONREAD of datagrams.
 *
 * Theory of operation. A datagram comes from one of the socket's circuits, in turn, or from the native queue: these
 * two take turns as well. It is copied from the ring into the caller's memory. The source is the circuit's remote end;
 * in circuits to the host's stack it is the frame's. What a connected socket does not want is thrown away, and so is a
 * frame that broke a rule, with its circuit.
 *
 * Waiting: the ready list empties only by arming (see dgram_circuit.c), so who finds it empty, while on the socket's wait
 * queue, may sleep. Nothing to do differs between blocking, polling and "would block"; pollers that are
 * edge-triggered, or that sleep while somebody else receives, have circuits armed after each datagram.
 */
#include <asm/ioctls.h>
#include <linux/sockios.h>
#include <linux/uaccess.h>
#include <net/ipv6.h>
#include <net/tcp_states.h>
#include <net/udp.h>

#include "dgram_circuit.h"
#include "dgram_cmsg.h"
#include "dgram_error.h"
#include "dgram_flow.h"
#include "dgram_frame.h"
#include "dgram_recv.h"
#include "dgram_sock.h"
#include "doorbell.h"
#include "look.h"
#include "names.h"
#include "wait.h"

static bool csvn_dgram_native_waits(struct sock *sk)
{
	return !skb_queue_empty_lockless(&udp_sk(sk)->reader_queue) ||
	       !skb_queue_empty_lockless(&sk->sk_receive_queue);
}

/* The first circuit that has something; those that have nothing are armed, and leave the list. */
static struct csvn_circuit *csvn_dgram_first(struct csvn_dsock *ds)
{
	struct csvn_circuit *c;

	spin_lock_irq(&ds->lock);
	while ((c = list_first_entry_or_null(&ds->ready, struct csvn_circuit, ready))) {
		if (csvn_has_frame(c))
			break;
		csvn_arm_rx(&c->end);
		if (csvn_has_frame(c))
			break;
		list_del_init(&c->ready);
		if (csvn_over(c))
			csvn_dgram_kick(ds, 0);
	}
	spin_unlock_irq(&ds->lock);
	return c;
}

/* Does the socket want datagrams from there? */
static bool csvn_dgram_wanted(struct csvn_dsock *ds, const struct csvn_endpoint *from)
{
	bool wanted;

	spin_lock_irq(&ds->lock);
	wanted = ds->connected ? csvn_same(&ds->peer, from) : ds->sk->sk_state != TCP_ESTABLISHED;
	spin_unlock_irq(&ds->lock);
	return wanted;
}

static void csvn_dgram_release(struct csvn_circuit *c, const struct csvn_datagram *h)
{
	csvn_rx_release(&c->end, csvn_frame_bytes(h->size));
	if (csvn_wants_tx(&c->end))
		csvn_ring(c);
	WRITE_ONCE(c->used, jiffies);
}

/* The network said something of datagrams to an address. */
static void csvn_dgram_said(struct csvn_dsock *ds, const struct csvn_endpoint *about, u32 error)
{
	bool report;

	spin_lock_irq(&ds->lock);
	report = csvn_dgram_error(ds, about, error <= MAX_ERRNO ? error : EIO, NULL, 0);
	spin_unlock_irq(&ds->lock);
	if (report)
		csvn_notify(ds->sock, EPOLLIN | EPOLLOUT | EPOLLERR);
}

/* The circuit whose datagram is next, its head and where it is from; NULL when there is none. rx is held. */
static struct csvn_circuit *csvn_dgram_next(struct csvn_dsock *ds, struct csvn_datagram *h,
					    struct csvn_endpoint *from)
{
	struct csvn_circuit *c;

	while ((c = csvn_dgram_first(ds))) {
		/* Something was seen: if it is not there any more, that was a lie too. */
		if (csvn_frame_head(&c->end, h) <= 0) {
			csvn_dgram_violation(ds, c);
			continue;
		}
		*from = c->remote;
		if (c->host) {
			*from = (struct csvn_endpoint){ .family = h->family, .port = h->port, .scope = h->scope };
			memcpy(from->ip, h->ip, sizeof(from->ip));
			if (h->error) {
				csvn_dgram_release(c, h);
				csvn_dgram_said(ds, from, h->error);
				continue;
			}
		}
		if (csvn_dgram_wanted(ds, from))
			return c;
		csvn_dgram_release(c, h);
		atomic64_inc(&c->dev->count.datagrams_dropped);
		cond_resched();
	}
	return NULL;
}

/*
 * After receiving: whoever sleeps on the socket is to be woken by what comes next. What came since the ring was looked
 * at has not rung, so it is announced here. rx is held.
 */
static void csvn_dgram_rearm(struct csvn_dsock *ds, struct csvn_circuit *c)
{
	struct socket_wq *wq = &ds->sock->wq;
	bool more;

	/* Errors are told even to who only sends. */
	if (!skwq_has_sleeper(wq) && !READ_ONCE(wq->fasync_list) && !(c->host && csvn_dgram_hears(ds)))
		return;
	if (!READ_ONCE(ds->edge) && c->end.peer_tail != c->end.head)
		return;
	spin_lock_irq(&ds->lock);
	csvn_arm_rx(&c->end);
	more = CSVN_LOAD_ACQUIRE(&c->end.peer->tail) != c->end.peer_tail;
	spin_unlock_irq(&ds->lock);
	if (!more)
		return;
	csvn_notify(ds->sock, EPOLLIN);
	if (c->host && csvn_dgram_hears(ds))
		csvn_dgram_kick(ds, 0);
}

/* Take what the network said, as far as it comes first; the work does, when a wake has shown it. rx is held. */
void csvn_dgram_errors(struct csvn_dsock *ds)
{
	struct csvn_endpoint from;
	struct csvn_datagram h;
	bool look;

	spin_lock_irq(&ds->lock);
	look = !ds->released && csvn_dgram_hears(ds); /* close() waits for the work */
	spin_unlock_irq(&ds->lock);
	if (look)
		csvn_dgram_next(ds, &h, &from);
}

/* Hand the next datagram of c out. rx is held. */
static int csvn_dgram_take(struct csvn_dsock *ds, struct csvn_circuit *c, const struct csvn_datagram *h,
			   const struct csvn_endpoint *from, struct msghdr *msg, int flags)
{
	u32 n = min_t(size_t, h->size, msg_data_left(msg));
	struct sock *sk = ds->sk;
	bool fault;

	fault = csvn_frame_read(&c->end, &msg->msg_iter, n) != n;
	if (!fault) {
		if (n < h->size)
			msg->msg_flags |= MSG_TRUNC;
		if (msg->msg_name)
			msg->msg_namelen = csvn_name(msg->msg_name, from, sk->sk_family == AF_INET6);
		csvn_dgram_cmsg_recv(sk, c, h, msg);
	}
	WRITE_ONCE(ds->native_next, !(flags & MSG_PEEK)); /* what was peeked at comes next */
	if (!(flags & MSG_PEEK)) {
		csvn_dgram_release(c, h);
		atomic64_inc(&c->dev->count.datagrams_received);
		spin_lock_irq(&ds->lock);
		list_move_tail(&c->ready, &ds->ready);
		spin_unlock_irq(&ds->lock);
		csvn_dgram_rearm(ds, c);
		if (c->host && c->credit)
			csvn_flow_learn(ds, c, from);
		if (unlikely(csvn_over(c)))
			csvn_dgram_kick(ds, 0);
	}
	if (fault)
		return -EFAULT;
	return flags & MSG_TRUNC ? h->size : n;
}

/* A short spin before the ready circuit, if any, is armed. rx is held. */
static void csvn_dgram_spin(struct csvn_dsock *ds)
{
	struct csvn_circuit *c;

	spin_lock_irq(&ds->lock);
	c = list_first_entry_or_null(&ds->ready, struct csvn_circuit, ready);
	spin_unlock_irq(&ds->lock);
	if (c && !csvn_has_frame(c) && !csvn_over(c)) /* rx keeps it */
		csvn_spin(&ds->spin_rx, csvn_has_frame(c) || csvn_dgram_native_waits(ds->sk));
}

/* Sleep until there is something to look at, the time is up, or a signal comes. */
static void csvn_dgram_wait(struct csvn_dsock *ds, long *timeo)
{
	DEFINE_WAIT_FUNC(wait, woken_wake_function);
	u64 began = local_clock();
	struct sock *sk = ds->sk;

	add_wait_queue(sk_sleep(sk), &wait);
	while (!csvn_dgram_first(ds) && !csvn_dgram_native_waits(sk) && !READ_ONCE(sk->sk_err) &&
	       !(READ_ONCE(sk->sk_shutdown) & RCV_SHUTDOWN) && *timeo && !signal_pending(current))
		*timeo = wait_woken(&wait, TASK_INTERRUPTIBLE, *timeo);
	remove_wait_queue(sk_sleep(sk), &wait);
	csvn_spin_slept(&ds->spin_rx, local_clock() - began, csvn_spin_most());
}

/* From the native queue, if there is something. */
static int csvn_dgram_native_recv(struct csvn_dsock *ds, struct msghdr *msg, size_t size, int flags)
{
	int ret = -EAGAIN;

	if (csvn_dgram_native_waits(ds->sk))
		ret = READ_ONCE(ds->native)->recvmsg(ds->sock, msg, size, flags | MSG_DONTWAIT);
	if (ret >= 0)
		WRITE_ONCE(ds->native_next, flags & MSG_PEEK);
	return ret;
}

int csvn_dgram_recvmsg(struct socket *sock, struct msghdr *msg, size_t size, int flags)
{
	struct csvn_dsock *ds = csvn_ds(sock);
	struct sock *sk = sock->sk;
	struct csvn_endpoint from;
	struct csvn_datagram h;
	struct csvn_circuit *c;
	long timeo;
	int ret;

	timeo = sock_rcvtimeo(sk, flags & MSG_DONTWAIT);
	/* Who waits must be woken by circuits that come meanwhile. */
	if (!sock->file || flags & MSG_ERRQUEUE || (!ds && !timeo))
		return csvn_dgram_native(sock)->recvmsg(sock, msg, size, flags);
	if (!ds)
		ds = csvn_dsock_need(sock);
	if (!ds)
		return -ENOMEM;
	for (;;) {
		ret = sock_error(sk);
		if (ret)
			return ret;
		if (READ_ONCE(ds->native_next)) {
			ret = csvn_dgram_native_recv(ds, msg, size, flags);
			if (ret != -EAGAIN)
				return ret;
		}
		mutex_lock(&ds->rx);
		if (timeo)
			csvn_dgram_spin(ds);
		c = csvn_dgram_next(ds, &h, &from);
		if (c) {
			ret = csvn_dgram_take(ds, c, &h, &from, msg, flags);
			mutex_unlock(&ds->rx);
			return ret;
		}
		mutex_unlock(&ds->rx);
		ret = csvn_dgram_native_recv(ds, msg, size, flags);
		if (ret != -EAGAIN)
			return ret;
		if (READ_ONCE(sk->sk_err))
			continue;
		if (READ_ONCE(sk->sk_shutdown) & RCV_SHUTDOWN)
			return 0;
		if (!timeo)
			return -EAGAIN;
		if (signal_pending(current))
			return sock_intr_errno(timeo);
		csvn_dgram_wait(ds, &timeo);
	}
}

__poll_t csvn_dgram_poll(struct file *file, struct socket *sock, struct poll_table_struct *wait)
{
	__poll_t mask = csvn_dgram_native(sock)->poll(file, sock, wait);
	__poll_t events = poll_requested_events(wait);
	struct csvn_dsock *ds = csvn_ds(sock);
	struct csvn_endpoint from;
	struct csvn_datagram h;
	struct csvn_circuit *c;

	if (!ds || !sock->file || !(events & (EPOLLIN | EPOLLRDNORM)))
		return mask;
	if ((mask & EPOLLIN) && !(events & EPOLLET))
		return mask;
	mutex_lock(&ds->rx);
	if (csvn_dgram_next(ds, &h, &from))
		mask |= EPOLLIN | EPOLLRDNORM;
	if (events & EPOLLET) {
		WRITE_ONCE(ds->edge, true);
		spin_lock_irq(&ds->lock);
		list_for_each_entry(c, &ds->ready, ready)
			csvn_arm_rx(&c->end);
		spin_unlock_irq(&ds->lock);
	}
	mutex_unlock(&ds->rx);
	if (READ_ONCE(sock->sk->sk_err))
		mask |= EPOLLERR;
	return mask;
}

int csvn_dgram_ioctl(struct socket *sock, unsigned int cmd, unsigned long arg)
{
	struct csvn_dsock *ds = csvn_ds(sock);
	struct csvn_endpoint from;
	struct csvn_datagram h;
	struct csvn_circuit *c;
	int n = 0;

	if (!ds || cmd != SIOCINQ || csvn_dgram_native_waits(sock->sk))
		return csvn_dgram_native(sock)->ioctl(sock, cmd, arg);
	mutex_lock(&ds->rx);
	c = csvn_dgram_next(ds, &h, &from);
	if (c)
		n = h.size;
	mutex_unlock(&ds->rx);
	return put_user(n, (int __user *)arg);
}
