// SPDX-License-Identifier: GPL-2.0
/*
 * connect().
 *
 * Theory of operation. connect() to what csvn_route() says is a circuit's makes an attempt: a CONNECT request, with the
 * circuit's structure made beforehand. The answer comes in an interrupt, or is found by a caller that looks for it before it
 * sleeps; that maps the circuit, attaches it to the socket and wakes it (or notes the error). Blocking and non-blocking calls differ only in whether they wait; an
 * interrupted or timed-out connect() goes on in the background. The results are inet_stream_connect()'s, step by
 * step: sock->state stays SS_CONNECTING until a connect() call has told the outcome.
 *
 * The attempt has one owner of its outcome: whoever takes it out of cs->attempt, under cs->lock: the answer, the deadline,
 * or csvn_attempt_cancel(). An answer that comes when it has been taken already, and that brings a circuit, closes that.
 *
 * The local port is taken from the native port tables and held there as by bind(), until close() or failure.
 */
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <net/inet_sock.h>
#include <net/tcp.h>

#include "csvn.h"

/* How long connect() looks for the switch's answer before it sleeps: hints, which calls may change at the same time. */
static struct csvn_spin csvn_connect_spin = { .ns = CSVN_SPIN_FIRST };

static void csvn_attempt_put(struct csvn_attempt *a)
{
	if (!refcount_dec_and_test(&a->ref))
		return;
	if (a->circuit)
		csvn_circuit_put(a->circuit);
	csvn_sock_put(a->cs);
	csvn_device_put(a->dev);
	kfree(a);
}

/* The attempt came to nothing. cs->lock is held, and the attempt was taken. */
static void csvn_attempt_failed(struct csvn_sock *cs, int err)
{
	struct sock *sk = cs->sk;

	csvn_sock_set(cs, CSVN_FAILED);
	WRITE_ONCE(sk->sk_err, err);
	smp_wmb(); /* as in csvn_break() */
	WRITE_ONCE(sk->sk_shutdown, SHUTDOWN_MASK);
}

static void csvn_attempt_stop_deadline(struct csvn_attempt *a)
{
	if (cancel_delayed_work(&a->deadline))
		csvn_attempt_put(a);
}

/* CONNECT was answered (or failed by itself). Any context. */
static void csvn_attempt_done(struct csvn_request *req, int error)
{
	struct csvn_attempt *a = container_of(req, struct csvn_attempt, req);
	const struct csvn_connect_response *in = &req->in.connect_response;
	struct csvn_circuit *c = NULL;
	struct csvn_sock *cs = a->cs;
	struct csvn_device *dev = a->dev;
	struct socket *sock = NULL;
	unsigned long flags;

	if (!error && req->got < sizeof(*in))
		error = EPROTO;
	if (!error) {
		c = a->circuit;
		a->circuit = NULL;
		c->host = in->flags & CSVN_CONNECT_HOST;
		error = -csvn_circuit_map(c, in->circuit, &in->extents, req->out.header.token);
		if (error) {
			csvn_circuit_put(c);
			c = NULL;
			if (error != EEXIST)
				csvn_close_unseen(dev, in->circuit);
			error = EPROTO;
		} else if (in->local.family == c->local.family && in->local.port) {
			c->local = in->local;
		}
	}

	rcu_read_lock(); /* for sock, below */
	spin_lock_irqsave(&cs->lock, flags);
	if (cs->attempt == a) {
		cs->attempt = NULL;
		sock = cs->sock;
		if (c) {
			csvn_attach(cs, c);
			csvn_sock_set(cs, CSVN_CONNECTED);
			smp_mb(); /* the device may be going: pairs with csvn_circuits_lost() */
			if (!READ_ONCE(c->lost))
				csvn_look(cs, c);
			else
				csvn_break(cs, ECONNRESET);
			c = NULL;
		} else {
			csvn_attempt_failed(cs, error);
		}
	}
	spin_unlock_irqrestore(&cs->lock, flags);
	if (sock) {
		if (!error)
			csvn_host_options_tell(cs); /* that were set meanwhile */
		csvn_notify(sock, EPOLLOUT | (error ? EPOLLIN | EPOLLERR | EPOLLHUP : 0));
		if (READ_ONCE(sock->wq.fasync_list))
			sock_wake_async(&sock->wq, SOCK_WAKE_IO, POLL_OUT);
	}
	rcu_read_unlock();

	atomic64_inc(error ? &dev->count.connects_failed : &dev->count.connects);
	if (c) /* nobody wants it any more */
		csvn_circuit_close(c, CSVN_STATE_RESET | CSVN_STATE_CLOSED);
	csvn_attempt_stop_deadline(a);
	csvn_attempt_put(a);
}

/* Take the attempt, if there is one; the socket's new state is state, or failed with err. Counted. */
static struct csvn_attempt *csvn_attempt_take(struct csvn_sock *cs, struct csvn_attempt *only,
					      enum csvn_state state, int err)
{
	struct csvn_attempt *a;
	unsigned long flags;

