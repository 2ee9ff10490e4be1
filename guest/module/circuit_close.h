/* SPDX-License-Identifier: GPL-2.0 */
/* The end of a circuit, on this side: what is published then, and CLOSE. See circuit_close.c. */
#ifndef CSVN_MODULE_CIRCUIT_CLOSE_H
#define CSVN_MODULE_CIRCUIT_CLOSE_H

#include "csvn.h"

void csvn_circuit_publish(struct csvn_circuit *c, u32 bits);
void csvn_circuit_close(struct csvn_circuit *c, u32 bits);

#endif
