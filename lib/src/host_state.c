/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "host_state.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "events.h"
#include "host_route.h"
#include "watch.h"

static void tell_state(struct port *p, struct host_circuit *h, uint32_t state)
{
	csvn_set_state(&h->end, state);
	if (csvn_wants_state(&h->end, state))
		host_wake(p, h->id);
}

void host_tell_fin(struct port *p, struct host_circuit *h)
{
	h->read_ended = true;
	tell_state(p, h, CSVN_STATE_FIN);
}

/*
 * May the control page say it? It knows but resets (after the end of file: a broken pipe). Any other end is told by TypeScript, in a RESET
 * event with its errno, and must not be forestalled.
 */
static bool is_reset(int error)
{
	return error == ECONNRESET || error == EPIPE || error == EPROTO;
}

void host_close_socket(struct host_circuit *h, bool reset)
{
	struct linger linger = { .l_onoff = 1, .l_linger = 0 };

	if (h->fd < 0)
		return;
	/* It cannot fail, and a connection that ends otherwise ends all the same. */
	if (reset)
		(void)setsockopt(h->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	watch_closing(&h->watch);
	close(h->fd);
	h->fd = -1;
}

/* Nothing moves any more: the guest is told, and TypeScript. */
static void end(struct port *p, struct host_circuit *h, int error)
{
	struct csvn_event_done done = { .sent = h->end.tail, .received = h->end.head };
	uint32_t fin = h->read_ended || error == EPIPE ? CSVN_STATE_FIN : 0;

	h->polled_rx = h->polled_tx = false;
	if (!error)
		tell_state(p, h, CSVN_STATE_CLOSED | CSVN_STATE_FIN);
	else if (is_reset(error))
		tell_state(p, h, CSVN_STATE_CLOSED | CSVN_STATE_RESET | fin);
	host_close_socket(h, error != 0);
	port_event(p, CSVN_EVENT_HOST_DONE, h->handle, (uint32_t)error, (struct event_part){ &done, sizeof(done) },
		   (struct event_part){ NULL, 0 });
}

void host_become(struct port *p, struct host_circuit *h, enum host_state state, int error)
{
	enum host_state before = h->state;

	if (before == state || before == HOST_DONE)
		return;
	h->state = state;
	if (before == HOST_CONNECTING) {
		port_event(p, CSVN_EVENT_HOST_CONNECTED, h->handle, (uint32_t)error, (struct event_part){ NULL, 0 },
			    (struct event_part){ NULL, 0 });
		if (state == HOST_DONE)
			host_close_socket(h, false);
	} else if (state == HOST_BROKEN) {
		h->error = error;
		h->hung = true;
	} else if (state == HOST_DONE) {
		end(p, h, error);
	}
}
