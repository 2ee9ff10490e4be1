/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The kernel versions' differences, in one place: Debian 12 (6.1), 13 (6.12) and backports (7.3).
 */
#ifndef CSVN_COMPAT_H
#define CSVN_COMPAT_H

#include <linux/fs.h>
#include <linux/ipv6.h>
#include <linux/mm.h>
#include <linux/net.h>
#include <linux/netdevice.h>
#include <linux/skbuff.h>
#include <linux/timer.h>
#include <linux/udp.h>
#include <linux/version.h>
#include <linux/virtio_config.h>
#include <net/dst.h>
#include <net/inet_sock.h>
#include <net/sock.h>

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 2, 0)
#define csvn_timer_delete_sync timer_delete_sync
#else
#define csvn_timer_delete_sync del_timer_sync
#endif

/* bind() and connect() of proto_ops take a sockaddr of unknown size by its own name. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 19, 0)
typedef struct sockaddr_unsized csvn_sockaddr;
#else
typedef struct sockaddr csvn_sockaddr;
#endif

/* accept() of proto_ops. struct csvn_accept_arg carries what differs. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 10, 0)
#define CSVN_ACCEPT_PARAMS struct proto_accept_arg *arg

struct csvn_accept_arg {
	struct proto_accept_arg *arg;
	int flags;
	bool kern;
};

#define CSVN_ACCEPT_ARG (&(struct csvn_accept_arg){ arg, arg->flags, arg->kern })

static inline int csvn_native_accept(const struct proto_ops *ops, struct socket *sock,
				     struct socket *newsock, struct csvn_accept_arg *a, int flags)
{
	struct proto_accept_arg arg = { .flags = flags, .kern = a->kern };
	int err = ops->accept(sock, newsock, &arg);

	a->arg->err = arg.err;
	a->arg->is_empty = arg.is_empty;
	return err;
}

static inline void csvn_accept_is_empty(struct csvn_accept_arg *a, bool empty)
{
	a->arg->is_empty = empty;
}
#else
#define CSVN_ACCEPT_PARAMS int flags, bool kern

struct csvn_accept_arg {
	int flags;
	bool kern;
};

#define CSVN_ACCEPT_ARG (&(struct csvn_accept_arg){ flags, kern })

static inline int csvn_native_accept(const struct proto_ops *ops, struct socket *sock,
				     struct socket *newsock, struct csvn_accept_arg *a, int flags)
{
	return ops->accept(sock, newsock, flags, a->kern);
}

static inline void csvn_accept_is_empty(struct csvn_accept_arg *a, bool empty)
{
}
#endif

/* sendpage() went with 6.5, which brought MSG_SPLICE_PAGES and copy_splice_read(). */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 5, 0)
#define csvn_copy_splice_read copy_splice_read
#else
#define CSVN_HAVE_SENDPAGE 1
#define csvn_copy_splice_read generic_file_splice_read
#endif

static inline struct ubuf_info *csvn_zerocopy_start(struct sock *sk, size_t size)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 16, 0)
	return msg_zerocopy_realloc(sk, size, NULL, false);
#else
	return msg_zerocopy_realloc(sk, size, NULL);
#endif
}

static inline bool csvn_udp_corked(struct sock *sk)
{
	return udp_test_bit(CORK, sk);
}

/* What recvmsg() is to tell beside the data: IP_CMSG_*. */
static inline unsigned int csvn_cmsg_flags(const struct inet_sock *inet)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 6, 0)
	return inet_cmsg_flags(inet);
#else
	return inet->cmsg_flags;
#endif
}

/* The flags of an accepted socket that are its listener's. */
static inline void csvn_inherit_inet(struct inet_sock *inet, const struct inet_sock *listener)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 6, 0)
	const unsigned long own = BIT(INET_FLAGS_DEFER_CONNECT);

	inet->inet_flags = (inet->inet_flags & own) | (READ_ONCE(listener->inet_flags) & ~own);
#else
	inet->cmsg_flags = listener->cmsg_flags;
	inet->recverr = listener->recverr;
	inet->freebind = listener->freebind;
	inet->bind_address_no_port = listener->bind_address_no_port;
#endif
}

/* The same of IPv6, where the flags are not among the others yet. */
static inline void csvn_inherit_inet6(struct ipv6_pinfo *np, const struct ipv6_pinfo *listener)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 7, 0)
	np->recverr = listener->recverr;
	np->dontfrag = listener->dontfrag;
#endif
}

/* Does the socket want the network's errors about an address of the family on its queue? */
static inline bool csvn_recverr(struct sock *sk, int family)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 7, 0)
	return family == 6 ? inet6_test_bit(RECVERR6, sk) : inet_test_bit(RECVERR, sk);
#elif LINUX_VERSION_CODE >= KERNEL_VERSION(6, 6, 0)
	return family == 6 ? inet6_sk(sk)->recverr : inet_test_bit(RECVERR, sk);
#else
	return family == 6 ? inet6_sk(sk)->recverr : inet_sk(sk)->recverr;
#endif
}

static inline int csvn_find_vqs(struct virtio_device *vdev, unsigned int n, struct virtqueue *vqs[],
				vq_callback_t *const callbacks[], const char *const names[])
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 11, 0)
	struct virtqueue_info info[4] = {};
	unsigned int i;

	if (n > ARRAY_SIZE(info))
		return -EINVAL;
	for (i = 0; i < n; i++) {
		info[i].callback = callbacks[i];
		info[i].name = names[i];
	}
	return virtio_find_vqs(vdev, n, vqs, info, NULL);
#else
	return virtio_find_vqs(vdev, n, vqs, (vq_callback_t **)callbacks, names, NULL);
#endif
}

static inline void csvn_vm_flags(struct vm_area_struct *vma, unsigned long set, unsigned long clear)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
	vm_flags_mod(vma, set, clear);
#else
	vma->vm_flags = (vma->vm_flags | set) & ~clear;
#endif
}

static inline struct net_device *csvn_dst_dev(const struct dst_entry *dst)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 17, 0)
	return dst_dev(dst);
#else
	return dst->dev;
#endif
}

/* The interface belongs to the first network namespace for good. */
static inline void csvn_pin_netns(struct net_device *dev)
{
#if defined(NETIF_F_NETNS_LOCAL)
	dev->features |= NETIF_F_NETNS_LOCAL;
#elif defined(CSVN_HAVE_NETNS_IMMUTABLE) /* found by Kbuild: it came within a stable series */
	dev->netns_immutable = true;
#else
	dev->netns_local = true;
#endif
}

#endif
