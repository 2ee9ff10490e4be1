/* SPDX-License-Identifier: MIT */
/*
 * What circuits are whose other end is a socket of the host's stack, those of streams, and the listening sockets of published ports; those of
 * datagrams are in datagram.h. As data, and what all of them have: each part's functions are in the header of its name.
 */
#ifndef CSVN_HOST_H
#define CSVN_HOST_H

#include <sys/socket.h>
#include <sys/uio.h>

#include "address.h"
#include "csvn/ring.h"
#include "port.h"

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
	bool polled_rx; /* waits for bytes without having armed: see busy_poll.h */
	bool polled_tx; /* the same for room */
	bool listed; /* in the port's looking */
	struct csvn_end end;
};

/* What is told of a socket that listens. */
enum rest { AWAKE, STALLED, RESTING };

struct resting {
	struct watch watch;
	enum rest state;
	struct burst burst; /* of its connections' events */
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

#endif
