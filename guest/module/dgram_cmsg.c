// SPDX-License-Identifier: GPL-2.0
/*
 * What goes with a datagram beside its bytes: control messages, to us and from us.
 *
 * Theory of operation. Type of service and time to live (traffic class and hop limit) of the socket, or of the one
 * message, travel in the frame's head; a receiver that asks for them is told what the sender chose. No hop lies in
 * between. Datagrams of the host's stack tell what they came with. Destination addresses are the circuit's.
 */
#include <linux/udp.h>
#include <net/ip.h>
#include <net/ipv6.h>
#include <net/udp.h>

#include "dgram_cmsg.h"
#include "names.h"
#include "times.h"

#define CSVN_HOPS 64 /* where nothing was told */

/* What the socket's options say of datagrams to the dispatch's destination. */
static void csvn_dgram_marks(struct sock *sk, struct csvn_dispatch *d)
{
	const struct inet_sock *inet = inet_sk(sk);
	int hops;

	d->segment = READ_ONCE(udp_sk(sk)->gso_size);
#if IS_ENABLED(CONFIG_IPV6)
	if (d->remote.family == 6) {
		hops = inet6_sk(sk)->hop_limit; /* a bit-field in older kernels */
		d->marks.service = READ_ONCE(inet6_sk(sk)->tclass);
		d->marks.hops = hops > 0 ? hops : CSVN_HOPS;
		return;
	}
#endif
	hops = READ_ONCE(inet->uc_ttl);
	d->marks.service = READ_ONCE(inet->tos);
	d->marks.hops = hops > 0 ? hops : READ_ONCE(sock_net(sk)->ipv4.sysctl_ip_default_ttl);
}

/* A number in a control message, of that many bytes; it must be in 0..most, or is -1 for "as the socket has it". */
static int csvn_cmsg_number(const struct cmsghdr *cmsg, int most, int *value)
{
	if (cmsg->cmsg_len != CMSG_LEN(sizeof(int)))
		return -EINVAL;
	*value = *(const int *)CMSG_DATA(cmsg);
	return *value < -1 || *value > most ? -EINVAL : 0;
}

static int csvn_cmsg_ip(const struct cmsghdr *cmsg, struct csvn_dispatch *d)
{
	int value, err;

	switch (cmsg->cmsg_type) {
	case IP_TTL:
		err = csvn_cmsg_number(cmsg, 255, &value);
		if (err || value < 1)
			return -EINVAL;
		d->marks.hops = value;
		return 0;
	case IP_TOS:
		if (cmsg->cmsg_len == CMSG_LEN(sizeof(u8)))
			value = *(const u8 *)CMSG_DATA(cmsg);
		else if (csvn_cmsg_number(cmsg, 255, &value) || value < 0)
			return -EINVAL;
		d->marks.service = value;
		return 0;
	case IP_PKTINFO: /* the VM has one address of each family */
		return cmsg->cmsg_len == CMSG_LEN(sizeof(struct in_pktinfo)) ? 0 : -EINVAL;
	default:
		return -EINVAL;
	}
}

static int csvn_cmsg_ipv6(const struct cmsghdr *cmsg, struct csvn_dispatch *d)
{
	int value;

	switch (cmsg->cmsg_type) {
	case IPV6_HOPLIMIT:
		if (csvn_cmsg_number(cmsg, 255, &value))
			return -EINVAL;
		if (value > 0)
			d->marks.hops = value;
		return 0;
	case IPV6_TCLASS:
		if (csvn_cmsg_number(cmsg, 255, &value))
			return -EINVAL;
		if (value >= 0)
			d->marks.service = value;
		return 0;
	case IPV6_DONTFRAG:
		return csvn_cmsg_number(cmsg, 1, &value);
	case IPV6_PKTINFO:
		return cmsg->cmsg_len == CMSG_LEN(sizeof(struct in6_pktinfo)) ? 0 : -EINVAL;
	default:
		return -EINVAL;
	}
}

