/* SPDX-License-Identifier: GPL-2.0 */
/* How a flow gets its circuit: by a CONNECT (struct csvn_reach), whose answer comes in an interrupt. See dgram_reach.c. */
#ifndef CSVN_MODULE_DGRAM_REACH_H
#define CSVN_MODULE_DGRAM_REACH_H

#include "dgram.h"

void csvn_flow_reach(struct csvn_dsock *ds, struct csvn_flow *flow, struct csvn_device *dev,
		     const struct csvn_endpoint *local);
bool csvn_flow_give_up(struct csvn_dsock *ds, struct csvn_flow *flow);

#endif
