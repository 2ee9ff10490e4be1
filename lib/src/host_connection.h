/* SPDX-License-Identifier: MIT */
/* Connections to published ports, until something is decided about them. */
#ifndef CSVN_HOST_CONNECTION_H
#define CSVN_HOST_CONNECTION_H

#include "host.h"

/* Remember one, by a handle; take it back: its descriptor, or -EBADF. */
int host_connection_add(struct port *p, int fd);
int host_connection_take(struct port *p, int handle);
void host_connection_ready(struct port *p, struct host_connection *c);
void host_connection_destroy(struct port *p, struct host_connection *c);
/* Close a connection by a reset. */
void host_reset_socket(int fd);

/* Commands. */
int host_connection_wait(struct port *p, int handle);
void host_connection_refuse(struct port *p, int handle);

#endif
