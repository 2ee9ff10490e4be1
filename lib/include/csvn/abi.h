/* SPDX-License-Identifier: MIT */
/*
 * What the switch's process (the *brain*: TypeScript, and the helper library that it has loaded) and its *ports* have in common. A port is a process
 * for each front-end's connection, which alone touches what a front-end or its guest holds: its descriptors, its memory, its virtqueues, and the
 * sockets of its circuits.
 *
 * The brain gives commands, the port tells events, each through a bounded queue of records in memory that the two share (struct csvn_link). Commands
 * are done in their order, and counted when they are: that is their acknowledgement. Those that have an outcome are followed by an event RESULT, which
 * comes before they are counted.
 *
 * Objects of a port have numbers that the brain chooses. A *token* is a descriptor that a front-end has sent, by the port's number for it; a *file* is one that the
 * brain has sent, by a number of the brain's (csvn_port_give()).
 *
 * The functions are what src/ffi calls: integers and caller-owned buffers, nothing else. Each returns a value >= 0, or a negative errno. None
 * blocks. A *plane* is one switch's ports and listening sockets.
 */
#ifndef CSVN_ABI_H
#define CSVN_ABI_H

#include <stdint.h>

#include "records.h"

#define CSVN_ABI_VERSION 12u

#define CSVN_EXPORT __attribute__((visibility("default")))

#define CSVN_MESSAGE_MAX 4096u /* payload bytes of a vhost-user message */
#define CSVN_MESSAGE_FDS 8u /* descriptors with one message */
#define CSVN_MOVED_MAX (1u << 17) /* permits of a port */
#define CSVN_CIRCUITS_MAX (1u << 20) /* host circuits of a port */

/* Kinds of events. */
enum csvn_event_kind {
	CSVN_EVENT_RESULT = 1, /* handle: the low 31 bits of a command's number, aux: >= 0, or -errno */
	CSVN_EVENT_MESSAGE = 2, /* csvn_event_message and the payload */
	CSVN_EVENT_BACKEND_MESSAGE = 3, /* the same, from the back-end channel */
	CSVN_EVENT_SESSION_END = 4, /* aux: errno or 0 for end of file; text */
	CSVN_EVENT_BACKEND_END = 5, /* aux: errno; the back-end channel is closed; text */
	CSVN_EVENT_CONTROL = 6, /* aux: ticket; csvn_event_control and the request's bytes */
	CSVN_EVENT_DEVICE_FAULT = 7, /* aux: queue << 16 | errno; text */
	CSVN_EVENT_HOST_CONNECTED = 8, /* handle: host circuit, aux: errno */
	CSVN_EVENT_HOST_DONE = 9, /* handle: host circuit, aux: errno, EPROTO for a violation; csvn_event_done */
	CSVN_EVENT_HOST_ACCEPTED =
		10, /* handle: host listener, aux: host connection; csvn_host_address of the client */
	CSVN_EVENT_HOST_SOURCE = 11, /* handle: datagram host circuit; csvn_host_address that is not known: permit it */
	CSVN_EVENT_HOST_GONE = 12, /* handle: host connection that waits: its client has reset it */
	CSVN_EVENT_SHORT = 13, /* aux: errno: listening sockets rest, for want of descriptors; 0: no more */
	CSVN_EVENT_JAILED = 14, /* the first one. aux: 1: it has a user of its own; text: what its jail lacks, mostly nothing */
};

