// SPDX-License-Identifier: GPL-2.0
/*
 * Circuits: making, finding, closing them.
 *
 * Theory of operation. A circuit is made before its memory is known (connect() makes it beforehand, since answers
 * come in interrupts), mapped when the device tells its extents, and then found by its id, under RCU. It belongs to a
 * socket from csvn_attach() on; before that (in a listener's queue) nobody touches its memory but csvn_circuit_close().
 *
 * Who may touch the memory: holders of the socket's tx, rx or lock, as long as the socket's circuit pointer says
 * so and `lost` is not set. csvn_detach() takes all three, so after it nobody does, and CLOSE may be sent: from then on
 * the switch may give the memory to another circuit. csvn_circuits_lost() does the same when the device goes.
 */
#include <linux/delay.h>
#include <linux/hash.h>
#include <linux/log2.h>
#include <linux/rculist.h>
#include <linux/slab.h>

#include "csvn.h"
#include "dgram.h"

static struct hlist_head *csvn_bucket(struct csvn_device *dev, u32 id)
{
	return &dev->circuits[hash_32(id, CSVN_HASH_BITS)];
}

static void csvn_circuit_closed(struct csvn_request *req, int error)
{
	csvn_circuit_put(container_of(req, struct csvn_circuit, close));
}

struct csvn_circuit *csvn_circuit_new(struct csvn_device *dev, gfp_t gfp)
{
	struct csvn_circuit *c = kzalloc(sizeof(*c), gfp);

	if (!c)
		return NULL;
	INIT_HLIST_NODE(&c->node);
	INIT_LIST_HEAD(&c->pending);
	INIT_LIST_HEAD(&c->ringing);
	INIT_LIST_HEAD(&c->member);
	INIT_LIST_HEAD(&c->ready);
	refcount_set(&c->ref, 1);
	kref_get(&dev->ref);
	c->dev = dev;
	return c;
}

void csvn_circuit_put(struct csvn_circuit *c)
{
	struct csvn_device *dev = c->dev;

	if (!refcount_dec_and_test(&c->ref))
		return;
	kfree_rcu(c, rcu);
	csvn_device_put(dev);
}

/* Caller holds RCU. */
struct csvn_circuit *csvn_circuit_find(struct csvn_device *dev, u32 id)
{
	struct csvn_circuit *c;

	hlist_for_each_entry_rcu(c, csvn_bucket(dev, id), node)
		if (c->id == id)
			return c;
	return NULL;
}

static bool csvn_inside(u64 offset, u64 size, u64 length)
{
	return IS_ALIGNED(offset, CSVN_PAGE) && size <= length && offset >= CSVN_PAGE &&
	       offset <= length - size;
}

/* Check extents, and make the end of them. */
static int csvn_end_map(struct csvn_device *dev, const struct csvn_extents *x, struct csvn_end *end)
{
	u64 offset, length;
	u8 *base;
	int err;

	if (!is_power_of_2(x->ring_size) || x->ring_size < CSVN_RING_MIN ||
	    x->ring_size > CSVN_RING_MAX)
		return -EINVAL;
	err = csvn_arena_find(dev, x->arena, &offset, &length);
	if (err)
		return err;
	if (!csvn_inside(x->own_control, CSVN_PAGE, length) ||
	    !csvn_inside(x->peer_control, CSVN_PAGE, length) ||
	    !csvn_inside(x->tx_ring, x->ring_size, length) ||
	    !csvn_inside(x->rx_ring, x->ring_size, length))
		return -ERANGE;
	/* SAFETY: the arena lies in the window (csvn_arena_mapped), the extents in the arena. */
	base = dev->window + offset;
	csvn_end_init(end, (void *)(base + x->own_control), (void *)(base + x->peer_control),
		      base + x->tx_ring, base + x->rx_ring, x->ring_size);
	return 0;
}

