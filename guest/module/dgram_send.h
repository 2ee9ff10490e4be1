/* SPDX-License-Identifier: GPL-2.0 */
/* Datagrams into rings, or into flows, where they wait for a circuit. See dgram_send.c. */
#ifndef CSVN_MODULE_DGRAM_SEND_H
#define CSVN_MODULE_DGRAM_SEND_H

#include "dgram.h"

void csvn_flow_flush(struct csvn_dsock *ds, struct csvn_flow *flow);
int csvn_dgram_send(struct csvn_dsock *ds, struct csvn_dispatch *d, struct iov_iter *from, size_t size);

#endif
