/* SPDX-License-Identifier: GPL-2.0 */
/* The work of a datagram socket: it sends what waits, closes circuits, and frees flows. See dgram_sweep.c. */
#ifndef CSVN_MODULE_DGRAM_SWEEP_H
#define CSVN_MODULE_DGRAM_SWEEP_H

#include "dgram.h"

void csvn_dgram_work(struct work_struct *work);
void csvn_dgram_sweep(struct csvn_dsock *ds);
void csvn_dgram_forget(struct csvn_dsock *ds, const struct csvn_endpoint *keep);

#endif
