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
#include <linux/tcp.h>
#include <net/inet_connection_sock.h>
#include <net/inet_sock.h>
#include <net/tcp.h>

#include "csvn.h"

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
	if (hops > 0) {
		o->hops = hops;
		o->set |= CSVN_OPTION_HOPS;
	}
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

/* Tell the switch of what has changed, if the socket has a circuit to the host's stack. Any context. */
void csvn_host_options_tell(struct csvn_sock *cs)
{
	struct csvn_device *dev = NULL;
	union csvn_record out = {};
	struct csvn_options now;
	struct csvn_circuit *c;
	unsigned long flags;

	spin_lock_irqsave(&cs->lock, flags);
	c = rcu_dereference_protected(cs->circuit, lockdep_is_held(&cs->lock));
	if (c && c->host && !c->lost) {
		csvn_host_options_get(cs->sk, &cs->told, &now);
		if (memcmp(&now, &cs->told, sizeof(now))) {
			cs->told = now;
			out.options.circuit = c->id;
			out.options.options = now;
			dev = c->dev;
			kref_get(&dev->ref);
		}
	}
	spin_unlock_irqrestore(&cs->lock, flags);
	if (!dev)
		return;
	csvn_request_mention(dev, &out, CSVN_REQ_OPTIONS, sizeof(out.options), GFP_ATOMIC);
	csvn_device_put(dev);
}
