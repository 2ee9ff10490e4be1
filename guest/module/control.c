// SPDX-License-Identifier: GPL-2.0
/*
 * The control queue: requests out, answers back, in any order.
 *
 * Theory of operation. A request is one buffer pair in the queue. While the queue has no place, requests wait in a
 * list, in order; a CONNECT may stay in the queue for minutes, so CONNECTs wait in a list of their own and never take
 * the last CSVN_CONTROL_RESERVE places. The answer arrives in an interrupt, which calls the request's done().
 * A request belongs to the queue from csvn_request_send() to done(): whoever waits and gives up leaves the request behind, and done()
 * frees it. What the device reads and writes is a copy (struct csvn_wire), which is the device's until it gives it back. So a switch that
 * was given up (csvn_control_lose()) may still write into its wires, and harms nobody: they have no request any more.
 *
 * An interrupt costs more than all the rest of a request. So the queue's interrupt is off while nobody waits for an answer: those
 * that nobody looks at (`quiet`) are taken back when the next request is sent, or with the next interrupt. Whoever looks for an
 * answer instead of sleeping sends a quiet request, looks (csvn_control_look()), and says so when it gives up looking
 * (csvn_request_await()). And a request that is in no hurry (`lazy`) does not notify the device: the next one does, or a timer.
 *
 * Before HELLO and after BYE requests fail with ENETDOWN at once. A queue that is going away is told by `dead`: under
 * control_lock, and readers of RCU may notify it until synchronize_rcu() has returned.
 */
#include <linux/slab.h>

#include "control.h"

void csvn_request_init(struct csvn_request *req, u16 type, u32 size,
		       void (*done)(struct csvn_request *req, int error))
{
	INIT_LIST_HEAD(&req->node);
	req->done = done;
	req->size = size;
	req->got = 0;
	req->wire = NULL;
	req->quiet = false;
	req->lazy = false;
	req->answered = false;
	req->out.header.type = type;
	req->out.header.version = CSVN_VERSION;
	req->out.header.length = size;
}

/* What the device answered, as a positive errno. */
static int csvn_answer(const struct csvn_request *req)
{
	const struct csvn_response *in = &req->in.response;
	u32 error;

	if (req->got < sizeof(*in) || in->header.version != CSVN_VERSION ||
	    in->header.token != req->out.header.token)
		return EPROTO;
	error = in->error;
	return error <= MAX_ERRNO ? error : EIO;
}

/* What is in the queue of a request, or of one whose requester was told that the switch is lost. */
struct csvn_wire {
	struct list_head node; /* of spare ones */
	struct csvn_request *req; /* NULL: nobody wants the answer */
	union csvn_record out;
	union csvn_record in;
};

/* control_lock is held, or nobody else has the queue. */
static void csvn_wire_free(struct csvn_device *dev, struct csvn_wire *wire)
{
	if (dev->wires_spare >= CSVN_WIRES) {
		kfree(wire);
		return;
	}
	list_add(&wire->node, &dev->wires);
	dev->wires_spare++;
}

static struct csvn_wire *csvn_wire_take(struct csvn_device *dev)
{
	struct csvn_wire *wire = list_first_entry_or_null(&dev->wires, struct csvn_wire, node);

	if (!wire)
		return kmalloc(sizeof(*wire), GFP_ATOMIC | __GFP_NOWARN);
	list_del(&wire->node);
	dev->wires_spare--;
	return wire;
}

/* False: the queue has no place, or there is no memory. Since some wires are kept, others are under way then, and come back. */
static bool csvn_control_place(struct csvn_device *dev, struct csvn_request *req)
{
	struct scatterlist out, in, *sgs[] = { &out, &in };
	struct csvn_wire *wire = csvn_wire_take(dev);

	if (!wire)
		return false;
	memcpy(&wire->out, &req->out, req->size);
	sg_init_one(&out, &wire->out, req->size);
	sg_init_one(&in, &wire->in, sizeof(wire->in));
	if (virtqueue_add_sgs(dev->vq[CSVN_QUEUE_CONTROL], sgs, 1, 1, wire, GFP_ATOMIC)) {
		csvn_wire_free(dev, wire);
		return false;
	}
	wire->req = req;
	req->wire = wire;
	list_move_tail(&req->node, &dev->flying);
	dev->unnotified++;
	if (!req->lazy)
		dev->urgent = true;
	return true;
}

