/* SPDX-License-Identifier: MIT */
/*
 * The pump: bytes between a circuit's rings and a stream socket of the host, without a buffer in between.
 *
 * Theory of operation. The host's end of the circuit is an end like a guest's: it produces into its own ring what it reads from
 * the socket, and consumes the guest's ring by writing to it. Each direction goes on until it cannot, and leaves behind
 * what will bring it back: an armed sleep sequence where the guest must move (or a poll of its ring: busy_poll.h), an epoll event where
 * the socket must.
 *
 *   guest -> socket: ring empty: armed for bytes; socket full: EPOLLOUT; guest's FIN and ring empty: shutdown(SHUT_WR);
 *                    guest CLOSED: the same as FIN, nothing is read any more, and a peer that takes nothing is not waited for for ever; guest's RESET: what is in the ring goes out as far as the
 *                    socket takes it, as TCP would have sent it by then, and the connection is reset
 *   socket -> guest: ring full: armed for room, and no EPOLLIN; socket empty: EPOLLIN; end of file: FIN; error: RESET
 *
 * When both directions have ended, the circuit is done. A reset leaves readable what TCP has received before it: so when the socket
 * refuses a write, or tells of an error while the ring is full, the circuit is but broken, and done when the last byte is in the
 * ring. Until then what the guest sends is thrown away: it must not wait for a socket that takes nothing. How much it may send so without reading
 * is bounded, and that is no worse than TCP, where a peer that does not read has received but a window.
 *
 * A turn of a direction is bounded, by bytes and by calls, since a guest may publish single bytes as fast as they are taken: so that one circuit does not keep
 * the others waiting. Then epoll brings it back after them.
 */
#define _GNU_SOURCE
#include "pump.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/uio.h>
#include <unistd.h>

#include "host_options.h"
#include "host_route.h"
#include "host_state.h"
#include "polled.h"
#include "watch.h"

#define DISCARDED_MAX (16u << 20)

/* How a direction ended its turn. */
enum outcome {
	IDLE, /* the guest must move: armed, or polled before the thread sleeps */
	BLOCKED, /* the socket must move */
	MORE, /* the turn is used up */
	ENDED, /* for good */
	BROKE, /* the socket is dead: error says how */
	ABORTED, /* the guest has reset the circuit */
	LIED, /* the guest's cursors cannot be */
};

static void wake_guest(struct port *p, const struct host_circuit *h)
{
	host_wake(p, h->id);
}

static uint32_t guest_state(const struct host_circuit *h)
{
	return csvn_peer_state(&h->end) | (h->guest_closed ? CSVN_STATE_CLOSED : 0);
}

/* Policy has cut it: nothing passes any more, in either direction. The brain's command to close it is on its way. */
static bool is_revoked(const struct port *p, const struct host_circuit *h)
{
	return link_is_revoked(&p->link.shared->revoked_circuits[h->handle]);
}

/* Bytes of the guest that are not taken yet. Once it has closed, no new ones are looked for. */
static int bytes_of_guest(struct host_circuit *h, uint32_t *ready)
{
	return h->lied ? -EPROTO : csvn_rx_ready(&h->end, h->guest_closed ? 0 : h->end.size, ready);
}

static void take_bytes(struct port *p, struct host_circuit *h, uint32_t n)
{
	csvn_rx_release(&h->end, n);
	if (csvn_wants_tx(&h->end))
		wake_guest(p, h);
}

/* Nothing is there: arm, or be looked at again. True when the ring is to be looked at once more before this turn ends. */
static bool wait_for_bytes(struct port *p, struct host_circuit *h, bool armed)
{
	if (armed)
		return false;
	h->polled_rx = polled_add(p, h);
	if (h->polled_rx)
		return false;
	csvn_arm_rx(&h->end);
	return true;
}

static enum outcome to_socket(struct port *p, struct host_circuit *h, int *error)
{
	uint64_t end = p->work + TURN_WORK;
	struct csvn_end *e = &h->end;
	bool armed = false;

	while (p->work < end) {
		/* The state before the tail: with FIN or RESET seen, the tail that is loaded next is final. */
		uint32_t state = guest_state(h);
		struct iovec iov[2];
		uint32_t ready, wanted;
		struct msghdr msg = { .msg_iov = iov };
		ssize_t n;

		if (is_revoked(p, h))
			return ABORTED;
		if (bytes_of_guest(h, &ready) < 0)
			return LIED;
		if (!ready) {
			if (state & CSVN_STATE_RESET)
				return ABORTED;
			if (state & (CSVN_STATE_FIN | CSVN_STATE_CLOSED)) {
				/* One that is dead already tells from_socket() why. */
				if (shutdown(h->fd, SHUT_WR) == 0 || errno == ENOTCONN)
					return ENDED;
				*error = errno;
				return BROKE;
			}
			if (!wait_for_bytes(p, h, armed))
				return IDLE;
			armed = true;
			continue;
		}
		wanted = ready < TURN_BYTES ? ready : TURN_BYTES;
		msg.msg_iovlen = (size_t)ring_pieces(e->rx, e->size, e->head, wanted, iov);
		n = sendmsg(h->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
		p->work += host_work(n > 0 ? (size_t)n : 0);
		if (n < 0 && errno != EAGAIN) {
			*error = errno;
			return BROKE;
		}
		if (n > 0) {
			take_bytes(p, h, (uint32_t)n);
			p->counters.host_received += (uint64_t)n;
		}
		if (n < (ssize_t)wanted)
			return state & CSVN_STATE_RESET ? ABORTED : BLOCKED;
	}
	return MORE;
}

/* In place of to_socket() once the connection is dead. It costs nothing by the byte, but as much as the guest likes by the piece. */
static enum outcome discard(struct port *p, struct host_circuit *h)
{
	uint64_t end = p->work + TURN_WORK;
	bool armed = false;