/* Kinds of commands. */
enum csvn_command_kind {
	CSVN_COMMAND_SEND = 1, /* bytes, to the front-end */
	CSVN_COMMAND_BACKEND_ATTACH = 2, /* handle: token, taken over. RESULT */
	CSVN_COMMAND_BACKEND_SEND = 3, /* handle: file that goes along, or -1; bytes */
	CSVN_COMMAND_TOKEN_CLOSE = 4, /* handle: token */
	CSVN_COMMAND_FILE_CLOSE = 5, /* handle: file */
	CSVN_COMMAND_MEMORY = 6, /* csvn_region for each; their tokens stay open. RESULT */
	CSVN_COMMAND_QUEUE_START = 7, /* csvn_queue_setup; its tokens are taken over. RESULT */
	CSVN_COMMAND_QUEUE_CALL = 8, /* handle: queue, aux: token, taken over, or -1. RESULT */
	CSVN_COMMAND_QUEUE_STOP = 9, /* handle: queue. RESULT: the next available index */
	CSVN_COMMAND_REPLY = 10, /* aux: ticket; bytes */
	CSVN_COMMAND_ANNOUNCE = 11, /* bytes; see csvn_link.delivered */
	CSVN_COMMAND_ROUTE = 12, /* csvn_route */
	CSVN_COMMAND_UNROUTE = 13, /* aux: circuit id */
	CSVN_COMMAND_BOARD = 14, /* handle: board; csvn_board */
	CSVN_COMMAND_UNBOARD = 15, /* handle: board, which no route leads to any more */
	CSVN_COMMAND_ARENA = 16, /* handle: arena, aux: file; u64 bytes: map it. RESULT */
	CSVN_COMMAND_UNARENA = 17, /* handle: arena, which no host circuit is in any more */
	CSVN_COMMAND_HOST_OPEN = 18, /* handle: host circuit; csvn_host_setup. HOST_CONNECTED tells the outcome */
	CSVN_COMMAND_HOST_FINISH = 19, /* handle: host circuit: the guest has closed its end, what it sent goes out, nothing more comes in */
	CSVN_COMMAND_HOST_CLOSE = 20, /* handle: host circuit, an unfinished connection is reset */
	CSVN_COMMAND_HOST_OPTIONS = 21, /* handle: host circuit; csvn_options of the guest's socket */
	CSVN_COMMAND_DATAGRAM_OPEN = 22, /* handle: datagram host circuit; csvn_host_setup. HOST_CONNECTED tells the outcome */
	CSVN_COMMAND_DATAGRAM_PERMIT = 23, /* handle: the same; csvn_host_permit. RESULT: -ENOBUFS: too many are known */
	CSVN_COMMAND_DATAGRAM_FORGET = 24, /* handle: the same; csvn_host_address, as the guest calls it */
	CSVN_COMMAND_LISTEN = 25, /* handle: host listener; csvn_host_address. RESULT: its port */
	CSVN_COMMAND_UNLISTEN = 26, /* handle: host listener */
	CSVN_COMMAND_WAIT = 27, /* handle: host connection: tell when its client has reset it */
	CSVN_COMMAND_REFUSE = 28, /* handle: host connection, by a reset */
	CSVN_COMMAND_NOTHING = 29, /* to be acknowledged */
	CSVN_COMMAND_END = 30, /* close everything, and end */
	CSVN_COMMAND_WIPE = 31, /* handle: arena; csvn_wipe. RESULT: bytes that have memory behind them now. Janitors alone */
};

/* Records of both queues, each at a multiple of 8. */
struct csvn_record {
	uint32_t length; /* of the whole record, bytes, before padding to a multiple of 8 */
	uint32_t kind;
	int32_t handle;
	uint32_t aux;
};
CSVN_ASSERT(sizeof(struct csvn_record) == 16, "record size");
CSVN_ASSERT(offsetof(struct csvn_record, kind) == 4, "record.kind");
CSVN_ASSERT(offsetof(struct csvn_record, handle) == 8, "record.handle");
CSVN_ASSERT(offsetof(struct csvn_record, aux) == 12, "record.aux");

/* A front-end that has connected. */
struct csvn_accepted {
	int32_t port; /* handle */
	int32_t listener; /* handle */
	int32_t pid; /* peer credentials (SO_PEERCRED) */
	uint32_t uid;
	uint32_t gid;
	uint32_t reserved;
};
CSVN_ASSERT(sizeof(struct csvn_accepted) == 24, "accepted size");
CSVN_ASSERT(offsetof(struct csvn_accepted, listener) == 4, "accepted.listener");
CSVN_ASSERT(offsetof(struct csvn_accepted, pid) == 8, "accepted.pid");
CSVN_ASSERT(offsetof(struct csvn_accepted, uid) == 12, "accepted.uid");
CSVN_ASSERT(offsetof(struct csvn_accepted, gid) == 16, "accepted.gid");

