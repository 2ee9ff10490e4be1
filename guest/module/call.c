// SPDX-License-Identifier: GPL-2.0
/*
 * What is done about requests: giving one up; and those that nobody else keeps: calls that wait for their answer, requests whose
 * answer does not matter, and CLOSE for circuits that there is no memory for.
 */
#include <linux/slab.h>

#include "call.h"
#include "control.h"

struct csvn_call {
	struct csvn_request req;
	struct completion done;
	refcount_t ref;
	int error;
};

static void csvn_call_put(struct csvn_call *call)
{
	if (refcount_dec_and_test(&call->ref))
		kfree(call);
}

static void csvn_call_done(struct csvn_request *req, int error)
{
	struct csvn_call *call = container_of(req, struct csvn_call, req);

	call->error = error;
	complete(&call->done);
	csvn_call_put(call);
}

/*
 * Send a request (out without its header), and wait for the answer, of which at least in_size bytes must have come.
 * Returns 0, or a negative errno: ETIMEDOUT when there was no answer in time.
 */
int csvn_request_call(struct csvn_device *dev, const union csvn_record *out, u16 type, u32 size,
		      union csvn_record *in, u32 in_size, unsigned int ms)
{
	struct csvn_call *call = kzalloc(sizeof(*call), GFP_KERNEL);
	int err;

	if (!call)
		return -ENOMEM;
	init_completion(&call->done);
	refcount_set(&call->ref, 2);
	call->req.out = *out;
	csvn_request_init(&call->req, type, size, csvn_call_done);
	csvn_request_send(dev, &call->req);
	if (!wait_for_completion_timeout(&call->done, msecs_to_jiffies(ms))) {
		err = -ETIMEDOUT;
	} else {
		err = -call->error;
		if (!err && call->req.got < in_size)
			err = -EPROTO;
		if (!err && in)
			*in = call->req.in;
	}
	csvn_call_put(call);
	return err;
}

static void csvn_told(struct csvn_request *req, int error)
{
	kfree(req);
}

static int csvn_tell(struct csvn_device *dev, const union csvn_record *out, u16 type, u32 size, bool lazy, gfp_t gfp)
{
	struct csvn_request *req = kzalloc(sizeof(*req), gfp);

	if (!req)
		return -ENOMEM;
	req->out = *out;
	csvn_request_init(req, type, size, csvn_told);
	req->quiet = type != CSVN_REQ_PING; /* that there is an answer matters */
	req->lazy = lazy;
	csvn_request_send(dev, req);
	return 0;
}

/* Send a request whose answer does not matter. */
int csvn_request_tell(struct csvn_device *dev, const union csvn_record *out, u16 type, u32 size,
		      gfp_t gfp)
{
	return csvn_tell(dev, out, type, size, false, gfp);
}

/* The same for one that is in no hurry. */
int csvn_request_mention(struct csvn_device *dev, const union csvn_record *out, u16 type, u32 size, gfp_t gfp)
{
	return csvn_tell(dev, out, type, size, true, gfp);
}

/* CLOSE for circuits that there is no memory for, from a few requests that are kept for that. */
struct csvn_spare {
	struct csvn_request req;
	struct csvn_device *dev;
};

int csvn_spares_alloc(struct csvn_device *dev)
{
	unsigned int i;

	dev->spares = kcalloc(CSVN_SPARE_CLOSES, sizeof(*dev->spares), GFP_KERNEL);
	if (!dev->spares)
		return -ENOMEM;
	for (i = 0; i < CSVN_SPARE_CLOSES; i++)
		dev->spares[i].dev = dev;
	return 0;
}

void csvn_spares_free(struct csvn_device *dev)
{
	kfree(dev->spares);
}

static void csvn_spare_done(struct csvn_request *req, int error)
{
	struct csvn_spare *spare = container_of(req, struct csvn_spare, req);

	clear_bit_unlock(spare - spare->dev->spares, spare->dev->spares_used);
}

void csvn_close_unseen(struct csvn_device *dev, u32 id)
{
	struct csvn_spare *spare;
	unsigned int i;

	for_each_clear_bit(i, dev->spares_used, CSVN_SPARE_CLOSES) {
		if (test_and_set_bit_lock(i, dev->spares_used))
			continue;
		spare = &dev->spares[i];
		memset(&spare->req.out, 0, sizeof(spare->req.out));
		spare->req.out.close.circuit = id;
		csvn_request_init(&spare->req, CSVN_REQ_CLOSE, sizeof(spare->req.out.close),
				  csvn_spare_done);
		csvn_request_send(dev, &spare->req);
		return;
	}
	dev_warn_ratelimited(&dev->vdev->dev, "no memory, circuit %u stays open\n", id);
}

/* Give a CONNECT up. Its done() is still called, with ECANCELED or whatever came first. The caller counts req. */
void csvn_request_cancel(struct csvn_device *dev, struct csvn_request *req)
{
	union csvn_record out = {};
	bool unsent = false;
	unsigned long flags;

	spin_lock_irqsave(&dev->control_lock, flags);
	if (!req->wire && !req->answered && !list_empty(&req->node)) {
		list_del_init(&req->node);
		if (!req->quiet)
			dev->awaited--;
		unsent = true;
	}
	spin_unlock_irqrestore(&dev->control_lock, flags);
	if (unsent) {
		req->done(req, ECANCELED);
		return;
	}
	out.cancel.connect = req->out.header.token;
	csvn_request_tell(dev, &out, CSVN_REQ_CANCEL, sizeof(out.cancel), GFP_ATOMIC);
}
