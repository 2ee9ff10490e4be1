/* SPDX-License-Identifier: MIT */
/*
 * The C ABI between the helper library and src/ffi: integers and caller-owned buffers, nothing else.
 *
 * Objects are handles: non-negative ints with a generation in them, so that a stale one is an error (-EBADF), never another
 * object. Every function returns a value >= 0, or a negative errno. All functions may be called from any thread, and none
 * blocks (csvn_plane_close() joins the data-plane thread, which never blocks for long).
 *
 * A *plane* is one data plane: its thread, its event queue and all other objects. A *session* is a front-end's
 * connection, a *device* is the virtqueues and circuit routes of one VM.
 */
#ifndef CSVN_ABI_H
#define CSVN_ABI_H

#include <stdint.h>

#include "records.h"

#define CSVN_ABI_VERSION 6u

#define CSVN_EXPORT __attribute__((visibility("default")))

#define CSVN_MESSAGE_MAX 4096u /* payload bytes of a vhost-user message */
#define CSVN_MESSAGE_FDS 8u /* descriptors with one message */

/* Kinds of events to TypeScript. */
enum csvn_event_kind {
	CSVN_EVENT_ACCEPTED = 1, /* handle: session, aux: listener; csvn_event_accepted */
	CSVN_EVENT_MESSAGE = 2, /* handle: session; csvn_event_message and the payload */
	CSVN_EVENT_BACKEND_MESSAGE = 3, /* the same, from the back-end channel */
	CSVN_EVENT_SESSION_END = 4, /* handle: session, aux: errno or 0 for end of file; text */
	CSVN_EVENT_BACKEND_END = 5, /* handle: session, aux: errno; the back-end channel is closed; text */
	CSVN_EVENT_CONTROL = 6, /* handle: device, aux: ticket; csvn_event_control and the request's bytes */
	CSVN_EVENT_DEVICE_FAULT = 7, /* handle: device, aux: queue << 16 | errno; text */
	CSVN_EVENT_HOST_CONNECTED = 8, /* handle: host circuit, aux: errno */
	CSVN_EVENT_HOST_DONE = 9, /* handle: host circuit, aux: errno, EPROTO for a violation; csvn_event_done */
	CSVN_EVENT_HOST_ACCEPTED =
		10, /* handle: host listener, aux: host connection; csvn_host_address of the client */
	CSVN_EVENT_HOST_DATAGRAM_DONE = 12, /* handle: datagram host circuit; else as HOST_DONE */
	CSVN_EVENT_HOST_SOURCE = 11, /* handle: datagram host circuit; csvn_host_address that is not known: permit it */
	CSVN_EVENT_HOST_GONE = 13, /* handle: host connection that waits: its client has reset it */
	CSVN_EVENT_SHORT = 14, /* aux: errno: listening sockets rest, for want of descriptors; 0: no more */
};

/* Events lie one after another in the buffer, each at a multiple of 8. */
struct csvn_event_header {
	uint32_t length; /* of the whole event, bytes, before padding to a multiple of 8 */
	uint32_t kind;
	int32_t handle;
	uint32_t aux;
};
CSVN_ASSERT(sizeof(struct csvn_event_header) == 16, "event_header size");
CSVN_ASSERT(offsetof(struct csvn_event_header, kind) == 4, "event_header.kind");
CSVN_ASSERT(offsetof(struct csvn_event_header, handle) == 8, "event_header.handle");
CSVN_ASSERT(offsetof(struct csvn_event_header, aux) == 12, "event_header.aux");

struct csvn_event_accepted {
	int32_t pid; /* peer credentials (SO_PEERCRED) */
	uint32_t uid;
	uint32_t gid;
	uint32_t reserved;
};
CSVN_ASSERT(sizeof(struct csvn_event_accepted) == 16, "event_accepted size");
CSVN_ASSERT(offsetof(struct csvn_event_accepted, uid) == 4, "event_accepted.uid");
CSVN_ASSERT(offsetof(struct csvn_event_accepted, gid) == 8, "event_accepted.gid");

