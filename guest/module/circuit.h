/* SPDX-License-Identifier: GPL-2.0 */
/* Circuits: making and finding them. See circuit.c. */
#ifndef CSVN_MODULE_CIRCUIT_H
#define CSVN_MODULE_CIRCUIT_H

#include "csvn.h"

struct csvn_circuit *csvn_circuit_new(struct csvn_device *dev, gfp_t gfp);
int csvn_circuit_map(struct csvn_circuit *c, u32 id, const struct csvn_extents *x, u64 connect);
struct csvn_circuit *csvn_circuit_find(struct csvn_device *dev, u32 id);
struct csvn_circuit *csvn_circuit_reset(struct csvn_device *dev, u32 id, u32 error);
void csvn_circuit_put(struct csvn_circuit *c);
void csvn_circuit_unmap(struct csvn_circuit *c);
void csvn_circuit_wake(struct csvn_circuit *c);
void csvn_circuit_refuse(struct csvn_device *dev, u32 id, const struct csvn_extents *x);
void csvn_circuits_open(struct csvn_device *dev);

#endif
