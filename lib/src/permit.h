/* SPDX-License-Identifier: MIT */
/*
 * With whom a datagram circuit may exchange datagrams: a rule for each address, as the guest calls it and as the host's stack does, and
 * what has passed by it. Found by either address in constant time, however many there are: it is done for each datagram.
 */
#ifndef CSVN_PERMIT_H
#define CSVN_PERMIT_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "csvn/abi.h"

#define PERMITS_MAX 4096u /* of one circuit */

union permit_address {
	struct sockaddr any;
	struct sockaddr_in four;
	struct sockaddr_in6 six;
};

struct permit {
	struct csvn_host_permit rule;
	union permit_address actual; /* in the form of the circuit's socket */
	socklen_t length;
	bool has_local; /* the peer's last datagram came to local, and it is answered from there */
	struct in6_addr local; /* IPv4: in the last four bytes */
	uint32_t interface; /* of a link-local one, else 0 */
	uint64_t reported; /* when the guest was told last that it is not allowed; nanoseconds */
	uint32_t next_guest, next_actual; /* in their buckets: place + 1, 0: none */
};

struct permit_table {
	struct permit *permits; /* in places 0 to count - 1 */
	uint32_t *guest, *actual; /* buckets, as many as capacity: place + 1 */
	uint32_t count, capacity; /* capacity is 0 or a power of two */
};

void permit_table_free(struct permit_table *t);
/* The rule of an address, or NULL. Valid until the table changes. */
struct permit *permit_by_guest(const struct permit_table *t, const struct csvn_host_address *a);
/* Of several that the guest knows an actual one by, one that is allowed, if any. */
struct permit *permit_by_actual(const struct permit_table *t, const struct csvn_host_address *a);
/* Set the rule of rule->guest. 0, -ENOBUFS, -ENOMEM. six: the socket's family, for the form of actual; -EAFNOSUPPORT. */
int permit_set(struct permit_table *t, const struct csvn_host_permit *rule, bool six);
/* Forget a rule of the table's. */
void permit_drop(struct permit_table *t, struct permit *known);

#endif
