// SPDX-License-Identifier: GPL-2.0
/*
 * A CONNECT under way, of a socket of either kind.
 *
 * The circuit's structure is made beforehand, since the answer comes in an interrupt. What the answer comes to is its
 * socket's business: connecting.c, dgram_attempt.c.
 */
#include <linux/slab.h>

#include "attempt.h"
#include "call.h"
#include "circuit.h"
#include "device.h"

/*
 * An attempt of owner, which is counted, for its request and for whoever may give it up; the rest of the request is the caller's to
 * fill in. Takes over the caller's count of dev, unless there is no memory: NULL.
 */
struct csvn_attempt *csvn_attempt_new(struct csvn_device *dev, struct csvn_owner *owner, const struct csvn_endpoint *local,
				      const struct csvn_endpoint *remote, u32 protocol, gfp_t gfp)
{
	struct csvn_attempt *a = kzalloc(sizeof(*a), gfp);
	struct csvn_connect *out;

	if (!a)
		return NULL;
	a->circuit = csvn_circuit_new(dev, gfp);
	if (!a->circuit) {
		kfree(a);
		return NULL;
	}
	a->circuit->local = *local;
	a->circuit->remote = *remote;
	a->circuit->datagram = protocol == CSVN_PROTOCOL_DATAGRAM;
	a->dev = dev;
	a->owner = owner;
	owner->ops->get(owner); /* the caller has it, so it is not on its way out */
	refcount_set(&a->ref, 2);
	out = &a->req.out.connect;
	out->local = *local;
	out->remote = *remote;
	out->protocol = protocol;
	return a;
}

void csvn_attempt_put(struct csvn_attempt *a)
{
	if (!refcount_dec_and_test(&a->ref))
		return;
	if (a->circuit)
		csvn_circuit_put(a->circuit);
	a->owner->ops->put(a->owner);
	csvn_device_put(a->dev);
	kfree(a);
}

/* The circuit that was granted, with its count; NULL, and *error, when it cannot be used. Any context. */
struct csvn_circuit *csvn_attempt_granted(struct csvn_attempt *a, int *error)
{
	const struct csvn_connect_response *in = &a->req.in.connect_response;
	struct csvn_circuit *c = a->circuit;

	c->host = in->flags & CSVN_CONNECT_HOST;
	*error = -csvn_circuit_map(c, in->circuit, &in->extents, a->req.out.header.token);
	if (*error) {
		if (*error != EEXIST)
			csvn_close_unseen(a->dev, in->circuit);
		*error = EPROTO;
		return NULL;
	}
	a->circuit = NULL;
	if (in->local.family == c->local.family && in->local.port)
		c->local = in->local;
	return c;
}
