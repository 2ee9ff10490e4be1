/* SPDX-License-Identifier: GPL-2.0 */
/* Flows of a datagram socket. See dgram_flow.c. */
#ifndef CSVN_MODULE_DGRAM_FLOW_H
#define CSVN_MODULE_DGRAM_FLOW_H

#include "dgram.h"

struct csvn_flow *csvn_flow_find(struct csvn_dsock *ds, const struct csvn_endpoint *remote);
struct csvn_flow *csvn_flow_need(struct csvn_dsock *ds, const struct csvn_endpoint *remote, gfp_t gfp);
struct csvn_circuit *csvn_flow_other(struct csvn_dsock *ds, const struct csvn_flow *flow);
void csvn_flow_learn(struct csvn_dsock *ds, struct csvn_circuit *c, const struct csvn_endpoint *remote);
void csvn_flow_attach(struct csvn_dsock *ds, struct csvn_flow *flow, struct csvn_circuit *c);
bool csvn_flow_refused(struct csvn_dsock *ds, struct csvn_flow *flow, int err);
void csvn_flow_drop(struct csvn_dsock *ds, struct csvn_flow *flow, struct csvn_device *dev);

#endif
