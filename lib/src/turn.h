/* SPDX-License-Identifier: MIT */
/* A port's life: it is opened, has its turns, and is closed. */
#ifndef CSVN_TURN_H
#define CSVN_TURN_H

#include "port.h"

/* What a port is made of; descriptors are taken over. */
struct port_parts {
	int front; /* the front-end's connection; -1: none (tests) */
	int memory, wake, files, bell; /* see link.h */
};

/* 0 or -errno; then nothing is left open. */
int port_open(struct port *p, const struct port_parts *parts);
/* Do what there is to do, after it has slept until there is something, if it may. */
void port_turn(struct port *p, bool sleeps);
/* Work until the brain says END, or it is gone and the front-end as well. */
void port_run(struct port *p);
void port_close(struct port *p);

#endif
