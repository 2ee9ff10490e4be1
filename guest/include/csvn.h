/* SPDX-License-Identifier: MIT */
/*
 * Zero copy: a program reads and writes its connection's rings in place. C and C++, header only; docs/zero-copy.md is
 * its prose.
 *
 *     struct csvn c;
 *     void *room;
 *     int fd = ...;                                   a connected TCP socket
 *
 *     if (csvn_map(&c, fd) < 0) ...                   not a circuit: go on with send() and recv()
 *     while ((n = csvn_reserve(&c, 1, &room)) == -EAGAIN)
 *             csvn_wait(&c, CSVN_WRITABLE, -1);
 *     if (n > 0) {
 *             n = read(file, room, n);                straight into the ring
 *             csvn_commit(&c, n);                     the peer sees it
 *     }
 *     csvn_shutdown(&c);                              end of file for the peer
 *     csvn_close(&c);
 *
 * Every function returns a value >= 0, or a negative errno.
 *
 * send(), recv(), poll() and so on may be called on the socket too, between reserve() and reserve(), peek() and
 * peek(): each goes on where the other has stopped. One thread may send while another receives; what sends (receives)
 * is one at a time, whether by this or by the kernel.
 *
 * The memory goes when the connection is closed or disconnected by whoever shares the socket, when the VM's device
 * goes, and 3 s after the switch has cut the connection: a touch is SIGBUS then. A program that must survive this
 * handles SIGBUS.
 *
 * Compile with -I lib/include -I guest/include, and _GNU_SOURCE or _DEFAULT_SOURCE where a -std=c… hides the system's
 * calls.
 */
#ifndef CSVN_ZERO_COPY_H
#define CSVN_ZERO_COPY_H

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <csvn/mapping.h>
#include <csvn/ring.h>
#include <csvn/spin.h>

#define CSVN_READABLE POLLIN
#define CSVN_WRITABLE POLLOUT

#define CSVN_SPIN_NS 500000u /* longest look before csvn_wait() sleeps */

/* A mapped connection. Its fields are for the functions below, but for fd and end.size (bytes of a ring). */
struct csvn {
	int fd;
	__u8 *memory; /* both parts, one after the other */
	size_t length; /* of both, bytes */
	struct csvn_end end;
	struct csvn_spin spin; /* how long the next csvn_wait() looks before it sleeps */
};

/*
 * Map fd's circuit; fd stays the caller's until csvn_close(). -EOPNOTSUPP: the socket is none of a circuit (loopback,
 * UDP, another network, another driver); -ENOTCONN: it is not connected (any more).
 */
