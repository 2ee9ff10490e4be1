/* SPDX-License-Identifier: MIT */
/*
 * A port: the process of one front-end. One thread waits on every descriptor of it (the front-end, its back-end channel, kicks, the host's
 * sockets, other ports' bells) and on the brain's commands. Nobody else works on what is in here, so nothing is locked.
 *
 * What the brain and other ports can see is in memory that is shared: struct csvn_link (link.h) and boards (board.h).
 */
#ifndef CSVN_PORT_H
#define CSVN_PORT_H

#include <stdbool.h>
#include <stdint.h>

#include "csvn/abi.h"
#include "csvn/circuit.h"
#include "backlog.h"
#include "device.h"
#include "handle.h"
#include "interrupt.h"
#include "link.h"
#include "look.h"
#include "peers.h"
#include "session.h"
#include "watch.h"

#define HOST_LISTENERS_MAX 1024u
#define HOST_ARENAS_MAX 65536u
#define HOST_CIRCUITS_MAX (1u << 20)
#define FILES_MAX 65536u
#define LOOKED_MAX 16u

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
	struct look look;
	bool looks; /* what is in looked is looked at before the port sleeps */
	uint32_t looked_count;
	int looked[LOOKED_MAX]; /* host circuits; see look.h */
	uint32_t resting; /* listening sockets that cannot accept: see rest.h */
	uint64_t rested; /* when that was last looked at, milliseconds */
	struct handle_table host_arenas, host_circuits, host_datagrams, host_listeners, host_connections;
	struct handle_table files; /* that the brain has sent: descriptor + 1 */
};

/* What a port is made of; descriptors are taken over. */
struct port_parts {
	int front; /* the front-end's connection; -1: none (tests) */
	int memory, wake, files, bell; /* see link.h */
};

/* 0 or -errno; then nothing is left open. */
int port_open(struct port *p, const struct port_parts *parts);
/* Do what there is to do, after it has slept until there is something, if it may. */
void port_turn(struct port *p, bool sleeps);
/* Work until the brain says END, or it is gone and the front-end as well. */
void port_run(struct port *p);
void port_close(struct port *p);

#endif