	while (p->work < end) {
		uint32_t state = guest_state(h);
		uint32_t ready;

		if (bytes_of_guest(h, &ready) < 0)
			return LIED;
		if (state & (CSVN_STATE_RESET | CSVN_STATE_CLOSED) || h->discarded > DISCARDED_MAX)
			return ABORTED;
		if (ready) {
			take_bytes(p, h, ready);
			h->discarded += ready;
			p->work += host_work(0);
		} else if (wait_for_bytes(p, h, armed)) {
			armed = true;
		} else {
			return IDLE;
		}
	}
	return MORE;
}

/* readable: epoll says that the socket has something, or was not asked. */
static enum outcome from_socket(struct port *p, struct host_circuit *h, bool readable, int *error)
{
	uint64_t end = p->work + TURN_WORK;
	struct csvn_end *e = &h->end;
	bool armed = false;

	if (!readable && !(guest_state(h) & CSVN_STATE_CLOSED))
		return BLOCKED;
	while (p->work < end) {
		struct iovec iov[2];
		uint32_t room, wanted;
		ssize_t n;

		if (is_revoked(p, h))
			return ABORTED;
		/* The guest's socket is gone: nobody reads what comes now. */
		if (guest_state(h) & CSVN_STATE_CLOSED)
			return ENDED;
		if (csvn_tx_room(e, e->size, &room) < 0)
			return LIED;
		if (!room) {
			if (armed)
				return IDLE;
			if (polled_add(p, h)) {
				h->polled_tx = true;
				return IDLE;
			}
			csvn_arm_tx(e);
			armed = true;
			continue;
		}
		wanted = room < TURN_BYTES ? room : TURN_BYTES;
		n = readv(h->fd, iov, ring_pieces(e->tx, e->size, e->tail, wanted, iov));
		p->work += host_work(n > 0 ? (size_t)n : 0);
		if (n < 0 && errno == EAGAIN)
			return BLOCKED;
		if (n < 0) {
			*error = errno;
			return BROKE;
		}
		if (n == 0)
			return ENDED;
		csvn_tx_publish(e, (uint32_t)n);
		p->counters.host_sent += (uint64_t)n;
		h->discarded = 0;
		if (csvn_wants_rx(e))
			wake_guest(p, h);
		if ((uint32_t)n < wanted)
			return BLOCKED;
	}
	return MORE;
}

/* Both directions of a live connection: 0, or what it is over by. */
static int move_both(struct port *p, struct host_circuit *h, bool readable, uint32_t *events)
{
	enum outcome out = ENDED, in = ENDED;
	int error = 0;

	if (!h->limited && guest_state(h) & CSVN_STATE_CLOSED) {
		h->limited = true;
		host_limit_wait(h->fd);
	}
	if (!h->write_ended)
		out = to_socket(p, h, &error);
	else if (guest_state(h) & CSVN_STATE_RESET)
		out = ABORTED;
	if (out == BROKE) {
		host_become(p, h, HOST_BROKEN, error);
		return 0;
	}
	if (out != LIED && out != ABORTED && !h->read_ended)
		in = from_socket(p, h, readable, &error);
	if (out == LIED || in == LIED)
		return EPROTO;
	if (out == ABORTED || in == ABORTED)
		return ECONNRESET;
	/* Its last byte was read before. */
	if (in == BROKE)
		return error;
	h->write_ended = h->write_ended || out == ENDED;
	if (in == ENDED && !h->read_ended)
		host_tell_fin(p, h);
	if (out == BLOCKED || out == MORE)
		*events |= EPOLLOUT;
	if (in == BLOCKED || in == MORE)
		*events |= EPOLLIN;
	return 0;
}

/* What a dead connection has left: 0 while there may be more, or what the guest is to be told. */
static int move_rest(struct port *p, struct host_circuit *h, uint32_t *events)
{
	enum outcome out = discard(p, h), in = ENDED;
	int ignored;

	if (out != LIED && out != ABORTED && !h->read_ended)
		in = from_socket(p, h, true, &ignored);
	if (out == LIED || in == LIED)
		return EPROTO;
	if (out == ABORTED || in == ABORTED || (in != IDLE && in != MORE))
		return h->error;
	/* A dead socket is ready for everything. */
	if (in == MORE || out == MORE)
		*events |= EPOLLIN | EPOLLOUT;
	return 0;
}

void pump(struct port *p, struct host_circuit *h, bool readable)
{
	uint32_t events = 0;
	int error = 0;

	if (h->state != HOST_OPEN && h->state != HOST_BROKEN)
		return;
	p->counters.host_turns++;
	h->polled_rx = h->polled_tx = false;
	if (h->state == HOST_OPEN)
		error = move_both(p, h, readable || !(h->watch.events & EPOLLIN), &events);
	if (h->state == HOST_BROKEN)
		error = move_rest(p, h, &events);
	if (!error && h->state == HOST_OPEN && h->write_ended && h->read_ended) {
		host_become(p, h, HOST_DONE, 0);
		return;
	}
	/* Nothing to wait for from the socket, but it must tell of a reset, which it does unasked; once. */
	if (!error && (events || !h->hung))
		error = -watch_for(p, &h->watch, h->fd, events);
	else if (!error)
		watch_drop(p, &h->watch);
	if (error)
		host_become(p, h, HOST_DONE, error);
}
