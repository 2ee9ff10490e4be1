/* SPDX-License-Identifier: MIT */
/* The listening sockets of published ports. */
#ifndef CSVN_HOST_LISTENER_H
#define CSVN_HOST_LISTENER_H

#include "host.h"

void host_accept(struct port *p, struct host_listener *l);
void host_listener_destroy(struct port *p, struct host_listener *l);

/* Commands; numbers are the brain's. 0, a value that is told, or -errno. */
int host_listen(struct port *p, int handle, const struct csvn_host_address *address);
void host_unlisten(struct port *p, int handle);

#endif
