/* SPDX-License-Identifier: MIT */
/* Doorbells: see doorbell.c. */
#ifndef CSVN_DOORBELL_H
#define CSVN_DOORBELL_H

#include "port.h"

void doorbell_kicked(struct port *p, struct device *d);
/* Commands. */
void doorbell_route(struct port *p, struct device *d, const struct csvn_route *r);
void doorbell_unroute(struct port *p, struct device *d, uint32_t id);

#endif
