/* SPDX-License-Identifier: MIT */
/* Datagram circuits: one unconnected socket, and the addresses that it may exchange datagrams with. See datagram_circuit.c. */
#ifndef CSVN_HOST_DATAGRAM_H
#define CSVN_HOST_DATAGRAM_H

#include "host.h"
#include "permit.h"

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

static inline uint32_t frame_bytes(uint32_t size)
{
	return (FRAME_HEADER + size + CSVN_DATAGRAM_ALIGN - 1) & ~(CSVN_DATAGRAM_ALIGN - 1);
}

/* May datagrams be exchanged with this address? */
static inline bool datagram_may_pass(const struct port *p, const struct host_datagram *h, const struct permit *permit)
{
	const struct csvn_link *s = p->link.shared;

	return permit && permit->rule.allowed && !link_is_revoked(&s->revoked_permits[permit->rule.number]) &&
	       !link_is_revoked(&s->revoked_circuits[h->handle]);
}

#endif
