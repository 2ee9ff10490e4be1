// SPDX-License-Identifier: GPL-2.0
/*
 * Socket options, ioctl(), and what an accepted socket inherits.
 *
 * Options are the inner socket's: most act on fields that we use as well, the others have no meaning for a circuit, and are
 * remembered. The exceptions are here.
 */
#include <asm/ioctls.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <linux/uaccess.h>
#include <net/inet_sock.h>
#include <net/ipv6.h>
#include <net/tcp.h>

#include <csvn/mapping.h>

#include "host_options.h"
#include "look.h"
#include "mmap.h"
#include "options.h"
#include "sock.h"

/*
 * The kernel may have given the socket other operations (kTLS, IPV6_ADDRFORM): those are the native ones from now on.
 * sock->ops stays ours, since its owner counts the module.
 */
static void csvn_ops_changed(struct socket *sock)
{
	const struct proto_ops *ops = READ_ONCE(sock->ops);
	struct csvn_sock *cs = csvn_sk(sock);

	if (ops == &csvn_ops4 || ops == &csvn_ops6 || !cs)
		return;
	WRITE_ONCE(cs->native, ops);
	WRITE_ONCE(sock->ops, ops->family == PF_INET6 ? &csvn_ops6 : &csvn_ops4);
}

int csvn_setsockopt(struct socket *sock, int level, int name, sockptr_t val, unsigned int len)
{
	struct csvn_sock *cs;
	int err;

	/* The inner socket is closed in its own eyes, and would take what is too late. */
	if (level == SOL_TCP && (name == TCP_FASTOPEN || name == TCP_FASTOPEN_CONNECT)) {
		switch (csvn_state(csvn_sk(sock))) {
		case CSVN_CONNECTING:
		case CSVN_CONNECTED:
			return -EINVAL;
		default:
			break;
		}
	}

	/* There must be a place to remember exchanged operations in. */
	if (((level == SOL_TCP && name == TCP_ULP) || (level == SOL_IPV6 && name == IPV6_ADDRFORM)) &&
	    !csvn_sock_need(sock))
		return -ENOMEM;
	err = csvn_native(sock)->setsockopt(sock, level, name, val, len);
	csvn_ops_changed(sock);
	cs = csvn_sk(sock);
	if (!err && csvn_state(cs) == CSVN_CONNECTED)
		csvn_host_options_tell(cs); /* SOL_SOCKET's: see async.c */
	return err;
}

static int csvn_unread(struct csvn_sock *cs)
{
	struct csvn_circuit *c;
	unsigned long flags;
	int n = 0;

	spin_lock_irqsave(&cs->lock, flags);
	c = rcu_dereference_protected(cs->circuit, lockdep_is_held(&cs->lock));
	if (c && !c->lost)
		n = csvn_readable(c);
	spin_unlock_irqrestore(&cs->lock, flags);
	return n;
}

static int csvn_unconsumed(struct csvn_sock *cs)
{
	struct csvn_circuit *c;
	unsigned long flags;
	u64 n = 0;

	spin_lock_irqsave(&cs->lock, flags);
	c = rcu_dereference_protected(cs->circuit, lockdep_is_held(&cs->lock));
	if (c && !c->lost)
		n = csvn_tail(c) - CSVN_LOAD_ACQUIRE(&c->end.peer->head);
	if (c && n > c->end.size)
		n = c->end.size;
	spin_unlock_irqrestore(&cs->lock, flags);
	return n;
}

int csvn_ioctl(struct socket *sock, unsigned int cmd, unsigned long arg)
{
	struct csvn_sock *cs = csvn_sk(sock);
	int n;

	switch (csvn_state(cs)) {
	case CSVN_CONNECTED:
	case CSVN_CONNECTING:
	case CSVN_FAILED:
		break;
	default:
		return csvn_native(sock)->ioctl(sock, cmd, arg);
	}
	switch (cmd) {
	case SIOCINQ:
		n = csvn_unread(cs);
		break;
	case SIOCOUTQ:
		n = csvn_unconsumed(cs);
		break;
	case SIOCOUTQNSD: /* everything is with the peer at once */
	case SIOCATMARK:
		n = 0;
		break;
	case CSVN_IOC_MAP:
		return csvn_map(cs, (void __user *)arg);
	case CSVN_IOC_KICK:
		return csvn_kick(cs);
	default:
		return csvn_native(sock)->ioctl(sock, cmd, arg);
	}
	return put_user(n, (int __user *)arg);
}

/* What TCP_INFO can say of a circuit; the rest is what the inner socket, which is closed in its own eyes, says. */
static void csvn_info(struct csvn_sock *cs, struct tcp_info *info)
{
	struct csvn_circuit *c;
	unsigned long flags;

	spin_lock_irqsave(&cs->lock, flags);
	c = rcu_dereference_protected(cs->circuit, lockdep_is_held(&cs->lock));
	if (c && !c->lost)
		csvn_look(cs, c);
	info->tcpi_state = csvn_tcp_state(cs);
	if (c && !c->lost) {
		info->tcpi_bytes_sent = csvn_tail(c);
		info->tcpi_bytes_acked = min_t(u64, CSVN_LOAD_ACQUIRE(&c->end.peer->head), info->tcpi_bytes_sent);
		info->tcpi_bytes_received = csvn_head(c) + csvn_readable(c);
	}
	spin_unlock_irqrestore(&cs->lock, flags);
}

