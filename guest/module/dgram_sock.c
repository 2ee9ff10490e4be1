// SPDX-License-Identifier: GPL-2.0
/* The state that hangs off datagram sockets: see dgram_ops.c. */
#include <linux/slab.h>

#include "dgram_sock.h"

struct proto_ops csvn_dgram_ops4, csvn_dgram_ops6; /* dgram_ops.c fills them */

static const struct proto_ops *csvn_dgram_native4, *csvn_dgram_native6;
static work_func_t csvn_dsock_work;

/* work: what csvn_dgram_kick() has done. */
void csvn_dsocks_init(const struct proto_ops *native4, const struct proto_ops *native6, work_func_t work)
{
	csvn_dgram_native4 = native4;
	csvn_dgram_native6 = native6;
	csvn_dsock_work = work;
}

static const struct proto_ops *csvn_dgram_family(int family)
{
	return family == PF_INET6 ? csvn_dgram_native6 : csvn_dgram_native4;
}

const struct proto_ops *csvn_dgram_native(struct socket *sock)
{
	struct csvn_dsock *ds = csvn_ds(sock);

	return ds ? READ_ONCE(ds->native) : csvn_dgram_family(READ_ONCE(sock->ops)->family);
}

void csvn_dsock_put(struct csvn_dsock *ds)
{
	if (refcount_dec_and_test(&ds->ref))
		kfree_rcu(ds, rcu);
}

/* The socket's state, made if there is none yet. */
struct csvn_dsock *csvn_dsock_need(struct socket *sock)
{
	struct csvn_dsock *ds = csvn_ds(sock), *old;

	if (ds)
		return ds;
	ds = kzalloc(sizeof(*ds), GFP_KERNEL_ACCOUNT);
	if (!ds)
		return NULL;
	spin_lock_init(&ds->lock);
	mutex_init(&ds->tx);
	mutex_init(&ds->rx);
	INIT_LIST_HEAD(&ds->circuits);
	INIT_LIST_HEAD(&ds->ready);
	INIT_LIST_HEAD(&ds->orphan);
	INIT_LIST_HEAD(&ds->heir);
	INIT_DELAYED_WORK(&ds->work, csvn_dsock_work);
	refcount_set(&ds->ref, 1);
	ds->sock = sock;
	ds->sk = sock->sk;
	ds->native = csvn_dgram_family(sock->sk->sk_family);
	ds->again_ms = CSVN_AGAIN_MS;
	csvn_spin_init(&ds->spin_rx);
	old = cmpxchg((struct csvn_dsock **)&SOCK_INODE(sock)->i_private, NULL, ds);
	if (old) {
		kfree(ds);
		ds = old;
	}
	return ds;
}

/* Have the work done, after ms milliseconds at most. Any context. */
void csvn_dgram_kick(struct csvn_dsock *ds, unsigned int ms)
{
	unsigned long delay = msecs_to_jiffies(ms);
	bool late = delayed_work_pending(&ds->work) &&
		    time_before(jiffies + delay, READ_ONCE(ds->work.timer.expires)); /* it would come too late */

	refcount_inc(&ds->ref);
	if (ms && !late ? !queue_delayed_work(csvn_workqueue, &ds->work, delay) :
			  mod_delayed_work(csvn_workqueue, &ds->work, delay))
		csvn_dsock_put(ds); /* it was queued, and counted, already */
}
