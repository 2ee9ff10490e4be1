/* SPDX-License-Identifier: GPL-2.0 */
/* What goes over circuits: the routing table decides. See route.c. */
#ifndef CSVN_MODULE_ROUTE_H
#define CSVN_MODULE_ROUTE_H

#include "csvn.h"

struct csvn_device *csvn_route(struct sock *sk, const void *addr, int addr_len,
			       struct csvn_endpoint *local, struct csvn_endpoint *remote);
bool csvn_listen_address(struct sock *sk, struct csvn_endpoint *local, u32 *flags);
bool csvn_is_mine(struct csvn_device *dev, const struct csvn_endpoint *local);

#endif
