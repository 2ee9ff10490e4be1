/* SPDX-License-Identifier: MIT */
/*
 * Doorbells in, wakes out. A doorbell of a circuit puts a wake of the peer's end on the peer's list, once however
 * often it is rung; the list is written to the peer's wake queue as its driver has buffers there. A host circuit is put on the
 * list of those that are rung for, once as well, and has a turn of the pump when the doorbells are taken. A device's turn is
 * bounded, so that one that rings all the time does not keep the others waiting: what is left has another, after theirs.
 */
#include <errno.h>

#include "device.h"
#include "datagram.h"

#define DOORBELLS_A_TURN 64u /* buffers */
#define WAKES_A_TURN 256u
#define TOUCHED_MAX 32u

void wake_flush(struct plane *p, struct device *d)
{
	struct virtqueue *q = &d->queues[CSVN_QUEUE_WAKE];
	const char *why = "";
	struct chain chain;
	uint32_t buffers = 0;
	int rc = 0;

	d->touched = false;
	while (d->routes.heads[ROUTES_DUE] && q->running && !q->broken) {
		uint32_t ids[DOORBELL_IDS];
		uint32_t count = 0, room;
		struct route *r;

		if (buffers++ == WAKES_A_TURN) {
			device_again(p, d, CSVN_QUEUE_WAKE);
			break;
		}
		rc = virtqueue_take(q, &d->memory, &chain, &why);
		if (rc == 0 && virtqueue_rest(q))
			continue;
		if (rc <= 0)
			break;
		room = chain.writable_bytes / (uint32_t)sizeof(ids[0]);
		if (room == 0) {
			why = "buffer on the wake queue is too small";
			rc = -EPROTO;
			break;
		}
		while (count < room && count < DOORBELL_IDS && (r = route_next(&d->routes, ROUTES_DUE)))
			ids[count++] = r->id;
		if (chain_write(&chain, &d->memory, ids, count * (uint32_t)sizeof(ids[0])) < 0) {
			why = "buffer on the wake queue is outside guest memory";
			rc = -EPROTO;
			break;
		}
		virtqueue_give(q, chain.head, count * (uint32_t)sizeof(ids[0]));
		p->counters.wakes += count;
	}
	if (rc < 0)
		device_fault(p, d, CSVN_QUEUE_WAKE, rc, why);
	else
		device_interrupt(p, d, CSVN_QUEUE_WAKE);
}

struct touched {
	struct device *devices[TOUCHED_MAX];
	uint32_t count;
};

static void flush_touched(struct plane *p, struct touched *t)
{
	for (uint32_t i = 0; i < t->count; i++)
		wake_flush(p, t->devices[i]);
	t->count = 0;
}

static void ring(struct plane *p, struct device *d, uint32_t id, struct touched *t)
{
	struct route *from = route_find(&d->routes, id);
	struct device *peer;
	struct route *to;

	if (from && from->peer < 0) {
		p->counters.doorbells++;
		route_list(&d->routes, ROUTES_RUNG, from);
		return;
	}
	peer = from ? handle_get(&p->devices, from->peer) : NULL;
	to = peer ? route_find(&peer->routes, from->peer_id) : NULL;
	p->counters.doorbells++;
	/* A circuit that just went away, or a guess: neither is worth more than a count. */
	if (!to) {
		p->counters.strays++;
		return;
	}
	route_list(&peer->routes, ROUTES_DUE, to);
	if (peer->touched)
		return;
	if (t->count == TOUCHED_MAX)
		flush_touched(p, t);
	peer->touched = true;
	t->devices[t->count++] = peer;
}

/* 1: there may be more than `left` had room for. */
static int take_doorbells(struct plane *p, struct device *d, struct touched *t, uint32_t *left, const char **why)
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
			ring(p, d, ids[i], t);
		virtqueue_give(q, chain.head, 0);
	}
	return 1;
}

/* Those that were rung for have a turn each, as long as this device's lasts. True: some are left. */
static bool pump_rung(struct plane *p, struct device *d, uint64_t end)
{
	struct route *r;

	while (p->work < end && (r = route_next(&d->routes, ROUTES_RUNG))) {
		p->work++;
		if (r->peer == ROUTE_HOST_STREAM)
			host_doorbell(p, r->host);
		if (r->peer == ROUTE_HOST_DATAGRAM)
			datagram_doorbell(p, r->host);
	}
	return d->routes.heads[ROUTES_RUNG] != 0;
}

void doorbell_kicked(struct plane *p, struct device *d)
{
	struct virtqueue *q = &d->queues[CSVN_QUEUE_DOORBELL];
	struct touched touched = { .count = 0 };
	uint64_t end = p->work + TURN_WORK;
	uint32_t left = DOORBELLS_A_TURN;
	const char *why = "";
	bool more;
	int rc;

	do {
		rc = take_doorbells(p, d, &touched, &left, &why);
		flush_touched(p, &touched);
		more = pump_rung(p, d, end);
	} while (rc == 0 && !more && virtqueue_rest(q));
	if (rc > 0 || more)
		device_again(p, d, CSVN_QUEUE_DOORBELL);
	if (rc < 0)
		device_fault(p, d, CSVN_QUEUE_DOORBELL, rc, why);
	else
		device_interrupt(p, d, CSVN_QUEUE_DOORBELL);
}

/* Forget a route of d, and its peer's back to it. */
static int remove_pair(struct plane *p, struct device *d, uint32_t id)
{
	struct route *r = route_find(&d->routes, id);
	struct device *peer;
	struct route *back;

	if (!r)
		return -ENOENT;
	peer = handle_get(&p->devices, r->peer);
	back = peer ? route_find(&peer->routes, r->peer_id) : NULL;
	route_drop(&d->routes, r);
	p->counters.routes--;
	if (back) {
		route_drop(&peer->routes, back);
		p->counters.routes--;
	}
	return 0;
}

void doorbell_forget(struct plane *p, struct device *d)
{
	for (uint32_t i = 0; i < d->routes.capacity; i++)
		if (d->routes.routes[i].used)
			(void)remove_pair(p, d, d->routes.routes[i].id);
}

static int add_pair(struct plane *p, struct device *a, uint32_t a_id, struct device *b, uint32_t b_id)
{
	int rc = route_set(&a->routes, a_id, b->handle, b_id);

	if (rc < 0)
		return rc;
	rc = route_set(&b->routes, b_id, a->handle, a_id);
	if (rc < 0) {
		route_drop(&a->routes, route_find(&a->routes, a_id));
		return rc;
	}
	p->counters.routes += 2;
	return 0;
}

int csvn_route_add(int plane, int device, uint32_t id, int peer, uint32_t peer_id)
{
	struct plane *p = plane_enter(plane);
	struct device *a, *b;
	int rc = -EBADF;

	if (!p)
		return rc;
	a = handle_get(&p->devices, device);
	b = handle_get(&p->devices, peer);
	if (a && b)
		rc = add_pair(p, a, id, b, peer_id);
	plane_leave(p);
	return rc;
}

int csvn_route_remove(int plane, int device, uint32_t id)
{
	struct plane *p = plane_enter(plane);
	struct device *d;
	int rc = -EBADF;

	if (!p)
		return rc;
	d = handle_get(&p->devices, device);
	if (d)
		rc = remove_pair(p, d, id);
	plane_leave(p);
	return rc;
}
