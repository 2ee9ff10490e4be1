/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * The virtio-circuit device's configuration space and the records of its queues. All fields little-endian.
 * src/circuit/records.ts is the TypeScript codec of the same records; a test compares the two.
 */
#ifndef CSVN_RECORDS_H
#define CSVN_RECORDS_H

#include "circuit.h"

/* The device: virtio id 21 (claimed by no Linux driver), told apart by the magic in its configuration space. */
#define CSVN_VIRTIO_ID 21
#define CSVN_MAGIC 0x4e565343u /* "CSVN" */
#define CSVN_VERSION 2u

#define CSVN_QUEUE_CONTROL 0
#define CSVN_QUEUE_EVENT 1
#define CSVN_QUEUE_DOORBELL 2
#define CSVN_QUEUE_WAKE 3
#define CSVN_QUEUES 4

#define CSVN_SHM_WINDOW 0 /* shared-memory region id */

#define CSVN_NAME_MAX 63 /* bytes of a VM's name (a DNS label), without the terminating zero */

/* Who a VM is. */
struct csvn_identity {
	__u8 ipv4[4]; /* the VM's address, network order; 0.0.0.0: none */
	__u8 gateway4[4]; /* the switch's address */
	__u8 prefix4; /* 0..32 */
	__u8 prefix6; /* 0..128 */
	__u8 pad[6];
	__u8 ipv6[16]; /* ::, none */
	__u8 gateway6[16];
	char name[CSVN_NAME_MAX + 1]; /* zero-terminated */
};

CSVN_ASSERT(sizeof(struct csvn_identity) == 112, "identity size");
CSVN_ASSERT(offsetof(struct csvn_identity, ipv6) == 16, "identity.ipv6");
CSVN_ASSERT(offsetof(struct csvn_identity, name) == 48, "identity.name");

/* The configuration space. A driver does not need it: HELLO's answer says the same, and survives the back-end. */
struct csvn_config {
	__u32 magic; /* CSVN_MAGIC */
	__u16 version; /* CSVN_VERSION */
	__u16 size; /* of this structure, bytes */
	__u64 features; /* CSVN_FEATURE_* that the switch offers */
	struct csvn_identity identity;
};

CSVN_ASSERT(sizeof(struct csvn_config) == 128, "config size");
CSVN_ASSERT(offsetof(struct csvn_config, identity) == 16, "config.identity");

/* Feature bits: what a driver can do it says in HELLO, and which of it the switch does is in the answer. */
#define CSVN_FEATURE_STREAM (1ull << 0) /* stream circuits between VMs */
#define CSVN_FEATURE_HOST (1ull << 1) /* circuits to the host's stack: destinations that are no VM */
#define CSVN_FEATURE_DATAGRAM (1ull << 2) /* datagram circuits */

/* Every request, response and event begins with this. */
struct csvn_header {
	__u16 type; /* CSVN_REQ_* or CSVN_EV_* */
	__u16 version; /* CSVN_VERSION */
	__u32 length; /* of the whole record, bytes */
	__u64 token; /* requests: chosen by the driver, echoed in the response; events: running number from 0 */
};

CSVN_ASSERT(sizeof(struct csvn_header) == 16, "header size");

/* Requests have at most this many bytes, responses and events too; buffers must hold as much. */
#define CSVN_RECORD_MAX 192

enum csvn_request_type {
	CSVN_REQ_HELLO = 1,
	CSVN_REQ_BYE = 2,
	CSVN_REQ_LISTEN = 3,
	CSVN_REQ_UNLISTEN = 4,
	CSVN_REQ_CREDIT = 5,
	CSVN_REQ_CONNECT = 6,
	CSVN_REQ_CANCEL = 7,
	CSVN_REQ_CLOSE = 8,
	CSVN_REQ_ARENA_PREPARED = 9,
	CSVN_REQ_ARENA_VISIBLE = 10,
	CSVN_REQ_ARENA_RETIRED = 11,
	CSVN_REQ_PING = 12, /* header alone: is the switch there? Any answer says so */
	CSVN_REQ_OPTIONS = 13,
};

enum csvn_event_type {
	CSVN_EV_INCOMING = 1,
	CSVN_EV_RESET = 2,
	CSVN_EV_ARENA_PREPARE = 3,
	CSVN_EV_ARENA_MAPPED = 4,
	CSVN_EV_ARENA_RETIRE = 5,
};