static void csvn_circuit_reset_by(struct csvn_circuit *c, u32 error)
{
	if (error > MAX_ERRNO)
		error = ECONNRESET;
	if (c->datagram) {
		WRITE_ONCE(c->reset, error);
		WRITE_ONCE(c->ended, true); /* 0: the other end has no use for it any more */
	} else {
		WRITE_ONCE(c->reset, error ? error : ECONNRESET);
	}
}

/*
 * The switch has reset a circuit. Its answer to CONNECT may be on its way through the other queue still: then the reset is
 * remembered, for CONNECTs that have been sent by now. Later ones may be granted a circuit with the same id, which is another. Returns the circuit if it is known; caller holds RCU.
 */
struct csvn_circuit *csvn_circuit_reset(struct csvn_device *dev, u32 id, u32 error)
{
	struct csvn_circuit *c;
	unsigned long flags;

	spin_lock_irqsave(&dev->circuits_lock, flags);
	c = csvn_circuit_find(dev, id);
	if (c)
		csvn_circuit_reset_by(c, error);
	else
		dev->early[dev->early_next++ % CSVN_EARLY] =
			(struct csvn_early){ id, error, READ_ONCE(dev->token) };
	spin_unlock_irqrestore(&dev->circuits_lock, flags);
	return c;
}

/* connect: the token of the CONNECT that the circuit was granted to; 0: none. circuits_lock is held. */
static void csvn_circuit_reset_early(struct csvn_circuit *c, u64 connect)
{
	struct csvn_early *early;
	unsigned int i;

	for (i = 0; i < CSVN_EARLY; i++) {
		early = &c->dev->early[i];
		if (!early->until || early->id != c->id)
			continue;
		if (connect && connect <= early->until)
			csvn_circuit_reset_by(c, early->error);
		early->until = 0;
	}
}

/*
 * Give a new circuit its memory and its id. connect: the token of the CONNECT that it was granted to, or 0. On an error it is as it was.
 * Any context.
 */
int csvn_circuit_map(struct csvn_circuit *c, u32 id, const struct csvn_extents *x, u64 connect)
{
	struct csvn_device *dev = c->dev;
	unsigned long flags;
	int err;

	err = csvn_end_map(dev, x, &c->end);
	if (err) {
		dev_err_ratelimited(&dev->vdev->dev, "circuit %u: bad extents (%d)\n", id, err);
		return err;
	}
	c->id = id;
	spin_lock_irqsave(&dev->circuits_lock, flags);
	if (csvn_circuit_find(dev, id)) {
		err = -EEXIST;
	} else if (dev->closing) {
		err = -ENETDOWN;
	} else {
		refcount_inc(&c->ref);
		csvn_circuit_reset_early(c, connect);
		hlist_add_head_rcu(&c->node, csvn_bucket(dev, id));
	}
	spin_unlock_irqrestore(&dev->circuits_lock, flags);
	if (!err)
		atomic_inc(&dev->count.circuits);
	else
		dev_err_ratelimited(&dev->vdev->dev, "circuit %u: error %d\n", id, err);
	return err;
}

static void csvn_circuit_unmap(struct csvn_circuit *c)
{
	struct csvn_device *dev = c->dev;
	unsigned long flags;
	bool found;

	spin_lock_irqsave(&dev->circuits_lock, flags);
	found = !hlist_unhashed(&c->node);
	if (found)
		hlist_del_init_rcu(&c->node);
	spin_unlock_irqrestore(&dev->circuits_lock, flags);
	if (!found)
		return;
	atomic_dec(&dev->count.circuits);
	csvn_circuit_put(c);
}

/* Publish state bits, and wake the peer if it wants to know. The caller owns the sending side. */
void csvn_circuit_publish(struct csvn_circuit *c, u32 bits)
{
	c->state |= bits;
	csvn_set_state(&c->end, c->state);
	if (csvn_wants_state(&c->end, c->state))
		csvn_ring(c);
}

