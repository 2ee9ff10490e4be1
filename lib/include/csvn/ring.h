/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * The ring's operations: one code for the guest's kernel, the host's helper, tests and benches.
 *
 * Theory of operation. Each side is the only producer of its own ring and the only consumer of the peer's. A producer
 * copies bytes behind its tail, then publishes the new tail; a consumer copies bytes from its head, then releases
 * the new head. Nothing is ever read back from the own control page: struct csvn_end holds the truth (but see
 * csvn_tx_take()). What the peer wrote is hostile: it is loaded once, and checked by subtraction.
 *
 * Sleeping. A side that finds nothing to do arms (a new sleep sequence, then a full fence), looks again, and only then
 * sleeps. A side that has published or released does a full fence, looks at the peer's sequence, and rings once per new
 * value. The fences pair with each other (store buffering): either the sleeper sees the new cursor, or the other sees
 * the new sequence; so no wake-up is lost, and while neither sleeps nobody rings.
 *
 * Locking: tail, peer_head and rung_rx belong to whoever holds the sending lock, head, peer_tail and rung_tx
 * to whoever holds the receiving lock, the sleep sequences to whoever holds the arming lock.
 */
#ifndef CSVN_RING_H
#define CSVN_RING_H

#include "circuit.h"

#ifdef __KERNEL__
#include <asm/barrier.h>
#include <linux/compiler.h>
#include <linux/errno.h>
#define CSVN_LOAD(p) READ_ONCE(*(p))
#define CSVN_STORE(p, v) WRITE_ONCE(*(p), (v))
#define CSVN_LOAD_ACQUIRE(p) smp_load_acquire(p)
#define CSVN_STORE_RELEASE(p, v) smp_store_release(p, v)
/*
 * The peer is another machine's CPU, so the fence must be there on a uniprocessor kernel too; and it must be mfence,
 * not a locked add: an emulator that believes to run one CPU alone may emulate the latter without ordering.
 */
#define CSVN_FENCE() mb()
#else
#include <errno.h>
#include <stdbool.h>
#define CSVN_LOAD(p) __atomic_load_n((p), __ATOMIC_RELAXED)
#define CSVN_STORE(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)
#define CSVN_LOAD_ACQUIRE(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define CSVN_STORE_RELEASE(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
#define CSVN_FENCE() __atomic_thread_fence(__ATOMIC_SEQ_CST)
#endif

/* One side of a circuit, in its owner's private memory. */
struct csvn_end {
	struct csvn_control *own;
	struct csvn_control *peer; /* read only, by agreement */
	__u8 *tx;
	__u8 *rx;
	__u32 size; /* of each ring, bytes, a power of two */
	/* sending */
	__u32 rung_rx; /* the peer's sleep_rx that was last answered by a doorbell */
	__u64 tail;
	__u64 peer_head; /* last seen */
	/* receiving */
	__u64 head;
	__u64 peer_tail; /* last seen */
	__u32 rung_tx;
	/* arming */
	__u32 sleep_rx;
	__u32 sleep_tx;
};

static inline void csvn_end_init(struct csvn_end *e, struct csvn_control *own, struct csvn_control *peer, __u8 *tx,
				 __u8 *rx, __u32 size)
{
	e->own = own;
	e->peer = peer;
	e->tx = tx;
	e->rx = rx;
	e->size = size;
	e->rung_rx = e->rung_tx = 0;
	e->tail = e->peer_head = 0;
	e->head = e->peer_tail = 0;
	e->sleep_rx = e->sleep_tx = 0;
}

/*
 * A side may have two hands: a program that has mapped the circuit, and its kernel. Each has a struct csvn_end, and
 * each, before it produces (consumes), goes on from where the other has published that it is; then nothing is known of
 * the peer's cursor but what the invariant says. Only one hand at a time may send, and only one receive. A doorbell that
 * both ring is one too many, and does no harm.
 */
static inline void csvn_tx_take(struct csvn_end *e)
{
	__u64 tail = CSVN_LOAD(&e->own->tail);

	if (tail == e->tail)
		return;
	e->tail = tail;
	e->peer_head = tail - e->size; /* as if the ring were full: csvn_tx_room() looks, and checks */
}

static inline void csvn_rx_take(struct csvn_end *e)
{
	__u64 head = CSVN_LOAD(&e->own->head);

	if (head == e->head)
		return;
	e->head = head;
	e->peer_tail = head; /* as if it were empty: csvn_rx_ready() looks, and checks */
}

/*
 * Free bytes in the own ring, looking at the peer only when the last seen head leaves less than want.
 * Returns 0, or -EPROTO when the peer's head lies outside what was produced (invariant: tail - head <= size).
 */
static inline int csvn_tx_room(struct csvn_end *e, __u32 want, __u32 *room)
{
	__u64 used = e->tail - e->peer_head;

	if (e->size - used < want) {
		__u64 head = CSVN_LOAD_ACQUIRE(&e->peer->head); /* pairs with csvn_rx_release */

		/* Heads only grow: a head before the last seen one is as much a lie as one after tail. */
		if (e->tail - head > used)
			return -EPROTO;
		e->peer_head = head;
		used = e->tail - head;
	}
	*room = e->size - (__u32)used;
	return 0;
}

