/* SPDX-License-Identifier: MIT */
/* The guest's doorbells to the host's ends, and theirs to it. */
#ifndef CSVN_HOST_ROUTE_H
#define CSVN_HOST_ROUTE_H

#include "port.h"

/* Add and remove the guest's route to a host's end. */
void host_add_route(struct port *p, uint32_t id, int kind, int handle);
void host_drop_route(struct port *p, uint32_t id, int handle);
/* Let the guest look at a circuit. */
void host_wake(struct port *p, uint32_t id);

#endif
