/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The structures of datagram sockets, and who owns their fields. What they are for: dgram_ops.c.
 *
 * Lock order: lock_sock(sk), csvn_dsock.tx, csvn_dsock.rx, csvn_dsock.lock, then the device's spinlocks.
 */
#ifndef CSVN_DGRAM_H
#define CSVN_DGRAM_H

#include "csvn.h"
#include "look.h"

#define CSVN_FLOW_BITS 6
#define CSVN_FLOWS_MAX 4096u /* of a socket */
#define CSVN_WAITING_MAX 256u /* datagrams of a socket that wait for a circuit */
#define CSVN_DGRAM_BACKLOG 1024u /* circuits of others that a socket takes */
#define CSVN_ASK_MS 10000u /* datagrams do not wait longer for a circuit */
#define CSVN_AGAIN_MS 2u /* until what could not be asked for is tried again, at first, */
#define CSVN_AGAIN_MOST_MS 64u /* and later: each time takes twice as long as the one before */
#define CSVN_WAITING_MS 250u /* between two looks at what waits */
#define CSVN_ORPHAN_BYTES (16l << 20) /* that outlive their sockets, of all sockets */
#define CSVN_ORPHAN_CONNECTS 256l /* of all of them, under way */
#define CSVN_ORPHAN_MS 1000u /* that removal waits for them */
#define CSVN_ORPHAN_END_MS 15000u /* the same when the module goes: longer than any of them lives */
#define CSVN_BIND_MS 2000u /* bind() waits for the switch at most */
#define CSVN_SEGMENTS_MAX 128u /* datagrams in one send with UDP_SEGMENT */

/* What the sender chose beside the bytes: for the frame's head. */
struct csvn_marks {
	u8 service;
	u8 hops;
};

/* A datagram that waits for its flow's circuit. */
struct csvn_waiting {
	struct list_head node;
	struct csvn_marks marks;
	u32 size; /* bytes */
	u8 data[];
};

/* A remote endpoint. Freed by holders of tx and lock alone. */
struct csvn_flow {
	struct hlist_node node;
	struct csvn_endpoint remote; /* constant */
	/* csvn_dsock.lock: */
	struct csvn_circuit *circuit; /* by which it is sent to; a member, or NULL */
	struct csvn_attempt *attempt; /* under way, or NULL */
	struct list_head waiting; /* oldest first; with a circuit, tx sends them */
	unsigned long used; /* jiffies */
	unsigned long since; /* jiffies, when the oldest that waits began to, or connect() asked */
	bool again; /* ask later: an orphan has the port, or the circuit was over before anything was sent */
	struct csvn_endpoint local; /* where what waits is sent from */
};

/* How and where datagrams are sent. */
struct csvn_dispatch {
	struct sockaddr_in6 room; /* for an address that the socket's family does not have */
	const void *addr; /* where to, for the routing table */
	int addr_len;
	struct csvn_endpoint remote; /* the same, for flows */
	struct csvn_marks marks;
	u32 segment; /* bytes of each datagram, or 0 */
	bool native; /* not by circuits */
};

struct csvn_dsock {
	struct csvn_owner owner; /* of circuits */
	spinlock_t lock; /* taken in interrupts */
	refcount_t ref;
	struct rcu_head rcu;
	struct socket *sock; /* valid while not released */
	struct sock *sk; /* the same */
	const struct proto_ops *native;
	bool released; /* lock */

	struct mutex tx; /* sending, making and freeing flows, and: */
	struct csvn_cork *cork; /* what UDP_CORK and MSG_MORE keep back, or NULL */
	struct mutex rx; /* receiving */
	struct delayed_work work; /* closes circuits, sends what waits; counts the socket while it is queued */

	/* lock: */
	struct csvn_listener *listener;
	struct list_head circuits; /* each counted; tx and rx to take one away */
	struct list_head ready; /* circuits that may have something. All others are armed. */
	struct hlist_head flows[1 << CSVN_FLOW_BITS];
	u32 flow_count;
	u32 waiting; /* datagrams in all flows */
	u32 waiting_bytes;
	u32 attempts; /* CONNECTs that were not answered */
	long orphan_bytes; /* what is charged for an orphan: memory, */
	long orphan_connects; /* and CONNECTs under way */
	bool connected; /* over a circuit */
	struct csvn_endpoint peer;

	struct list_head orphan; /* dgram_orphan.c */
	struct list_head heir; /* the same: it waits for an orphan to be done with: */
	u16 heir_port;
	u16 port; /* once it is closed; constant then */
	unsigned int again_ms; /* until the next try; tx */

	bool edge; /* somebody polls edge-triggered: arm after each datagram */
	bool native_next; /* whose turn it is, when circuits and the native queue have something; hint */
	struct csvn_spin spin_rx; /* rx */
};

/* The module's parameter: main.c. */
extern unsigned int csvn_datagram_idle;

static inline struct csvn_dsock *csvn_ds(struct socket *sock)
{
	return smp_load_acquire((struct csvn_dsock **)&SOCK_INODE(sock)->i_private);
}

static inline bool csvn_same(const struct csvn_endpoint *a, const struct csvn_endpoint *b)
{
	return a->family == b->family && a->port == b->port && !memcmp(a->ip, b->ip, sizeof(a->ip));
}

static inline struct csvn_dsock *csvn_owner_dsock(struct csvn_owner *owner)
{
	return container_of(owner, struct csvn_dsock, owner);
}

/* Is the circuit the socket's? */
static inline bool csvn_dgram_has(const struct csvn_dsock *ds, const struct csvn_circuit *c)
{
	return READ_ONCE(c->owner) == &ds->owner;
}

/*
 * The other end is done with it; what is in the ring may be read. The memory may be touched. Who wants to know whether anything
 * is left looks at this first, and at the ring afterwards: then nothing more comes.
 */
static inline bool csvn_over(const struct csvn_circuit *c)
{
	return smp_load_acquire(&c->ended) || csvn_peer_state(&c->end) & (CSVN_STATE_CLOSED | CSVN_STATE_RESET);
}

/* It looks as if a datagram is there. */
static inline bool csvn_has_frame(const struct csvn_circuit *c)
{
	return !READ_ONCE(c->dropped) && csvn_readable(c);
}

#endif
