/* SPDX-License-Identifier: MIT */
/* Ports' processes, and the brain's side of their links. */
#ifndef CSVN_BRAIN_PORTS_H
#define CSVN_BRAIN_PORTS_H

#include "plane.h"

int port_add(struct plane *p, int listener, int front);
void port_ended(struct plane *p, struct port *port);
void port_destroy(struct plane *p, struct port *port);
/* Now and then: what has each looked, and what may it? And those that have rung in vain too often are heard again. */
void ports_tick(struct plane *p, uint64_t now);

#endif
