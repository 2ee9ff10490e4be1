/* SPDX-License-Identifier: GPL-2.0 */
/* How a flow gets its circuit: by a CONNECT (struct csvn_attempt), whose answer comes in an interrupt. See dgram_attempt.c. */
#ifndef CSVN_MODULE_DGRAM_ATTEMPT_H
#define CSVN_MODULE_DGRAM_ATTEMPT_H

#include "dgram.h"

void csvn_flow_ask(struct csvn_dsock *ds, struct csvn_flow *flow, struct csvn_device *dev,
		   const struct csvn_endpoint *local);
bool csvn_flow_give_up(struct csvn_dsock *ds, struct csvn_flow *flow);

#endif
