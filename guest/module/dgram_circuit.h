/* SPDX-License-Identifier: GPL-2.0 */
/* Circuits of a datagram socket: how they come, and what happens to them. See dgram_circuit.c. */
#ifndef CSVN_MODULE_DGRAM_CIRCUIT_H
#define CSVN_MODULE_DGRAM_CIRCUIT_H

#include "dgram.h"

struct csvn_owner *csvn_dgram(struct csvn_dsock *ds);
bool csvn_dgram_attach(struct csvn_dsock *ds, struct csvn_circuit *c);
void csvn_dgram_detach(struct csvn_dsock *ds, struct csvn_circuit *c);
void csvn_dgram_credit(struct csvn_device *dev, u32 listener, gfp_t gfp);
void csvn_dgram_incoming(struct csvn_listener *l, struct csvn_circuit *c);
bool csvn_dgram_ended(struct csvn_dsock *ds, struct csvn_circuit *c);
void csvn_dgram_violation(struct csvn_dsock *ds, struct csvn_circuit *c);

#endif