/* Move waiting requests into the queue. control_lock is held. */
static void csvn_control_fill(struct csvn_device *dev)
{
	struct csvn_request *req;

	while ((req = list_first_entry_or_null(&dev->requests, struct csvn_request, node)))
		if (!csvn_control_place(dev, req))
			return;
	while (dev->connecting < dev->connecting_max &&
	       (req = list_first_entry_or_null(&dev->connects, struct csvn_request, node))) {
		if (!csvn_control_place(dev, req))
			return;
		dev->connecting++;
	}
}

/* Must the device be notified now? control_lock is held. */
static bool csvn_control_kick(struct csvn_device *dev)
{
	if (!dev->unnotified)
		return false;
	if (!dev->urgent && dev->unnotified < CSVN_LAZY_MAX) {
		if (!timer_pending(&dev->lazy))
			mod_timer(&dev->lazy, jiffies + CSVN_LAZY_JIFFIES);
		return false;
	}
	dev->unnotified = 0;
	dev->urgent = false;
	return virtqueue_kick_prepare(dev->vq[CSVN_QUEUE_CONTROL]);
}

/* Take back what was answered. control_lock is held; done() is the caller's to call, without it. */
static void csvn_control_reap(struct csvn_device *dev, struct list_head *done)
{
	struct csvn_request *req;
	struct csvn_wire *wire;
	unsigned int got;

	while ((wire = virtqueue_get_buf(dev->vq[CSVN_QUEUE_CONTROL], &got))) {
		req = wire->req;
		if (req) {
			req->got = min_t(u32, got, sizeof(req->in));
			memcpy(&req->in, &wire->in, req->got);
			req->wire = NULL;
		}
		csvn_wire_free(dev, wire);
		if (!req)
			continue;
		req->answered = true;
		if (req->out.header.type == CSVN_REQ_CONNECT)
			dev->connecting--;
		if (!req->quiet)
			dev->awaited--;
		list_move_tail(&req->node, done);
	}
}

/* Does anybody wait for an answer, or for a place? control_lock is held. */
static bool csvn_control_awaits(const struct csvn_device *dev)
{
	return dev->awaited || !list_empty(&dev->requests) || !list_empty(&dev->connects);
}

/*
 * Turn the queue's interrupt on, before something that is waited for is placed: what is answered until then is quiet.
 * control_lock is held.
 */
static void csvn_control_listen(struct csvn_device *dev, struct list_head *done)
{
	struct virtqueue *vq = dev->vq[CSVN_QUEUE_CONTROL];

	if (dev->listening)
		return;
	dev->listening = true;
	do {
		virtqueue_disable_cb(vq);
		csvn_control_reap(dev, done);
	} while (!virtqueue_enable_cb(vq));
}

static void csvn_control_answered(struct list_head *done)
{
	struct csvn_request *req, *next;

	rcu_read_lock(); /* pairs with csvn_circuits_lost(): what was taken back is of the switch that is given up there */
	list_for_each_entry_safe(req, next, done, node) {
		list_del_init(&req->node);
		req->done(req, csvn_answer(req));
	}
	rcu_read_unlock();
}

