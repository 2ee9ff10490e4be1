// SPDX-License-Identifier: GPL-2.0
/*
 * Options that mean something to the socket at the other end of a circuit to the host's stack.
 *
 * Theory of operation. Options are the inner socket's, which remembers them. Those that a real connection would act on (keepalive, time-outs,
 * type of service, buffers) are told to the switch: with CONNECT, by OPTIONS when one of them is set on a socket that has such
 * a circuit, and after accept(), where the listener had some. Only what differs from the defaults is told, or from what was told
 * before. Another VM has no use for them: between VMs there is nothing to keep alive, and nothing to route.
 */
#include <linux/ipv6.h>
#include <linux/slab.h>
#include <linux/tcp.h>
#include <net/inet_connection_sock.h>
#include <net/inet_sock.h>
#include <net/tcp.h>

#include "circuit.h"
#include "control.h"
#include "host_options.h"
#include "sock.h"

static void csvn_host_options_tcp(const struct sock *sk, u32 told, struct csvn_options *o)
{
	const struct inet_connection_sock *icsk = inet_csk(sk);
	const struct tcp_sock *tp = tcp_sk(sk);

	o->keepalive = sock_flag(sk, SOCK_KEEPOPEN);
	if (o->keepalive || told & CSVN_OPTION_KEEPALIVE)
		o->set |= CSVN_OPTION_KEEPALIVE;
	o->keep_idle = READ_ONCE(tp->keepalive_time) / HZ;
	o->keep_interval = READ_ONCE(tp->keepalive_intvl) / HZ;
	o->keep_count = READ_ONCE(tp->keepalive_probes);
	if (o->keep_idle || o->keep_interval || o->keep_count)
		o->set |= CSVN_OPTION_KEEP_TIMES;
	o->user_timeout = READ_ONCE(icsk->icsk_user_timeout);
	if (o->user_timeout || told & CSVN_OPTION_USER_TIMEOUT)
		o->set |= CSVN_OPTION_USER_TIMEOUT;
	o->syn_count = READ_ONCE(icsk->icsk_syn_retries);
	if (o->syn_count)
		o->set |= CSVN_OPTION_SYN_COUNT;
	if (icsk->icsk_ca_setsockopt) {
		strscpy(o->congestion, READ_ONCE(icsk->icsk_ca_ops)->name, sizeof(o->congestion));
		o->set |= CSVN_OPTION_CONGESTION;
	}
}

static void csvn_host_options_ip(const struct sock *sk, bool six, u32 told, struct csvn_options *o)
{
	const struct inet_sock *inet = inet_sk(sk);
	int hops = READ_ONCE(inet->uc_ttl);

	o->service = READ_ONCE(inet->tos);
#if IS_ENABLED(CONFIG_IPV6)
	if (six) {
		o->service = inet6_sk(sk)->tclass;
		hops = inet6_sk(sk)->hop_limit;
	}
#endif
	if (o->service || told & CSVN_OPTION_SERVICE)
		o->set |= CSVN_OPTION_SERVICE;
	o->hops = max(hops, 0); /* 0: as the default is */
	if (o->hops || told & CSVN_OPTION_HOPS)
		o->set |= CSVN_OPTION_HOPS;
}

/* What the socket's options are now; told: what was told of them before. */
void csvn_host_options_get(const struct sock *sk, const struct csvn_options *told, struct csvn_options *o)
{
	memset(o, 0, sizeof(*o));
	csvn_host_options_tcp(sk, told->set, o);
	csvn_host_options_ip(sk, sk->sk_family == AF_INET6, told->set, o);
	/* The kernel doubles what it is asked for, and so will the host's. */
	if (sk->sk_userlocks & SOCK_SNDBUF_LOCK) {
		o->send_buffer = READ_ONCE(sk->sk_sndbuf) / 2;
		o->set |= CSVN_OPTION_SEND_BUFFER;
	}
	if (sk->sk_userlocks & SOCK_RCVBUF_LOCK) {
		o->receive_buffer = READ_ONCE(sk->sk_rcvbuf) / 2;
		o->set |= CSVN_OPTION_RECEIVE_BUFFER;
	}
}

/*
 * An OPTIONS under way: one at most of a circuit, so that a program that sets options all day has the switch told of the last ones. Owned
 * by its request; who asks for its answer counts it too.
 */
struct csvn_telling {
	struct csvn_request req;
	refcount_t ref;
	struct csvn_circuit *circuit; /* counted */
	struct csvn_sock *cs; /* counted */
};

static void csvn_telling_put(struct csvn_telling *t)
{
	if (!refcount_dec_and_test(&t->ref))
		return;
	csvn_circuit_put(t->circuit);
	csvn_sock_put(t->cs);
	kfree(t);
}

/* The switch has heard: what has changed since goes next. Any context. */
static void csvn_telling_done(struct csvn_request *req, int error)
{
	struct csvn_telling *t = container_of(req, struct csvn_telling, req);
	struct csvn_sock *cs = t->cs;
	unsigned long flags;

	spin_lock_irqsave(&cs->lock, flags);
	t->circuit->telling = NULL;
	spin_unlock_irqrestore(&cs->lock, flags);
	if (!error)
		csvn_host_options_tell(cs);
	csvn_telling_put(t);
}

/* Take what is to be told now: *now, of c. cs->lock is held. NULL without memory: the next change, or the next look, comes here again. */
static struct csvn_telling *csvn_telling_new(struct csvn_sock *cs, struct csvn_circuit *c,
					     const struct csvn_options *now)
{
	struct csvn_telling *t = kzalloc(sizeof(*t), GFP_ATOMIC | __GFP_NOWARN);

	if (!t)
		return NULL;
	refcount_set(&t->ref, 2); /* the request's and the caller's */
	refcount_inc(&c->ref);
	t->circuit = c;
	refcount_inc(&cs->ref);
	t->cs = cs;
	t->req.out.options.circuit = c->id;
	t->req.out.options.options = *now;
	csvn_request_init(&t->req, CSVN_REQ_OPTIONS, sizeof(t->req.out.options), csvn_telling_done);
	t->req.quiet = true;
	t->req.lazy = true;
	return t;
}

/* Tell the switch of what has changed, if the socket has a circuit to the host's stack. Any context. */
void csvn_host_options_tell(struct csvn_sock *cs)
{
	struct csvn_telling *t = NULL;
	struct csvn_options now;
	struct csvn_circuit *c;
	unsigned long flags;
	bool send = false;

	spin_lock_irqsave(&cs->lock, flags);
	c = rcu_dereference_protected(cs->circuit, lockdep_is_held(&cs->lock));
	if (c && c->host && !c->lost) {
		csvn_host_options_get(cs->sk, &cs->told, &now);
		if (memcmp(&now, &cs->told, sizeof(now))) {
			t = c->telling;
			send = !t;
			if (send)
				t = csvn_telling_new(cs, c, &now);
			else
				refcount_inc(&t->ref);
		}
		if (t && send) {
			c->telling = t;
			cs->told = now;
		}
	}
	spin_unlock_irqrestore(&cs->lock, flags);
	if (!t)
		return;
	if (send)
		csvn_request_send(t->circuit->dev, &t->req);
	else
		csvn_request_await(t->circuit->dev, &t->req); /* its answer matters: more is to be told */
	csvn_telling_put(t);
}
