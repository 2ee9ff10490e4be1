/* SPDX-License-Identifier: MIT */
/* Stream circuits: how they are opened, and how they go. */
#ifndef CSVN_HOST_CIRCUIT_H
#define CSVN_HOST_CIRCUIT_H

#include "host.h"

/* The guest rang, or the socket has something. */
void host_doorbell(struct port *p, int handle);
void host_ready(struct port *p, struct host_circuit *h, uint32_t events);
void host_circuit_destroy(struct port *p, struct host_circuit *h);

/* Commands; numbers are the brain's. */
/* HOST_CONNECTED tells the outcome. */
void host_open(struct port *p, int handle, const struct csvn_host_setup *setup);
void host_finish(struct port *p, int handle);
void host_close(struct port *p, int handle);

#endif
