/* SPDX-License-Identifier: GPL-2.0 */
/* sendmsg() of datagrams. See dgram_sendmsg.c. */
#ifndef CSVN_MODULE_DGRAM_SENDMSG_H
#define CSVN_MODULE_DGRAM_SENDMSG_H

#include "dgram.h"

int csvn_dgram_sendmsg(struct socket *sock, struct msghdr *msg, size_t size);

#endif
