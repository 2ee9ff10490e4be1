/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The structures of the guest's driver, and who owns their fields. What is done with them is in the header of each subject.
 *
 * A struct csvn_device is one virtio-circuit device. A struct csvn_circuit is one connection's memory and belongs to
 * one device. A struct csvn_sock is what one socket has to do with circuits; it hangs off the socket's inode, only
 * while the socket is listening, connecting or connected over a circuit. The socket itself stays a genuine TCP socket,
 * which its own stack believes to be closed (or listening): see sock.c.
 *
 * Lock order: lock_sock(sk), csvn_sock.tx, csvn_sock.rx, csvn_sock.lock, and then, none inside another, the device's
 * spinlocks (control_lock, circuits_lock, bell_lock). csvn_sock.lock and the device's are taken in interrupts.
 */
#ifndef CSVN_H
#define CSVN_H

#include <linux/completion.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/net.h>
#include <linux/poll.h>
#include <linux/refcount.h>
#include <linux/sched/clock.h>
#include <linux/sched/signal.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <linux/virtio.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>
#include <net/sock.h>

#include <csvn/circuit.h>
#include <csvn/records.h>
#include <csvn/ring.h>
#include <csvn/spin.h>

#include "compat.h"

#define CSVN_DRIVER "csvn-linux 1"

/* Limits and times. */
#define CSVN_ANSWER_MS 30000 /* for any request but CONNECT */
#define CSVN_BYE_MS 10000 /* who does not answer in that time is dead */
#define CSVN_CONNECT_MS 130000 /* the device gives up after 127 s */
#define CSVN_VISIBLE_MS 2000 /* for an arena's nonce to appear */
#define CSVN_DRAIN_MS 30000 /* for copies under way, when the device goes */
#define CSVN_EVENT_BUFFERS 64u
#define CSVN_WAKE_BUFFERS 32u
#define CSVN_BELLS 64u /* doorbell buffers */
#define CSVN_IDS 64u /* circuit ids in a doorbell or wake buffer */
#define CSVN_CONTROL_RESERVE 16u /* control queue entries that CONNECT may not use */
#define CSVN_LAZY_MAX 32u /* lazy requests that the device is not told of, */
#define CSVN_LAZY_JIFFIES 1 /* and for how long */
#define CSVN_CREDIT_JIFFIES 1 /* that credit is gathered for */
#define CSVN_HASH_BITS 12
#define CSVN_COPY_CHUNK (64u << 10) /* bytes copied between two looks at the peer */
#define CSVN_SPARE_CLOSES 64u
#define CSVN_EARLY 64u
#define CSVN_WIRES 16u /* kept for requests when there is no memory */
#define CSVN_HELLO_MS 5000 /* that a probe waits for the switch */
#define CSVN_MTU 65535
#define CSVN_TRIES 16 /* looks in vain at cursors that were about to move, before "would block" */

struct csvn_circuit;
struct csvn_device;
struct csvn_dsock;
struct csvn_flow;
struct csvn_mapping;
struct csvn_sock;
struct csvn_telling;

union csvn_record {
	struct csvn_header header;
	struct csvn_hello hello;
	struct csvn_listen listen;
	struct csvn_unlisten unlisten;
	struct csvn_credit credit;
	struct csvn_connect connect;
	struct csvn_cancel cancel;
	struct csvn_close close;
	struct csvn_set_options options;
	struct csvn_arena_request arena;
	struct csvn_response response;
	struct csvn_hello_response hello_response;
	struct csvn_connect_response connect_response;
	struct csvn_incoming incoming;
	struct csvn_reset reset;
	struct csvn_arena_event arena_event;
	u8 bytes[CSVN_RECORD_MAX];
};

static_assert(sizeof(union csvn_record) == CSVN_RECORD_MAX);

/*
 * A request on the control queue. done() is called exactly once, without locks, in any context, interrupts included;
 * error is 0 or a positive errno, ENETDOWN when the device is gone. From then on the request is its owner's again.
 */
