/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * The circuit's memory: arena header, control pages and rings.
 *
 * Included by the host helper (lib/), the guest driver (guest/), the tests and the benches, so that there is one
 * description of every shared byte. All fields are little-endian; only little-endian machines are supported.
 * docs/virtio-circuit.md is the prose of this file.
 */
#ifndef CSVN_CIRCUIT_H
#define CSVN_CIRCUIT_H

#include <linux/types.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "csvn's shared memory is little-endian"
#endif

#ifdef __KERNEL__
#include <linux/build_bug.h>
#include <linux/stddef.h>
#define CSVN_ASSERT(cond, msg) static_assert(cond, msg)
#else
#include <stddef.h>
#ifdef __cplusplus
#define CSVN_ASSERT(cond, msg) static_assert(cond, msg)
#else
#define CSVN_ASSERT(cond, msg) _Static_assert(cond, msg)
#endif
#endif

#define CSVN_PAGE 4096u
#define CSVN_CACHE_LINE 64u

/* Ring sizes are powers of two within these bounds, in bytes. */
#define CSVN_RING_MIN (16u << 10)
#define CSVN_RING_MAX (16u << 20)
#define CSVN_RING_DEFAULT (256u << 10)

/* The first page of an arena: "CSVNAREN" and the nonce that tells a driver that the mapping has become visible. */
#define CSVN_ARENA_MAGIC 0x4e4552414e565343ull

struct csvn_arena_header {
	__u64 magic;
	__u64 nonce;
	__u64 length; /* of the arena, bytes, a multiple of CSVN_PAGE */
	__u32 ring_size; /* of every ring in it, bytes */
	__u32 reserved;
};

CSVN_ASSERT(sizeof(struct csvn_arena_header) == 32, "arena header size");

/*
 * Bits of csvn_control.state. They are only ever set, each after everything that it follows is visible
 * (store-release, pairs with the peer's load-acquire of state, which comes before its load of tail).
 */
#define CSVN_STATE_FIN 0x1u /* tail is final: nothing will be produced any more */
#define CSVN_STATE_CLOSED 0x2u /* nothing will be consumed any more: the socket is gone (implies FIN or RESET) */
#define CSVN_STATE_RESET 0x4u /* aborted: what is unread may be read, then ECONNRESET */
#define CSVN_STATE_ALL 0x7u

/*
 * A control page: one per side and circuit, written by that side alone.
 *
 * Cursors are free-running byte counts (they never wrap in a circuit's life); the byte of cursor c lies in the ring
 * at c modulo ring size. tail counts what this side has produced into its own ring, head what it has consumed of
 * the peer's ring. Invariant, checked by each reader: 0 <= peer.tail - own.head <= size, and
 * 0 <= own.tail - peer.head <= size, by unsigned subtraction.
 */
struct csvn_control {
	/* Line 0: the producer. */
	__u64 tail;
	__u32 state; /* CSVN_STATE_* */
	__u32 pad0[13];
	/* Line 1: the consumer. */
	__u64 head;
	__u64 pad1[7];
	/* Line 2: sleep sequences. A new value asks for one wake-up. */
	__u32 sleep_rx; /* wake me when you have produced, or changed state */
	__u32 sleep_tx; /* wake me when you have consumed and at least half of my ring is free, or changed state */
	__u32 watch; /* not 0: wake me whenever you have changed state, also while I do not ask */
	__u32 pad2[13];
	__u8 pad3[CSVN_PAGE - 3 * CSVN_CACHE_LINE];
};

CSVN_ASSERT(offsetof(struct csvn_control, tail) == 0, "tail");
CSVN_ASSERT(offsetof(struct csvn_control, state) == 8, "state");
CSVN_ASSERT(offsetof(struct csvn_control, head) == 64, "head");
CSVN_ASSERT(offsetof(struct csvn_control, sleep_rx) == 128, "sleep_rx");
CSVN_ASSERT(offsetof(struct csvn_control, sleep_tx) == 132, "sleep_tx");
CSVN_ASSERT(offsetof(struct csvn_control, watch) == 136, "watch");
CSVN_ASSERT(sizeof(struct csvn_control) == CSVN_PAGE, "control page size");

/*
 * In the rings of a datagram circuit, every datagram has this in front. The whole frame, padded to a multiple of 8
 * bytes, is published at once; it may wrap around the ring's end.
 */
#define CSVN_DATAGRAM_MAX 65507u /* payload bytes */
#define CSVN_DATAGRAM_ALIGN 8u

struct csvn_datagram {
	__u32 size; /* payload bytes, without padding */
	__u8 family; /* 4 or 6 */
	__u8 service; /* type of service or traffic class that the sender chose */
	__u16 port; /* host order (little-endian) */
	__u32 scope;
	/*
	 * 0, or an errno, from the host's stack alone and without payload: what the network said of datagrams to this
	 * address (ECONNREFUSED and the like, as ICMP reports them).
	 */
	__u16 error;
	__u8 hops; /* time to live or hop limit that the sender chose; 0: not told */
	__u8 reserved;
	__u8 ip[16]; /* network order, as in csvn_endpoint */
};

CSVN_ASSERT(sizeof(struct csvn_datagram) == 32, "datagram header size");

#endif