	spin_lock_irqsave(&cs->lock, flags);
	a = cs->attempt;
	if (a && (!only || a == only)) {
		refcount_inc(&a->ref);
		cs->attempt = NULL;
		if (err)
			csvn_attempt_failed(cs, err);
		else
			csvn_sock_set(cs, state);
	} else {
		a = NULL;
	}
	spin_unlock_irqrestore(&cs->lock, flags);
	return a;
}

static void csvn_attempt_give_up(struct csvn_attempt *a)
{
	csvn_attempt_stop_deadline(a);
	csvn_request_cancel(a->dev, &a->req);
	csvn_attempt_put(a);
}

/* Give up what is under way, if anything; the socket's new state is state. */
void csvn_attempt_cancel(struct csvn_sock *cs, enum csvn_state state)
{
	struct csvn_attempt *a = csvn_attempt_take(cs, NULL, state, 0);

	if (a)
		csvn_attempt_give_up(a);
}

/* The switch should have answered by now. */
static void csvn_attempt_late(struct work_struct *work)
{
	struct csvn_attempt *mine = container_of(to_delayed_work(work), struct csvn_attempt, deadline);
	struct csvn_sock *cs = mine->cs;
	struct csvn_attempt *a;

	rcu_read_lock();
	a = csvn_attempt_take(cs, mine, CSVN_FAILED, ETIMEDOUT);
	if (a)
		csvn_notify(cs->sock, EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP);
	rcu_read_unlock();
	if (a)
		csvn_attempt_give_up(a);
	csvn_attempt_put(mine);
}

/* Look for the answer for a moment, unless others are interrupted for theirs anyway; and then ask for an interrupt. */
static void csvn_attempt_look(struct csvn_sock *cs, struct csvn_attempt *a)
{
	bool decided = false;

	if (!READ_ONCE(a->dev->awaited))
		decided = csvn_spin(&csvn_connect_spin, ({
			csvn_control_look(a->dev);
			csvn_state(cs) != CSVN_CONNECTING;
		}));
	if (!decided)
		csvn_request_await(a->dev, &a->req);
}

/*
 * Takes over the caller's count of dev, on an error as well. The socket is locked. look: for the answer, for a moment; the
 * outcome may be there already when this returns.
 */
static int csvn_attempt_start(struct csvn_sock *cs, struct csvn_device *dev, bool look)
{
	struct csvn_attempt *a = kzalloc(sizeof(*a), GFP_KERNEL);
	struct csvn_connect *out;
	unsigned long flags;

	if (!a) {
		csvn_device_put(dev);
		return -ENOMEM;
	}
	a->circuit = csvn_circuit_new(dev, GFP_KERNEL);
	if (!a->circuit) {
		kfree(a);
		csvn_device_put(dev);
		return -ENOMEM;
	}
	a->circuit->local = cs->local;
	a->circuit->remote = cs->remote;
	a->dev = dev;
	a->cs = cs;
	refcount_inc(&cs->ref);
	refcount_set(&a->ref, 2); /* the request's and the deadline's */
	INIT_DELAYED_WORK(&a->deadline, csvn_attempt_late);
	out = &a->req.out.connect;
	out->local = cs->local;
	out->remote = cs->remote;
	out->protocol = CSVN_PROTOCOL_STREAM;
	memset(&cs->told, 0, sizeof(cs->told));
	csvn_host_options_get(cs->sk, &cs->told, &out->options);
	cs->told = out->options;
	csvn_request_init(&a->req, CSVN_REQ_CONNECT, sizeof(*out), csvn_attempt_done);

	spin_lock_irqsave(&cs->lock, flags);
	cs->attempt = a;
	cs->fin_sent = false;
	cs->broken = false;
	csvn_sock_set(cs, CSVN_CONNECTING);
	spin_unlock_irqrestore(&cs->lock, flags);
	queue_delayed_work(csvn_workqueue, &a->deadline, msecs_to_jiffies(CSVN_CONNECT_MS));
	a->req.quiet = look;
	if (look)
		refcount_inc(&a->ref);
	csvn_request_send(dev, &a->req);
	if (look) {
		csvn_attempt_look(cs, a);
		csvn_attempt_put(a);
	}
	return 0;
}

/* Wait for the end of the attempt, with the socket locked. */
static long csvn_wait_attempt(struct csvn_sock *cs, long timeo)
{
	DEFINE_WAIT_FUNC(wait, woken_wake_function);
	struct sock *sk = cs->sk;
	u64 began = local_clock();

	add_wait_queue(sk_sleep(sk), &wait);
	while (csvn_state(cs) == CSVN_CONNECTING) {
		release_sock(sk);
		timeo = wait_woken(&wait, TASK_INTERRUPTIBLE, timeo);
		lock_sock(sk);
		if (signal_pending(current) || !timeo)
			break;
	}
	remove_wait_queue(sk_sleep(sk), &wait);
	csvn_spin_slept(&csvn_connect_spin, local_clock() - began, csvn_spin_most());
	return timeo;
}

