// SPDX-License-Identifier: GPL-2.0
/*
 * What goes over circuits: the routing table decides.
 *
 * A destination whose route leaves by csvn0 is a circuit's; everything else is the native stack's, and so is every
 * error of the lookup, which the native connect() makes again and reports.
 *
 * The VM's own address is local to the routing table, and native. With the module's parameter hairpin it is a circuit's
 * like any other VM's, and has both its ends here: a guest can test itself.
 */
#include <linux/security.h>
#include <net/addrconf.h>
#include <net/inet_sock.h>
#include <net/ip6_route.h>
#include <net/ipv6.h>
#include <net/route.h>

#include "device.h"
#include "names.h"
#include "netdev.h"
#include "route.h"

/* The device, counted, if its own address is asked for, and circuits may have both their ends here. */
static struct csvn_device *csvn_hairpin_device(int family, const void *saddr, const void *daddr)
{
	struct csvn_device *dev;
	size_t size = family == 4 ? 4 : 16;
	const u8 *own;

	if (!READ_ONCE(csvn_hairpin))
		return NULL;
	dev = csvn_device_get();
	if (!dev)
		return NULL;
	own = family == 4 ? dev->identity.ipv4 : dev->identity.ipv6;
	if (!memcmp(own, saddr, size) && !memcmp(own, daddr, size))
		return dev;
	csvn_device_put(dev);
	return NULL;
}

static struct csvn_device *csvn_route4(struct sock *sk, __be32 daddr, __be16 dport,
				       struct csvn_endpoint *local, struct csvn_endpoint *remote)
{
	struct inet_sock *inet = inet_sk(sk);
	struct csvn_device *dev = NULL;
	struct flowi4 fl4;
	struct rtable *rt;

	memset(&fl4, 0, sizeof(fl4));
	rt = ip_route_connect(&fl4, daddr, inet->inet_saddr, sk->sk_bound_dev_if, sk->sk_protocol,
			      inet->inet_sport, dport, sk);
	if (IS_ERR(rt))
		return NULL;
	if (rt->rt_flags & RTCF_LOCAL)
		dev = csvn_hairpin_device(4, &fl4.saddr, &fl4.daddr);
	else if (!(rt->rt_flags & (RTCF_MULTICAST | RTCF_BROADCAST)))
		dev = csvn_netdev_device(csvn_dst_dev(&rt->dst));
	if (dev) {
		csvn_endpoint4(local, fl4.saddr, inet->inet_sport);
		csvn_endpoint4(remote, fl4.daddr, dport);
	}
	ip_rt_put(rt);
	return dev;
}

static struct csvn_device *csvn_route6(struct sock *sk, const struct sockaddr_in6 *sin6, int len,
				       struct csvn_endpoint *local, struct csvn_endpoint *remote)
{
#if IS_ENABLED(CONFIG_IPV6)
	struct ipv6_pinfo *np = inet6_sk(sk);
	struct inet_sock *inet = inet_sk(sk);
	struct csvn_device *dev = NULL;
	struct dst_entry *dst;
	struct flowi6 fl6;

	memset(&fl6, 0, sizeof(fl6));
	fl6.flowi6_proto = sk->sk_protocol;
	fl6.daddr = sin6->sin6_addr;
	fl6.saddr = ipv6_addr_any(&sk->sk_v6_rcv_saddr) ? np->saddr : sk->sk_v6_rcv_saddr;
	fl6.flowi6_oif = sk->sk_bound_dev_if;
	fl6.flowi6_mark = READ_ONCE(sk->sk_mark);
	fl6.fl6_dport = sin6->sin6_port;
	fl6.fl6_sport = inet->inet_sport;
	fl6.flowi6_uid = READ_ONCE(sk->sk_uid);
	if (__ipv6_addr_needs_scope_id(ipv6_addr_type(&fl6.daddr)) && !fl6.flowi6_oif &&
	    len >= (int)sizeof(*sin6))
		fl6.flowi6_oif = sin6->sin6_scope_id;
	security_sk_classify_flow(sk, flowi6_to_flowi_common(&fl6));
	dst = ip6_dst_lookup_flow(sock_net(sk), sk, &fl6, NULL);
	if (IS_ERR(dst))
		return NULL;
	dev = csvn_netdev_device(csvn_dst_dev(dst));
	if (!dev)
		dev = csvn_hairpin_device(6, &fl6.saddr, &fl6.daddr);
	if (dev) {
		csvn_endpoint6(local, &fl6.saddr, inet->inet_sport, 0);
		csvn_endpoint6(remote, &fl6.daddr, sin6->sin6_port,
			       len >= (int)sizeof(*sin6) ? sin6->sin6_scope_id : 0);
	}
	dst_release(dst);
	return dev;
#else
	return NULL;
#endif
}