void csvn_request_send(struct csvn_device *dev, struct csvn_request *req)
{
	u16 type = req->out.header.type;
	bool kick = false, taken = false;
	unsigned long flags;
	LIST_HEAD(done);

	/* The queue may be notified: pairs with csvn_control_stop(). And what is taken back is answered: see csvn_control_answered(). */
	rcu_read_lock();
	spin_lock_irqsave(&dev->control_lock, flags);
	if ((dev->up || type == CSVN_REQ_HELLO || type == CSVN_REQ_BYE) && !dev->dead) {
		req->out.header.token = ++dev->token;
		if (!req->quiet) {
			csvn_control_listen(dev, &done);
			dev->awaited++;
		} else if (!dev->listening) {
			csvn_control_reap(dev, &done);
		}
		list_add_tail(&req->node, type == CSVN_REQ_CONNECT ? &dev->connects : &dev->requests);
		csvn_control_fill(dev);
		if (!list_empty(&dev->requests) && !dev->listening) { /* quiet ones, and the queue is full */
			csvn_control_listen(dev, &done);
			csvn_control_fill(dev);
			dev->urgent = true;
		}
		kick = csvn_control_kick(dev);
		taken = true;
	}
	spin_unlock_irqrestore(&dev->control_lock, flags);
	if (kick)
		virtqueue_notify(dev->vq[CSVN_QUEUE_CONTROL]);
	csvn_control_answered(&done);
	rcu_read_unlock();
	if (!taken)
		req->done(req, ENETDOWN);
}

/* Take back what was answered, without an interrupt. */
void csvn_control_look(struct csvn_device *dev)
{
	unsigned long flags;
	bool kick = false;
	LIST_HEAD(done);

	rcu_read_lock(); /* as in csvn_request_send() */
	spin_lock_irqsave(&dev->control_lock, flags);
	if (!dev->dead) {
		csvn_control_reap(dev, &done);
		if (!list_empty(&done)) {
			csvn_control_fill(dev);
			kick = csvn_control_kick(dev);
		}
	}
	spin_unlock_irqrestore(&dev->control_lock, flags);
	if (kick)
		virtqueue_notify(dev->vq[CSVN_QUEUE_CONTROL]);
	csvn_control_answered(&done);
	rcu_read_unlock();
}

/* A quiet request's answer is waited for from now on. The caller counts req. */
void csvn_request_await(struct csvn_device *dev, struct csvn_request *req)
{
	unsigned long flags;
	bool kick = false;
	LIST_HEAD(done);

	rcu_read_lock(); /* as in csvn_request_send() */
	spin_lock_irqsave(&dev->control_lock, flags);
	if (req->quiet && !req->answered && !dev->dead) {
		req->quiet = false;
		dev->awaited++;
		csvn_control_listen(dev, &done);
		csvn_control_fill(dev); /* there is place now */
		kick = csvn_control_kick(dev);
	}
	spin_unlock_irqrestore(&dev->control_lock, flags);
	if (kick)
		virtqueue_notify(dev->vq[CSVN_QUEUE_CONTROL]);
	csvn_control_answered(&done);
	rcu_read_unlock();
}

/* Nothing urgent has come along. */
static void csvn_control_lazy(struct timer_list *timer)
{
	struct csvn_device *dev = container_of(timer, struct csvn_device, lazy);
	unsigned long flags;
	bool kick = false;

	rcu_read_lock(); /* as in csvn_request_send() */
	spin_lock_irqsave(&dev->control_lock, flags);
	if (!dev->dead && dev->unnotified) {
		dev->urgent = true;
		kick = csvn_control_kick(dev);
	}
	spin_unlock_irqrestore(&dev->control_lock, flags);
	if (kick)
		virtqueue_notify(dev->vq[CSVN_QUEUE_CONTROL]);
	rcu_read_unlock();
}

void csvn_control_done(struct virtqueue *vq)
{
	struct csvn_device *dev = vq->vdev->priv;
	unsigned long flags;
	LIST_HEAD(done);
	bool kick;

	rcu_read_lock(); /* as in csvn_request_send() */
	spin_lock_irqsave(&dev->control_lock, flags);
	do {
		virtqueue_disable_cb(vq);
		csvn_control_reap(dev, &done);
		if (!dev->dead)
			csvn_control_fill(dev);
		dev->listening = csvn_control_awaits(dev);
	} while (dev->listening && !virtqueue_enable_cb(vq));
	kick = !dev->dead && csvn_control_kick(dev);
	spin_unlock_irqrestore(&dev->control_lock, flags);
	if (kick)
		virtqueue_notify(vq);
	atomic_set(&dev->heard, 1);
	csvn_control_answered(&done);
	rcu_read_unlock();
}

