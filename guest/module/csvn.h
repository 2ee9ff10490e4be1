/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The structures of the guest's driver, and who owns their fields.
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

/* A CONNECT under way: owned by its request, counted by it and by the deadline. */
struct csvn_attempt {
	struct csvn_request req;
	struct delayed_work deadline;
	refcount_t ref;
	struct csvn_device *dev; /* counted */
	struct csvn_sock *cs; /* counted */
	struct csvn_circuit *circuit; /* made beforehand, since the answer comes in an interrupt */
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

/* main.c */
extern unsigned int csvn_spin_us;
extern bool csvn_hairpin;
extern struct workqueue_struct *csvn_workqueue, *csvn_arena_workqueue;

/* family.c */
int csvn_family_init(void);
void csvn_family_exit(void);

/* sock.c */
typedef int csvn_create_fn(struct net *net, struct socket *sock, int protocol, int kern);
void csvn_natives_set(const struct proto_ops *native4, const struct proto_ops *native6);
void csvn_creates_set(csvn_create_fn *create4, csvn_create_fn *create6);
int csvn_sock_create(struct socket *sock, int family, int kern);
struct csvn_sock *csvn_sock_new(struct socket *sock);
struct csvn_sock *csvn_sock_need(struct socket *sock);
void csvn_sock_put(struct csvn_sock *cs);
void csvn_sock_set(struct csvn_sock *cs, enum csvn_state state);
const struct proto_ops *csvn_native(struct socket *sock);
int csvn_tcp_state(struct csvn_sock *cs);

static inline struct csvn_sock *csvn_sk(struct socket *sock)
{
	return READ_ONCE(SOCK_INODE(sock)->i_private);
}

static inline enum csvn_state csvn_state(const struct csvn_sock *cs)
{
	return cs ? smp_load_acquire(&cs->state) : CSVN_IDLE;
}

/* ops.c */
extern struct proto_ops csvn_ops4, csvn_ops6;
void csvn_ops_init(const struct proto_ops *native4, const struct proto_ops *native6);

/* connect.c */
int csvn_connect(struct socket *sock, csvn_sockaddr *addr, int addr_len, int flags);

/* attempt.c */
int csvn_attempt_start(struct csvn_sock *cs, struct csvn_device *dev, bool look);
long csvn_attempt_wait(struct csvn_sock *cs, long timeo);
int csvn_wait_connected(struct csvn_sock *cs, long *timeo);
void csvn_attempt_cancel(struct csvn_sock *cs, enum csvn_state state);

/* listen.c */
int csvn_listen(struct socket *sock, int backlog);
void csvn_unlisten(struct csvn_sock *cs);

/* listener.c */
struct csvn_listener *csvn_listener_find(u32 id);
int csvn_listener_publish(struct csvn_listener *l);
int csvn_listener_tell(struct csvn_listener *l, unsigned int ms);
void csvn_listener_retract(struct csvn_listener *l);
void csvn_listeners_register(struct csvn_device *dev);
void csvn_listeners_exit(void);

/* incoming.c */
void csvn_incoming(struct csvn_device *dev, const union csvn_record *ev);

/* credit.c */
void csvn_credit_init(struct csvn_listener *l);
void csvn_credit_end(struct csvn_listener *l);
void csvn_credit(struct csvn_sock *cs, struct csvn_device *dev, bool accepted);

/* async.c */
void csvn_async_init(struct proto *native4, struct proto *native6);
void csvn_async_watch(struct csvn_sock *cs);
void csvn_async_leave(struct csvn_sock *cs);

/* accept.c */
int csvn_accept(struct socket *sock, struct socket *newsock, CSVN_ACCEPT_PARAMS);
bool csvn_accept_ready(struct csvn_sock *cs);

/* circuit.c */
struct csvn_circuit *csvn_circuit_new(struct csvn_device *dev, gfp_t gfp);
int csvn_circuit_map(struct csvn_circuit *c, u32 id, const struct csvn_extents *x, u64 connect);
struct csvn_circuit *csvn_circuit_find(struct csvn_device *dev, u32 id);
struct csvn_circuit *csvn_circuit_reset(struct csvn_device *dev, u32 id, u32 error);
void csvn_circuit_put(struct csvn_circuit *c);
void csvn_circuit_unmap(struct csvn_circuit *c);
void csvn_circuit_wake(struct csvn_circuit *c);
void csvn_circuit_refuse(struct csvn_device *dev, u32 id, const struct csvn_extents *x);
void csvn_circuits_open(struct csvn_device *dev);

/* circuit_close.c */
void csvn_circuit_publish(struct csvn_circuit *c, u32 bits);
void csvn_circuit_close(struct csvn_circuit *c, u32 bits);

/* circuit_lost.c */
bool csvn_lock_by(struct mutex *m, unsigned long deadline);
bool csvn_circuits_lost(struct csvn_device *dev);

/* attach.c */
void csvn_attach(struct csvn_sock *cs, struct csvn_circuit *c);
struct csvn_circuit *csvn_detach(struct csvn_sock *cs);
void csvn_violation(struct csvn_sock *cs);

/* look.c */
void csvn_look(struct csvn_sock *cs, struct csvn_circuit *c);
void csvn_break(struct csvn_sock *cs, int err);
u32 csvn_readable(const struct csvn_circuit *c);
bool csvn_writable(const struct csvn_circuit *c);
void csvn_notify(struct socket *sock, __poll_t mask);

/* mmap.c */
int csvn_map(struct csvn_sock *cs, void __user *arg);
int csvn_kick(struct csvn_sock *cs);
int csvn_mmap(struct file *file, struct socket *sock, struct vm_area_struct *vma);

/* mapping.c */
struct file *csvn_mapping_get(struct csvn_circuit *c);
void csvn_mapping_end(struct csvn_mapping *m);
void csvn_mapping_reset(struct csvn_circuit *c);
void csvn_mapping_drop(struct csvn_circuit *c);

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

/* wait.c, dgram_recv.c */
/* Look for `due` for a moment before sleeping (spin.h), unless somebody else wants the CPU: true when it came. */
#define csvn_spin(spin, due) ({						\
	bool due_ = (due);						\
	u32 ns_ = due_ ? 0 : csvn_spin_begin(spin, csvn_spin_most());	\
	if (ns_) {							\
		u64 began_ = local_clock(), took_;			\
		do {							\
			cpu_relax();					\
			due_ = (due);					\
			took_ = local_clock() - began_;			\
		} while (!due_ && took_ < ns_ && !need_resched() &&	\
			 !signal_pending(current));			\
		csvn_spin_end(spin, took_, due_);			\
	}								\
	due_; })

