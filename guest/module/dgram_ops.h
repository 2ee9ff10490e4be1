/* SPDX-License-Identifier: GPL-2.0 */
/* Datagram sockets: which operations they have. See dgram_ops.c. */
#ifndef CSVN_MODULE_DGRAM_OPS_H
#define CSVN_MODULE_DGRAM_OPS_H

#include "dgram.h"

void csvn_dgram_ops_init(const struct proto_ops *native4, const struct proto_ops *native6);

#endif
