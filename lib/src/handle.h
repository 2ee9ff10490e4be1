/* SPDX-License-Identifier: MIT */
/*
 * Tables of objects by number. Those of a table are either its own choice (handle_add(): 20 bits of index and 11 of generation; a removed one stays invalid until its
 * index has been used 2048 times more), or somebody else's (handle_put(), below 2^20).
 */
#ifndef CSVN_HANDLE_H
#define CSVN_HANDLE_H

#include <stdint.h>

#define HANDLE_INDEX_BITS 20
#define HANDLE_INDEX_MASK ((1u << HANDLE_INDEX_BITS) - 1)
#define HANDLE_GENERATION_MASK 0x7ffu

struct handle_slot {
	void *object; /* NULL: free */
	uint32_t generation;
	uint32_t next_free; /* index + 1, 0: none */
};

struct handle_table {
	struct handle_slot *slots;
	uint32_t capacity;
	uint32_t limit; /* objects at most */
	uint32_t count;
	uint32_t free_head, free_tail; /* index + 1; freed slots are used again last, so that generations last long */
};

static inline uint32_t handle_index(int handle)
{
	return (uint32_t)handle & HANDLE_INDEX_MASK;
}

void handle_table_init(struct handle_table *t, uint32_t limit);
void handle_table_free(struct handle_table *t);
int handle_add(struct handle_table *t, void *object); /* -ENOMEM, -ENFILE */
int handle_put(struct handle_table *t, int handle, void *object); /* 0, -ENOMEM, -ENFILE, -EEXIST */
void *handle_get(const struct handle_table *t, int handle); /* NULL: stale or never valid */
void *handle_remove(struct handle_table *t, int handle); /* NULL: stale */

#define handle_for_each(t, i, item)                  \
	for (uint32_t i = 0; i < (t)->capacity; i++) \
		if (((item) = (t)->slots[i].object) != NULL)

#endif