u32 csvn_spin_most(void);
bool csvn_spin_readable(struct csvn_sock *cs, struct csvn_circuit *c, u32 beyond);
bool csvn_spin_room(struct csvn_sock *cs, struct csvn_circuit *c);
void csvn_wait_readable(struct csvn_sock *cs, u32 beyond, long *timeo);
void csvn_wait_room(struct csvn_sock *cs, long *timeo);
void csvn_ask_rx(struct csvn_sock *cs, struct csvn_circuit *c);
void csvn_ask_tx(struct csvn_sock *cs, struct csvn_circuit *c);
bool csvn_arm_readable(struct csvn_sock *cs, u32 beyond);
bool csvn_arm_room(struct csvn_sock *cs);
void csvn_rearm(struct csvn_sock *cs, struct csvn_circuit *c);

/* send.c, recv.c, poll.c */
int csvn_sendmsg(struct socket *sock, struct msghdr *msg, size_t size);
int csvn_recvmsg(struct socket *sock, struct msghdr *msg, size_t size, int flags);
__poll_t csvn_poll(struct file *file, struct socket *sock, struct poll_table_struct *wait);
ssize_t csvn_splice_read(struct socket *sock, loff_t *ppos, struct pipe_inode_info *pipe,
			 size_t len, unsigned int flags);
#ifdef CSVN_HAVE_SENDPAGE
ssize_t csvn_sendpage(struct socket *sock, struct page *page, int offset, size_t size, int flags);
#endif

/* close.c */
int csvn_release(struct socket *sock);
int csvn_shutdown(struct socket *sock, int how);
void csvn_disconnect(struct csvn_sock *cs);

/* names.c */
int csvn_take_port(struct sock *sk, struct csvn_endpoint *local);
void csvn_forget_port(struct sock *sk);
int csvn_getname(struct socket *sock, struct sockaddr *addr, int peer);
int csvn_name(struct sockaddr *addr, const struct csvn_endpoint *e, bool six);
void csvn_endpoint4(struct csvn_endpoint *e, __be32 ip, __be16 port);
void csvn_endpoint6(struct csvn_endpoint *e, const struct in6_addr *ip, __be16 port, u32 scope);

/* times.c */
void csvn_put_times(struct sock *sk, struct msghdr *msg);

/* options.c */
int csvn_setsockopt(struct socket *sock, int level, int name, sockptr_t val, unsigned int len);
int csvn_getsockopt(struct socket *sock, int level, int name, char __user *val, int __user *len);
int csvn_ioctl(struct socket *sock, unsigned int cmd, unsigned long arg);
void csvn_inherit(struct socket *sock, const struct sock *listener);

