// SPDX-License-Identifier: GPL-2.0
/* All circuits of a device end, because it goes, or because its switch is gone. */
#include <linux/delay.h>
#include <linux/rculist.h>

#include "circuit.h"
#include "circuit_lost.h"

/* Take a mutex that somebody may hold for ever. False: it is not to be had in time. */
bool csvn_lock_by(struct mutex *m, unsigned long deadline)
{
	while (!mutex_trylock(m)) {
		if (time_after(jiffies, deadline))
			return false;
		msleep(1);
	}
	return true;
}

/* Whose a circuit is, counted, or NULL. */
static struct csvn_owner *csvn_circuit_owner(struct csvn_circuit *c)
{
	struct csvn_owner *owner;

	rcu_read_lock();
	owner = smp_load_acquire(&c->owner); /* pairs with csvn_attach(), csvn_dgram_attach() */
	if (owner && !owner->ops->get(owner))
		owner = NULL;
	rcu_read_unlock();
	return owner;
}

/*
 * The device is going away: every circuit is over, and no new one comes. Returns true when nobody touches their memory
 * any more, after at most CSVN_DRAIN_MS.
 */
bool csvn_circuits_lost(struct csvn_device *dev)
{
	unsigned long deadline = jiffies + msecs_to_jiffies(CSVN_DRAIN_MS);
	struct csvn_owner *owner;
	struct csvn_circuit *c;
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

		owner = csvn_circuit_owner(c);
		if (!owner) {
			/*
			 * Nobody has it, but somebody may take it just now: they store owner and then look at lost, we
			 * store lost and then look at owner (pairs with csvn_attach()'s caller, and with
			 * csvn_dgram_attach()).
			 */
			WRITE_ONCE(c->lost, true);
			smp_mb();
			owner = csvn_circuit_owner(c);
		}
		if (owner) {
			drained &= owner->ops->lost(owner, c, deadline);
			owner->ops->put(owner);
		}
		csvn_circuit_put(c);
		cond_resched();
	}
	synchronize_rcu(); /* pairs with csvn_circuit_close() */
	if (!drained)
		dev->stuck = true;
	return drained;
}