void csvn_control_init(struct csvn_device *dev)
{
	spin_lock_init(&dev->control_lock);
	INIT_LIST_HEAD(&dev->requests);
	INIT_LIST_HEAD(&dev->connects);
	INIT_LIST_HEAD(&dev->flying);
	INIT_LIST_HEAD(&dev->wires);
	timer_setup(&dev->lazy, csvn_control_lazy, 0);
	dev->dead = true;
}

int csvn_control_alloc(struct csvn_device *dev)
{
	struct csvn_wire *wire;

	while (dev->wires_spare < CSVN_WIRES) {
		wire = kmalloc(sizeof(*wire), GFP_KERNEL);
		if (!wire)
			return -ENOMEM;
		csvn_wire_free(dev, wire);
	}
	return 0;
}

void csvn_control_free(struct csvn_device *dev)
{
	struct csvn_wire *wire, *next;

	list_for_each_entry_safe(wire, next, &dev->wires, node)
		kfree(wire);
	INIT_LIST_HEAD(&dev->wires);
	dev->wires_spare = 0;
}

/* After the queues were found. */
void csvn_control_start(struct csvn_device *dev)
{
	u32 places = virtqueue_get_vring_size(dev->vq[CSVN_QUEUE_CONTROL]);

	dev->connecting_max = places > 2 * CSVN_CONTROL_RESERVE ? places - CSVN_CONTROL_RESERVE :
								  max(places / 4, 1u);
	virtqueue_disable_cb(dev->vq[CSVN_QUEUE_CONTROL]);
	dev->dead = false;
}

/* From HELLO's answer on requests are taken, from BYE on they fail. */
void csvn_control_up(struct csvn_device *dev, bool up)
{
	unsigned long flags;

	spin_lock_irqsave(&dev->control_lock, flags);
	dev->up = up;
	spin_unlock_irqrestore(&dev->control_lock, flags);
}

/* No queue will be touched any more when this returns; then, once the device is reset, csvn_control_drop(). */
void csvn_control_stop(struct csvn_device *dev)
{
	unsigned long flags;

	spin_lock_irqsave(&dev->control_lock, flags);
	dev->up = false;
	dev->dead = true;
	spin_unlock_irqrestore(&dev->control_lock, flags);
	csvn_timer_delete_sync(&dev->lazy);
	synchronize_rcu();
}

/* Every request fails, those in the queue leave their wires behind. */
void csvn_control_lose(struct csvn_device *dev)
{
	struct csvn_request *req, *next;
	unsigned long flags;
	LIST_HEAD(done);

	spin_lock_irqsave(&dev->control_lock, flags);
	dev->up = false;
	list_splice_init(&dev->flying, &done);
	list_splice_tail_init(&dev->requests, &done);
	list_splice_tail_init(&dev->connects, &done);
	list_for_each_entry(req, &done, node) {
		req->answered = true;
		if (req->wire)
			req->wire->req = NULL;
		req->wire = NULL;
	}
	dev->awaited = 0;
	dev->connecting = 0;
	spin_unlock_irqrestore(&dev->control_lock, flags);
	list_for_each_entry_safe(req, next, &done, node) {
		list_del_init(&req->node);
		req->done(req, ENETDOWN);
	}
}

/* The device does not own any buffer any more. */
void csvn_control_drop(struct csvn_device *dev)
{
	struct csvn_wire *wire;
	unsigned long flags;

	csvn_control_lose(dev);
	spin_lock_irqsave(&dev->control_lock, flags);
	while ((wire = virtqueue_detach_unused_buf(dev->vq[CSVN_QUEUE_CONTROL])))
		csvn_wire_free(dev, wire);
	spin_unlock_irqrestore(&dev->control_lock, flags);
}