/* An address and a port. IPv4 takes the first four bytes of ip, the rest are zero. */
struct csvn_endpoint {
	__u16 family; /* 4 or 6 */
	__u16 port; /* host order (little-endian) */
	__u32 scope; /* IPv6 scope id, else 0 */
	__u8 ip[16]; /* network order */
};

CSVN_ASSERT(sizeof(struct csvn_endpoint) == 24, "endpoint size");

/* Where a circuit lies, as seen by the side that is told. Offsets in bytes from the arena's start, page-aligned. */
struct csvn_extents {
	__u32 arena;
	__u32 ring_size; /* of each ring, bytes, a power of two */
	__u64 own_control;
	__u64 peer_control;
	__u64 tx_ring;
	__u64 rx_ring;
};

CSVN_ASSERT(sizeof(struct csvn_extents) == 40, "extents size");

/* The plain response: header, and an error as a positive Linux errno, 0 for success. */
struct csvn_response {
	struct csvn_header header;
	__u32 error;
	__u32 reserved;
};

CSVN_ASSERT(sizeof(struct csvn_response) == 24, "response size");

struct csvn_hello {
	struct csvn_header header;
	__u64 features; /* what the driver can do */
	char driver[32]; /* name and version for the log, zero-padded */
};

struct csvn_hello_response {
	struct csvn_response response;
	__u64 features; /* what both can do */
	__u32 ring_size; /* of the rings of this VM's circuits, bytes */
	__u32 max_circuits;
	__u32 max_listeners;
	__u32 magic; /* CSVN_MAGIC: other devices might answer too */
	struct csvn_identity identity;
};

CSVN_ASSERT(sizeof(struct csvn_hello) == 56, "hello size");
CSVN_ASSERT(sizeof(struct csvn_hello_response) == 160, "hello response size");

#define CSVN_LISTEN_V6ONLY 0x1u /* family 6: do not take IPv4 connections */

struct csvn_listen {
	struct csvn_header header;
	struct csvn_endpoint local; /* 0.0.0.0 or ::, any */
	__u32 listener; /* the driver's id for it; LISTEN with a known id changes its backlog */
	__u32 backlog; /* connections that may wait for accept() */
	__u32 flags; /* CSVN_LISTEN_* */
	__u32 protocol; /* CSVN_PROTOCOL_*; datagrams: the socket is bound, backlog is how many circuits it takes */
};

struct csvn_unlisten {
	struct csvn_header header;
	__u32 listener;
	__u32 reserved;
};

#define CSVN_PROTOCOL_STREAM 6 /* IPPROTO_TCP */
#define CSVN_PROTOCOL_DATAGRAM 17 /* IPPROTO_UDP */

/* The application has taken count more connections off the listener's backlog. */
struct csvn_credit {
	struct csvn_header header;
	__u32 listener;
	__u32 count;
};

CSVN_ASSERT(sizeof(struct csvn_listen) == 56, "listen size");
CSVN_ASSERT(sizeof(struct csvn_unlisten) == 24, "unlisten size");
CSVN_ASSERT(sizeof(struct csvn_credit) == 24, "credit size");

/*
 * A socket's options that mean something to the host's stack. `set` says which of the fields are told; the others are as that
 * stack's defaults have them. For circuits between VMs nobody looks at them.
 */
#define CSVN_OPTION_KEEPALIVE 0x1u /* keepalive: SO_KEEPALIVE */
#define CSVN_OPTION_KEEP_TIMES 0x2u /* keep_idle, keep_interval, keep_count: TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT */
#define CSVN_OPTION_USER_TIMEOUT 0x4u /* user_timeout: TCP_USER_TIMEOUT */
#define CSVN_OPTION_SYN_COUNT 0x8u /* syn_count: TCP_SYNCNT */
#define CSVN_OPTION_SERVICE 0x10u /* service: IP_TOS, IPV6_TCLASS */
#define CSVN_OPTION_HOPS 0x20u /* hops: IP_TTL, IPV6_UNICAST_HOPS */
#define CSVN_OPTION_SEND_BUFFER 0x40u /* send_buffer: SO_SNDBUF */
#define CSVN_OPTION_RECEIVE_BUFFER 0x80u /* receive_buffer: SO_RCVBUF */
#define CSVN_OPTION_CONGESTION 0x100u /* congestion: TCP_CONGESTION */

#define CSVN_CONGESTION_MAX 16 /* bytes of an algorithm's name, the terminating zero included */

