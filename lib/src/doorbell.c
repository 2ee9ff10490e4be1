/* SPDX-License-Identifier: MIT */
/*
 * Doorbells in; wakes out are in wake.c. A doorbell of a circuit marks the other end's place on the board of its port, once however
 * often it is rung, or puts it on the list of wakes that are due here. A host circuit is put on the
 * list of those that are rung for, once as well, and has a turn of the pump when the doorbells are taken. A turn is
 * bounded, so that a guest that rings all the time does not keep the commands, its sockets and its peers waiting: what is left has another, after theirs.
 */
#include "doorbell.h"

#include <errno.h>

#include "datagram_circuit.h"
#include "device.h"
#include "host.h"
#include "host_circuit.h"
#include "peers.h"

#define DOORBELLS_A_TURN 64u /* buffers */

static void ring(struct port *p, struct device *d, uint32_t id)
{
	struct route *from = route_find(&d->routes, id), *to;
	struct peer *peer;

	p->counters.doorbells++;
	/* A circuit that just went away, or a guess: neither is worth more than a count. */
	if (!from) {
		p->counters.strays++;
		return;
	}
	switch (from->to) {
	case ROUTE_HOST_STREAM:
	case ROUTE_HOST_DATAGRAM:
		route_list(&d->routes, ROUTES_RUNG, from);
		break;
	case ROUTE_OWN:
		to = route_find(&d->routes, from->place);
		if (to)
			route_list(&d->routes, ROUTES_DUE, to);
		break;
	default:
		peer = handle_get(&p->peers.table, from->to);
		if (peer)
			peer_mark(p, peer, from->place);
	}
}

/* 1: there may be more than `left` had room for. */
static int take_doorbells(struct port *p, struct device *d, uint32_t *left, const char **why)
{
	struct virtqueue *q = &d->queues[CSVN_QUEUE_DOORBELL];
	uint32_t ids[DOORBELL_IDS];
	struct chain chain;
	int rc;

	for (; *left; --*left) {
		rc = virtqueue_take(q, &d->memory, &chain, why);
		if (rc <= 0)
			return rc;
		if (chain.readable_bytes == 0 || chain.readable_bytes % sizeof(ids[0]) ||
		    chain.readable_bytes > sizeof(ids)) {
			*why = "doorbell of a wrong size";
			return -EPROTO;
		}
		if (chain_read(&chain, &d->memory, ids, sizeof(ids)) < 0) {
			*why = "doorbell outside guest memory";
			return -EPROTO;
		}
		for (uint32_t i = 0; i < chain.readable_bytes / sizeof(ids[0]); i++)
			ring(p, d, ids[i]);
		virtqueue_give(q, chain.head, 0);
	}
	return 1;
}

/* Those that were rung for have a turn each, as long as this device's lasts. True: some are left. */
static bool pump_rung(struct port *p, struct device *d, uint64_t end)
{
	struct route *r;

	while (p->work < end && (r = route_next(&d->routes, ROUTES_RUNG))) {
		p->work++;
		if (r->to == ROUTE_HOST_STREAM)
			host_doorbell(p, (int)r->place);
		if (r->to == ROUTE_HOST_DATAGRAM)
			datagram_doorbell(p, (int)r->place);
	}
	return d->routes.heads[ROUTES_RUNG] != 0;
}

void doorbell_kicked(struct port *p, struct device *d)
{
	struct virtqueue *q = &d->queues[CSVN_QUEUE_DOORBELL];
	uint64_t end = p->work + TURN_WORK;
	uint32_t left = DOORBELLS_A_TURN;
	const char *why = "";
	bool more;
	int rc;

	do {
		rc = take_doorbells(p, d, &left, &why);
		peers_ring(p);
		more = pump_rung(p, d, end);
	} while (rc == 0 && !more && virtqueue_rest(q));
	if (rc > 0 || more)
		device_again(d, CSVN_QUEUE_DOORBELL);
	if (rc < 0)
		device_fault(p, d, CSVN_QUEUE_DOORBELL, rc, why);
	else
		device_interrupt(p, d, CSVN_QUEUE_DOORBELL);
}

void doorbell_route(struct port *p, struct device *d, const struct csvn_route *r)
{
	struct peer *peer = r->board < 0 ? NULL : handle_get(&p->peers.table, r->board);

	if (r->board >= 0 && !peer)
		return;
	route_set(&d->routes, r->id, peer ? r->board : ROUTE_OWN, r->mark, r->own_mark);
	if (peer)
		peer_place(peer, r->own_mark, r->id);
}

void doorbell_unroute(struct port *p, struct device *d, uint32_t id)
{
	struct route *r = route_find(&d->routes, id);
	struct peer *peer = r ? handle_get(&p->peers.table, r->to) : NULL;

	if (!r || r->to == ROUTE_HOST_STREAM || r->to == ROUTE_HOST_DATAGRAM)
		return;
	if (peer)
		peer_unplace(peer, r->own_place);
	route_drop(&d->routes, r);
}
