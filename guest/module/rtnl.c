// SPDX-License-Identifier: GPL-2.0
/*
 * csvn0's addresses and default routes, set by messages on a routing socket of the kernel's own, as ip(8) would.
 *
 * The default routes have a high metric, so that a real NIC's win. Sending with an address makes the kernel check the
 * capabilities of the caller alone, who is loading the driver.
 */
#include <linux/if_addr.h>
#include <linux/netdevice.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/slab.h>
#include <net/net_namespace.h>
#include <net/netlink.h>

#include "rtnl.h"

#define CSVN_METRIC 8192

struct csvn_rtnl {
	struct socket *sock;
	struct sk_buff *skb;
	u32 seq;
};

static int csvn_rtnl_talk(struct csvn_rtnl *r, struct nlmsghdr *h)
{
	struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	struct msghdr msg = { .msg_name = &kernel, .msg_namelen = sizeof(kernel) };
	struct {
		struct nlmsghdr h;
		struct nlmsgerr e;
	} answer;
	struct kvec vec;
	int n;

	nlmsg_end(r->skb, h);
	vec = (struct kvec){ .iov_base = h, .iov_len = h->nlmsg_len };
	n = kernel_sendmsg(r->sock, &msg, &vec, 1, h->nlmsg_len);
	if (n < 0)
		return n;
	memset(&msg, 0, sizeof(msg));
	vec = (struct kvec){ .iov_base = &answer, .iov_len = sizeof(answer) };
	n = kernel_recvmsg(r->sock, &msg, &vec, 1, sizeof(answer), MSG_DONTWAIT);
	if (n < (int)sizeof(answer.h) + (int)sizeof(answer.e.error))
		return n < 0 ? n : -EPROTO;
	return answer.h.nlmsg_type == NLMSG_ERROR ? answer.e.error : -EPROTO;
}

static struct nlmsghdr *csvn_rtnl_begin(struct csvn_rtnl *r, int type, int size)
{
	skb_trim(r->skb, 0);
	return nlmsg_put(r->skb, 0, ++r->seq, type, size,
			 NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE);
}

static int csvn_rtnl_address(struct csvn_rtnl *r, struct net_device *netdev, int family,
			     const u8 *ip, int prefix)
{
	int len = family == AF_INET ? 4 : 16;
	struct ifaddrmsg *ifa;
	struct nlmsghdr *h;

	h = csvn_rtnl_begin(r, RTM_NEWADDR, sizeof(*ifa));
	if (!h)
		return -EMSGSIZE;
	ifa = nlmsg_data(h);
	*ifa = (struct ifaddrmsg){
		.ifa_family = family,
		.ifa_prefixlen = prefix,
		.ifa_flags = family == AF_INET6 ? IFA_F_NODAD : 0,
		.ifa_scope = RT_SCOPE_UNIVERSE,
		.ifa_index = netdev->ifindex,
	};
	if (nla_put(r->skb, IFA_LOCAL, len, ip) || nla_put(r->skb, IFA_ADDRESS, len, ip))
		return -EMSGSIZE;
	return csvn_rtnl_talk(r, h);
}

static int csvn_rtnl_default(struct csvn_rtnl *r, struct net_device *netdev, int family,
			     const u8 *ip, const u8 *gateway)
{
	static const u8 none[16];
	int len = family == AF_INET ? 4 : 16;
	bool via = memcmp(gateway, none, len);
	struct nlmsghdr *h;
	struct rtmsg *rt;

	h = csvn_rtnl_begin(r, RTM_NEWROUTE, sizeof(*rt));
	if (!h)
		return -EMSGSIZE;
	rt = nlmsg_data(h);
	*rt = (struct rtmsg){
		.rtm_family = family,
		.rtm_table = RT_TABLE_MAIN,
		.rtm_protocol = RTPROT_KERNEL,
		.rtm_scope = via || family == AF_INET6 ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK,
		.rtm_type = RTN_UNICAST,
		.rtm_flags = via ? RTNH_F_ONLINK : 0,
	};
	if (nla_put_u32(r->skb, RTA_OIF, netdev->ifindex) ||
	    nla_put_u32(r->skb, RTA_PRIORITY, CSVN_METRIC) ||
	    nla_put(r->skb, RTA_PREFSRC, len, ip) ||
	    (via && nla_put(r->skb, RTA_GATEWAY, len, gateway)))
		return -EMSGSIZE;
	return csvn_rtnl_talk(r, h);
}

static int csvn_rtnl_up(struct net_device *netdev)
{
	int err;

	rtnl_lock();
	err = dev_open(netdev, NULL);
	rtnl_unlock();
	return err;
}

/* Bring the interface up, with the VM's addresses. */
int csvn_rtnl_configure(struct net_device *netdev, const struct csvn_identity *identity)
{
	static const u8 none[16];
	struct csvn_rtnl r = {};
	int err, err6;

	err = csvn_rtnl_up(netdev);
	if (err)
		return err;
	err = sock_create_kern(&init_net, PF_NETLINK, SOCK_RAW, NETLINK_ROUTE, &r.sock);
	if (err)
		return err;
	r.skb = nlmsg_new(NLMSG_DEFAULT_SIZE, GFP_KERNEL);
	if (!r.skb) {
		err = -ENOMEM;
		goto out;
	}
	if (memcmp(identity->ipv4, none, 4)) {
		err = csvn_rtnl_address(&r, netdev, AF_INET, identity->ipv4, min_t(int, identity->prefix4, 32));
		if (!err)
			err = csvn_rtnl_default(&r, netdev, AF_INET, identity->ipv4, identity->gateway4);
	}
	if (IS_ENABLED(CONFIG_IPV6) && memcmp(identity->ipv6, none, 16)) {
		err6 = csvn_rtnl_address(&r, netdev, AF_INET6, identity->ipv6,
					 min_t(int, identity->prefix6, 128));
		if (!err6)
			err6 = csvn_rtnl_default(&r, netdev, AF_INET6, identity->ipv6,
						 identity->gateway6);
		if (err6)
			netdev_info(netdev, "no IPv6 address (%d)\n", err6);
	}
	kfree_skb(r.skb);
out:
	sock_release(r.sock);
	return err;
}
