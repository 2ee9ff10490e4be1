/* SPDX-License-Identifier: GPL-2.0 */
/* The state that hangs off datagram sockets: see dgram_ops.c. See dgram_sock.c. */
#ifndef CSVN_MODULE_DGRAM_SOCK_H
#define CSVN_MODULE_DGRAM_SOCK_H

#include "dgram.h"

extern struct proto_ops csvn_dgram_ops4, csvn_dgram_ops6;
void csvn_dsocks_init(const struct proto_ops *native4, const struct proto_ops *native6, work_func_t work);
void csvn_dgram_kick(struct csvn_dsock *ds, unsigned int ms);
struct csvn_dsock *csvn_dsock_need(struct socket *sock);
void csvn_dsock_put(struct csvn_dsock *ds);
const struct proto_ops *csvn_dgram_native(struct socket *sock);

#endif
