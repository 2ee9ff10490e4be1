/* SPDX-License-Identifier: MIT */
/*
 * The pump: bytes between a circuit's rings and a stream socket of the host, without a buffer in between.
 *
 * Theory of operation. The host's end of the circuit is an end like a guest's: it produces into its own ring what it reads from
 * the socket, and consumes the guest's ring by writing to it. Each direction goes on until it cannot, and leaves behind
 * what will bring it back: an armed sleep sequence where the guest must move (or a look at its ring: look.h), an epoll event where
 * the socket must.
 *
 *   guest -> socket: ring empty: armed for bytes; socket full: EPOLLOUT; guest's FIN and ring empty: shutdown(SHUT_WR);
 *                    guest's RESET: the connection is reset; guest CLOSED: the same as FIN, and nothing is read any more
 *   socket -> guest: ring full: armed for room, and no EPOLLIN; socket empty: EPOLLIN; end of file: FIN; error: RESET
 *
 * When both directions have ended, or either failed, the circuit is done. A turn moves at most TURN_BYTES, so that one circuit does
 * not keep the others waiting; then epoll brings it back after the others.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/epoll.h>
#include <sys/uio.h>
#include <unistd.h>

#include "device.h"
#include "host.h"
#include "look.h"

#define TURN_BYTES (1u << 20)

/* How a direction ended its turn. */
enum outcome {
	IDLE, /* the guest must move: armed, or looked at again before the thread sleeps */
	BLOCKED, /* the socket must move */
	MORE, /* the budget is used up */
	ENDED, /* for good */
	FAILED, /* error says how */
};

static void wake_guest(struct plane *p, const struct host_circuit *h)
{
	host_wake(p, h->device, h->id);
}

static void tell_state(struct plane *p, struct host_circuit *h, uint32_t state)
{
	csvn_set_state(&h->end, state);
	if (csvn_wants_state(&h->end, state))
		wake_guest(p, h);
}

static uint32_t guest_state(const struct host_circuit *h)
{
	return csvn_peer_state(&h->end) | (h->guest_closed ? CSVN_STATE_CLOSED : 0);
}

