// SPDX-License-Identifier: GPL-2.0
/*
 * Arenas: the pieces of the window that have memory behind them.
 *
 * Theory of operation. ARENA_PREPARE is answered at once. After ARENA_MAPPED the memory may not be visible yet, so the
 * arena's header is looked at until its magic and nonce are there: once in the interrupt, and from a worker for at
 * most CSVN_VISIBLE_MS; then ARENA_VISIBLE is sent, with an error if it came to nothing. ARENA_RETIRE comes when no
 * circuit is left: the arena is forgotten, and ARENA_RETIRED sent, by the worker if that is still looking.
 *
 * What the device says is checked here (alignment, the arena inside the window), and by csvn_arena_find()'s callers
 * (extents inside the arena), so that no address is made from an unchecked number.
 */
#include <linux/delay.h>
#include <linux/slab.h>

#include "arena.h"
#include "call.h"

struct csvn_arena {
	struct csvn_device *dev;
	u32 id;
	u64 offset; /* in the window */
	u64 length;
	u64 nonce;
	bool visible;
	bool retired; /* the worker must answer ARENA_RETIRED; arenas.xa_lock */
	bool looking; /* the worker has it; arenas.xa_lock */
	struct work_struct work;
	struct rcu_head rcu;
};

static void csvn_arena_tell(struct csvn_device *dev, u16 type, u32 arena, u32 error, gfp_t gfp)
{
	union csvn_record out = {};

	out.arena.arena = arena;
	out.arena.error = error;
	if (csvn_request_tell(dev, &out, type, sizeof(out.arena), gfp))
		dev_warn_ratelimited(&dev->vdev->dev, "no memory to answer for arena %u\n", arena);
}

void csvn_arena_prepare(struct csvn_device *dev, const union csvn_record *ev)
{
	csvn_arena_tell(dev, CSVN_REQ_ARENA_PREPARED, ev->arena_event.arena, 0, GFP_ATOMIC);
}

static bool csvn_arena_look(struct csvn_arena *a)
{
	struct csvn_arena_header *h = (void *)(a->dev->window + a->offset);

	/* SAFETY: csvn_arena_mapped() has checked that the header's page lies in the window. */
	return READ_ONCE(h->magic) == CSVN_ARENA_MAGIC && READ_ONCE(h->nonce) == a->nonce;
}

static void csvn_arena_work(struct work_struct *work)
{
	struct csvn_arena *a = container_of(work, struct csvn_arena, work);
	unsigned long deadline = jiffies + msecs_to_jiffies(CSVN_VISIBLE_MS);
	struct csvn_device *dev = a->dev;
	bool seen, retired;

	while (!(seen = csvn_arena_look(a)) && !READ_ONCE(a->retired) && !READ_ONCE(dev->dead) &&
	       time_before(jiffies, deadline))
		usleep_range(50, 200);

	xa_lock_irq(&dev->arenas);
	retired = a->retired;
	a->looking = false;
	if (!retired)
		WRITE_ONCE(a->visible, seen);
	xa_unlock_irq(&dev->arenas);

	if (retired) {
		csvn_arena_tell(dev, CSVN_REQ_ARENA_RETIRED, a->id, 0, GFP_KERNEL);
		kfree_rcu(a, rcu);
		return;
	}
	if (!seen)
		dev_warn(&dev->vdev->dev, "arena %u did not become visible\n", a->id);
	csvn_arena_tell(dev, CSVN_REQ_ARENA_VISIBLE, a->id, seen ? 0 : ETIMEDOUT, GFP_KERNEL);
}

void csvn_arena_mapped(struct csvn_device *dev, const union csvn_record *ev)
{
	const struct csvn_arena_event *e = &ev->arena_event;
	struct csvn_arena *a;
	unsigned long flags;
	int err = 0;

	if (!IS_ALIGNED(e->offset | e->length, CSVN_PAGE) || e->length < CSVN_PAGE ||
	    e->length > dev->window_length || e->offset > dev->window_length - e->length) {
		dev_err_ratelimited(&dev->vdev->dev, "arena %u at %llu+%llu is not in the window\n",
				    e->arena, e->offset, e->length);
		err = EINVAL;
		goto refuse;
	}
	a = kzalloc(sizeof(*a), GFP_ATOMIC);
	if (!a) {
		err = ENOMEM;
		goto refuse;
	}
	a->dev = dev;
	a->id = e->arena;
	a->offset = e->offset;
	a->length = e->length;
	a->nonce = e->nonce;
	INIT_WORK(&a->work, csvn_arena_work);
	a->visible = csvn_arena_look(a);
	a->looking = !a->visible;

	xa_lock_irqsave(&dev->arenas, flags);
	err = -__xa_insert(&dev->arenas, a->id, a, GFP_ATOMIC);
	if (!err && a->looking)
		queue_work(csvn_arena_workqueue, &a->work);
	xa_unlock_irqrestore(&dev->arenas, flags);
	if (err) {
		dev_err_ratelimited(&dev->vdev->dev, "arena %u: error %d\n", e->arena, err);
		kfree(a);
		goto refuse;
	}
	if (a->visible)
		csvn_arena_tell(dev, CSVN_REQ_ARENA_VISIBLE, a->id, 0, GFP_ATOMIC);
	return;
refuse:
	csvn_arena_tell(dev, CSVN_REQ_ARENA_VISIBLE, e->arena, err, GFP_ATOMIC);
}

void csvn_arena_retire(struct csvn_device *dev, const union csvn_record *ev)
{
	u32 id = ev->arena_event.arena;
	struct csvn_arena *a;
	unsigned long flags;
	bool looking = false;

	xa_lock_irqsave(&dev->arenas, flags);
	a = __xa_erase(&dev->arenas, id);
	if (a) {
		looking = a->looking;
		WRITE_ONCE(a->retired, true);
	}
	xa_unlock_irqrestore(&dev->arenas, flags);
	if (looking)
		return; /* the worker answers, and frees it */
	if (a)
		kfree_rcu(a, rcu);
	csvn_arena_tell(dev, CSVN_REQ_ARENA_RETIRED, id, 0, GFP_ATOMIC);
}

/* Where a visible arena lies in the window. */
int csvn_arena_find(struct csvn_device *dev, u32 id, u64 *offset, u64 *length)
{
	struct csvn_arena *a;
	int err = -ENOENT;

	rcu_read_lock();
	a = xa_load(&dev->arenas, id);
	if (a && READ_ONCE(a->visible)) {
		*offset = a->offset;
		*length = a->length;
		err = 0;
	}
	rcu_read_unlock();
	return err;
}

void csvn_arenas_init(struct csvn_device *dev)
{
	xa_init_flags(&dev->arenas, XA_FLAGS_LOCK_IRQ);
}

/* The device is reset: no event comes any more. */
void csvn_arenas_drop(struct csvn_device *dev)
{
	struct csvn_arena *a;
	unsigned long id;

	flush_workqueue(csvn_arena_workqueue);
	xa_for_each(&dev->arenas, id, a) {
		xa_erase_irq(&dev->arenas, id);
		kfree_rcu(a, rcu);
	}
	xa_destroy(&dev->arenas);
}
