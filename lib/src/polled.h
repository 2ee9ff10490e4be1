/* SPDX-License-Identifier: MIT */
/* The host circuits that are polled before the port sleeps: see busy_poll.h. */
#ifndef CSVN_POLLED_H
#define CSVN_POLLED_H

#include "host.h"
#include "port.h"

/* May this circuit stay unarmed? Then it is polled, and has a turn before the port sleeps. */
bool polled_add(struct port *p, struct host_circuit *h);
/* The circuit at this place of the list, or NULL when it is polled no longer. */
struct host_circuit *polled_get(struct port *p, uint32_t i);
/* Take it off the list; the last has its place then. */
void polled_drop(struct port *p, uint32_t i);

#endif
