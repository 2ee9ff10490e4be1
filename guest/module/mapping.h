/* SPDX-License-Identifier: GPL-2.0 */
/* A circuit's memory in programs: see mapping.c. */
#ifndef CSVN_MAPPING_PRIVATE_H
#define CSVN_MAPPING_PRIVATE_H

#include <linux/fs.h>
#include <linux/mm.h>

#include "csvn.h"

/* Parts of a mapping. */
enum { CSVN_MINE, CSVN_THEIRS, CSVN_PARTS };

struct csvn_mapping {
	struct address_space space; /* nothing but who maps it */
	struct file *file; /* owns this; counted by the circuit, by who maps it, and by work */
	struct rw_semaphore lock;
	bool ended; /* lock */
	struct delayed_work work;
	/* constant: */
	unsigned long control[CSVN_PARTS]; /* page frames */
	unsigned long ring[CSVN_PARTS]; /* the first of each */
	u32 pages; /* of a ring, a power of two */
};

extern const struct vm_operations_struct csvn_mapping_vm;

struct file *csvn_mapping_get(struct csvn_circuit *c);
void csvn_mapping_end(struct csvn_mapping *m);
void csvn_mapping_reset(struct csvn_circuit *c);
void csvn_mapping_drop(struct csvn_circuit *c);
struct csvn_mapping *csvn_mapping_new(void);
/* Where the circuit's memory is. */
void csvn_mapping_set(struct csvn_mapping *m, const struct csvn_circuit *c);

static inline u32 csvn_part_pages(const struct csvn_mapping *m)
{
	return 1 + 2 * m->pages;
}

#endif