/*
 * The device by whose circuits addr is reached, counted, and the two ends' names; the local port is 0 when the socket
 * is not bound. NULL: not by circuits. The socket is locked.
 */
struct csvn_device *csvn_route(struct sock *sk, const void *addr, int len,
			       struct csvn_endpoint *local, struct csvn_endpoint *remote)
{
	const struct sockaddr_in6 *sin6 = addr;
	const struct sockaddr_in *sin = addr;
	__be32 daddr;
	int type;

	if (sk->sk_family == AF_INET) {
		if (len < (int)sizeof(*sin) || sin->sin_family != AF_INET || !sin->sin_addr.s_addr)
			return NULL;
		return csvn_route4(sk, sin->sin_addr.s_addr, sin->sin_port, local, remote);
	}
	if (sk->sk_family != AF_INET6 || len < SIN6_LEN_RFC2133 || sin6->sin6_family != AF_INET6)
		return NULL;
	type = ipv6_addr_type(&sin6->sin6_addr);
	if (type & (IPV6_ADDR_MULTICAST | IPV6_ADDR_LOOPBACK) || type == IPV6_ADDR_ANY)
		return NULL;
	if (!(type & IPV6_ADDR_MAPPED))
		return csvn_route6(sk, sin6, len, local, remote);

	/* IPv4 by an IPv6 socket: as far as it is not bound to something else. */
	daddr = sin6->sin6_addr.s6_addr32[3];
	if (ipv6_only_sock(sk) || !daddr ||
	    !(ipv6_addr_any(&sk->sk_v6_rcv_saddr) || ipv6_addr_v4mapped(&sk->sk_v6_rcv_saddr)))
		return NULL;
	return csvn_route4(sk, daddr, sin6->sin6_port, local, remote);
}

/*
 * What a bound socket listens to, for the switch; false when that can be nothing of the switch's. Whether an address is
 * the VM's is known only where there is a device: csvn_is_mine().
 */
bool csvn_listen_address(struct sock *sk, struct csvn_endpoint *local, u32 *flags)
{
	struct inet_sock *inet = inet_sk(sk);
	const struct in6_addr *ip6;

	*flags = 0;
	if (sk->sk_family == AF_INET) {
		csvn_endpoint4(local, inet->inet_rcv_saddr, inet->inet_sport);
		return !ipv4_is_loopback(inet->inet_rcv_saddr);
	}
	ip6 = &sk->sk_v6_rcv_saddr;
	if (ipv6_addr_v4mapped(ip6)) {
		csvn_endpoint4(local, ip6->s6_addr32[3], inet->inet_sport);
		return !ipv4_is_loopback(ip6->s6_addr32[3]);
	}
	csvn_endpoint6(local, ip6, inet->inet_sport, 0);
	if (ipv6_only_sock(sk))
		*flags |= CSVN_LISTEN_V6ONLY;
	return !ipv6_addr_loopback(ip6);
}

/* The endpoint's address is any, or the VM's own. */
bool csvn_is_mine(struct csvn_device *dev, const struct csvn_endpoint *e)
{
	static const u8 any[16];

	if (e->family == 4)
		return !memcmp(e->ip, any, 4) || !memcmp(e->ip, dev->identity.ipv4, 4);
	return !memcmp(e->ip, any, 16) || !memcmp(e->ip, dev->identity.ipv6, 16);
}