/* A transfer on a socket that is connecting waits for that. 0: connected, or failed: look. */
int csvn_wait_connected(struct csvn_sock *cs, long *timeo)
{
	struct sock *sk = cs->sk;
	int err = 0;

	lock_sock(sk);
	if (csvn_state(cs) == CSVN_CONNECTING && *timeo)
		*timeo = csvn_wait_attempt(cs, *timeo);
	if (csvn_state(cs) == CSVN_CONNECTING)
		err = signal_pending(current) && *timeo ? sock_intr_errno(*timeo) : -EAGAIN;
	release_sock(sk);
	return err;
}

/* What connect() says once nothing is under way. The socket is locked. */
static int csvn_connect_outcome(struct csvn_sock *cs)
{
	struct sock *sk = cs->sk;
	int err;

	if (csvn_tcp_state(cs) != TCP_CLOSE) {
		cs->sock->state = SS_CONNECTED;
		return 0;
	}
	err = sock_error(sk) ? : -ECONNABORTED;
	csvn_disconnect(cs);
	return err;
}

static int csvn_connect_locked(struct socket *sock, csvn_sockaddr *addr, int addr_len, int flags,
			       bool *native)
{
	struct csvn_endpoint local, remote;
	struct csvn_sock *cs = csvn_sk(sock);
	struct sock *sk = sock->sk;
	struct csvn_device *dev;
	long timeo = sock_sndtimeo(sk, flags & O_NONBLOCK);
	int err, disconnects;

	switch (csvn_state(cs)) {
	case CSVN_CONNECTING:
		err = -EALREADY;
		break;
	case CSVN_FAILED:
	case CSVN_CONNECTED:
		if (sock->state == SS_CONNECTED)
			return -EISCONN;
		if (sock->state != SS_CONNECTING)
			return -EINVAL;
		return csvn_connect_outcome(cs);
	default:
		*native = true;
		/* Sockets without a file are the kernel's: their users want a native one, whatever they call. */
		if (sock->state != SS_UNCONNECTED || sk->sk_state != TCP_CLOSE || !sock->file)
			return 0;
		dev = csvn_route(sk, addr, addr_len, &local, &remote);
		if (!dev)
			return 0;
		*native = false;
		cs = csvn_sock_need(sock);
		err = cs ? csvn_take_port(sk, &local) : -ENOMEM;
		if (!err && !remote.port) { /* nobody can listen there */
			csvn_forget_port(sk);
			err = -ECONNREFUSED;
		}
		if (err) {
			csvn_device_put(dev);
			return err;
		}
		cs->local = local;
		cs->remote = remote;
		WRITE_ONCE(sk->sk_err, 0);
		sock_reset_flag(sk, SOCK_DONE);
		/* With both ends here the listener learns of it by the same interrupt, and is to have done so when this returns. */
		err = csvn_attempt_start(cs, dev, timeo && memcmp(local.ip, remote.ip, sizeof(local.ip)));
		if (err) {
			csvn_forget_port(sk);
			return err;
		}
		sock->state = SS_CONNECTING;
		err = -EINPROGRESS;
	}

	if (!timeo)
		return err; /* even if the answer is there already: as with TCP, the next call tells */
	if (csvn_state(cs) == CSVN_CONNECTING) {
		disconnects = cs->disconnects;
		timeo = csvn_wait_attempt(cs, timeo);
		if (csvn_state(cs) == CSVN_CONNECTING) {
			if (!timeo)
				return err;
			return sock_intr_errno(timeo);
		}
		if (disconnects != cs->disconnects)
			return -EPIPE;
	}
	return csvn_connect_outcome(cs);
}

int csvn_connect(struct socket *sock, csvn_sockaddr *addr, int addr_len, int flags)
{
	struct csvn_sock *cs = csvn_sk(sock);
	struct sock *sk = sock->sk;
	bool native = false;
	int err;

	if (addr_len < (int)sizeof(addr->sa_family))
		return -EINVAL;
	if (addr->sa_family == AF_UNSPEC) {
		switch (csvn_state(cs)) {
		case CSVN_CONNECTING:
		case CSVN_FAILED:
		case CSVN_CONNECTED:
			lock_sock(sk);
			csvn_disconnect(cs);
			release_sock(sk);
			return 0;
		case CSVN_LISTENING:
			csvn_unlisten(cs);
			fallthrough;
		default:
			return csvn_native(sock)->connect(sock, addr, addr_len, flags);
		}
	}
	lock_sock(sk);
	err = csvn_connect_locked(sock, addr, addr_len, flags, &native);
	release_sock(sk);
	return native ? csvn_native(sock)->connect(sock, addr, addr_len, flags) : err;
}
