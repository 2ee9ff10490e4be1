// SPDX-License-Identifier: GPL-2.0
/*
 * Credit: how many more connections a listener takes.
 *
 * Theory of operation. The switch may send as many connections as listen() asked for, plus one, before it has heard of accept(). Each
 * accept() gives one credit back. A CREDIT for each would cost as much as some of a connection's other requests; so they are gathered,
 * as long as less than half of the backlog is outstanding, and for a few milliseconds at most: a burst after a pause finds room
 * for the whole backlog.
 */
#include "call.h"
#include "credit.h"
#include "device.h"

/* Tell the switch what was gathered. Any context. */
static void csvn_credit_tell(struct csvn_sock *cs, struct csvn_device *dev)
{
	union csvn_record out = {};
	struct csvn_listener *l;
	unsigned long flags;
	u32 count = 0;

	spin_lock_irqsave(&cs->lock, flags);
	l = cs->listener;
	if (l) {
		count = l->gathered;
		l->gathered = 0;
		out.credit.listener = l->id;
	}
	spin_unlock_irqrestore(&cs->lock, flags);
	if (!count)
		return;
	out.credit.count = count;
	if (!csvn_request_mention(dev, &out, CSVN_REQ_CREDIT, sizeof(out.credit), GFP_ATOMIC))
		return;
	spin_lock_irqsave(&cs->lock, flags);
	if (cs->listener == l) {
		l->gathered += count;
		mod_timer(&l->late, jiffies + CSVN_CREDIT_JIFFIES);
	}
	spin_unlock_irqrestore(&cs->lock, flags);
}

/* Nothing has been accepted for a moment: the whole backlog is the switch's to fill again. */
static void csvn_credit_late(struct timer_list *timer)
{
	struct csvn_listener *l = container_of(timer, struct csvn_listener, late);
	struct csvn_device *dev = csvn_device_get();

	if (!dev)
		return;
	csvn_credit_tell(l->cs, dev);
	csvn_device_put(dev);
}

/*
 * One more connection was accepted, or (accepted is false) one more waits: see whether what was gathered should go. The switch counts
 * waiting and gathered connections alike as outstanding, so both count for the half. Any context.
 */
void csvn_credit(struct csvn_sock *cs, struct csvn_device *dev, bool accepted)
{
	struct csvn_listener *l;
	unsigned long flags;
	bool tell = false;

	spin_lock_irqsave(&cs->lock, flags);
	l = cs->listener;
	if (l) {
		l->gathered += accepted;
		tell = l->gathered && 2 * (l->waiting + l->gathered) >= READ_ONCE(l->backlog);
		if (l->gathered && !tell && !timer_pending(&l->late))
			mod_timer(&l->late, jiffies + CSVN_CREDIT_JIFFIES);
	}
	spin_unlock_irqrestore(&cs->lock, flags);
	if (tell)
		csvn_credit_tell(cs, dev);
}

void csvn_credit_init(struct csvn_listener *l)
{
	timer_setup(&l->late, csvn_credit_late, 0);
}

/* The listener is its socket's no more, so that nobody starts the timer again. */
void csvn_credit_end(struct csvn_listener *l)
{
	csvn_timer_delete_sync(&l->late);
}