struct csvn_request {
	struct list_head node; /* control_lock */
	void (*done)(struct csvn_request *req, int error);
	u32 size; /* of out, bytes */
	u32 got; /* bytes that the device wrote into in */
	struct csvn_wire *wire; /* while it is in the queue; control_lock */
	bool quiet; /* nobody waits for the answer, or looks for it: done() may come late */
	bool lazy; /* the device may learn of it late */
	bool answered; /* taken back; control_lock */
	union csvn_record out;
	union csvn_record in;
};

struct csvn_spare;
struct csvn_wire;

struct csvn_bell {
	u32 ids[CSVN_IDS];
};

struct csvn_counters {
	atomic64_t connects;
	atomic64_t connects_failed;
	atomic64_t accepts;
	atomic64_t refused; /* connections to listeners that were gone, or without memory */
	atomic64_t resets;
	atomic64_t violations;
	atomic64_t doorbells;
	atomic64_t wakes;
	atomic64_t sent; /* bytes, of closed circuits */
	atomic64_t received;
	atomic64_t dropped_packets;
	atomic64_t datagrams_sent;
	atomic64_t datagrams_received;
	atomic64_t datagrams_dropped; /* no room, nobody there, or not wanted */
	atomic_t circuits; /* open now */
};

/*
 * What the switch is to the driver. csvn_presence_set() changes it.
 */
enum csvn_presence {
	CSVN_CALLING, /* HELLO is not answered: there is no interface, and nothing goes by circuits */
	CSVN_MET, /* it was: everything is up */
	CSVN_REFUSED, /* it was, but the two have no business with each other */
	CSVN_LEFT, /* the device goes */
};

struct csvn_device {
	struct kref ref;
	struct virtio_device *vdev;
	struct virtqueue *vq[CSVN_QUEUES];
	struct csvn_identity identity; /* as the answer to HELLO had it */
	struct net_device *netdev;
	int ifindex; /* of netdev */

	/* The window; constant from probe to the end of remove. */
	u8 *window;
	u64 window_start; /* physical address */
	u64 window_length;

	u64 features; /* agreed on by HELLO */

	/* control.c */
	spinlock_t control_lock; /* queue 0, and: */
	bool up; /* requests are taken: between HELLO and BYE */
	bool dead; /* the queues are gone, or about to go */
	u64 token; /* last one used */
	u32 connecting; /* CONNECTs in the queue */
	u32 connecting_max;
	struct list_head requests; /* that wait for a place in the queue */
	struct list_head connects; /* the same, CONNECT */
	struct list_head flying; /* in the queue */
	u32 awaited; /* requests sent, and not answered, that are not quiet */
	bool listening; /* the queue's interrupt is on */
	u32 unnotified; /* requests in the queue that the device was not told of */
	bool urgent; /* one of them is not lazy */
	struct timer_list lazy; /* to tell it at last */
	struct list_head wires; /* spare ones */
	u32 wires_spare;

	/* call.c */
	struct csvn_spare *spares;
	DECLARE_BITMAP(spares_used, CSVN_SPARE_CLOSES);

	/* doorbell.c */
	spinlock_t bell_lock; /* queue 2, and: */
	struct csvn_bell *bells;
	u32 bells_free;
	struct csvn_bell *bell_stack[CSVN_BELLS];
	struct list_head ringing; /* circuits whose doorbell waits for a buffer */
	struct csvn_bell *wakes; /* buffers of queue 3 */

	/* event.c */
	union csvn_record *events; /* buffers of queue 1 */
	bool heeds; /* events are the present switch's: the first of them has come */

	/* arena.c */
	struct xarray arenas;

	/* circuit.c */
	spinlock_t circuits_lock; /* writers; readers have RCU */
	bool closing; /* the device takes no more circuits */
	bool stuck; /* somebody touches the window for good: it stays mapped */
	struct csvn_early {
		u32 id;
		u32 error;
		u64 until; /* the last request that had been sent by then: 0, unused */
	} early[CSVN_EARLY]; /* RESET events of circuits that are not known (yet) */
	u32 early_next;
	struct hlist_head circuits[1 << CSVN_HASH_BITS];