/* The options of the socket and the control messages of a message that is sent. */
int csvn_dgram_cmsg_send(struct sock *sk, struct msghdr *msg, struct csvn_dispatch *d)
{
	struct sockcm_cookie sockc;
	struct cmsghdr *cmsg;
	int err = 0;

	csvn_dgram_marks(sk, d);
	if (likely(!msg->msg_controllen))
		return 0;
	for_each_cmsghdr(cmsg, msg) {
		if (!CMSG_OK(msg, cmsg))
			return -EINVAL;
		if (cmsg->cmsg_level == SOL_UDP) {
			if (cmsg->cmsg_type != UDP_SEGMENT || cmsg->cmsg_len != CMSG_LEN(sizeof(u16)))
				return -EINVAL;
			d->segment = *(u16 *)CMSG_DATA(cmsg);
		} else if (cmsg->cmsg_level == SOL_IP) {
			err = csvn_cmsg_ip(cmsg, d);
		} else if (cmsg->cmsg_level == SOL_IPV6 && sk->sk_family == AF_INET6) {
			err = csvn_cmsg_ipv6(cmsg, d);
		}
		if (err)
			return err;
	}
	sockcm_init(&sockc, sk);
	return sock_cmsg_send(sk, msg, &sockc);
}

static void csvn_cmsg_recv4(struct sock *sk, struct csvn_circuit *c, const struct csvn_datagram *h,
			    struct msghdr *msg)
{
	const unsigned int wanted = csvn_cmsg_flags(inet_sk(sk));
	const struct csvn_endpoint *local = &c->local;
	struct in_pktinfo info = { .ipi_ifindex = c->dev->ifindex };
	int hops = h->hops ?: CSVN_HOPS;
	struct sockaddr_in6 name;
	u8 service = h->service;

	if (wanted & IP_CMSG_PKTINFO) {
		memcpy(&info.ipi_addr, local->ip, sizeof(info.ipi_addr));
		info.ipi_spec_dst = info.ipi_addr;
		put_cmsg(msg, SOL_IP, IP_PKTINFO, sizeof(info), &info);
	}
	if (wanted & IP_CMSG_TTL)
		put_cmsg(msg, SOL_IP, IP_TTL, sizeof(hops), &hops);
	if (wanted & IP_CMSG_TOS)
		put_cmsg(msg, SOL_IP, IP_TOS, sizeof(service), &service);
	if (wanted & IP_CMSG_ORIGDSTADDR)
		put_cmsg(msg, SOL_IP, IP_ORIGDSTADDR, csvn_name((struct sockaddr *)&name, local, false), &name);
}

#if IS_ENABLED(CONFIG_IPV6)
static void csvn_cmsg_recv6(struct sock *sk, struct csvn_circuit *c, const struct csvn_datagram *h,
			    struct msghdr *msg)
{
	struct in6_pktinfo info = { .ipi6_ifindex = c->dev->ifindex };
	const struct ipv6_pinfo *np = inet6_sk(sk);
	int hops = h->hops ?: CSVN_HOPS, service = h->service;
	struct sockaddr_in6 name;

	csvn_name((struct sockaddr *)&name, &c->local, true);
	if (np->rxopt.bits.rxinfo) {
		info.ipi6_addr = name.sin6_addr;
		put_cmsg(msg, SOL_IPV6, IPV6_PKTINFO, sizeof(info), &info);
	}
	if (c->local.family != 6)
		return;
	if (np->rxopt.bits.rxhlim)
		put_cmsg(msg, SOL_IPV6, IPV6_HOPLIMIT, sizeof(hops), &hops);
	if (np->rxopt.bits.rxtclass)
		put_cmsg(msg, SOL_IPV6, IPV6_TCLASS, sizeof(service), &service);
	if (np->rxopt.bits.rxorigdstaddr)
		put_cmsg(msg, SOL_IPV6, IPV6_ORIGDSTADDR, sizeof(name), &name);
}
#endif

/* What the receiver's options ask for, of a datagram that has come by c with that head. */
void csvn_dgram_cmsg_recv(struct sock *sk, struct csvn_circuit *c, const struct csvn_datagram *h,
			  struct msghdr *msg)
{
	csvn_put_times(sk, msg);
	if (c->local.family == 4)
		csvn_cmsg_recv4(sk, c, h, msg);
#if IS_ENABLED(CONFIG_IPV6)
	if (sk->sk_family == AF_INET6)
		csvn_cmsg_recv6(sk, c, h, msg);
#endif
}