struct csvn_event_message {
	uint32_t request;
	uint32_t flags;
	uint32_t size; /* payload bytes */
	uint32_t descriptors; /* how many of fds are valid; they belong to the receiver of the event */
	int32_t fds[CSVN_MESSAGE_FDS];
};
CSVN_ASSERT(sizeof(struct csvn_event_message) == 48, "event_message size");
CSVN_ASSERT(offsetof(struct csvn_event_message, flags) == 4, "event_message.flags");
CSVN_ASSERT(offsetof(struct csvn_event_message, size) == 8, "event_message.size");
CSVN_ASSERT(offsetof(struct csvn_event_message, descriptors) == 12, "event_message.descriptors");
CSVN_ASSERT(offsetof(struct csvn_event_message, fds) == 16, "event_message.fds");

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
	int32_t device;
	uint32_t id; /* the guest's circuit id */
	int32_t arena; /* handle of csvn_host_arena_map() */
	uint32_t ring_size;
	uint64_t own_control;
	uint64_t peer_control;
	uint64_t tx_ring;
	uint64_t rx_ring;
	int32_t connection; /* an accepted one, taken over; -1: connect to remote */
	struct csvn_host_address remote; /* datagrams: to be bound to, and any source is asked for; family 0: neither */
	struct csvn_options options; /* of the guest's socket; streams */
	uint32_t reserved;
};
CSVN_ASSERT(sizeof(struct csvn_host_setup) == 136, "host_setup size");
CSVN_ASSERT(offsetof(struct csvn_host_setup, id) == 4, "host_setup.id");
CSVN_ASSERT(offsetof(struct csvn_host_setup, arena) == 8, "host_setup.arena");
CSVN_ASSERT(offsetof(struct csvn_host_setup, ring_size) == 12, "host_setup.ring_size");
CSVN_ASSERT(offsetof(struct csvn_host_setup, own_control) == 16, "host_setup.own_control");
CSVN_ASSERT(offsetof(struct csvn_host_setup, peer_control) == 24, "host_setup.peer_control");
CSVN_ASSERT(offsetof(struct csvn_host_setup, tx_ring) == 32, "host_setup.tx_ring");
CSVN_ASSERT(offsetof(struct csvn_host_setup, rx_ring) == 40, "host_setup.rx_ring");
CSVN_ASSERT(offsetof(struct csvn_host_setup, connection) == 48, "host_setup.connection");
CSVN_ASSERT(offsetof(struct csvn_host_setup, remote) == 52, "host_setup.remote");
CSVN_ASSERT(offsetof(struct csvn_host_setup, options) == 80, "host_setup.options");

/* Whether a datagram circuit may exchange datagrams with an address. */
struct csvn_host_permit {
	struct csvn_host_address guest; /* as the guest calls it */
	struct csvn_host_address actual; /* as the host's stack does */
	uint32_t allowed; /* 0: what comes from there is dropped */
	uint32_t error; /* not allowed: the errno that the guest's datagrams are answered with; 0: nothing */
};
CSVN_ASSERT(sizeof(struct csvn_host_permit) == 64, "host_permit size");
CSVN_ASSERT(offsetof(struct csvn_host_permit, actual) == 28, "host_permit.actual");
CSVN_ASSERT(offsetof(struct csvn_host_permit, allowed) == 56, "host_permit.allowed");
CSVN_ASSERT(offsetof(struct csvn_host_permit, error) == 60, "host_permit.error");

/* What has passed between a datagram circuit and an address, since that was asked last. */
struct csvn_host_moved {
	uint64_t sent; /* bytes to the guest */
	uint64_t received; /* bytes from the guest */
};
CSVN_ASSERT(sizeof(struct csvn_host_moved) == 16, "host_moved size");
CSVN_ASSERT(offsetof(struct csvn_host_moved, received) == 8, "host_moved.received");

/* A region of guest memory, as in SET_MEM_TABLE. */
struct csvn_region {
	uint64_t guest; /* guest-physical address */
	uint64_t size; /* bytes */
	uint64_t user; /* address in the front-end's process */
	uint64_t offset; /* in the file */
	int32_t fd; /* not taken over: the caller closes it */
	uint32_t reserved;
};
CSVN_ASSERT(sizeof(struct csvn_region) == 40, "region size");
CSVN_ASSERT(offsetof(struct csvn_region, size) == 8, "region.size");
CSVN_ASSERT(offsetof(struct csvn_region, user) == 16, "region.user");
CSVN_ASSERT(offsetof(struct csvn_region, offset) == 24, "region.offset");
CSVN_ASSERT(offsetof(struct csvn_region, fd) == 32, "region.fd");

/* A virtqueue that is to be started. Addresses are the front-end's user addresses. Descriptors are taken over. */
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

