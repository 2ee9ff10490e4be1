// SPDX-License-Identifier: GPL-2.0
/*
 * Datagrams that outlive their socket.
 *
 * Theory of operation. What sendto() took is on its way, whatever becomes of the socket. Between VMs and to the host's stack that is so once it
 * is in a ring. Until a destination's circuit is there, datagrams wait in the flow; then close() leaves an orphan behind: the socket's state
 * without the socket, which the work keeps until the answers have come and all is in the rings, or for CSVN_ASK_MS. The memory of all orphans
 * is bounded, and so are their CONNECTs that are under way, since sockets that are open want places in the queue too; what is beyond is
 * dropped, and counted.
 *
 * The port is free at once, as it is natively. But the switch knows one circuit to the host's stack for each port: so whoever has the port next
 * does not ask for a circuit before the orphan has closed its own. An orphan that ends wakes who comes next: the next orphan with its port, or
 * else the sockets that wait for it.
 */
#include <linux/delay.h>

#include "device.h"
#include "dgram_flow.h"
#include "dgram_orphan.h"
#include "dgram_sock.h"

static atomic_long_t csvn_orphan_bytes = ATOMIC_LONG_INIT(0);
static atomic_long_t csvn_orphan_connects = ATOMIC_LONG_INIT(0);
static LIST_HEAD(csvn_orphans); /* csvn_orphans_lock; the youngest come first */
static LIST_HEAD(csvn_heirs); /* the same: sockets that wait for an orphan's port */
static DEFINE_SPINLOCK(csvn_orphans_lock); /* before csvn_dsock.lock */

/* There is too much already: what waits is dropped, and its CONNECTs are given up by the sweep. ds->lock is held. */
static void csvn_orphan_drop(struct csvn_dsock *ds)
{
	struct csvn_device *dev = csvn_device_get();
	struct csvn_flow *flow;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(ds->flows); i++)
		hlist_for_each_entry(flow, &ds->flows[i], node)
			csvn_flow_drop(ds, flow, dev);
	if (dev)
		csvn_device_put(dev);
}

/* Charge an orphan for what it holds now. ds->lock is held. */
void csvn_orphan_charge(struct csvn_dsock *ds)
{
	long bytes = 0, connects = ds->attempts;

	if (ds->waiting || ds->attempts)
		bytes = sizeof(*ds) + ds->waiting_bytes + ds->waiting * sizeof(struct csvn_waiting) +
			ds->flow_count * sizeof(struct csvn_flow) +
			ds->attempts * (sizeof(struct csvn_attempt) + sizeof(struct csvn_circuit));
	atomic_long_add(bytes - ds->orphan_bytes, &csvn_orphan_bytes);
	atomic_long_add(connects - ds->orphan_connects, &csvn_orphan_connects);
	ds->orphan_bytes = bytes;
	ds->orphan_connects = connects;
}

/* May the socket's state send one more CONNECT? */
bool csvn_orphan_may_ask(const struct csvn_dsock *ds)
{
	return !ds->released || atomic_long_read(&csvn_orphan_connects) < CSVN_ORPHAN_CONNECTS;
}

/* The socket is closed, and nobody else has it. What it has sent goes on without it; the work sees to it. */
void csvn_orphan_begin(struct csvn_dsock *ds)
{
	bool orphan;

	spin_lock_irq(&ds->lock);
	orphan = ds->waiting || ds->attempts;
	csvn_orphan_charge(ds);
	if (ds->waiting && (atomic_long_read(&csvn_orphan_bytes) > CSVN_ORPHAN_BYTES ||
			    atomic_long_read(&csvn_orphan_connects) > CSVN_ORPHAN_CONNECTS)) {
		csvn_orphan_drop(ds);
		csvn_orphan_charge(ds);
	}
	spin_unlock_irq(&ds->lock);
	spin_lock(&csvn_orphans_lock);
	list_del_init(&ds->heir);
	if (orphan)
		list_add(&ds->orphan, &csvn_orphans);
	spin_unlock(&csvn_orphans_lock);
}

/* What ds waits for may be there. csvn_orphans_lock is held. */
static void csvn_orphan_wake(struct csvn_dsock *ds)
{
	spin_lock_irq(&ds->lock);
	csvn_dgram_kick(ds, 0);
	spin_unlock_irq(&ds->lock);
}

/* An orphan has ended: whose turn is it? csvn_orphans_lock is held. */
static void csvn_orphan_wake_next(struct csvn_dsock *ended)
{
	struct csvn_dsock *ds = ended;

	list_for_each_entry_continue_reverse(ds, &csvn_orphans, orphan) {
		if (ds->port == ended->port) {
			csvn_orphan_wake(ds);
			return;
		}
	}
	list_for_each_entry(ds, &csvn_heirs, heir)
		if (ds->heir_port == ended->port)
			csvn_orphan_wake(ds);
}

/* Is the socket's state an orphan that is done with everything? */
void csvn_orphan_end(struct csvn_dsock *ds)
{
	bool done;

	spin_lock_irq(&ds->lock);
	done = ds->released && !ds->waiting && !ds->attempts && list_empty(&ds->circuits);
	if (ds->released)
		csvn_orphan_charge(ds);
	spin_unlock_irq(&ds->lock);
	if (!done)
		return;
	spin_lock(&csvn_orphans_lock);
	if (!list_empty(&ds->orphan)) {
		csvn_orphan_wake_next(ds);
		list_del_init(&ds->orphan);
	}
	spin_unlock(&csvn_orphans_lock);
}

/*
 * Does an orphan have this port that ds is to have, and had it before ds was closed, if it is? Then ds is woken once it has not. ds->tx is
 * held.
 */
bool csvn_orphan_has(struct csvn_dsock *ds, u16 port)
{
	struct csvn_dsock *other;
	bool found = false;

	if (list_empty(&csvn_orphans) && list_empty(&ds->heir))
		return false;
	spin_lock(&csvn_orphans_lock);
	other = list_empty(&ds->orphan) ? NULL : ds;
	other = list_prepare_entry(other, &csvn_orphans, orphan);
	list_for_each_entry_continue(other, &csvn_orphans, orphan) {
		found = other->port == port;
		if (found)
			break;
	}
	list_del_init(&ds->heir);
	if (found && !READ_ONCE(ds->released)) {
		ds->heir_port = port;
		list_add_tail(&ds->heir, &csvn_heirs);
	}
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

/* There is no device any more: wait until the last orphan has seen that, for its work is about to go. */
void csvn_orphans_exit(void)
{
	unsigned long deadline = jiffies + msecs_to_jiffies(CSVN_ORPHAN_END_MS);

	while (!list_empty_careful(&csvn_orphans) && time_before(jiffies, deadline))
		msleep(5);
	WARN_ON(!list_empty_careful(&csvn_orphans));
}
