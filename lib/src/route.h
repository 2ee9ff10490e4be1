/* SPDX-License-Identifier: MIT */
/*
 * The routes of a device's circuits: by the slot in a circuit's id (its low 20 bits; the rest is a generation), what a doorbell wakes: a place on the board of
 * another port, another circuit of this one, or a host circuit. Each also carries two lists: the wakes that are due to this device, and the host
 * circuits that it has rung for.
 */
#ifndef CSVN_ROUTE_H
#define CSVN_ROUTE_H

#include <stdbool.h>
#include <stdint.h>

#define ROUTE_SLOT_BITS 20
#define ROUTE_SLOT_MASK ((1u << ROUTE_SLOT_BITS) - 1)

/* Instead of a board: the other end is this device's too, or the host's stack. */
#define ROUTE_OWN (-1)
#define ROUTE_HOST_STREAM (-2)
#define ROUTE_HOST_DATAGRAM (-3)

enum route_list { ROUTES_DUE, ROUTES_RUNG, ROUTE_LISTS };

struct route {
	uint32_t id; /* of this device */
	int to; /* board, or ROUTE_* */
	uint32_t place; /* on that board; the other circuit's id; or the number of the host's end */
	uint32_t own_place; /* that is marked for this circuit */
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
/* One that is there is replaced. Without memory for it the process ends: a circuit whose doorbells are lost is of no use. */
void route_set(struct route_table *t, uint32_t id, int to, uint32_t place, uint32_t own_place);
struct route *route_find(struct route_table *t, uint32_t id);
void route_drop(struct route_table *t, struct route *r);
/* Put r on a list, once. */
void route_list(struct route_table *t, enum route_list list, struct route *r);
/* The next route of a list, taken off it; NULL when there is none. */
struct route *route_next(struct route_table *t, enum route_list list);

#endif