/* What csvn_counters() fills in, in this order. Totals since the plane was opened, but for the last ones. */
struct csvn_counters {
	uint64_t events; /* delivered to TypeScript */
	uint64_t parks; /* times that TypeScript waited for the bell */
	uint64_t doorbells; /* circuit ids taken from doorbell queues */
	uint64_t wakes; /* circuit ids put on wake queues */
	uint64_t strays; /* doorbells for circuits that are not there */
	uint64_t calls; /* interrupts sent to drivers */
	uint64_t requests; /* taken from control queues */
	uint64_t announcements; /* put on event queues */
	uint64_t stalls; /* times that a queue waited because the event queue was full */
	uint64_t sessions; /* now */
	uint64_t devices; /* now */
	uint64_t routes; /* now */
	uint64_t host_circuits; /* now */
	uint64_t host_turns; /* of the pump */
	uint64_t host_received; /* bytes from guests to the host's stack */
	uint64_t host_sent; /* bytes from the host's stack to guests */
	uint64_t host_dropped; /* datagrams that were not permitted, or for which there was no room */
	uint64_t rests; /* times that descriptors were short, so that nothing was accepted for a while */
};
CSVN_ASSERT(sizeof(struct csvn_counters) == 144, "counters size");
CSVN_ASSERT(offsetof(struct csvn_counters, rests) == 136, "counters.rests");

CSVN_EXPORT uint32_t csvn_abi_version(void);

CSVN_EXPORT int csvn_plane_open(uint32_t event_bytes);
CSVN_EXPORT int csvn_plane_close(int plane);
CSVN_EXPORT int csvn_counters(int plane, struct csvn_counters *out, uint32_t bytes);

/* Copy whole events to buffer: their bytes, 0 when there are none. */
CSVN_EXPORT int csvn_events_take(int plane, uint8_t *buffer, uint32_t bytes);
/* Connect to a listening unix socket: the plane's bell, of which there is one. */
CSVN_EXPORT int csvn_events_bell(int plane, const uint8_t *path, uint32_t path_bytes);
/* 0: there are events. 1: there are none, and with the next one, or csvn_events_wake(), the bell is sent a byte. */
CSVN_EXPORT int csvn_events_park(int plane);
CSVN_EXPORT int csvn_events_wake(int plane);

/*
 * Start the stand-in, a program at this path, which has a duplicate of the connection of each front-end that comes from now on. When this
 * process dies, or the plane is closed, it answers them in its place, since QEMU does not survive that they end.
 */
CSVN_EXPORT int csvn_standin_start(int plane, const uint8_t *path, uint32_t path_bytes);
/* This process is about to end: nothing more is read from front-ends here, and the stand-in, if there is one, goes on with them. */
CSVN_EXPORT int csvn_standin_hand_over(int plane);

/* A listening unix socket at path, with these permission bits. A dead socket in its place is replaced, a live one is -EADDRINUSE. */
CSVN_EXPORT int csvn_listen(int plane, const uint8_t *path, uint32_t path_bytes, uint32_t mode);
CSVN_EXPORT int csvn_unlisten(int plane, int listener);

CSVN_EXPORT int csvn_session_send(int plane, int session, const uint8_t *bytes, uint32_t count, int fd);
CSVN_EXPORT int csvn_session_close(int plane, int session);
/* Take the back-end channel's descriptor over, and talk on it. */
CSVN_EXPORT int csvn_backend_attach(int plane, int session, int fd);
CSVN_EXPORT int csvn_backend_send(int plane, int session, const uint8_t *bytes, uint32_t count, int fd);

CSVN_EXPORT int csvn_device_open(int plane);
CSVN_EXPORT int csvn_device_close(int plane, int device);
CSVN_EXPORT int csvn_device_memory(int plane, int device, const struct csvn_region *regions, uint32_t count);
CSVN_EXPORT int csvn_queue_start(int plane, int device, const struct csvn_queue_setup *setup);
CSVN_EXPORT int csvn_queue_set_call(int plane, int device, uint32_t queue, int fd);
CSVN_EXPORT int csvn_queue_stop(int plane, int device, uint32_t queue); /* returns the next available index */
/* Answer the request with that ticket. */
CSVN_EXPORT int csvn_device_reply(int plane, int device, uint32_t ticket, const uint8_t *bytes, uint32_t count);
/* Put an announcement on the event queue, at once or when the driver posts a buffer. -ENOBUFS: too many are waiting. */
CSVN_EXPORT int csvn_device_announce(int plane, int device, const uint8_t *bytes, uint32_t count);