static int csvn_getsockopt_info(struct csvn_sock *cs, char __user *val, int __user *len)
{
	struct tcp_info info;
	int size;

	if (get_user(size, len) || size < 0)
		return -EFAULT;
	size = min_t(int, size, sizeof(info));
	memset(&info, 0, sizeof(info));
	if (copy_from_user(&info, val, size))
		return -EFAULT;
	csvn_info(cs, &info);
	return copy_to_user(val, &info, size) ? -EFAULT : 0;
}

int csvn_getsockopt(struct socket *sock, int level, int name, char __user *val, int __user *len)
{
	struct csvn_sock *cs = csvn_sk(sock);
	int err = csvn_native(sock)->getsockopt(sock, level, name, val, len);

	switch (csvn_state(cs)) {
	case CSVN_CONNECTED:
	case CSVN_CONNECTING:
		break;
	default:
		return err;
	}
	if (!err && level == SOL_TCP && name == TCP_INFO)
		return csvn_getsockopt_info(cs, val, len);
	/* The native one wants a route. */
	if (err == -ENOTCONN && ((level == SOL_IP && name == IP_MTU) || (level == SOL_IPV6 && name == IPV6_MTU)))
		err = put_user(CSVN_MTU, (int __user *)val) ?: put_user((int)sizeof(int), len);
	return err;
}

#define CSVN_INHERITED_FLAGS (BIT(SOCK_URGINLINE) | BIT(SOCK_KEEPOPEN) | BIT(SOCK_LINGER) | \
			      BIT(SOCK_BROADCAST) | BIT(SOCK_DBG) | BIT(SOCK_RCVTSTAMP) | \
			      BIT(SOCK_RCVTSTAMPNS) | BIT(SOCK_LOCALROUTE) | BIT(SOCK_ZEROCOPY))

static void csvn_inherit_congestion(struct socket *sock, const struct inet_connection_sock *licsk)
{
	const struct tcp_congestion_ops *ops = READ_ONCE(licsk->icsk_ca_ops);

	if (ops != inet_csk(sock->sk)->icsk_ca_ops)
		csvn_native(sock)->setsockopt(sock, SOL_TCP, TCP_CONGESTION, KERNEL_SOCKPTR((void *)ops->name),
					      strlen(ops->name));
}

/* What TCP's children have from their listener, as far as it can be seen in one. */
void csvn_inherit(struct socket *sock, const struct sock *listener)
{
	struct sock *sk = sock->sk;
	const struct inet_connection_sock *licsk = inet_csk(listener);
	const struct tcp_sock *ltp = tcp_sk(listener);
	const struct inet_sock *linet = inet_sk(listener);
	struct inet_sock *inet = inet_sk(sk);
	struct tcp_sock *tp = tcp_sk(sk);

	sk->sk_flags |= listener->sk_flags & CSVN_INHERITED_FLAGS;
	sk->sk_bound_dev_if = listener->sk_bound_dev_if;
	sk->sk_lingertime = listener->sk_lingertime;
	sk->sk_mark = READ_ONCE(listener->sk_mark);
	sk->sk_rcvbuf = READ_ONCE(listener->sk_rcvbuf);
	sk->sk_sndbuf = READ_ONCE(listener->sk_sndbuf);
	sk->sk_userlocks |= listener->sk_userlocks & SOCK_BUF_LOCK_MASK;
	sk->sk_rcvlowat = READ_ONCE(listener->sk_rcvlowat);
	sk->sk_rcvtimeo = READ_ONCE(listener->sk_rcvtimeo);
	sk->sk_sndtimeo = READ_ONCE(listener->sk_sndtimeo);
	sk->sk_reuse = listener->sk_reuse;
	sk->sk_reuseport = listener->sk_reuseport;
	sk->sk_ipv6only = listener->sk_ipv6only;
	sk->sk_max_pacing_rate = READ_ONCE(listener->sk_max_pacing_rate);
#ifdef CONFIG_NET_RX_BUSY_POLL
	sk->sk_ll_usec = READ_ONCE(listener->sk_ll_usec);
#endif

	inet->tos = READ_ONCE(linet->tos);
	inet->uc_ttl = READ_ONCE(linet->uc_ttl);
	inet->min_ttl = READ_ONCE(linet->min_ttl);
	inet->pmtudisc = READ_ONCE(linet->pmtudisc);
	csvn_inherit_inet(inet, linet);

	tp->nonagle = ltp->nonagle;
	tp->keepalive_time = ltp->keepalive_time;
	tp->keepalive_intvl = ltp->keepalive_intvl;
	tp->keepalive_probes = ltp->keepalive_probes;
	tp->linger2 = ltp->linger2;
	tp->recvmsg_inq = ltp->recvmsg_inq;
	tp->notsent_lowat = ltp->notsent_lowat;
	tp->save_syn = ltp->save_syn;
	tp->thin_lto = ltp->thin_lto;
	tp->window_clamp = ltp->window_clamp;
	tp->rx_opt.user_mss = ltp->rx_opt.user_mss;
	csvn_inherit_congestion(sock, licsk);
	inet_csk(sk)->icsk_user_timeout = READ_ONCE(licsk->icsk_user_timeout);
	inet_csk(sk)->icsk_syn_retries = READ_ONCE(licsk->icsk_syn_retries);
#if IS_ENABLED(CONFIG_IPV6)
	if (sk->sk_family == AF_INET6) {
		inet6_sk(sk)->tclass = inet6_sk(listener)->tclass;
		inet6_sk(sk)->hop_limit = inet6_sk(listener)->hop_limit;
		inet6_sk(sk)->pmtudisc = inet6_sk(listener)->pmtudisc;
		csvn_inherit_inet6(inet6_sk(sk), inet6_sk(listener));
	}
#endif
}
