/* SPDX-License-Identifier: MIT */
/* Guest memory: the regions of a front-end's memory table, mapped, and translation of addresses that the guest wrote. */
#ifndef CSVN_MEMORY_H
#define CSVN_MEMORY_H

#include <stdint.h>

#include "csvn/abi.h"

#define MEMORY_REGIONS 8u

struct memory_region {
	uint64_t guest, user, size, offset;
	uint64_t device, inode; /* of the file, to recognise an unchanged table */
	uint8_t *host; /* of the region's first byte */
	void *mapping; /* what munmap() takes */
	uint64_t mapped;
};

struct memory {
	uint32_t count;
	struct memory_region regions[MEMORY_REGIONS];
};

/* Map the regions into m, which is empty. On an error m is left empty. */
int memory_map(struct memory *m, const struct csvn_region *regions, uint32_t count);
void memory_unmap(struct memory *m);
/* Do these regions say what m already is? */
int memory_same(const struct memory *m, const struct csvn_region *regions, uint32_t count);

/* The host address of [guest, guest + *bytes), with *bytes cut to what lies in one region; NULL where there is no memory. */
uint8_t *memory_guest(const struct memory *m, uint64_t guest, uint64_t *bytes);
/* The host address of [user, user + bytes), which must lie in one region as a whole; NULL otherwise. */
uint8_t *memory_user(const struct memory *m, uint64_t user, uint64_t bytes);

#endif
