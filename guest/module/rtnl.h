/* SPDX-License-Identifier: GPL-2.0 */
/* csvn0's addresses and default routes, set by messages on a routing socket of the kernel's own, as ip(8) would. See rtnl.c. */
#ifndef CSVN_MODULE_RTNL_H
#define CSVN_MODULE_RTNL_H

#include "csvn.h"

int csvn_rtnl_configure(struct net_device *netdev, const struct csvn_identity *identity);

#endif