struct csvn_event_message {
	uint32_t request;
	uint32_t flags;
	uint32_t size; /* payload bytes */
	uint32_t descriptors; /* how many of tokens are valid; they belong to the receiver of the event */
	int32_t tokens[CSVN_MESSAGE_FDS];
	uint64_t files[CSVN_MESSAGE_FDS][2]; /* of memory: device and inode, which tell files apart; else 0 */
};
CSVN_ASSERT(sizeof(struct csvn_event_message) == 176, "event_message size");
CSVN_ASSERT(offsetof(struct csvn_event_message, flags) == 4, "event_message.flags");
CSVN_ASSERT(offsetof(struct csvn_event_message, size) == 8, "event_message.size");
CSVN_ASSERT(offsetof(struct csvn_event_message, descriptors) == 12, "event_message.descriptors");
CSVN_ASSERT(offsetof(struct csvn_event_message, tokens) == 16, "event_message.tokens");
CSVN_ASSERT(offsetof(struct csvn_event_message, files) == 48, "event_message.files");

struct csvn_event_control {
	uint32_t size; /* bytes that the driver sent; at most CSVN_RECORD_MAX of them follow */
	uint32_t room; /* bytes for the response */
};
CSVN_ASSERT(sizeof(struct csvn_event_control) == 8, "event_control size");
CSVN_ASSERT(offsetof(struct csvn_event_control, room) == 4, "event_control.room");

/* The host's end of a circuit has nothing more to do. */
struct csvn_event_done {
	uint64_t sent; /* bytes to the guest */
	uint64_t received; /* bytes from the guest */
};
CSVN_ASSERT(sizeof(struct csvn_event_done) == 16, "event_done size");
CSVN_ASSERT(offsetof(struct csvn_event_done, received) == 8, "event_done.received");

/* An address in the host's stack. IPv4 takes the first four bytes of ip. */
struct csvn_host_address {
	uint32_t family; /* 4 or 6 */
	uint32_t port;
	uint32_t scope;
	uint8_t ip[16];
};
CSVN_ASSERT(sizeof(struct csvn_host_address) == 28, "host_address size");
CSVN_ASSERT(offsetof(struct csvn_host_address, port) == 4, "host_address.port");
CSVN_ASSERT(offsetof(struct csvn_host_address, scope) == 8, "host_address.scope");
CSVN_ASSERT(offsetof(struct csvn_host_address, ip) == 12, "host_address.ip");

/* A circuit whose other end is the host's stack. Offsets in bytes in the arena; own and tx are the host's. */
struct csvn_host_setup {
	uint32_t id; /* the guest's circuit id */
	int32_t arena; /* handle */
	uint32_t ring_size;
	int32_t connection; /* an accepted one, taken over; -1: connect to remote */
	uint64_t own_control;
	uint64_t peer_control;
	uint64_t tx_ring;
	uint64_t rx_ring;
	struct csvn_host_address remote; /* datagrams: to be bound to, and any source is asked for; family 0: neither */
	struct csvn_options options; /* of the guest's socket; streams */
};
CSVN_ASSERT(sizeof(struct csvn_host_setup) == 128, "host_setup size");
CSVN_ASSERT(offsetof(struct csvn_host_setup, arena) == 4, "host_setup.arena");
CSVN_ASSERT(offsetof(struct csvn_host_setup, ring_size) == 8, "host_setup.ring_size");
CSVN_ASSERT(offsetof(struct csvn_host_setup, connection) == 12, "host_setup.connection");
CSVN_ASSERT(offsetof(struct csvn_host_setup, own_control) == 16, "host_setup.own_control");
CSVN_ASSERT(offsetof(struct csvn_host_setup, peer_control) == 24, "host_setup.peer_control");
CSVN_ASSERT(offsetof(struct csvn_host_setup, tx_ring) == 32, "host_setup.tx_ring");
CSVN_ASSERT(offsetof(struct csvn_host_setup, rx_ring) == 40, "host_setup.rx_ring");
CSVN_ASSERT(offsetof(struct csvn_host_setup, remote) == 48, "host_setup.remote");
CSVN_ASSERT(offsetof(struct csvn_host_setup, options) == 76, "host_setup.options");

/* Whether a datagram circuit may exchange datagrams with an address. */
struct csvn_host_permit {
	struct csvn_host_address guest; /* as the guest calls it */
	struct csvn_host_address actual; /* as the host's stack does */
	uint32_t allowed; /* 0: what comes from there is dropped */
	uint32_t error; /* not allowed: the errno that the guest's datagrams are answered with; 0: nothing */
	uint32_t number; /* below CSVN_MOVED_MAX: where it is counted what passes */
	uint32_t reserved;
};
CSVN_ASSERT(sizeof(struct csvn_host_permit) == 72, "host_permit size");
CSVN_ASSERT(offsetof(struct csvn_host_permit, actual) == 28, "host_permit.actual");
CSVN_ASSERT(offsetof(struct csvn_host_permit, allowed) == 56, "host_permit.allowed");
CSVN_ASSERT(offsetof(struct csvn_host_permit, error) == 60, "host_permit.error");
CSVN_ASSERT(offsetof(struct csvn_host_permit, number) == 64, "host_permit.number");