/*
 * Interrupt drivers for the replies and announcements since the last call. hold != 0: from now on they wait for the next
 * call, so that several come to one interrupt; a driver that looks by itself sees them meanwhile. The caller sees to it that it comes soon.
 */
CSVN_EXPORT int csvn_signals(int plane, uint32_t hold);

/* Doorbells of a circuit id of one device wake an id of another. Both directions are set or removed at once. */
CSVN_EXPORT int csvn_route_add(int plane, int device, uint32_t id, int peer, uint32_t peer_id);
CSVN_EXPORT int csvn_route_remove(int plane, int device, uint32_t id);

/* Map an arena, for circuits to the host's stack; the descriptor stays the caller's. Unmap it after the last of them. */
CSVN_EXPORT int csvn_host_arena_map(int plane, int fd, uint64_t bytes);
CSVN_EXPORT int csvn_host_arena_unmap(int plane, int arena);
/* Begin a host circuit. HOST_CONNECTED tells the outcome of a connect; an accepted connection is open at once. */
CSVN_EXPORT int csvn_host_open(int plane, const struct csvn_host_setup *setup);
/* Begin a datagram circuit to the host's stack: one socket for all that it is permitted to talk to. */
CSVN_EXPORT int csvn_host_datagram_open(int plane, const struct csvn_host_setup *setup);
/* Decide about an address, anew if need be. -ENOBUFS: too many are known already. */
CSVN_EXPORT int csvn_host_datagram_permit(int plane, int circuit, const struct csvn_host_permit *permit);
/* Forget what was decided about an address, as the guest calls it. */
CSVN_EXPORT int csvn_host_datagram_forget(int plane, int circuit, const struct csvn_host_address *guest);
CSVN_EXPORT int csvn_host_datagram_moved(int plane, int circuit, const struct csvn_host_address *guest,
					 struct csvn_host_moved *out);
/* The guest has closed its end: what it sent goes out, then HOST_DATAGRAM_DONE comes. */
CSVN_EXPORT int csvn_host_datagram_finish(int plane, int circuit);
/* End it, and forget it. */
CSVN_EXPORT int csvn_host_datagram_close(int plane, int circuit);
/* The guest has closed its end, whatever its control page says: what it sent goes out, and nothing more comes in. */
CSVN_EXPORT int csvn_host_finish(int plane, int circuit);
/* End a host circuit, and forget it. An unfinished connection is reset. */
CSVN_EXPORT int csvn_host_close(int plane, int circuit);
CSVN_EXPORT int csvn_host_listen(int plane, const struct csvn_host_address *address);
/* The port that a listener has, which was asked for as 0. */
CSVN_EXPORT int csvn_host_listener_port(int plane, int listener);
CSVN_EXPORT int csvn_host_unlisten(int plane, int listener);
/* Tell when the client of an accepted connection has reset it. */
CSVN_EXPORT int csvn_host_wait(int plane, int connection);
/* Close an accepted connection, by a reset. */
CSVN_EXPORT int csvn_host_refuse(int plane, int connection);
/* The options of a stream circuit's socket in the guest: a struct csvn_options. What the host's stack does not take stays as it was. */
CSVN_EXPORT int csvn_host_options(int plane, int circuit, const uint8_t *options, uint32_t bytes);

/* A sealed memfd of this many bytes. */
CSVN_EXPORT int csvn_arena_create(uint64_t bytes);
CSVN_EXPORT int csvn_arena_stamp(int fd, const uint8_t *bytes, uint32_t count); /* write at offset 0 */
CSVN_EXPORT int csvn_arena_punch(int fd, uint64_t offset, uint64_t bytes); /* give pages back; they read zero */
/* Zero a range: in place where at most keep bytes (at most 64 KiB) of it have memory, else by punching. Returns bytes that have memory now. */
CSVN_EXPORT int csvn_arena_wipe(int fd, uint64_t offset, uint64_t bytes, uint32_t keep);
CSVN_EXPORT int csvn_arena_pages(int fd); /* that have memory behind them now */

CSVN_EXPORT int csvn_fd_identity(int fd, uint64_t *device_and_inode); /* two values */
CSVN_EXPORT int csvn_fd_close(int fd);

#endif