/* Make n bytes behind tail visible to the peer. The caller has written them and n <= room. */
static inline void csvn_tx_publish(struct csvn_end *e, __u32 n)
{
	e->tail += n;
	CSVN_STORE_RELEASE(&e->own->tail, e->tail); /* pairs with csvn_rx_ready */
}

/*
 * Bytes to read, looking at the peer only when the last seen tail leaves less than want.
 * Returns 0, or -EPROTO when the peer's tail is a lie (invariant: 0 <= tail - head <= size, and tails only grow).
 */
static inline int csvn_rx_ready(struct csvn_end *e, __u32 want, __u32 *ready)
{
	__u64 have = e->peer_tail - e->head;

	if (have < want) {
		__u64 tail = CSVN_LOAD_ACQUIRE(&e->peer->tail); /* pairs with csvn_tx_publish */

		if (tail - e->peer_tail > e->size - have)
			return -EPROTO;
		e->peer_tail = tail;
		have = tail - e->head;
	}
	*ready = (__u32)have;
	return 0;
}

/* Give n consumed bytes back to the peer. The caller has copied them and n <= ready. */
static inline void csvn_rx_release(struct csvn_end *e, __u32 n)
{
	e->head += n;
	CSVN_STORE_RELEASE(&e->own->head, e->head); /* pairs with csvn_tx_room */
}

/* Ask for a wake-up when there is something to read. Look again after this, before sleeping. */
static inline void csvn_arm_rx(struct csvn_end *e)
{
	CSVN_STORE(&e->own->sleep_rx, ++e->sleep_rx);
	CSVN_FENCE(); /* pairs with the fence of csvn_wants_rx */
}

/* Ask for a wake-up when half of the own ring is free. Look again after this, before sleeping. */
static inline void csvn_arm_tx(struct csvn_end *e)
{
	CSVN_STORE(&e->own->sleep_tx, ++e->sleep_tx);
	CSVN_FENCE(); /* pairs with the fence of csvn_wants_tx */
}

/* After publishing: must the peer's reader be woken? */
static inline bool csvn_wants_rx(struct csvn_end *e)
{
	__u32 seq;

	CSVN_FENCE(); /* pairs with the fence of csvn_arm_rx */
	seq = CSVN_LOAD(&e->peer->sleep_rx);
	if (seq == e->rung_rx)
		return false;
	e->rung_rx = seq;
	return true;
}

/*
 * After releasing: must the peer's writer be woken? Not before half of its ring is free, so that it wakes to some use.
 * A writer sleeps only when its ring is full, or (in poll) when less than half of it is free: see docs.
 */
static inline bool csvn_wants_tx(struct csvn_end *e)
{
	__u32 half = e->size / 2;
	__u64 used;
	__u32 seq;

	if (e->peer_tail - e->head > half)
		return false; /* the last seen tail is a lower bound, so more than half is used for certain */
	CSVN_FENCE(); /* pairs with the fence of csvn_arm_tx */
	seq = CSVN_LOAD(&e->peer->sleep_tx);
	if (seq == e->rung_tx)
		return false;
	/* A sleeping writer's tail stands still. A lie here is found by the next csvn_rx_ready, and costs a doorbell. */
	used = CSVN_LOAD(&e->peer->tail) - e->head;
	if (used > half && used <= e->size)
		return false;
	e->rung_tx = seq;
	return true;
}

/* The peer's state bits, to be loaded before its tail: with FIN set, the tail that csvn_rx_ready loads then is final. */
static inline __u32 csvn_peer_state(const struct csvn_end *e)
{
	return CSVN_LOAD_ACQUIRE(&e->peer->state) & CSVN_STATE_ALL; /* pairs with csvn_set_state */
}

/* Publish state (all bits that hold by now); ring the peer afterwards if csvn_wants_state. */
static inline void csvn_set_state(struct csvn_end *e, __u32 state)
{
	CSVN_STORE_RELEASE(&e->own->state, state); /* pairs with csvn_peer_state */
}

/* Ask to be woken by every change of the peer's state from now on, for those who may not ask each time. Look afterwards. */
static inline void csvn_watch(struct csvn_end *e)
{
	if (CSVN_LOAD(&e->own->watch))
		return;
	CSVN_STORE(&e->own->watch, 1);
	CSVN_FENCE(); /* pairs with the fence of csvn_wants_state */
}

/*
 * After csvn_set_state(): must the peer be woken? Whoever sleeps has armed, whoever watches wants it always, and a peer that
 * has closed will not look again. A reset is news to everybody: errors are asked for without sleeping.
 * The sequences are left to those who publish bytes, so this may ring once more than is needed.
 */
static inline bool csvn_wants_state(const struct csvn_end *e, __u32 state)
{
	CSVN_FENCE(); /* pairs with the fences of csvn_arm_rx, csvn_arm_tx and csvn_watch */
	if (CSVN_LOAD(&e->peer->state) & CSVN_STATE_CLOSED)
		return false;
	return state & CSVN_STATE_RESET || CSVN_LOAD(&e->peer->watch) ||
	       CSVN_LOAD(&e->peer->sleep_rx) != e->rung_rx || CSVN_LOAD(&e->peer->sleep_tx) != e->rung_tx;
}

#endif
