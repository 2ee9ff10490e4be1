/* SPDX-License-Identifier: MIT */
/* The event queue: see announce.c. */
#ifndef CSVN_ANNOUNCE_H
#define CSVN_ANNOUNCE_H

#include "port.h"

void announce_flush(struct port *p, struct device *d);
void announce_clear(struct device *d);
/* Put it on the event queue, now or when the driver posts a buffer. */
void announce(struct port *p, struct device *d, const uint8_t *bytes, uint32_t count);

#endif