static inline int csvn_map(struct csvn *c, int fd)
{
	struct csvn_map_layout layout = { CSVN_MAP_VERSION, 0, 0, 0, 0 };
	const int flags = MAP_SHARED | MAP_FIXED;
	void *memory;
	size_t part;
	int err;

	c->fd = fd;
	c->memory = NULL;
	c->length = 0;
	csvn_spin_init(&c->spin);
	csvn_end_init(&c->end, NULL, NULL, NULL, NULL, 0);
	if (ioctl(fd, CSVN_IOC_MAP, &layout) < 0)
		return errno == ENOTTY || errno == EINVAL ? -EOPNOTSUPP : -errno;
	part = layout.length;
	memory = mmap(NULL, 2 * part, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (memory == MAP_FAILED)
		return -errno;
	c->memory = (__u8 *)memory;
	c->length = 2 * part;
	if (mmap(c->memory, part, PROT_READ | PROT_WRITE, flags, fd, (off_t)layout.mine) == MAP_FAILED ||
	    mmap(c->memory + part, part, PROT_READ, flags, fd, (off_t)layout.theirs) == MAP_FAILED) {
		err = -errno;
		munmap(memory, c->length);
		return err;
	}
	csvn_end_init(&c->end, (struct csvn_control *)memory, (struct csvn_control *)(c->memory + part),
		      c->memory + CSVN_PAGE, c->memory + part + CSVN_PAGE, layout.ring_size);
	/* What the kernel has sent and received before. */
	csvn_tx_take(&c->end);
	csvn_rx_take(&c->end);
	return 0;
}

/* Unmap; the socket and its connection stay, and the caller's to close. */
static inline int csvn_unmap(struct csvn *c)
{
	return munmap(c->memory, c->length) < 0 ? -errno : 0;
}

/* What the peer's state is to a sender: 0, or why nothing can be sent. */
static inline int csvn_sending_over(const struct csvn *c)
{
	__u32 state = csvn_peer_state(&c->end);

	if (state & CSVN_STATE_RESET)
		return state & CSVN_STATE_FIN ? -EPIPE : -ECONNRESET;
	if (state & CSVN_STATE_CLOSED || CSVN_LOAD(&c->end.own->state) & CSVN_STATE_FIN)
		return -EPIPE;
	return 0;
}

/*
 * Room to write in: *room is where, the result how many bytes in a row, all that there is (look at the peer anew if
 * that is less than want). -EAGAIN: the ring is full; -EPIPE, -ECONNRESET: nobody reads any more; -EPROTO: the peer
 * broke the rules, close. At most the ring's size, c->end.size.
 */
static inline long csvn_reserve(struct csvn *c, size_t want, void **room)
{
	struct csvn_end *e = &c->end;
	__u32 bytes;
	int err = csvn_sending_over(c);

	*room = NULL;
	if (err)
		return err;
	csvn_tx_take(e);
	if (csvn_tx_room(e, want < e->size ? (want ? (__u32)want : 1) : e->size, &bytes))
		return -EPROTO;
	/* SAFETY: the ring is mapped twice in a row, so that size bytes from any place in its first half are ring. */
	*room = e->tx + (e->tail & (e->size - 1));
	return bytes ? (long)bytes : -EAGAIN;
}

static inline int csvn_kick(struct csvn *c)
{
	return ioctl(c->fd, CSVN_IOC_KICK) < 0 ? -errno : 0;
}

/*
 * Send the first bytes of what was reserved last; the peer is woken if it sleeps. -EINVAL: there was not that much
 * room.
 */
static inline int csvn_commit(struct csvn *c, size_t bytes)
{
	struct csvn_end *e = &c->end;

	if (bytes > e->size - (e->tail - e->peer_head))
		return -EINVAL;
	csvn_tx_publish(e, (__u32)bytes);
	return csvn_wants_rx(e) ? csvn_kick(c) : 0;
}

/*
 * Bytes to read: *bytes is where, the result how many in a row, all that there are (look at the peer anew if that is
 * less than want). 0: the end of file; -EAGAIN: nothing yet; -ECONNRESET: aborted; -EPROTO: the peer broke the rules,
 * close. What is there may change while it is looked at, if the peer wishes so: do not look twice at what must be
 * trusted.
 */
static inline long csvn_peek(struct csvn *c, size_t want, const void **bytes)
{
	struct csvn_end *e = &c->end;
	__u32 state = csvn_peer_state(e); /* before the tail, which FIN makes final */
	__u32 ready;

	*bytes = NULL;
	csvn_rx_take(e);
	if (csvn_rx_ready(e, want < e->size ? (want ? (__u32)want : 1) : e->size, &ready))
		return -EPROTO;
	/* SAFETY: as in csvn_reserve(). */
	*bytes = e->rx + (e->head & (e->size - 1));
	if (ready)
		return (long)ready;
	if (state & CSVN_STATE_FIN)
		return 0;
	return state ? -ECONNRESET : -EAGAIN;
}

/*
 * Give back the first bytes of what was peeked at last; a peer that sleeps for room is woken. -EINVAL: there were
 * fewer.
 */
static inline int csvn_consume(struct csvn *c, size_t bytes)
{
	struct csvn_end *e = &c->end;

	if (bytes > e->peer_tail - e->head)
		return -EINVAL;
	csvn_rx_release(e, (__u32)bytes);
	return csvn_wants_tx(e) ? csvn_kick(c) : 0;
}

/*
 * Which of events can be done without waiting: something to read or its end, half of the ring to write in, or an
 * error.
 */
static inline int csvn_ready(struct csvn *c, int events)
{
	const void *bytes;
	void *room;
	long n;
	int ready = 0;

	if (events & CSVN_READABLE && csvn_peek(c, 1, &bytes) != -EAGAIN)
		ready |= CSVN_READABLE;
	if (events & CSVN_WRITABLE) {
		n = csvn_reserve(c, c->end.size / 2, &room);
		if (n >= (long)(c->end.size / 2) || (n < 0 && n != -EAGAIN))
			ready |= CSVN_WRITABLE;
	}
	return ready;
}

static inline __u64 csvn_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (__u64)t.tv_sec * 1000000000u + (__u64)t.tv_nsec;
}

/*
 * Wait until something of events (CSVN_READABLE: bytes or the end of file; CSVN_WRITABLE: half of the ring, or nobody
 * reads) can be done, or for so many milliseconds; -1: for ever; 0: look, and let the peer ring for an edge-triggered
 * epoll_wait() that follows. Returns what, 0 when the time is up, -EINTR, or the socket's error (-ECONNRESET and the
 * like), but not before everything is read.
 */
static inline int csvn_wait(struct csvn *c, int events, int timeout_ms)
{
	struct pollfd p = { c->fd, (short)events, 0 };
	socklen_t bytes = sizeof(int);
	int ready = csvn_ready(c, events), n, err = 0;
	__u32 look = ready || !timeout_ms ? 0 : csvn_spin_begin(&c->spin, CSVN_SPIN_NS);
	__u64 began = csvn_now(), took = 0;

	if (look) {
		while (!(ready = csvn_ready(c, events)) && took < look)
			took = csvn_now() - began;
		csvn_spin_end(&c->spin, (__u32)took, ready);
	}
	if (ready)
		return ready;
	/* The kernel arms, looks again, and sleeps. */
	n = poll(&p, 1, timeout_ms);
	if (timeout_ms)
		csvn_spin_slept(&c->spin, csvn_now() - began - took, CSVN_SPIN_NS);
	if (n < 0)
		return -errno;
	if (!n)
		return 0;
	ready = csvn_ready(c, events);
	if (ready || !(p.revents & (POLLERR | POLLHUP | POLLNVAL)))
		return ready ? ready : p.revents & events;
	/* No circuit any more. */
	if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &err, &bytes) < 0)
		return -errno;
	return err ? -err : -ENOTCONN;
}

/* Nothing more will be sent: the peer reads the end of file after it. */
static inline int csvn_shutdown(struct csvn *c)
{
	return shutdown(c->fd, SHUT_WR) < 0 ? -errno : 0;
}

/* Unmap and close the socket; what was sent stays readable for the peer. Unread bytes make it a reset, as with TCP. */
static inline int csvn_close(struct csvn *c)
{
	int err = csvn_unmap(c);

	if (close(c->fd) < 0)
		return -errno;
	return err;
}

#endif