void pump_done(struct plane *p, struct host_circuit *h, int error)
{
	struct csvn_event_done done = { .sent = h->end.tail, .received = h->end.head };
	uint32_t state = CSVN_STATE_CLOSED | (error ? CSVN_STATE_RESET : CSVN_STATE_FIN);
	bool closing;

	if (h->state == HOST_DONE)
		return;
	h->state = HOST_DONE;
	h->looks_rx = h->looks_tx = false;
	tell_state(p, h, state | (h->read_ended ? CSVN_STATE_FIN : 0));
	if (error) {
		struct linger reset = { .l_onoff = 1, .l_linger = 0 };

		(void)setsockopt(h->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	}
	close(h->fd); /* and epoll forgets it */
	h->fd = -1;
	/* The CLOSE of a guest that has closed is as good as here, and nothing can be given up before it; once it came, nothing else may come. */
	closing = !error && !h->guest_closed && csvn_peer_state(&h->end) & CSVN_STATE_CLOSED;
	(closing ? plane_event_quiet : plane_event)(
		p, CSVN_EVENT_HOST_DONE, h->handle, (uint32_t)error, (struct event_part){ &done, sizeof(done) },
		(struct event_part){ NULL, 0 });
}

static enum outcome to_socket(struct plane *p, struct host_circuit *h, int *error)
{
	struct csvn_end *e = &h->end;
	uint32_t budget = TURN_BYTES;
	bool armed = false;

	while (budget) {
		/* The state before the tail: with FIN seen, the tail that is loaded next is final. */
		uint32_t state = guest_state(h);
		struct iovec iov[2];
		uint32_t ready, wanted;
		struct msghdr msg = { .msg_iov = iov };
		ssize_t n;

		if (csvn_rx_ready(e, e->size, &ready) < 0) {
			*error = EPROTO;
			return FAILED;
		}
		if (state & CSVN_STATE_RESET) {
			*error = ECONNRESET;
			return FAILED;
		}
		if (!ready) {
			if (state & (CSVN_STATE_FIN | CSVN_STATE_CLOSED)) {
				if (shutdown(h->fd, SHUT_WR) < 0 && errno != ENOTCONN) {
					*error = errno;
					return FAILED;
				}
				return ENDED;
			}
			if (armed)
				return IDLE;
			if (look_again(p, h)) {
				h->looks_rx = true;
				return IDLE;
			}
			csvn_arm_rx(e);
			armed = true;
			continue;
		}
		wanted = ready < budget ? ready : budget;
		msg.msg_iovlen = (size_t)ring_pieces(e->rx, e->size, e->head, wanted, iov);
		n = sendmsg(h->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno == EAGAIN)
			return BLOCKED;
		if (n < 0) {
			*error = errno;
			return FAILED;
		}
		csvn_rx_release(e, (uint32_t)n);
		p->counters.host_received += (uint64_t)n;
		if (csvn_wants_tx(e))
			wake_guest(p, h);
		if ((uint32_t)n < wanted)
			return BLOCKED;
		budget -= (uint32_t)n;
	}
	return MORE;
}

/* readable: epoll says that the socket has something, or was not asked. */
static enum outcome from_socket(struct plane *p, struct host_circuit *h, bool readable, int *error)
{
	struct csvn_end *e = &h->end;
	uint32_t budget = TURN_BYTES;
	bool armed = false;

	if (!readable && !(guest_state(h) & CSVN_STATE_CLOSED))
		return BLOCKED;
	while (budget) {
		struct iovec iov[2];
		uint32_t room, wanted;
		ssize_t n;

		/* The guest's socket is gone: nobody reads what comes now. */
		if (guest_state(h) & CSVN_STATE_CLOSED)
			return ENDED;
		if (csvn_tx_room(e, e->size, &room) < 0) {
			*error = EPROTO;
			return FAILED;
		}
		if (!room) {
			if (armed)
				return IDLE;
			if (look_again(p, h)) {
				h->looks_tx = true;
				return IDLE;
			}
			csvn_arm_tx(e);
			armed = true;
			continue;
		}
		wanted = room < budget ? room : budget;
		n = readv(h->fd, iov, ring_pieces(e->tx, e->size, e->tail, wanted, iov));
		if (n < 0 && errno == EAGAIN)
			return BLOCKED;
		if (n < 0) {
			*error = errno;
			return FAILED;
		}
		if (n == 0) {
			tell_state(p, h, CSVN_STATE_FIN);
			return ENDED;
		}
		csvn_tx_publish(e, (uint32_t)n);
		p->counters.host_sent += (uint64_t)n;
		if (csvn_wants_rx(e))
			wake_guest(p, h);
		if ((uint32_t)n < wanted)
			return BLOCKED;
		budget -= (uint32_t)n;
	}
	return MORE;
}

static void watch(struct plane *p, struct host_circuit *h, uint32_t events)
{
	if (events == h->watched)
		return;
	h->watched = events;
	plane_rewatch(p, h->fd, WATCH_HOST, h->handle, events);
}

void pump(struct plane *p, struct host_circuit *h, bool readable)
{
	enum outcome out = ENDED, in = ENDED;
	uint32_t events = 0;
	int error = 0;

	if (h->state != HOST_OPEN)
		return;
	p->counters.host_turns++;
	h->looks_rx = h->looks_tx = false;
	if (!h->write_ended)
		out = to_socket(p, h, &error);
	if (out != FAILED && !h->read_ended)
		in = from_socket(p, h, readable || !(h->watched & EPOLLIN), &error);
	if (out == FAILED || in == FAILED) {
		pump_done(p, h, error);
		return;
	}
	h->write_ended = h->write_ended || out == ENDED;
	h->read_ended = h->read_ended || in == ENDED;
	if (h->write_ended && h->read_ended) {
		pump_done(p, h, 0);
		return;
	}
	if (out == BLOCKED || out == MORE)
		events |= EPOLLOUT;
	if (in == BLOCKED || in == MORE)
		events |= EPOLLIN;
	/* Nothing to wait for from the socket, but it must tell of a reset, which it does unasked. */
	watch(p, h, events);
}