/*
 * The end of this side: nobody else may touch the memory any more (see csvn_detach()). bits are the final state's.
 * Takes over the caller's count. Any context.
 */
void csvn_circuit_close(struct csvn_circuit *c, u32 bits)
{
	struct csvn_device *dev = c->dev;
	bool lost;

	rcu_read_lock(); /* the window stays: pairs with csvn_circuits_lost() */
	lost = READ_ONCE(c->lost);
	if (!lost) {
		csvn_take_tx(c);
		csvn_take_rx(c);
		csvn_circuit_publish(c, bits);
	}
	rcu_read_unlock();
	csvn_mapping_drop(c);

	atomic64_add(c->end.tail, &dev->count.sent);
	atomic64_add(c->end.head, &dev->count.received);
	csvn_circuit_unmap(c);
	if (lost) {
		csvn_circuit_put(c);
		return;
	}
	csvn_request_init(&c->close, CSVN_REQ_CLOSE, sizeof(c->close.out.close),
			  csvn_circuit_closed);
	c->close.quiet = true;
	c->close.lazy = !c->violated;
	c->close.out.close.circuit = c->id;
	c->close.out.close.flags = c->violated ? CSVN_CLOSE_VIOLATION : 0;
	c->close.out.close.sent = c->end.tail;
	c->close.out.close.received = c->end.head;
	csvn_request_send(dev, &c->close);
}

/* Refuse a circuit that there is no memory for to remember it by. */
void csvn_circuit_refuse(struct csvn_device *dev, u32 id, const struct csvn_extents *x)
{
	struct csvn_end end;

	if (!csvn_end_map(dev, x, &end))
		csvn_set_state(&end, CSVN_STATE_RESET | CSVN_STATE_CLOSED);
	csvn_close_unseen(dev, id);
}

/* Make c the socket's circuit. The socket takes over the caller's count. cs->lock is held. */
void csvn_attach(struct csvn_sock *cs, struct csvn_circuit *c)
{
	cs->local = c->local;
	cs->remote = c->remote;
	cs->armed_rx = cs->armed_tx = false;
	cs->told_end = cs->told_break = false;
	cs->waited = false;
	csvn_spin_init(&cs->spin_tx);
	rcu_assign_pointer(cs->circuit, c);
	smp_store_release(&c->cs, cs); /* pairs with csvn_circuit_wake(), csvn_circuits_lost() */
	csvn_async_watch(cs);
}

/*
 * Take the socket's circuit away from it, with its count, or NULL. When this returns, nobody touches its memory through the
 * socket, or has it mapped. The caller holds tx and rx.
 */
struct csvn_circuit *csvn_detach(struct csvn_sock *cs)
{
	struct csvn_circuit *c;
	unsigned long flags;

	c = rcu_dereference_protected(cs->circuit, lockdep_is_held(&cs->tx) && lockdep_is_held(&cs->rx));
	if (c && c->mapping)
		csvn_mapping_end(c->mapping);
	spin_lock_irqsave(&cs->lock, flags);
	c = rcu_dereference_protected(cs->circuit, lockdep_is_held(&cs->lock));
	RCU_INIT_POINTER(cs->circuit, NULL);
	if (c)
		WRITE_ONCE(c->cs, NULL);
	spin_unlock_irqrestore(&cs->lock, flags);
	return c;
}

bool csvn_lock_by(struct mutex *m, unsigned long deadline)
{
	while (!mutex_trylock(m)) {
		if (time_after(jiffies, deadline))
			return false;
		msleep(1);
	}
	return true;
}

/* The socket of a circuit, counted, or NULL. */
static struct csvn_sock *csvn_circuit_sock(struct csvn_circuit *c)
{
	struct csvn_sock *cs;

	rcu_read_lock();
	cs = smp_load_acquire(&c->cs); /* pairs with csvn_attach() */
	if (cs && !refcount_inc_not_zero(&cs->ref))
		cs = NULL;
	rcu_read_unlock();
	return cs;
}

