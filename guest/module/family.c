// SPDX-License-Identifier: GPL-2.0
/*
 * The takeover of PF_INET and PF_INET6.
 *
 * Theory of operation. Our create() calls the original one, and then gives TCP and UDP sockets of user space in the first
 * network namespace our operations. Everything else (raw, the kernel's own sockets, other namespaces) stays as it was
 * made. IPPROTO_MPTCP is answered as by a kernel that has it switched off, so that programs fall back to TCP.
 *
 * How the family is exchanged: the socket layer's table of families is not exported, but its address is what a (refused)
 * kprobe on its name leaves behind; after it has been checked that it is that table, its pointer is swapped, and no
 * socket() call fails meanwhile. Where that does not work, the family is unregistered and registered, which fails calls for
 * some milliseconds; there the original create() is found by a kprobe. Under IBT a kprobe's address lies after the
 * function's ENDBR, which an indirect call has to hit.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/socket.h>
#include <net/net_namespace.h>

#include "async.h"
#include "dgram_ops.h"
#include "dgram_sock.h"
#include "family.h"
#include "ops.h"
#include "sock.h"

#define CSVN_ENDBR64 0xfa1e0ff3u /* the instruction, as a little-endian word */

struct csvn_family {
	struct net_proto_family ours;
	const struct net_proto_family *original; /* when swapped */
	csvn_create_fn *create;
	const char *symbol;
	struct proto_ops *ops;
	struct proto_ops *dgram_ops;
	bool taken;
};

static struct csvn_family csvn_inet, csvn_inet6;
static const struct net_proto_family **csvn_families; /* the socket layer's table, or NULL */

static int csvn_create(struct csvn_family *f, struct net *net, struct socket *sock, int protocol,
		       int kern)
{
	bool user = !kern && net_eq(net, &init_net);
	bool mine = user && sock->type == SOCK_STREAM;
	int err;

	if (mine && protocol == IPPROTO_MPTCP)
		return -ENOPROTOOPT;
	err = f->create(net, sock, protocol, kern);
	if (!err && mine && sock->sk && sock->sk->sk_protocol == IPPROTO_TCP)
		sock->ops = f->ops;
	if (!err && user && sock->type == SOCK_DGRAM && sock->sk && sock->sk->sk_protocol == IPPROTO_UDP)
		sock->ops = f->dgram_ops;
	return err;
}

static int csvn_create4(struct net *net, struct socket *sock, int protocol, int kern)
{
	return csvn_create(&csvn_inet, net, sock, protocol, kern);
}

static int csvn_create6(struct net *net, struct socket *sock, int protocol, int kern)
{
	return csvn_create(&csvn_inet6, net, sock, protocol, kern);
}

static struct csvn_family csvn_inet = {
	.ours = { .family = PF_INET, .create = csvn_create4, .owner = THIS_MODULE },
	.symbol = "inet_create",
	.ops = &csvn_ops4,
	.dgram_ops = &csvn_dgram_ops4,
};

static struct csvn_family csvn_inet6 = {
	.ours = { .family = PF_INET6, .create = csvn_create6, .owner = THIS_MODULE },
	.symbol = "inet6_create",
	.ops = &csvn_ops6,
	.dgram_ops = &csvn_dgram_ops6,
};

/* The address of a symbol, by way of a kprobe; for functions that of their first instruction. */
static unsigned long csvn_symbol(const char *name)
{
	struct kprobe probe = { .symbol_name = name };
	unsigned long addr;
	int err;

	err = register_kprobe(&probe);
	addr = (unsigned long)probe.addr;
	if (!err)
		unregister_kprobe(&probe);
	else if (err != -EINVAL)
		return 0; /* EINVAL: found, but not code; that is what is asked for data */
	if (!err && IS_ENABLED(CONFIG_X86_64) && READ_ONCE(*(u32 *)(addr - 4)) == CSVN_ENDBR64)
		addr -= 4;
	return addr;
}

static bool csvn_family_is(const struct net_proto_family *f, const struct csvn_family *want)
{
	return f && f->family == want->ours.family && f->create == want->create;
}