/* A region of guest memory, as in SET_MEM_TABLE. */
struct csvn_region {
	uint64_t guest; /* guest-physical address */
	uint64_t size; /* bytes */
	uint64_t user; /* address in the front-end's process */
	uint64_t offset; /* in the file */
	int32_t token;
	uint32_t reserved;
};
CSVN_ASSERT(sizeof(struct csvn_region) == 40, "region size");
CSVN_ASSERT(offsetof(struct csvn_region, size) == 8, "region.size");
CSVN_ASSERT(offsetof(struct csvn_region, user) == 16, "region.user");
CSVN_ASSERT(offsetof(struct csvn_region, offset) == 24, "region.offset");
CSVN_ASSERT(offsetof(struct csvn_region, token) == 32, "region.token");

/* A virtqueue that is to be started. Addresses are the front-end's user addresses. kick and call are tokens, taken over. */
struct csvn_queue_setup {
	uint64_t features; /* negotiated virtio feature bits */
	uint64_t desc;
	uint64_t used;
	uint64_t avail;
	uint32_t index;
	uint32_t size; /* entries */
	uint32_t base; /* next available index */
	int32_t kick;
	int32_t call; /* -1: the front-end polls */
	uint32_t reserved;
};
CSVN_ASSERT(sizeof(struct csvn_queue_setup) == 56, "queue_setup size");
CSVN_ASSERT(offsetof(struct csvn_queue_setup, desc) == 8, "queue_setup.desc");
CSVN_ASSERT(offsetof(struct csvn_queue_setup, used) == 16, "queue_setup.used");
CSVN_ASSERT(offsetof(struct csvn_queue_setup, avail) == 24, "queue_setup.avail");
CSVN_ASSERT(offsetof(struct csvn_queue_setup, index) == 32, "queue_setup.index");
CSVN_ASSERT(offsetof(struct csvn_queue_setup, size) == 36, "queue_setup.size");
CSVN_ASSERT(offsetof(struct csvn_queue_setup, base) == 40, "queue_setup.base");
CSVN_ASSERT(offsetof(struct csvn_queue_setup, kick) == 44, "queue_setup.kick");
CSVN_ASSERT(offsetof(struct csvn_queue_setup, call) == 48, "queue_setup.call");

/* Doorbells of a circuit wake the circuit of another port, of this one, or have the host's end served. */
struct csvn_route {
	uint32_t id; /* of this port's circuit */
	int32_t board; /* of the other port; -1: the other end is this port's as well */
	uint32_t mark; /* the other end's place on the board; or its id, where it is this port's */
	uint32_t own_mark; /* the place that the other port marks for this circuit */
};
CSVN_ASSERT(sizeof(struct csvn_route) == 16, "route size");
CSVN_ASSERT(offsetof(struct csvn_route, board) == 4, "route.board");
CSVN_ASSERT(offsetof(struct csvn_route, mark) == 8, "route.mark");
CSVN_ASSERT(offsetof(struct csvn_route, own_mark) == 12, "route.own_mark");

/* The wakes between two ports: board.h. Files, taken over. */
struct csvn_board {
	int32_t memory; /* both directions */
	int32_t bell; /* eventfd of the other port */
	int32_t own_bell;
	uint32_t side; /* 0 or 1: which half this port marks */
};
CSVN_ASSERT(sizeof(struct csvn_board) == 16, "board size");
CSVN_ASSERT(offsetof(struct csvn_board, bell) == 4, "board.bell");
CSVN_ASSERT(offsetof(struct csvn_board, own_bell) == 8, "board.own_bell");
CSVN_ASSERT(offsetof(struct csvn_board, side) == 12, "board.side");

