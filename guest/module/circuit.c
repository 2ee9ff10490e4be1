// SPDX-License-Identifier: GPL-2.0
/*
 * Circuits: making and finding them. Closing: circuit_close.c; when the device goes: circuit_lost.c.
 *
 * Theory of operation. A circuit is made before its memory is known (connect() makes it beforehand, since answers
 * come in interrupts), mapped when the device tells its extents, and then found by its id, under RCU. It belongs to a
 * socket (struct csvn_owner) from csvn_attach() or csvn_dgram_attach() on; before that (in a listener's queue) nobody touches its memory but csvn_circuit_close().
 *
 * Who may touch the memory: holders of the socket's tx, rx or lock, as long as the socket's circuit pointer says
 * so and `lost` is not set. csvn_detach() takes all three, so after it nobody does, and CLOSE may be sent: from then on
 * the switch may give the memory to another circuit. csvn_circuits_lost() does the same when the device goes.
 */
#include <linux/hash.h>
#include <linux/log2.h>
#include <linux/rculist.h>
#include <linux/slab.h>

#include "arena.h"
#include "call.h"
#include "circuit.h"
#include "device.h"

static struct hlist_head *csvn_bucket(struct csvn_device *dev, u32 id)
{
	return &dev->circuits[hash_32(id, CSVN_HASH_BITS)];
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

/* It is found no more. */
void csvn_circuit_unmap(struct csvn_circuit *c)
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

/*
 * Somebody said that there is something to see in c. In an interrupt, under RCU; c and its socket's memory live at
 * least as long.
 */
void csvn_circuit_wake(struct csvn_circuit *c)
{
	struct csvn_owner *owner = smp_load_acquire(&c->owner); /* pairs with csvn_attach(), csvn_dgram_attach() */

	/* Not accepted yet: accept() looks. */
	if (owner)
		owner->ops->wake(owner, c);
}

/* Refuse a circuit that there is no memory for to remember it by. */
void csvn_circuit_refuse(struct csvn_device *dev, u32 id, const struct csvn_extents *x)
{
	struct csvn_end end;

	if (!csvn_end_map(dev, x, &end))
		csvn_set_state(&end, CSVN_STATE_RESET | CSVN_STATE_CLOSED);
	csvn_close_unseen(dev, id);
}

/* The circuits of another switch may come, with the same ids. */
void csvn_circuits_open(struct csvn_device *dev)
{
	spin_lock_irq(&dev->circuits_lock);
	memset(dev->early, 0, sizeof(dev->early));
	dev->closing = false;
	spin_unlock_irq(&dev->circuits_lock);
}
