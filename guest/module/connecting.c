// SPDX-License-Identifier: GPL-2.0
/*
 * A CONNECT of a stream socket under way, and waiting for it.
 *
 * It has one owner of its outcome: whoever takes it out of cs->attempt, under cs->lock: the answer, the deadline,
 * or csvn_connecting_cancel(). An answer that comes when it has been taken already, and that brings a circuit, closes that.
 */
#include <linux/sched/signal.h>

#include "attach.h"
#include "attempt.h"
#include "call.h"
#include "circuit_close.h"
#include "connecting.h"
#include "control.h"
#include "device.h"
#include "host_options.h"
#include "look.h"
#include "sock.h"
#include "wait.h"

/* How long connect() looks for the switch's answer before it sleeps: hints, which calls may change at the same time. */
static struct csvn_spin csvn_connect_spin = { .ns = CSVN_SPIN_FIRST };

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
	struct csvn_circuit *c = NULL;
	struct csvn_sock *cs = csvn_owner_sock(a->owner);
	struct csvn_device *dev = a->dev;
	struct socket *sock = NULL;
	unsigned long flags;

	if (!error && req->got < sizeof(req->in.connect_response))
		error = EPROTO;
	if (!error)
		c = csvn_attempt_granted(a, &error);

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
void csvn_connecting_cancel(struct csvn_sock *cs, enum csvn_state state)
{
	struct csvn_attempt *a = csvn_attempt_take(cs, NULL, state, 0);

	if (a)
		csvn_attempt_give_up(a);
}

/* The switch should have answered by now. */
static void csvn_attempt_late(struct work_struct *work)
{
	struct csvn_attempt *mine = container_of(to_delayed_work(work), struct csvn_attempt, deadline);
	struct csvn_sock *cs = csvn_owner_sock(mine->owner);
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
int csvn_connecting_begin(struct csvn_sock *cs, struct csvn_device *dev, bool look)
{
	struct csvn_attempt *a = csvn_attempt_new(dev, csvn_stream(cs), &cs->local, &cs->remote, CSVN_PROTOCOL_STREAM,
						  GFP_KERNEL);
	struct csvn_connect *out;
	unsigned long flags;

	if (!a) {
		csvn_device_put(dev);
		return -ENOMEM;
	}
	INIT_DELAYED_WORK(&a->deadline, csvn_attempt_late);
	out = &a->req.out.connect;
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
long csvn_connecting_wait(struct csvn_sock *cs, long timeo)
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
		*timeo = csvn_connecting_wait(cs, *timeo);
	if (csvn_state(cs) == CSVN_CONNECTING)
		err = signal_pending(current) && *timeo ? sock_intr_errno(*timeo) : -EAGAIN;
	release_sock(sk);
	return err;
}
