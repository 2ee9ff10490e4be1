/* SPDX-License-Identifier: GPL-2.0 */
/* What goes with a datagram beside its bytes: control messages, to us and from us. See dgram_cmsg.c. */
#ifndef CSVN_MODULE_DGRAM_CMSG_H
#define CSVN_MODULE_DGRAM_CMSG_H

#include "dgram.h"

int csvn_dgram_cmsg_send(struct sock *sk, struct msghdr *msg, struct csvn_dispatch *d);
void csvn_dgram_cmsg_recv(struct sock *sk, struct csvn_circuit *c, const struct csvn_datagram *h,
			  struct msghdr *msg);

#endif
