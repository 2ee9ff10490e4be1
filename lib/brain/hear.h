/* SPDX-License-Identifier: MIT */
/* What TypeScript hears of ports, and when it sleeps. */
#ifndef CSVN_BRAIN_HEAR_H
#define CSVN_BRAIN_HEAR_H

#include "plane.h"

/* It has something to say, or may have: TypeScript looks at it, until it sleeps the next time. */
void hear(struct plane *p, struct port *port);
/* Now and then: those that have rung in vain too often are heard again. */
void hear_again(const struct plane *p, struct port *port);
/* It has nothing to say ever again. */
void hear_not(struct plane *p, struct port *port);

#endif