	/* presence.c */
	enum csvn_presence presence; /* the work's */
	struct work_struct presence_work;
	struct completion decided; /* the switch has answered HELLO for the first time */
	struct csvn_request hello;
	int hello_error; /* with hello_answered */
	bool hello_answered;
	int refusal; /* negative errno, when REFUSED */
	bool silent; /* the switch is taken for dead */
	bool leaving; /* the device goes: nothing changes any more */
	bool ping; /* it is to be sent; the beat's */
	struct delayed_work beat;
	atomic_t heard; /* something came from the switch since the last beat */
	unsigned int beats; /* without an answer; the beat's */

	struct csvn_counters count;
};

/*
 * Whose a circuit is: a socket of either kind, which has this in it. Who has to do with circuits alone need not know which.
 */
struct csvn_owner {
	const struct csvn_owner_ops *ops;
};

struct csvn_owner_ops {
	/* Count it; false: it is on its way out. Under RCU. */
	bool (*get)(struct csvn_owner *owner);
	void (*put)(struct csvn_owner *owner);
	/* There is something to see in c. In an interrupt, under RCU; c may be its owner's no more. */
	void (*wake)(struct csvn_owner *owner, struct csvn_circuit *c);
	/* The circuit's device is gone. False when a copy is under way that does not end by then. */
	bool (*lost)(struct csvn_owner *owner, struct csvn_circuit *c, unsigned long deadline);
};

/*
 * One side of a circuit. Found by id under RCU, counted; its memory is not touched any more once it is closed or lost.
 */
struct csvn_circuit {
	struct hlist_node node; /* circuits_lock */
	struct csvn_device *dev; /* counted */
	refcount_t ref;
	struct rcu_head rcu;
	u32 id;
	struct csvn_end end; /* fields: see ring.h; sending lock: csvn_sock.tx, receiving: .rx, arming: .lock */
	struct csvn_endpoint local;
	struct csvn_endpoint remote;

	/* NULL before accept() and after close; written under the socket's lock; a datagram socket's tx and rx to take it away */
	struct csvn_owner *owner;
	struct list_head pending; /* in its listener's queue; the listener's lock */
	struct list_head ringing; /* bell_lock */

	/* Datagram circuits, of which a socket may have many; csvn_dsock.lock unless said otherwise: see dgram_circuit.c */
	struct list_head member; /* of the socket's circuits */
	struct list_head ready; /* of the socket's circuits that may have something; all others are armed */
	unsigned long used; /* jiffies, when something last passed; hint */
	u32 credit; /* the listener that it is counted for, or 0; constant */
	bool datagram; /* constant */
	bool host; /* it leads to the host's stack; constant */
	bool ended; /* RESET came, or it is not wanted any more */
	bool dropped; /* what is unread does not matter */
	bool told; /* its error was reported */

	u32 state; /* CSVN_STATE_* published by this side; csvn_sock.tx, or nobody else knows the circuit */
	struct csvn_mapping *mapping; /* set under csvn_sock.tx, rx and lock; cleared when nobody else knows it */
	int reset; /* errno of a RESET event, else 0 */
	bool lost; /* the device is gone: the memory must not be touched */
	bool violated; /* the peer broke an invariant: so says nobody who shares the own control page with a program */
	struct csvn_telling *telling; /* OPTIONS under way, or NULL; the lock of the socket that sent it: see host_options.c */
	struct csvn_request close;
};

/*
 * States of a socket, as far as circuits are concerned. csvn_sock_set() changes them, under csvn_sock.lock.
 */
enum csvn_state {
	CSVN_IDLE, /* ours in nothing: all calls go to the native operations */
	CSVN_CONNECTING, /* an attempt is under way; sock->state is SS_CONNECTING */
	CSVN_FAILED, /* the attempt failed, and connect() has not told yet (as TCP_CLOSE in SS_CONNECTING) */
	CSVN_CONNECTED, /* has a circuit, or had one that broke */
	CSVN_LISTENING, /* has a listener: at the switch, and natively */
	CSVN_RELEASED, /* the socket is gone */
};

/* A CONNECT under way: counted by its request, and by whoever may give it up. */
struct csvn_attempt {
	struct csvn_request req;
	refcount_t ref;
	struct csvn_device *dev; /* counted */
	struct csvn_owner *owner; /* counted: whose the circuit is to be */
	struct csvn_circuit *circuit; /* made beforehand, since the answer comes in an interrupt */
	struct delayed_work deadline; /* streams; it is what counts the attempt, beside its request */
	struct csvn_flow *flow; /* datagrams, the same; NULL: given up; csvn_dsock.lock */
};

