/* SPDX-License-Identifier: MIT */
/* Datagram circuits: one unconnected socket, and the addresses that it may exchange datagrams with. See datagram.c. */
#ifndef CSVN_HOST_DATAGRAM_H
#define CSVN_HOST_DATAGRAM_H

#include "host.h"
#include "permit.h"

#define REPORTS_A_TURN 64
#define FRAME_HEADER ((uint32_t)sizeof(struct csvn_datagram))
#define FRAME_MAX (FRAME_HEADER + CSVN_DATAGRAM_MAX + CSVN_DATAGRAM_ALIGN)

struct host_datagram {
	int handle;
	int fd;
	bool six; /* an IPv6 socket, which talks IPv4 by mapped addresses */
	bool done;
	bool asks; /* unknown sources are shown to the brain; else they are dropped */
	bool guest_closed; /* the brain said so: what the guest has sent is final */
	bool asking; /* about the next datagram's source: nothing is received until it has answered */
	struct csvn_host_address asked; /* then: that source */
	bool wildcard; /* bound to any address of the host: where a datagram came to is where its answer leaves from */
	struct watch watch;
	uint32_t id;
	struct csvn_end end;
	struct permit_table permits;
};

/* May datagrams be exchanged with this address? */
bool datagram_may_pass(const struct port *p, const struct host_datagram *h, const struct permit *permit);

static inline uint32_t frame_bytes(uint32_t size)
{
	return (FRAME_HEADER + size + CSVN_DATAGRAM_ALIGN - 1) & ~(CSVN_DATAGRAM_ALIGN - 1);
}

/* The guest rang, or the socket has something. */
void datagram_doorbell(struct port *p, int handle);
void datagram_ready(struct port *p, struct host_datagram *h, uint32_t events);
void datagram_destroy(struct port *p, struct host_datagram *h);

/* Commands; see csvn_command_kind. */
void datagram_open(struct port *p, int handle, const struct csvn_host_setup *setup);
void datagram_finish(struct port *p, int handle);
void datagram_close(struct port *p, int handle);
int datagram_permit(struct port *p, int handle, const struct csvn_host_permit *permit);
void datagram_forget(struct port *p, int handle, const struct csvn_host_address *guest);

/* datagram_send.c: one frame of the guest. 1: gone on; 0: nothing there; -EAGAIN: the socket is full; -EPROTO: not a frame. */
int datagram_send(struct port *p, struct host_datagram *h);
/* datagram_receive.c: one datagram of the socket. 1: gone on; 0: no room; -EAGAIN: nothing there; -EPROTO: the guest's cursor lies. */
int datagram_receive(struct port *p, struct host_datagram *h);
/* Take the next datagram, and drop it. */
void datagram_drop(struct port *p, struct host_datagram *h);
/* What the network said of datagrams that were sent goes to whom it belongs: how many reports there were, of a turn's at most. */
int datagram_errors(struct port *p, struct host_datagram *h);
/* Tell the guest what became of datagrams to an address, if there is room for it. */
void datagram_report(struct port *p, struct host_datagram *h, const struct permit *to, int error);

#endif
