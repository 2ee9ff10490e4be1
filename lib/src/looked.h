/* SPDX-License-Identifier: MIT */
/* The host circuits that are looked at before the port sleeps: see look.h. */
#ifndef CSVN_LOOKED_H
#define CSVN_LOOKED_H

#include "host.h"
#include "port.h"

/* May this circuit stay unarmed? Then it is looked at, and has a turn before the port sleeps. */
bool looked_add(struct port *p, struct host_circuit *h);
/* The circuit at this place of the list, or NULL when it is looked at no longer. */
struct host_circuit *looked_get(struct port *p, uint32_t i);
/* Take it off the list; the last has its place then. */
void looked_drop(struct port *p, uint32_t i);

#endif