struct csvn_listener {
	u32 id;
	u32 protocol; /* CSVN_PROTOCOL_* */
	struct csvn_sock *cs; /* counted; datagrams: NULL */
	struct csvn_dsock *ds; /* counted; streams: NULL */
	struct list_head node; /* csvn_listeners_lock */
	struct csvn_endpoint local;
	u32 flags;
	int bound_dev_if;
	struct rcu_head rcu;
	/* csvn_sock.lock: */
	struct list_head pending; /* circuits, oldest first */
	u32 backlog;
	u32 waiting; /* length of pending */
	u32 gathered; /* accepted, but not yet told by CREDIT */
	struct timer_list late; /* to tell it all the same; streams */
	bool native_next; /* whose turn it is, when both queues have something */
};

struct csvn_sock {
	struct csvn_owner owner; /* of circuit */
	spinlock_t lock;
	enum csvn_state state; /* lock; read without it by smp_load_acquire() */
	refcount_t ref;
	struct rcu_head rcu;
	struct socket *sock; /* valid while state is not CSVN_RELEASED */
	struct sock *sk; /* the same */
	const struct proto_ops *native; /* what calls are delegated to */

	struct mutex tx; /* sending; never held while waiting for room */
	struct mutex rx; /* receiving; never held while waiting for bytes */
	struct csvn_circuit __rcu *circuit; /* tx and rx and lock to change, any of them to read */
	struct csvn_attempt *attempt; /* lock */
	struct csvn_listener *listener; /* constant while CSVN_LISTENING */
	struct csvn_options told; /* lock: what the host's stack knows of the socket's options */

	struct csvn_endpoint local; /* names: constant once connecting or connected */
	struct csvn_endpoint remote;
	u32 disconnects; /* the sock lock */
	bool fin_sent; /* tx */
	bool broken; /* lock: nothing will be sent or received any more */
	bool armed_rx; /* lock: asked for a wake-up that has not come */
	bool armed_tx; /* the same */
	bool told_end; /* lock: a wake has told of the end of file, or of a break */
	bool told_break;
	bool edge; /* somebody polls edge-triggered: arm after each transfer */
	bool waited; /* a wait for bytes was had on this circuit: spin_rx is its own */
	struct csvn_spin spin_rx; /* rx; hints, that a wait without it may change */
	struct csvn_spin spin_tx; /* tx */
};

/* The module's parameters and queues: main.c. */
extern unsigned int csvn_spin_us;
extern bool csvn_hairpin;
extern struct workqueue_struct *csvn_workqueue, *csvn_arena_workqueue;

static inline struct csvn_sock *csvn_sk(struct socket *sock)
{
	return READ_ONCE(SOCK_INODE(sock)->i_private);
}

static inline struct csvn_sock *csvn_owner_sock(struct csvn_owner *owner)
{
	return container_of(owner, struct csvn_sock, owner);
}

static inline enum csvn_state csvn_state(const struct csvn_sock *cs)
{
	return cs ? smp_load_acquire(&cs->state) : CSVN_IDLE;
}

/* The own cursors, as a program that has mapped the circuit may have moved them. Hints: only a transfer checks them. */
static inline u64 csvn_tail(const struct csvn_circuit *c)
{
	return READ_ONCE(c->mapping) ? CSVN_LOAD_ACQUIRE(&c->end.own->tail) : READ_ONCE(c->end.tail);
}

static inline u64 csvn_head(const struct csvn_circuit *c)
{
	return READ_ONCE(c->mapping) ? CSVN_LOAD_ACQUIRE(&c->end.own->head) : READ_ONCE(c->end.head);
}

/* Before a transfer, with the sending (receiving) lock held: go on from where the program is. */
static inline void csvn_take_tx(struct csvn_circuit *c)
{
	if (c->mapping)
		csvn_tx_take(&c->end);
}

static inline void csvn_take_rx(struct csvn_circuit *c)
{
	if (c->mapping)
		csvn_rx_take(&c->end);
}

#endif
