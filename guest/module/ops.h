/* SPDX-License-Identifier: GPL-2.0 */
/* Which operations the sockets have that family.c takes over: see sock.c. See ops.c. */
#ifndef CSVN_MODULE_OPS_H
#define CSVN_MODULE_OPS_H

#include "csvn.h"

void csvn_ops_init(const struct proto_ops *native4, const struct proto_ops *native6);

#endif
