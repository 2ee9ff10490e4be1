/* SPDX-License-Identifier: GPL-2.0 */
/* The sockets: the state that hangs off them. See sock.c. */
#ifndef CSVN_MODULE_SOCK_H
#define CSVN_MODULE_SOCK_H

#include "csvn.h"

typedef int csvn_create_fn(struct net *net, struct socket *sock, int protocol, int kern);
extern struct proto_ops csvn_ops4, csvn_ops6;
void csvn_natives_set(const struct proto_ops *native4, const struct proto_ops *native6);
void csvn_creates_set(csvn_create_fn *create4, csvn_create_fn *create6);
int csvn_sock_create(struct socket *sock, int family, int kern);
struct csvn_sock *csvn_sock_new(struct socket *sock);
struct csvn_sock *csvn_sock_need(struct socket *sock);
void csvn_sock_put(struct csvn_sock *cs);
void csvn_sock_set(struct csvn_sock *cs, enum csvn_state state);
const struct proto_ops *csvn_native(struct socket *sock);
int csvn_tcp_state(struct csvn_sock *cs);

#endif
