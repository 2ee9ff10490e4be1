/* SPDX-License-Identifier: MIT */
/*
 * What all circuits whose other end is a socket of the host's stack have, those of streams, and the listening sockets of published
 * ports. Those of datagrams are in datagram.h.
 */
#ifndef CSVN_HOST_H
#define CSVN_HOST_H

#include <sys/socket.h>
#include <sys/uio.h>

#include "address.h"
#include "csvn/ring.h"
#include "csvn/records.h"
#include "events.h"
#include "rest.h"
#include "watch.h"

struct port;

/* Work of the pumps, counted in calls of sockets: by so much a turn is bounded. A call that moves much is as much work as several. */
#define TURN_WORK 64u
#define WORK_BYTES (16u << 10)
#define TURN_BYTES (TURN_WORK * WORK_BYTES) /* in one call, at most */

/* So many bytes were moved in one call. */
static inline uint64_t host_work(size_t bytes)
{
	return 1 + bytes / WORK_BYTES;
}

struct host_arena {
	int handle;
	uint8_t *memory;
	uint64_t bytes;
};

/*
 * What a host circuit is in:
 * CONNECTING: nothing moves; the socket's first event tells the outcome.
 * OPEN: the pump moves bytes in both directions, each until its end.
 * BROKEN: the connection is dead, but its socket may have bytes for the guest yet: those are read to the last. What the guest sends goes nowhere.
 * DONE: the brain was told; nothing moves any more.
 */
enum host_state { HOST_CONNECTING, HOST_OPEN, HOST_BROKEN, HOST_DONE };

struct host_circuit {
	int handle;
	int fd;
	enum host_state state;
	struct watch watch;
	uint32_t id;
	bool guest_closed; /* the brain said so: what the guest has sent is final */
	bool limited; /* and its peer is waited for no longer than ORPHAN_MS */
	bool lied; /* its tail was one that cannot be, then */
	bool hung; /* the socket has hung up, and has nothing to tell unasked any more */
	int error; /* BROKEN: what broke it */
	uint64_t discarded; /* BROKEN: bytes of the guest's that went nowhere */
	bool write_ended; /* the guest's FIN went out */
	bool read_ended; /* end of file came, and our FIN is set */
	bool looks_rx; /* waits for bytes without having armed: see look.h */
	bool looks_tx; /* the same for room */
	bool listed; /* in the port's looking */
	struct csvn_end end;
};

struct host_listener {
	int handle;
	int fd;
	struct resting resting;
};

/* A connection that nothing was decided about. */
struct host_connection {
	int handle;
	int fd;
	struct watch watch;
};

/* The one or two pieces of a ring from a cursor on. SAFETY: n <= size, so both stay inside the ring. */
static inline int ring_pieces(uint8_t *ring, uint32_t size, uint64_t cursor, uint32_t n, struct iovec iov[2])
{
	uint32_t at = (uint32_t)cursor & (size - 1);
	uint32_t first = n < size - at ? n : size - at;

	iov[0] = (struct iovec){ ring + at, first };
	iov[1] = (struct iovec){ ring, n - first };
	return n > first ? 2 : 1;
}

/* The guest rang, or the socket has something. */
void host_doorbell(struct port *p, int handle);
void host_ready(struct port *p, struct host_circuit *h, uint32_t events);
void host_accept(struct port *p, struct host_listener *l);
/* host_connection.c: remember one, by a handle; take it back: its descriptor, or -EBADF. */
int host_connection_add(struct port *p, int fd);
int host_connection_take(struct port *p, int handle);
void host_connection_ready(struct port *p, struct host_connection *c);
void host_connection_destroy(struct port *p, struct host_connection *c);
/* Close a connection by a reset. */
void host_reset_socket(int fd);
/* host_options.c */
/* Read what must be known for it, once: in a port's jail that cannot be had. What the host allows later is for ports that begin later. */
void host_options_begin(void);
void host_set_options(int fd, const struct csvn_options *o);
/*
 * Nobody is there any more who would end a connection whose peer takes nothing: it ends by itself when that has lasted for ORPHAN_MS, or for as long as
 * the guest has chosen, if that is less.
 */
#define ORPHAN_MS (5u * 60 * 1000)
void host_limit_wait(int fd);
void host_circuit_destroy(struct port *p, struct host_circuit *h);
void host_arena_destroy(struct port *p, struct host_arena *a);
void host_listener_destroy(struct port *p, struct host_listener *l);

/* Commands; numbers are the brain's. 0, a value that is told, or -errno. */
int host_arena_map(struct port *p, int handle, int fd, uint64_t bytes);
void host_arena_unmap(struct port *p, int handle);
/* HOST_CONNECTED tells the outcome. */
void host_open(struct port *p, int handle, const struct csvn_host_setup *setup);
void host_finish(struct port *p, int handle);
void host_options(struct port *p, int handle, const struct csvn_options *o);
void host_close(struct port *p, int handle);
int host_listen(struct port *p, int handle, const struct csvn_host_address *address);
void host_unlisten(struct port *p, int handle);
int host_connection_wait(struct port *p, int handle);
void host_connection_refuse(struct port *p, int handle);
/* All host ends, with their sockets. */
void host_end(struct port *p);

/* host_arena.c: find a setup's extents in its arena. */
int host_map_end(struct port *p, struct csvn_end *end, const struct csvn_host_setup *s);
/* host_circuit.c: add and remove the guest's route to the host's end. */
void host_add_route(struct port *p, uint32_t id, int kind, int handle);
void host_drop_route(struct port *p, uint32_t id, int handle);
/* Let the guest look at a circuit. */
void host_wake(struct port *p, uint32_t id);

/* pump.c: move what can be moved, within a turn's budget. readable: epoll says so of the socket. */
void pump(struct port *p, struct host_circuit *h, bool readable);
/* host_circuit.c: the one place where a host circuit changes its state. error: what CONNECTING, BROKEN or DONE is due to, or 0. */
void host_become(struct port *p, struct host_circuit *h, enum host_state state, int error);
/* Tell the guest that nothing comes any more. */
void host_tell_fin(struct port *p, struct host_circuit *h);

#endif
