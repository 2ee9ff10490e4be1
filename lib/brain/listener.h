/* SPDX-License-Identifier: MIT */
/* The sockets that front-ends connect to. */
#ifndef CSVN_BRAIN_LISTENER_H
#define CSVN_BRAIN_LISTENER_H

#include "plane.h"

void listener_accept(struct plane *p, struct listener *l);
void listener_destroy(struct plane *p, struct listener *l);
/* Those that rest try again. */
void listeners_tick(struct plane *p);

#endif
