/* SPDX-License-Identifier: MIT */
/*
 * Setting connections up, as often as possible: by drivers of csvn's device on fake front-ends, and by loopback TCP. bench/setup.ts
 * starts the devices and calls these functions; nothing else does.
 */
#ifndef CSVN_BENCH_SETUP_H
#define CSVN_BENCH_SETUP_H

#include <stdint.h>

#define SETUP_EXPORT __attribute__((visibility("default")))
#define SETUP_QUEUES 4u

/* A virtqueue in the fake guest's memory, as TypeScript has left it: offsets, and the next indices. */
struct setup_queue {
	uint32_t desc;
	uint32_t avail;
	uint32_t used;
	uint32_t size;
	uint32_t available;
	uint32_t seen;
	int32_t kick;
	int32_t call;
};

/* A fake guest that is up. */
struct setup_vm {
	uint64_t memory; /* address of guest memory; guest-physical 0 */
	uint64_t window; /* address of the shared-memory window */
	uint32_t buffers; /* where this code may have its requests, in guest memory */
	uint32_t address; /* IPv4, network order */
	struct setup_queue queues[SETUP_QUEUES];
};

struct setup_job {
	uint32_t count; /* connections */
	uint32_t at_once;
	uint32_t keep; /* leave them open at both ends */
	uint32_t port; /* where the odd VMs listen; also the listener's id */
};

struct setup_run;

/*
 * Take over VMs that are up, in pairs: each even one connects to the odd one after it. vms must stay where it is until setup_end().
 */
SETUP_EXPORT struct setup_run *setup_begin(struct setup_vm *vms, uint32_t count);
SETUP_EXPORT void setup_end(struct setup_run *r);

/*
 * Connect, one byte, close; so many at once, spread over the pairs. Returns 0 when all bytes have been read and all ends
 * closed, or a negative errno; and the nanoseconds that it took.
 */
SETUP_EXPORT int setup_circuits(struct setup_run *r, const struct setup_job *job, uint64_t *elapsed);

/* The same over loopback TCP, in this process by two threads. */
SETUP_EXPORT int setup_tcp(const struct setup_job *job, uint64_t *elapsed);

#endif
