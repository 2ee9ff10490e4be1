/* SPDX-License-Identifier: GPL-2.0 */
/* A stream socket and its circuit. See attach.c. */
#ifndef CSVN_MODULE_ATTACH_H
#define CSVN_MODULE_ATTACH_H

#include "csvn.h"

struct csvn_owner *csvn_stream(struct csvn_sock *cs);
void csvn_attach(struct csvn_sock *cs, struct csvn_circuit *c);
struct csvn_circuit *csvn_detach(struct csvn_sock *cs);
void csvn_violation(struct csvn_sock *cs);

#endif
