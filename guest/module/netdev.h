/* SPDX-License-Identifier: GPL-2.0 */
/* The interface csvn0: the VM's address and routes, for applications to see, and for route.c to decide by. See netdev.c. */
#ifndef CSVN_MODULE_NETDEV_H
#define CSVN_MODULE_NETDEV_H

#include "csvn.h"

int csvn_netdev_add(struct csvn_device *dev);
void csvn_netdev_remove(struct csvn_device *dev);
struct csvn_device *csvn_netdev_device(struct net_device *netdev);

#endif