/* The socket layer's table of families, if it can be found and is what it should be. */
static const struct net_proto_family **csvn_family_table(void)
{
	const struct net_proto_family **table;

	if (!IS_ENABLED(CONFIG_KALLSYMS_ALL))
		return NULL;
	table = (void *)csvn_symbol("net_families");
	if (!table || !IS_ALIGNED((unsigned long)table, sizeof(*table)))
		return NULL;
	if (!csvn_family_is(READ_ONCE(table[PF_INET]), &csvn_inet))
		return NULL;
	if (csvn_inet6.create && !csvn_family_is(READ_ONCE(table[PF_INET6]), &csvn_inet6))
		return NULL;
	return table;
}

static int csvn_family_take(struct csvn_family *f)
{
	int family = f->ours.family;
	int err;

	if (!f->create)
		return 0;
	if (csvn_families) {
		f->original = READ_ONCE(csvn_families[family]);
		if (cmpxchg(&csvn_families[family], f->original, &f->ours) != f->original)
			return -EBUSY;
	} else {
		/* What is given back must outlive this module, and so is never freed. */
		f->original = kmemdup(&f->ours, sizeof(f->ours), GFP_KERNEL);
		if (!f->original)
			return -ENOMEM;
		((struct net_proto_family *)f->original)->create = f->create;
		((struct net_proto_family *)f->original)->owner = NULL;
		sock_unregister(family);
		err = sock_register(&f->ours);
		if (err)
			return err;
	}
	f->taken = true;
	return 0;
}

static void csvn_family_give_back(struct csvn_family *f)
{
	int family = f->ours.family;

	if (!f->taken)
		return;
	f->taken = false;
	if (!csvn_families) {
		sock_unregister(family);
		sock_register(f->original);
	} else if (cmpxchg(&csvn_families[family], &f->ours, f->original) != &f->ours) {
		pr_err("family %d was taken over by somebody else\n", family);
	}
}

/* The operations of the family's TCP or UDP sockets: those of one that the kernel makes for itself. */
static const struct proto_ops *csvn_ops_of(int family, int type, int protocol, struct proto **prot)
{
	const struct proto_ops *ops;
	struct socket *sock;

	*prot = NULL;
	if (sock_create_kern(&init_net, family, type, protocol, &sock))
		return NULL;
	ops = sock->ops;
	*prot = sock->sk->sk_prot;
	sock_release(sock);
	return ops;
}

int csvn_family_init(void)
{
	struct proto *prot4, *prot6, *other;
	const struct proto_ops *native4 = csvn_ops_of(PF_INET, SOCK_STREAM, IPPROTO_TCP, &prot4);
	const struct proto_ops *native6 = csvn_ops_of(PF_INET6, SOCK_STREAM, IPPROTO_TCP, &prot6);
	const struct proto_ops *dgram4 = csvn_ops_of(PF_INET, SOCK_DGRAM, IPPROTO_UDP, &other);
	const struct proto_ops *dgram6 = csvn_ops_of(PF_INET6, SOCK_DGRAM, IPPROTO_UDP, &other);
	int err;

	if (!native4 || !dgram4 || !native6 != !dgram6)
		return -EAFNOSUPPORT;
	csvn_ops_init(native4, native6);
	csvn_async_init(prot4, prot6);
	csvn_dgram_ops_init(dgram4, dgram6);
	csvn_inet.create = (void *)csvn_symbol(csvn_inet.symbol);
	if (native6)
		csvn_inet6.create = (void *)csvn_symbol(csvn_inet6.symbol);
	if (!csvn_inet.create || (native6 && !csvn_inet6.create)) {
		pr_err("the original socket creation was not found\n");
		return -ENOENT;
	}
	csvn_creates_set(csvn_inet.create, csvn_inet6.create);
	csvn_families = csvn_family_table();
	err = csvn_family_take(&csvn_inet);
	if (err)
		return err;
	if (csvn_family_take(&csvn_inet6))
		pr_err("IPv6 could not be taken over\n"); /* IPv4 may be in use already */
	return 0;
}

void csvn_family_exit(void)
{
	csvn_family_give_back(&csvn_inet6);
	csvn_family_give_back(&csvn_inet);
	synchronize_net(); /* nobody looks at our families any more */
}
