// SPDX-License-Identifier: GPL-2.0
/* The end of a circuit, on this side: what is published then, and CLOSE. */
#include "circuit.h"
#include "circuit_close.h"
#include "control.h"
#include "doorbell.h"
#include "mapping.h"

static void csvn_circuit_closed(struct csvn_request *req, int error)
{
	csvn_circuit_put(container_of(req, struct csvn_circuit, close));
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