/* A range of an arena that is to read as zeros, page multiples. */
struct csvn_wipe {
	uint64_t offset; /* bytes */
	uint64_t bytes;
	uint32_t keep; /* bytes, at most 64 KiB, that may keep their memory; if there are more with memory, all of it goes back to the system */
	uint32_t patient; /* 0: -EAGAIN where its holders have kept the janitor waiting for too long */
};
CSVN_ASSERT(sizeof(struct csvn_wipe) == 24, "wipe size");
CSVN_ASSERT(offsetof(struct csvn_wipe, bytes) == 8, "wipe.bytes");
CSVN_ASSERT(offsetof(struct csvn_wipe, keep) == 16, "wipe.keep");
CSVN_ASSERT(offsetof(struct csvn_wipe, patient) == 20, "wipe.patient");

/* What a port counts, in this order. Totals since it began, but for the last ones. */
struct csvn_counters {
	uint64_t doorbells; /* circuit ids taken from doorbell queues */
	uint64_t wakes; /* circuit ids put on wake queues */
	uint64_t strays; /* doorbells for circuits that are not there */
	uint64_t calls; /* interrupts sent to drivers */
	uint64_t requests; /* taken from control queues */
	uint64_t announcements; /* put on event queues */
	uint64_t stalls; /* times that a queue waited because there was no room for events */
	uint64_t host_turns; /* of the pump */
	uint64_t host_received; /* bytes from guests to the host's stack */
	uint64_t host_sent; /* bytes from the host's stack to guests */
	uint64_t host_dropped; /* datagrams that were not permitted, or for which there was no room */
	uint64_t rests; /* times that descriptors were short, so that nothing was accepted for a while */
	uint64_t busy_polled; /* nanoseconds of busy-polling before sleeping */
	uint64_t routes; /* now */
	uint64_t host_circuits; /* now */
};
CSVN_ASSERT(sizeof(struct csvn_counters) == 120, "counters size");

/* How far a port is. */
struct csvn_progress {
	uint64_t done; /* commands */
	uint64_t delivered; /* announcements, but for resets; dropped ones count as well */
	uint64_t delivered_resets;
	struct csvn_counters counters;
};
CSVN_ASSERT(sizeof(struct csvn_progress) == 144, "progress size");
CSVN_ASSERT(offsetof(struct csvn_progress, delivered) == 8, "progress.delivered");
CSVN_ASSERT(offsetof(struct csvn_progress, delivered_resets) == 16, "progress.delivered_resets");
CSVN_ASSERT(offsetof(struct csvn_progress, counters) == 24, "progress.counters");

/* What a port is in. */
enum csvn_port_state {
	CSVN_PORT_WAITS, /* its front-end has connected: to be started, or forgotten */
	CSVN_PORT_RUNS,
	CSVN_PORT_ENDED, /* its process is gone, and nothing of it is left */
};

CSVN_EXPORT uint32_t csvn_abi_version(void);

/*
 * A plane, whose ports are processes of this program; that of janitors, csvn-janitor, is beside it. bell: path of a listening unix socket that is connected to; a byte is sent there when a front-end has come,
 * a port has ended or has something to say, or descriptors are short, once after csvn_ports_hear() has said that there is nothing.
 *
 * Ports are jailed (jail.h): each may have so many descriptors, and where this process may do that, has a user and a group of its own, whose number is first_id plus
 * its process id.
 */
CSVN_EXPORT int csvn_plane_open(const uint8_t *program, uint32_t program_bytes, const uint8_t *bell, uint32_t bell_bytes,
				uint32_t first_id, uint32_t descriptors);
/* Its ports are let go of: each goes on by itself until its front-end is gone, answering that in the switch's place. */
CSVN_EXPORT int csvn_plane_close(int plane);
/* The errno for which listening sockets rest, for want of descriptors; 0: none does. */
CSVN_EXPORT int csvn_plane_short(int plane);

/* A listening unix socket at path, with these permission bits. A dead socket in its place is replaced, a live one is -EADDRINUSE. */
CSVN_EXPORT int csvn_listen(int plane, const uint8_t *path, uint32_t path_bytes, uint32_t mode);
CSVN_EXPORT int csvn_unlisten(int plane, int listener);
/* The next front-end that has come: 1, or 0. */
CSVN_EXPORT int csvn_accepted_take(int plane, struct csvn_accepted *out);
/*
 * Ports that have something to say: events, or what is waited for is done (csvn_port_want()). How many of their handles, `most` at most; 0: none has, but there may be front-ends and ends of ports to be
 * taken. -EAGAIN: there is nothing, now after busy-polling for up to 50 us; then the plane's bell rings when there is something, once. Until it is called again, nothing is looked at.
 */