/*
 * A circuit whose device goes ends for its socket: with the end of file where that was all that was left to read, else
 * with ECONNRESET. False when a copy is under way that does not end (by a fault that nobody serves).
 */
static bool csvn_circuit_lost(struct csvn_circuit *c, struct csvn_sock *cs, unsigned long deadline)
{
	struct file *mapping = NULL;
	unsigned long flags;
	bool tx, rx;

	tx = csvn_lock_by(&cs->tx, deadline);
	rx = csvn_lock_by(&cs->rx, deadline);
	rcu_read_lock();
	spin_lock_irqsave(&cs->lock, flags);
	if (rcu_access_pointer(cs->circuit) == c) {
		csvn_look(cs, c);
		if (sock_flag(cs->sk, SOCK_DONE) && !csvn_readable(c))
			c->reset = ECONNRESET; /* what is sent from now on goes nowhere */
		else
			csvn_break(cs, ECONNRESET);
		WRITE_ONCE(c->lost, true);
		mapping = csvn_mapping_get(c);
		spin_unlock_irqrestore(&cs->lock, flags);
		csvn_notify(cs->sock, EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP);
	} else {
		WRITE_ONCE(c->lost, true);
		spin_unlock_irqrestore(&cs->lock, flags);
	}
	rcu_read_unlock();
	if (mapping) {
		csvn_mapping_end(mapping->private_data);
		fput(mapping);
	}
	if (rx)
		mutex_unlock(&cs->rx);
	if (tx)
		mutex_unlock(&cs->tx);
	return rx && tx;
}

/*
 * The device is going away: every circuit is over, and no new one comes. Returns true when nobody touches their memory
 * any more, after at most CSVN_DRAIN_MS.
 */
bool csvn_circuits_lost(struct csvn_device *dev)
{
	unsigned long deadline = jiffies + msecs_to_jiffies(CSVN_DRAIN_MS);
	struct csvn_circuit *c;
	struct csvn_dsock *ds;
	struct csvn_sock *cs;
	bool drained = true;
	unsigned int i = 0;

	while (i < ARRAY_SIZE(dev->circuits)) {
		spin_lock_irq(&dev->circuits_lock);
		dev->closing = true;
		c = hlist_entry_safe(dev->circuits[i].first, struct csvn_circuit, node);
		if (c)
			hlist_del_init_rcu(&c->node); /* its count is ours now */
		spin_unlock_irq(&dev->circuits_lock);
		if (!c) {
			i++;
			continue;
		}
		atomic_dec(&dev->count.circuits);

		cs = csvn_circuit_sock(c);
		ds = csvn_circuit_dsock(c);
		if (!cs && !ds) {
			/*
			 * Nobody has it, but somebody may take it just now: they store cs (or ds) and then look at
			 * lost, we store lost and then look at cs (pairs with csvn_attach()'s caller, and with
			 * csvn_dgram_attach()).
			 */
			WRITE_ONCE(c->lost, true);
			smp_mb();
			cs = csvn_circuit_sock(c);
			ds = csvn_circuit_dsock(c);
		}
		if (cs) {
			drained &= csvn_circuit_lost(c, cs, deadline);
			csvn_sock_put(cs);
		}
		if (ds) {
			drained &= csvn_dgram_lost(ds, c, deadline);
			csvn_dsock_put(ds);
		}
		csvn_circuit_put(c);
		cond_resched();
	}
	synchronize_rcu(); /* pairs with csvn_circuit_close() */
	if (!drained)
		dev->stuck = true;
	return drained;
}

/* The circuits of another switch may come, with the same ids. */
void csvn_circuits_open(struct csvn_device *dev)
{
	spin_lock_irq(&dev->circuits_lock);
	memset(dev->early, 0, sizeof(dev->early));
	dev->closing = false;
	spin_unlock_irq(&dev->circuits_lock);
}
