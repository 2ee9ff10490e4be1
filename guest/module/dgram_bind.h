/* SPDX-License-Identifier: GPL-2.0 */
/* The ports of datagram sockets at the switch, and where the routing table leads. See dgram_bind.c. */
#ifndef CSVN_MODULE_DGRAM_BIND_H
#define CSVN_MODULE_DGRAM_BIND_H

#include "dgram.h"

void csvn_dgram_unbound(struct csvn_dsock *ds);
int csvn_dgram_bound(struct csvn_dsock *ds, unsigned int ms);
struct csvn_device *csvn_dgram_route(struct sock *sk, const void *addr, int len,
				     struct csvn_endpoint *local, struct csvn_endpoint *remote);

#endif