CSVN_EXPORT int csvn_ports_hear(int plane, int32_t *ports, uint32_t most);
/* A port that has ended since this was asked last: its handle, or -EAGAIN. signal: what has ended it (SIGSYS: its jail); 0: it has ended by itself. */
CSVN_EXPORT int csvn_ended_take(int plane, int32_t *signal);

/*
 * A janitor: a process of the program csvn-janitor, which zeroes what was used of arenas. It is started, given commands (ARENA, WIPE, UNARENA, END) and files, and heard
 * as a port, but has no front-end.
 */
CSVN_EXPORT int csvn_janitor_add(int plane);

/* Start the process. It may take a while. */
CSVN_EXPORT int csvn_port_start(int plane, int port);
/* Put a command: 0. -EAGAIN: there is no room. later: it is of no hurry, and csvn_ports_flush() does not wake the port for it. */
CSVN_EXPORT int csvn_port_command(int plane, int port, uint32_t kind, int handle, uint32_t aux, const uint8_t *bytes,
				  uint32_t count, uint32_t later);
/* Wake those ports that sleep, and were given commands since this was called last. */
CSVN_EXPORT int csvn_ports_flush(int plane);
/* Give a port a file, by a number for commands. -EAGAIN: it has not taken the last ones. The descriptor stays the caller's. */
CSVN_EXPORT int csvn_port_give(int plane, int port, int file, int fd);
/* Copy whole events to buffer: their bytes, 0 when there are none. progress: how far it was before those. -EPROTO: it is not to be believed. */
CSVN_EXPORT int csvn_port_take(int plane, int port, uint8_t *buffer, uint32_t bytes, struct csvn_progress *progress);
/* So many commands done are waited for; ~0: none. Said before the last of these is given. */
CSVN_EXPORT int csvn_port_want(int plane, int port, uint64_t done);
/* How far it is. */
CSVN_EXPORT int csvn_port_progress(int plane, int port, struct csvn_progress *progress);
/* What has passed by a permit's number, ever: two values, bytes to the guest and from it. */
CSVN_EXPORT int csvn_port_moved(int plane, int port, uint32_t number, uint64_t *sent_and_received);
/* What may not pass any more, at once, whatever else the port is about to do. */
enum csvn_revocable {
	CSVN_REVOKE_CIRCUIT, /* a host circuit */
	CSVN_REVOKE_PERMIT, /* by its number */
};
CSVN_EXPORT int csvn_port_revoke(int plane, int port, uint32_t what, uint32_t number, uint32_t revoked);
CSVN_EXPORT int csvn_port_state(int plane, int port); /* enum csvn_port_state */
CSVN_EXPORT int csvn_port_pid(int plane, int port);
CSVN_EXPORT int csvn_port_kill(int plane, int port);
/* Forget it. A process that is there still is let go of, and waited for. */
CSVN_EXPORT int csvn_port_forget(int plane, int port);

/* A sealed memfd of this many bytes. What was used of it a janitor zeroes. */
CSVN_EXPORT int csvn_arena_create(uint64_t bytes);
CSVN_EXPORT int csvn_arena_stamp(int fd, const uint8_t *bytes, uint32_t count); /* write at offset 0 */
CSVN_EXPORT int csvn_arena_pages(int fd); /* that have memory behind them now */

/* A board's memory, and a port's bell for others: descriptors. */
CSVN_EXPORT int csvn_board_create(void);
CSVN_EXPORT int csvn_eventfd_create(void);

/* A control group: make it (1), unless it is there (0); write to one of its files; remove it. Each may take a while. */
CSVN_EXPORT int csvn_cgroup_make(const uint8_t *path, uint32_t path_bytes);
CSVN_EXPORT int csvn_cgroup_write(const uint8_t *path, uint32_t path_bytes, const uint8_t *text, uint32_t text_bytes);
CSVN_EXPORT int csvn_cgroup_remove(const uint8_t *path, uint32_t path_bytes);

CSVN_EXPORT int csvn_fd_identity(int fd, uint64_t *device_and_inode); /* two values */
CSVN_EXPORT int csvn_fd_close(int fd);
CSVN_EXPORT int csvn_fd_close_apart(int fd); /* by a thread of its own: giving much memory back takes its time */
CSVN_EXPORT int csvn_fd_count(void); /* this process has open */

#endif
