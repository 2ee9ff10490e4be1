/* SPDX-License-Identifier: MIT */
#include "handle.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_CAPACITY 16u

void handle_table_init(struct handle_table *t, uint32_t limit)
{
	memset(t, 0, sizeof(*t));
	t->limit = limit;
}

void handle_table_free(struct handle_table *t)
{
	free(t->slots);
	handle_table_init(t, t->limit);
}

static void put_free(struct handle_table *t, uint32_t index)
{
	t->slots[index].next_free = 0;
	if (t->free_tail)
		t->slots[t->free_tail - 1].next_free = index + 1;
	else
		t->free_head = index + 1;
	t->free_tail = index + 1;
}

static int grow(struct handle_table *t)
{
	uint32_t capacity = t->capacity ? t->capacity * 2 : FIRST_CAPACITY;
	struct handle_slot *slots;

	if (capacity > t->limit)
		capacity = t->limit;
	if (capacity <= t->capacity)
		return -ENFILE;
	slots = realloc(t->slots, capacity * sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	t->slots = slots;
	memset(slots + t->capacity, 0, (capacity - t->capacity) * sizeof(*slots));
	for (uint32_t i = t->capacity; i < capacity; i++)
		put_free(t, i);
	t->capacity = capacity;
	return 0;
}

int handle_add(struct handle_table *t, void *object)
{
	struct handle_slot *slot;
	uint32_t index;
	int rc;

	if (!t->free_head) {
		rc = grow(t);
		if (rc < 0)
			return rc;
	}
	index = t->free_head - 1;
	slot = &t->slots[index];
	t->free_head = slot->next_free;
	if (!t->free_head)
		t->free_tail = 0;
	slot->object = object;
	t->count++;
	return (int)(slot->generation << HANDLE_INDEX_BITS | index);
}

int handle_put(struct handle_table *t, int handle, void *object)
{
	uint32_t index = (uint32_t)handle;

	if (handle < 0 || index > HANDLE_INDEX_MASK)
		return -ENFILE;
	while (index >= t->capacity) {
		int rc = grow(t);

		if (rc < 0)
			return rc;
	}
	if (t->slots[index].object)
		return -EEXIST;
	t->slots[index].object = object;
	t->slots[index].generation = 0;
	t->count++;
	return 0;
}

static struct handle_slot *find(const struct handle_table *t, int handle)
{
	uint32_t index = (uint32_t)handle & HANDLE_INDEX_MASK;
	struct handle_slot *slot;

	if (handle < 0 || index >= t->capacity)
		return NULL;
	slot = &t->slots[index];
	if (!slot->object || slot->generation != (uint32_t)handle >> HANDLE_INDEX_BITS)
		return NULL;
	return slot;
}

void *handle_get(const struct handle_table *t, int handle)
{
	struct handle_slot *slot = find(t, handle);

	return slot ? slot->object : NULL;
}

void *handle_remove(struct handle_table *t, int handle)
{
	struct handle_slot *slot = find(t, handle);
	void *object;

	if (!slot)
		return NULL;
	object = slot->object;
	slot->object = NULL;
	slot->generation = (slot->generation + 1) & HANDLE_GENERATION_MASK;
	t->count--;
	put_free(t, (uint32_t)(slot - t->slots));
	return object;
}
