/* SPDX-License-Identifier: GPL-2.0 */
/* What a socket learns from its circuit, and who is woken by it. See look.c. */
#ifndef CSVN_MODULE_LOOK_H
#define CSVN_MODULE_LOOK_H

#include "csvn.h"

void csvn_look(struct csvn_sock *cs, struct csvn_circuit *c);
void csvn_break(struct csvn_sock *cs, int err);
u32 csvn_readable(const struct csvn_circuit *c);
bool csvn_writable(const struct csvn_circuit *c);
void csvn_notify(struct socket *sock, __poll_t mask);

#endif
