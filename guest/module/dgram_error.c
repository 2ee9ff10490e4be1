// SPDX-License-Identifier: GPL-2.0
/*
 * What became of datagrams that were not taken: for the program, as ICMP would say it.
 *
 * Theory of operation. A socket that is connected to the address reports the error once (SO_ERROR, and the next call).
 * One with IP_RECVERR has it in its error queue besides, connected or not, with the address and, where it is still
 * known, the beginning of the datagram; the native recvmsg(MSG_ERRQUEUE) takes it from there. So what is queued is
 * what the native stack would have queued: the headers of an ICMP error, and the payload.
 */
#include <linux/errqueue.h>
#include <linux/icmp.h>
#include <linux/icmpv6.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/skbuff.h>

#include "dgram_error.h"

#define CSVN_SAID_MAX 512u /* bytes of the datagram that come with an error */

/* The codes of ICMP's "destination unreachable". */
static u8 csvn_icmp_code(int family, int err)
{
	switch (err) {
	case ECONNREFUSED:
		return family == 6 ? ICMPV6_PORT_UNREACH : ICMP_PORT_UNREACH;
	case EHOSTUNREACH:
		return family == 6 ? ICMPV6_ADDR_UNREACH : ICMP_HOST_UNREACH;
	case ENETUNREACH:
	case ENETDOWN:
		return family == 6 ? ICMPV6_NOROUTE : ICMP_NET_UNREACH;
	default:
		return family == 6 ? ICMPV6_ADM_PROHIBITED : ICMP_PKT_FILTERED;
	}
}

/* The headers that the address is taken from: that of the error, whose source is the offender, and the address. */
static void csvn_said_headers(struct sk_buff *skb, const struct csvn_endpoint *remote)
{
	struct sock_exterr_skb *serr = SKB_EXT_ERR(skb);

	if (remote->family == 6) {
		struct ipv6hdr *h = skb_put_zero(skb, sizeof(*h));

		memcpy(&h->saddr, remote->ip, sizeof(h->saddr));
		memcpy(skb_put(skb, sizeof(h->daddr)), remote->ip, sizeof(h->daddr));
		serr->addr_offset = sizeof(*h);
		skb->protocol = htons(ETH_P_IPV6);
	} else {
		struct iphdr *h = skb_put_zero(skb, sizeof(*h));

		memcpy(&h->saddr, remote->ip, sizeof(h->saddr));
		memcpy(skb_put(skb, sizeof(h->daddr)), remote->ip, sizeof(h->daddr));
		serr->addr_offset = sizeof(*h);
		skb->protocol = htons(ETH_P_IP);
	}
	skb_reset_network_header(skb);
	skb_pull(skb, skb->len);
}

static void csvn_said_queue(struct sock *sk, const struct csvn_endpoint *remote, int err, const void *data, u32 size)
{
	bool six = remote->family == 6;
	struct sock_exterr_skb *serr;
	struct sk_buff *skb;

	size = min(size, CSVN_SAID_MAX);
	skb = alloc_skb(sizeof(struct ipv6hdr) + sizeof(struct in6_addr) + size, GFP_ATOMIC);
	if (!skb)
		return;
	serr = SKB_EXT_ERR(skb);
	memset(serr, 0, sizeof(*serr));
	csvn_said_headers(skb, remote);
	serr->ee.ee_errno = err;
	serr->ee.ee_origin = six ? SO_EE_ORIGIN_ICMP6 : SO_EE_ORIGIN_ICMP;
	serr->ee.ee_type = six ? ICMPV6_DEST_UNREACH : ICMP_DEST_UNREACH;
	serr->ee.ee_code = csvn_icmp_code(remote->family, err);
	serr->port = htons(remote->port);
	skb_put_data(skb, data, size);
	if (sock_queue_err_skb(sk, skb))
		dev_kfree_skb_any(skb);
}

/*
 * The socket's program is to be told an error of a destination, and data, that it was about, or NULL. True when it was
 * told, and who sleeps on the socket is to be woken. ds->lock is held.
 */
bool csvn_dgram_error(struct csvn_dsock *ds, const struct csvn_endpoint *remote, int err, const void *data, u32 size)
{
	bool queue;

	if (ds->released)
		return false;
	queue = csvn_recverr(ds->sk, remote->family);
	if (ds->connected ? !csvn_same(&ds->peer, remote) : !queue)
		return false;
	if (queue)
		csvn_said_queue(ds->sk, remote, err, data, size);
	WRITE_ONCE(ds->sk->sk_err, err);
	return true;
}

/* Does the socket's program care for what the network says, even while it receives nothing? */
bool csvn_dgram_hears(struct csvn_dsock *ds)
{
	return READ_ONCE(ds->connected) || csvn_recverr(ds->sk, 4) ||
	       (ds->sk->sk_family == AF_INET6 && csvn_recverr(ds->sk, 6));
}
