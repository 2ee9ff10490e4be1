// SPDX-License-Identifier: GPL-2.0
/*
 * Datagrams that outlive their socket.
 *
 * Theory of operation. What sendto() took is on its way, whatever becomes of the socket. Between VMs and to the host's stack that is so once it
 * is in a ring. Until a destination's circuit is there, datagrams wait in the flow; then close() leaves an orphan behind: the socket's state
 * without the socket, which the work keeps until the answers have come and all is in the rings, or for CSVN_REACH_MS. The bytes of all orphans
 * are bounded; what is beyond is dropped, and counted.
 *
 * The port is free at once, as it is natively. But the switch knows one circuit to the host's stack for each port: so whoever has the port next
 * does not ask for a circuit before the orphan has closed its own.
 */
#include <linux/delay.h>

#include "dgram.h"

static atomic_long_t csvn_orphan_bytes = ATOMIC_LONG_INIT(0);
static LIST_HEAD(csvn_orphans); /* csvn_orphans_lock */
static DEFINE_SPINLOCK(csvn_orphans_lock);

/* There is too much already: what waits is dropped. ds->lock is held. */
static void csvn_orphan_drop(struct csvn_dsock *ds)
{
	struct csvn_flow *flow;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(ds->flows); i++)
		hlist_for_each_entry(flow, &ds->flows[i], node)
			csvn_flow_drop(ds, flow, flow->reach ? flow->reach->dev : NULL);
}

/* The socket is closed, and nobody else has it. What it has sent goes on without it; the work sees to it. */
void csvn_orphan_begin(struct csvn_dsock *ds)
{
	bool orphan;

	spin_lock_irq(&ds->lock);
	orphan = ds->waiting || ds->reaching;
	if (ds->waiting) {
		/* Each has a head, too. */
		ds->orphan_bytes = ds->waiting_bytes + ds->waiting * sizeof(struct csvn_waiting);
		if (atomic_long_add_return(ds->orphan_bytes, &csvn_orphan_bytes) > CSVN_ORPHAN_BYTES)
			csvn_orphan_drop(ds);
	}
	spin_unlock_irq(&ds->lock);
	if (!orphan)
		return;
	spin_lock(&csvn_orphans_lock);
	list_add(&ds->orphan, &csvn_orphans);
	spin_unlock(&csvn_orphans_lock);
}

/* Is the socket's state an orphan that is done with everything? */
void csvn_orphan_end(struct csvn_dsock *ds)
{
	bool done;

	spin_lock_irq(&ds->lock);
	done = ds->released && !ds->waiting && !ds->reaching && list_empty(&ds->circuits);
	if (done || (ds->released && !ds->waiting)) {
		atomic_long_sub(ds->orphan_bytes, &csvn_orphan_bytes);
		ds->orphan_bytes = 0;
	}
	spin_unlock_irq(&ds->lock);
	if (!done)
		return;
	spin_lock(&csvn_orphans_lock);
	list_del_init(&ds->orphan);
	spin_unlock(&csvn_orphans_lock);
}

/* Does an orphan have this port that ds is to have, and had it before ds was closed, if it is? */
bool csvn_orphan_has(const struct csvn_dsock *ds, const struct csvn_endpoint *local)
{
	const struct csvn_dsock *other;
	bool found = false;

	if (list_empty(&csvn_orphans))
		return false;
	spin_lock(&csvn_orphans_lock);
	/* The youngest come first. */
	list_for_each_entry(other, &csvn_orphans, orphan)
		found = other != ds && (found || other->port == local->port);
	spin_unlock(&csvn_orphans_lock);
	return found;
}

/* Let what outlives its socket be sent, before the device goes. */
void csvn_orphans_drain(void)
{
	unsigned long deadline = jiffies + msecs_to_jiffies(CSVN_ORPHAN_MS);

	while (atomic_long_read(&csvn_orphan_bytes) && time_before(jiffies, deadline))
		msleep(5);
}