struct csvn_options {
	__u32 set; /* CSVN_OPTION_* */
	__u32 keep_idle; /* seconds */
	__u32 keep_interval; /* seconds */
	__u32 keep_count; /* probes */
	__u32 user_timeout; /* milliseconds; 0: the stack's own */
	__u32 syn_count; /* retries */
	__u32 send_buffer; /* bytes, as setsockopt() takes it; the host may take less */
	__u32 receive_buffer;
	__u8 keepalive; /* 0 or 1 */
	__u8 service;
	__u8 hops;
	__u8 reserved;
	char congestion[CSVN_CONGESTION_MAX]; /* zero-terminated */
};

CSVN_ASSERT(sizeof(struct csvn_options) == 52, "options size");

struct csvn_connect {
	struct csvn_header header;
	struct csvn_endpoint local; /* the port is the driver's choice and never 0; any address: the VM's own */
	struct csvn_endpoint remote;
	__u32 protocol; /* CSVN_PROTOCOL_* */
	struct csvn_options options; /* before the connection is made */
};

/*
 * The circuit leads to the host's stack. A datagram circuit with this flag takes datagrams for every destination that a
 * CONNECT from the same local port was granted, and all these CONNECTs are answered with the same circuit.
 */
#define CSVN_CONNECT_HOST 0x1u

struct csvn_connect_response {
	struct csvn_response response;
	__u32 circuit; /* the id of this side */
	__u32 flags; /* CSVN_CONNECT_* */
	struct csvn_extents extents;
	struct csvn_endpoint local; /* as it is seen by the remote side */
};

CSVN_ASSERT(sizeof(struct csvn_connect) == 120, "connect size");
CSVN_ASSERT(sizeof(struct csvn_connect_response) == 96, "connect response size");

/* Give up a CONNECT that has not been answered; it is then answered with ECANCELED, unless it was answered before. */
struct csvn_cancel {
	struct csvn_header header;
	__u64 connect; /* token of the CONNECT */
};

CSVN_ASSERT(sizeof(struct csvn_cancel) == 24, "cancel size");

#define CSVN_CLOSE_VIOLATION 0x1u /* the peer broke an invariant of the ring */

/* This side will not touch the circuit's memory again. */
struct csvn_close {
	struct csvn_header header;
	__u32 circuit;
	__u32 flags; /* CSVN_CLOSE_* */
	__u64 sent; /* this side's final tail: bytes, for the record */
	__u64 received; /* this side's final head */
};

CSVN_ASSERT(sizeof(struct csvn_close) == 40, "close size");

/* The socket's options are others now: of a stream circuit, once it is known. */
struct csvn_set_options {
	struct csvn_header header;
	__u32 circuit;
	struct csvn_options options;
};

CSVN_ASSERT(sizeof(struct csvn_set_options) == 72, "set options size");

/* ARENA_PREPARED, ARENA_VISIBLE, ARENA_RETIRED. */
struct csvn_arena_request {
	struct csvn_header header;
	__u32 arena;
	__u32 error; /* ARENA_VISIBLE: errno when the mapping could not be used, else 0 */
};

CSVN_ASSERT(sizeof(struct csvn_arena_request) == 24, "arena request size");

/* Events. */

struct csvn_incoming {
	struct csvn_header header;
	__u32 listener;
	__u32 circuit;
	struct csvn_extents extents;
	struct csvn_endpoint remote;
	struct csvn_endpoint local;
	__u32 flags; /* CSVN_CONNECT_* */
	__u32 reserved;
};

CSVN_ASSERT(sizeof(struct csvn_incoming) == 120, "incoming size");

/* The other end is gone, or policy cut the circuit. The driver answers with CLOSE when its socket is closed. */
struct csvn_reset {
	struct csvn_header header;
	__u32 circuit;
	__u32 error; /* errno for the socket; not applied where the peer's FIN is in its control page */
};

CSVN_ASSERT(sizeof(struct csvn_reset) == 24, "reset size");

/* ARENA_PREPARE and ARENA_RETIRE use header and arena alone, the rest is zero. */
struct csvn_arena_event {
	struct csvn_header header;
	__u32 arena;
	__u32 reserved;
	__u64 offset; /* in the window, bytes, page-aligned */
	__u64 length;
	__u64 nonce;
};

CSVN_ASSERT(sizeof(struct csvn_arena_event) == 48, "arena event size");

#endif
