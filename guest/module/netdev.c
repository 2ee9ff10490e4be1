// SPDX-License-Identifier: GPL-2.0
/*
 * The interface csvn0: the VM's address and routes, for applications to see, and for route.c to decide by.
 *
 * No packet travels over it. What is sent on it all the same (ICMP, raw sockets, multicast) is answered with "administratively
 * prohibited", so that programs fail at once instead of waiting. Its directory csvn/ in sysfs has the VM's name and the
 * device's counters.
 */
#include <linux/if_arp.h>
#include <linux/icmpv6.h>
#include <linux/inetdevice.h>
#include <linux/netdevice.h>
#include <linux/rtnetlink.h>
#include <net/addrconf.h>
#include <net/icmp.h>
#include <net/ipv6.h>

#include "device.h"
#include "netdev.h"
#include "rtnl.h"

struct csvn_netdev {
	struct csvn_device *dev; /* counted until the interface is unregistered; NULL afterwards; RTNL or RCU */
};

static int csvn_netdev_open(struct net_device *netdev)
{
#if IS_ENABLED(CONFIG_IPV6)
	struct inet6_dev *in6 = __in6_dev_get(netdev);

	if (in6) /* no link-local address: there is no link */
		in6->cnf.addr_gen_mode = IN6_ADDR_GEN_MODE_NONE;
#endif
	netif_start_queue(netdev);
	return 0;
}

static int csvn_netdev_stop(struct net_device *netdev)
{
	netif_stop_queue(netdev);
	return 0;
}

static netdev_tx_t csvn_netdev_xmit(struct sk_buff *skb, struct net_device *netdev)
{
	struct csvn_netdev *priv = netdev_priv(netdev);

	switch (skb->protocol) {
	case htons(ETH_P_IP):
		icmp_ndo_send(skb, ICMP_DEST_UNREACH, ICMP_PKT_FILTERED, 0);
		break;
#if IS_ENABLED(CONFIG_IPV6)
	case htons(ETH_P_IPV6):
		icmpv6_ndo_send(skb, ICMPV6_DEST_UNREACH, ICMPV6_ADM_PROHIBITED, 0);
		break;
#endif
	}
	atomic64_inc(&priv->dev->count.dropped_packets);
	DEV_STATS_INC(netdev, tx_dropped);
	kfree_skb(skb);
	return NETDEV_TX_OK;
}

static const struct net_device_ops csvn_netdev_ops = {
	.ndo_open = csvn_netdev_open,
	.ndo_stop = csvn_netdev_stop,
	.ndo_start_xmit = csvn_netdev_xmit,
};

/* The device of an interface, counted, if it is one of ours. The caller's reference holds the interface. */
struct csvn_device *csvn_netdev_device(struct net_device *netdev)
{
	struct csvn_device *dev;

	if (!netdev || netdev->netdev_ops != &csvn_netdev_ops)
		return NULL;
	dev = ((struct csvn_netdev *)netdev_priv(netdev))->dev;
	kref_get(&dev->ref);
	return dev;
}

/* sysfs */

static struct csvn_device *csvn_of(struct device *d)
{
	return ((struct csvn_netdev *)netdev_priv(to_net_dev(d)))->dev;
}

static ssize_t vm_name_show(struct device *d, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%s\n", csvn_of(d)->identity.name);
}
static DEVICE_ATTR_RO(vm_name);

static ssize_t circuits_show(struct device *d, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%d\n", atomic_read(&csvn_of(d)->count.circuits));
}
static DEVICE_ATTR_RO(circuits);

#define CSVN_COUNTER(name)								\
static ssize_t name##_show(struct device *d, struct device_attribute *attr, char *buf)	\
{											\
	return sysfs_emit(buf, "%lld\n", (long long)atomic64_read(&csvn_of(d)->count.name)); \
}											\
static DEVICE_ATTR_RO(name)

CSVN_COUNTER(connects);
CSVN_COUNTER(connects_failed);
CSVN_COUNTER(accepts);
CSVN_COUNTER(refused);
CSVN_COUNTER(resets);
CSVN_COUNTER(violations);
CSVN_COUNTER(doorbells);
CSVN_COUNTER(wakes);
CSVN_COUNTER(sent);
CSVN_COUNTER(received);
CSVN_COUNTER(dropped_packets);
CSVN_COUNTER(datagrams_sent);
CSVN_COUNTER(datagrams_received);
CSVN_COUNTER(datagrams_dropped);

static struct attribute *csvn_attrs[] = {
	&dev_attr_vm_name.attr,
	&dev_attr_circuits.attr,
	&dev_attr_connects.attr,
	&dev_attr_connects_failed.attr,
	&dev_attr_accepts.attr,
	&dev_attr_refused.attr,
	&dev_attr_resets.attr,
	&dev_attr_violations.attr,
	&dev_attr_doorbells.attr,
	&dev_attr_wakes.attr,
	&dev_attr_sent.attr,
	&dev_attr_received.attr,
	&dev_attr_dropped_packets.attr,
	&dev_attr_datagrams_sent.attr,
	&dev_attr_datagrams_received.attr,
	&dev_attr_datagrams_dropped.attr,
	NULL
};

static const struct attribute_group csvn_group = {
	.name = "csvn",
	.attrs = csvn_attrs,
};

/* The last reference to the interface is gone. */
static void csvn_netdev_destroy(struct net_device *netdev)
{
	csvn_device_put(((struct csvn_netdev *)netdev_priv(netdev))->dev);
}

static void csvn_netdev_setup(struct net_device *netdev)
{
	netdev->netdev_ops = &csvn_netdev_ops;
	netdev->type = ARPHRD_NONE;
	netdev->flags = IFF_POINTOPOINT | IFF_NOARP;
	netdev->hard_header_len = 0;
	netdev->addr_len = 0;
	netdev->mtu = CSVN_MTU;
	netdev->min_mtu = IPV6_MIN_MTU;
	netdev->max_mtu = CSVN_MTU;
	netdev->tx_queue_len = 0;
	netdev->priv_flags |= IFF_NO_QUEUE;
	netif_keep_dst(netdev); /* ICMP errors are made from it */
	csvn_pin_netns(netdev);
	netdev->needs_free_netdev = true;
	netdev->priv_destructor = csvn_netdev_destroy;
}

int csvn_netdev_add(struct csvn_device *dev)
{
	struct net_device *netdev;
	struct csvn_netdev *priv;
	int err;

	netdev = alloc_netdev(sizeof(*priv), "csvn%d", NET_NAME_ENUM, csvn_netdev_setup);
	if (!netdev)
		return -ENOMEM;
	priv = netdev_priv(netdev);
	priv->dev = dev;
	kref_get(&dev->ref);
	netdev->sysfs_groups[0] = &csvn_group;
	SET_NETDEV_DEV(netdev, &dev->vdev->dev);
	err = register_netdev(netdev);
	if (err) {
		/* A failed registration may or may not have called the destructor. */
		if (netdev->reg_state == NETREG_UNINITIALIZED) {
			csvn_device_put(dev);
			free_netdev(netdev);
		}
		return err;
	}
	dev->netdev = netdev;
	dev->ifindex = netdev->ifindex;
	err = csvn_rtnl_configure(netdev, &dev->identity);
	if (err)
		netdev_warn(netdev, "addresses could not be set (%d)\n", err);
	return 0;
}

void csvn_netdev_remove(struct csvn_device *dev)
{
	if (dev->netdev)
		unregister_netdev(dev->netdev);
	dev->netdev = NULL;
}
