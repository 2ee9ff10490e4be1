/* SPDX-License-Identifier: MIT */
/*
 * A bounded queue of records from one process to another, through memory that both have mapped. Neither trusts the other: whatever the other
 * side writes there, and whenever, this side stays within its bounds, and its calls end.
 *
 * The producer writes records behind its cursor, then publishes that; the consumer copies them out from its own, then publishes that. Nothing is
 * ever read back from the shared memory that this side has written. What the other side has written is loaded once, into a copy, and the copy is
 * checked. -EPROTO is final: the other side lies, and its queue is of no more use.
 *
 * A record is a length (u32; of the whole record, itself included) and bytes. It begins at a multiple of QUEUE_ALIGN, and may run on from the end
 * of the ring at its beginning; its length never does.
 *
 * Sleeping: a consumer that finds nothing says that it sleeps, and looks again; a producer that has put something looks whether the consumer
 * sleeps. Either the one sees the record, or the other sees the sleeper: so no wake-up is lost, and nobody rings for one that is awake.
 *
 * Not for several threads of one side at once: they take turns under a lock of their own.
 */
#ifndef CSVN_QUEUE_H
#define CSVN_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

#define QUEUE_ALIGN 8u
#define QUEUE_HEADER ((uint32_t)sizeof(uint32_t))
#define QUEUE_SIZE_MIN 64u /* bytes of a ring: a power of two */
#define QUEUE_SIZE_MAX (1u << 30) /* half of what cursors can tell apart, and sums of two do not wrap */

/* The ring is right behind it. All zero is an empty queue. Cursors count bytes, modulo 2^32; they are multiples of QUEUE_ALIGN. */
struct queue_shared {
	_Alignas(64) uint32_t produced; /* the producer's */
	_Alignas(64) uint32_t consumed; /* the consumer's */
	uint32_t asleep; /* the consumer's, but the producer clears it when it rings */
};

_Static_assert(sizeof(struct queue_shared) == 128, "queue size");

/* One side of it, in that side's own memory. */
struct queue {
	struct queue_shared *shared;
	uint8_t *ring;
	uint32_t size; /* of the ring */
	uint32_t own; /* this side's cursor */
	uint32_t other; /* the other side's, last seen, and found to be possible */
	bool producer;
};

struct queue_part {
	const void *bytes;
	uint32_t count;
};

/* What a queue with a ring of this size takes of memory. */
static inline uint32_t queue_bytes(uint32_t size)
{
	return (uint32_t)sizeof(struct queue_shared) + size;
}

/* What a record takes of the ring, whose parts are so many bytes (QUEUE_SIZE_MAX at most). */
static inline uint32_t queue_record(uint32_t bytes)
{
	return (QUEUE_HEADER + bytes + (QUEUE_ALIGN - 1)) & ~(QUEUE_ALIGN - 1);
}

/* A side of a queue that is empty and new, at memory of queue_bytes(size), aligned to 64. -EINVAL: no such size or place. */
int queue_init(struct queue *q, void *memory, uint32_t size, bool producer);

/*
 * The producer's: one record of all parts, behind a length that is put before them. 0; -EAGAIN: no room now; -EMSGSIZE: it is over half of the
 * ring, so never; -EPROTO. The consumer is rung afterwards, once for any number of records, if queue_rings().
 */
int queue_put(struct queue *q, const struct queue_part *parts, uint32_t count);
/* Bytes of the ring that are free, of which a record takes queue_record(its bytes). 0 also if the consumer lies. */
uint32_t queue_room(struct queue *q);
/* After records were put: does the consumer sleep, and must it be rung? It is told once. */
bool queue_rings(struct queue *q);

/*
 * The consumer's: copy as many whole records as there are and as fit into the buffer, each at a multiple of QUEUE_ALIGN, with its length before it
 * and zeros after it. The bytes of it that they take; 0: there is none; -EMSGSIZE: the first does not fit; -EPROTO.
 */
int queue_take(struct queue *q, uint8_t *buffer, uint32_t bytes);
/* The same for the next record alone. Its length, QUEUE_HEADER at least. */
int queue_next(struct queue *q, uint8_t *buffer, uint32_t bytes);
/* Before the consumer sleeps. False: there is something, it does not sleep. */
bool queue_sleep(struct queue *q);
/* It is awake, whoever woke it, and wants no ringing. */
void queue_awake(struct queue *q);

#endif
