/* SPDX-License-Identifier: GPL-2.0 */
/* Names: endpoints as the switch knows them, local ports, and getsockname() and getpeername(). See names.c. */
#ifndef CSVN_MODULE_NAMES_H
#define CSVN_MODULE_NAMES_H

#include "csvn.h"

int csvn_take_port(struct sock *sk, struct csvn_endpoint *local);
void csvn_forget_port(struct sock *sk);
int csvn_getname(struct socket *sock, struct sockaddr *addr, int peer);
int csvn_name(struct sockaddr *addr, const struct csvn_endpoint *e, bool six);
void csvn_endpoint4(struct csvn_endpoint *e, __be32 ip, __be16 port);
void csvn_endpoint6(struct csvn_endpoint *e, const struct in6_addr *ip, __be16 port, u32 scope);

#endif
