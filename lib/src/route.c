/* SPDX-License-Identifier: MIT */
#include "route.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_CAPACITY 64u

void route_table_free(struct route_table *t)
{
	free(t->routes);
	memset(t, 0, sizeof(*t));
}

static void grow(struct route_table *t, uint32_t slot)
{
	uint32_t capacity = t->capacity ? t->capacity : FIRST_CAPACITY;
	struct route *routes;

	while (capacity <= slot)
		capacity *= 2;
	routes = realloc(t->routes, capacity * sizeof(*routes));
	if (!routes)
		abort();
	memset(routes + t->capacity, 0, (capacity - t->capacity) * sizeof(*routes));
	t->routes = routes;
	t->capacity = capacity;
}

void route_set(struct route_table *t, uint32_t id, int to, uint32_t place, uint32_t own_place)
{
	uint32_t slot = id & ROUTE_SLOT_MASK;
	struct route *r;

	if (slot >= t->capacity)
		grow(t, slot);
	r = &t->routes[slot];
	t->count += !r->used;
	/* What its last user is on a list for stays there, and is then a wake or a turn too many, which is allowed. */
	r->id = id;
	r->to = to;
	r->place = place;
	r->own_place = own_place;
	r->used = true;
}

struct route *route_find(struct route_table *t, uint32_t id)
{
	uint32_t slot = id & ROUTE_SLOT_MASK;

	if (slot >= t->capacity || !t->routes[slot].used || t->routes[slot].id != id)
		return NULL;
	return &t->routes[slot];
}

void route_drop(struct route_table *t, struct route *r)
{
	r->used = false;
	t->count--;
}

void route_list(struct route_table *t, enum route_list list, struct route *r)
{
	uint32_t slot = (uint32_t)(r - t->routes);

	if (r->listed[list])
		return;
	r->listed[list] = true;
	r->next[list] = 0;
	if (t->tails[list])
		t->routes[t->tails[list] - 1].next[list] = slot + 1;
	else
		t->heads[list] = slot + 1;
	t->tails[list] = slot + 1;
}

struct route *route_next(struct route_table *t, enum route_list list)
{
	while (t->heads[list]) {
		struct route *r = &t->routes[t->heads[list] - 1];

		t->heads[list] = r->next[list];
		if (!t->heads[list])
			t->tails[list] = 0;
		r->listed[list] = false;
		if (r->used)
			return r;
	}
	return NULL;
}
