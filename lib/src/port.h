/* SPDX-License-Identifier: MIT */
/*
 * A port: the process of one front-end. One thread waits on every descriptor of it (the front-end, its back-end channel, kicks, the host's
 * sockets, other ports' bells) and on the brain's commands. Nobody else works on what is in here, so nothing is locked.
 *
 * This is what it consists of, as data. Whoever works on a part of it includes this, and says in a header of its own what it does: so no part needs
 * another that needs it. What the brain and other ports can see is in memory that is shared: struct csvn_link (link.h) and boards (board.h).
 */
#ifndef CSVN_PORT_H
#define CSVN_PORT_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "alone.h"
#include "backlog.h"
#include "board.h"
#include "csvn/abi.h"
#include "csvn/circuit.h"
#include "csvn/records.h"
#include "csvn/spin.h"
#include "handle.h"
#include "interrupt.h"
#include "link.h"
#include "memory.h"
#include "route.h"
#include "stream.h"
#include "virtqueue.h"

#define HOST_LISTENERS_MAX 1024u
#define HOST_ARENAS_MAX 65536u
#define HOST_CIRCUITS_MAX (1u << 20)
#define FILES_MAX 65536u
#define POLLED_MAX 16u
#define PEERS_POLLED 16u

/* What epoll knows of a descriptor: watch.h. */
struct watch {
	int fd; /* -1: the set does not have it */
	uint32_t events; /* that it was asked for */
	uint64_t data; /* what epoll gives back */
};

/* How many events an object has queued in the present epoch. */
struct burst {
	uint32_t epoch;
	uint32_t count;
};

/* The front-end's connection, and the back-end channel that it may give: session.h. */
struct session {
	time_t begun; /* monotonic second in which the message that is being read began; 0: between messages */
	bool ended; /* and told */
	bool paused, backend_paused; /* not read until there is room for events */
	bool brainless; /* answered here: alone.h */
	struct burst burst;
	struct watch front_watch, back_watch;
	struct stream front, back;
	struct alone alone;
};

struct announcement {
	uint32_t count;
	uint8_t bytes[CSVN_RECORD_MAX];
};

/* A control request that waits for its answer, by the head of its chain. */
struct pending_request {
	bool pending;
	struct chain chain;
};

/* The four virtqueues of the VM: device.h. */
struct device {
	struct memory memory;
	struct virtqueue queues[CSVN_QUEUES];
	struct watch kicks[CSVN_QUEUES];
	struct burst burst;
	bool stalled; /* the control queue waits for room for events */
	uint32_t signals; /* queues, as bits: interrupts are due at the end of this batch */
	uint32_t again; /* what is looked at in its next turn: 0, or it has one before the thread sleeps */
	uint16_t control_generation; /* of tickets */
	struct pending_request *requests; /* VIRTQUEUE_SIZE_MAX of them */
	struct route_table routes;
	struct announcement *announcements; /* a ring */
	uint32_t announcement_capacity, announcement_first, announcement_count;
	uint64_t delivered, delivered_resets; /* announcements: see csvn_progress */
};

/* Another port, and what the two share: peers.h. */
struct peer {
	int handle;
	void *memory; /* of both halves */
	struct board marks, wakes; /* that this port marks, and that it takes */
	int bell, own_bell; /* eventfds */
	struct watch watch;
	bool rings; /* it is to be rung at the end of this batch of doorbells */
	bool polled; /* is in peers->polled */
	uint64_t *ids; /* by place on the board: this port's circuit, and 1; 0: none */
	uint32_t capacity; /* of ids */
};

struct peers {
	struct handle_table table;
	uint32_t polled_count;
	int polled[PEERS_POLLED];
	uint32_t ringing_count;
	int ringing[PEERS_POLLED];
};

/* Busy-polling before the port sleeps: busy_poll.h. */
struct busy_poll {
	struct csvn_spin spin;
	uint64_t turns; /* of the pump, and commands, up to the last batch */
	uint64_t saved; /* nanoseconds that it may poll, up to `at` */
	uint64_t at;
	bool due; /* there was one of these in the last batch, or something is polled */
};

/* Events that one object may queue before the brain has taken some: nobody fills the queue for the others. */
#define EVENT_BURST 128u

struct port {
	struct link link; /* to the brain */
	int epoll;
	struct watch wake_watch, files_watch;
	bool over; /* the brain has said END, or nobody is there any more */
	bool stalled; /* something waits for room for events */
	bool news; /* events that the brain is to hear of */
	bool alone; /* the brain is gone */
	uint64_t done; /* commands */
	struct session session;
	struct device device;
	struct peers peers;
	struct csvn_counters counters;
	struct backlog backlog; /* events for which there was no room, and which must come all the same */
	uint32_t epoch; /* of events: one more each time the brain has taken some */
	uint32_t taken; /* of the queue of events, up to there, when that was looked at last */
	uint8_t datagram[CSVN_DATAGRAM_MAX]; /* one that is being received: see datagram_receive.c */
	uint64_t work; /* of the pumps, ever: see host.h */
	struct interrupter interrupter;
	bool more; /* something is left for the next turn */
	struct busy_poll busy_poll;
	bool polls; /* what is in polled is polled before the port sleeps */
	uint32_t polled_count;
	int polled[POLLED_MAX]; /* host circuits; see busy_poll.h */
	uint32_t resting; /* listening sockets that cannot accept: see rest.h */
	uint64_t rested; /* when that was last looked at, milliseconds */
	struct handle_table host_arenas, host_circuits, host_datagrams, host_listeners, host_connections;
	struct handle_table files; /* that the brain has sent: descriptor + 1 */
};

#endif
