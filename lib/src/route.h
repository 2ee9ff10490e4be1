/* SPDX-License-Identifier: MIT */
/*
 * The routes of a device's circuits: by the slot in a circuit's id (its low 20 bits; the rest is a generation), which
 * id of which other device a doorbell wakes, or which host circuit. Each also carries two lists: the wakes that are due to this device, and the host
 * circuits that it has rung for.
 */
#ifndef CSVN_ROUTE_H
#define CSVN_ROUTE_H

#include <stdbool.h>
#include <stdint.h>

#define ROUTE_SLOT_BITS 20
#define ROUTE_SLOT_MASK ((1u << ROUTE_SLOT_BITS) - 1)

/* Instead of a peer: the other end is the host's stack. */
#define ROUTE_HOST_STREAM (-1)
#define ROUTE_HOST_DATAGRAM (-2)

enum route_list { ROUTES_DUE, ROUTES_RUNG, ROUTE_LISTS };

struct route {
	uint32_t id; /* of this device */
	uint32_t peer_id;
	int peer; /* device handle, or ROUTE_HOST_* */
	int host; /* then: the handle of the host's end */
	bool used;
	bool listed[ROUTE_LISTS];
	uint32_t next[ROUTE_LISTS]; /* slot + 1 */
};

struct route_table {
	struct route *routes;
	uint32_t capacity;
	uint32_t count;
	uint32_t heads[ROUTE_LISTS], tails[ROUTE_LISTS]; /* slot + 1; 0: none */
};

void route_table_free(struct route_table *t);
int route_set(struct route_table *t, uint32_t id, int peer, uint32_t peer_id); /* -EEXIST, -ENOMEM */
struct route *route_find(struct route_table *t, uint32_t id);
void route_drop(struct route_table *t, struct route *r);
/* Put r on a list, once. */
void route_list(struct route_table *t, enum route_list list, struct route *r);
/* The next route of a list, taken off it; NULL when there is none. */
struct route *route_next(struct route_table *t, enum route_list list);

#endif
