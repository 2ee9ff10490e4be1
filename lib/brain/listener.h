/* SPDX-License-Identifier: MIT */
/* The sockets that front-ends connect to. */
#ifndef CSVN_BRAIN_LISTENER_H
#define CSVN_BRAIN_LISTENER_H

#include "plane.h"

/* The next front-end's connection, or -1. */
int listener_accept(struct plane *p, struct listener *l);
/*
 * A front-end has come: the next one waits in the kernel until TypeScript has started a port for this one, or has forgotten it, which takes its time. So whoever connects again
 * and again keeps nobody busy but the sockets' own backlog.
 */
void listener_wait(const struct plane *p, struct listener *l);
void listener_destroy(struct plane *p, struct listener *l);
/* Its front-end that had come waits no longer. */
void listener_next(struct plane *p, int handle);
/* Those that rest try again. */
void listeners_tick(struct plane *p);

#endif