/* host_options.c */
void csvn_host_options_get(const struct sock *sk, const struct csvn_options *told, struct csvn_options *o);
void csvn_host_options_tell(struct csvn_sock *cs);

/* route.c */
struct csvn_device *csvn_route(struct sock *sk, const void *addr, int addr_len,
			       struct csvn_endpoint *local, struct csvn_endpoint *remote);
bool csvn_listen_address(struct sock *sk, struct csvn_endpoint *local, u32 *flags);
bool csvn_is_mine(struct csvn_device *dev, const struct csvn_endpoint *local);

/* device.c */
struct csvn_device *csvn_device_get(void);
void csvn_device_put(struct csvn_device *dev);
void csvn_device_activate(struct csvn_device *dev);

/* driver.c */
int csvn_device_init(void);
void csvn_device_exit(void);

/* presence.c */
void csvn_presence_init(struct csvn_device *dev);
int csvn_presence_begin(struct csvn_device *dev, unsigned int ms);
bool csvn_presence_end(struct csvn_device *dev);
void csvn_presence_exit(struct csvn_device *dev);

/* grave.c */
bool csvn_grave_find(struct virtio_device *vdev);
void csvn_grave_dig(struct virtio_device *vdev);
void csvn_grave_fill(struct virtio_device *vdev);
int csvn_grave_init(void);
void csvn_grave_exit(void);

/* control.c */
void csvn_control_init(struct csvn_device *dev);
int csvn_control_alloc(struct csvn_device *dev);
void csvn_control_free(struct csvn_device *dev);
void csvn_control_start(struct csvn_device *dev);
void csvn_control_up(struct csvn_device *dev, bool up);
void csvn_control_stop(struct csvn_device *dev);
void csvn_control_lose(struct csvn_device *dev);
void csvn_control_drop(struct csvn_device *dev);
void csvn_control_done(struct virtqueue *vq);
void csvn_request_init(struct csvn_request *req, u16 type, u32 size,
		       void (*done)(struct csvn_request *req, int error));
void csvn_request_send(struct csvn_device *dev, struct csvn_request *req);
void csvn_request_await(struct csvn_device *dev, struct csvn_request *req);
void csvn_control_look(struct csvn_device *dev);

/* call.c */
void csvn_request_cancel(struct csvn_device *dev, struct csvn_request *req);
int csvn_spares_alloc(struct csvn_device *dev);
void csvn_spares_free(struct csvn_device *dev);
int csvn_request_call(struct csvn_device *dev, const union csvn_record *out, u16 type, u32 size,
		      union csvn_record *in, u32 in_size, unsigned int ms);
int csvn_request_tell(struct csvn_device *dev, const union csvn_record *out, u16 type, u32 size,
		      gfp_t gfp);
int csvn_request_mention(struct csvn_device *dev, const union csvn_record *out, u16 type, u32 size, gfp_t gfp);
void csvn_close_unseen(struct csvn_device *dev, u32 id);

/* doorbell.c */
int csvn_bells_alloc(struct csvn_device *dev);
void csvn_bells_free(struct csvn_device *dev);
void csvn_bells_forget(struct csvn_device *dev);
void csvn_bells_drop(struct csvn_device *dev);
void csvn_ring(struct csvn_circuit *c);
void csvn_bells_done(struct virtqueue *vq);
int csvn_wakes_post(struct csvn_device *dev);
void csvn_wakes_done(struct virtqueue *vq);

/* event.c */
int csvn_events_alloc(struct csvn_device *dev);
void csvn_events_free(struct csvn_device *dev);
int csvn_events_post(struct csvn_device *dev);
void csvn_events_done(struct virtqueue *vq);

/* arena.c */
void csvn_arenas_init(struct csvn_device *dev);
void csvn_arenas_drop(struct csvn_device *dev);
int csvn_arena_find(struct csvn_device *dev, u32 id, u64 *offset, u64 *length);
void csvn_arena_prepare(struct csvn_device *dev, const union csvn_record *ev);
void csvn_arena_mapped(struct csvn_device *dev, const union csvn_record *ev);
void csvn_arena_retire(struct csvn_device *dev, const union csvn_record *ev);

/* netdev.c */
int csvn_netdev_add(struct csvn_device *dev);
void csvn_netdev_remove(struct csvn_device *dev);
struct csvn_device *csvn_netdev_device(struct net_device *netdev);

/* dgram_orphan.c */
void csvn_orphans_drain(void);
void csvn_orphans_exit(void);

/* debug.c */
void csvn_debug_init(void);
void csvn_debug_exit(void);

/* rtnl.c */
int csvn_rtnl_configure(struct net_device *netdev, const struct csvn_identity *identity);

#endif
