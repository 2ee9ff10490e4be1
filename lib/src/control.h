/* SPDX-License-Identifier: MIT */
/* The control queue: see control.c. */
#ifndef CSVN_CONTROL_H
#define CSVN_CONTROL_H

#include "port.h"

#define RESPONSE_MIN 24u /* struct csvn_response */

void control_kicked(struct port *p, struct device *d);
/* Answer the request with that ticket; one that is not open any more is ignored. */
void control_reply(struct port *p, struct device *d, uint32_t ticket, const uint8_t *bytes, uint32_t count);

#endif
