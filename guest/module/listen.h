/* SPDX-License-Identifier: GPL-2.0 */
/* listen(): at the switch and natively. See listen.c. */
#ifndef CSVN_MODULE_LISTEN_H
#define CSVN_MODULE_LISTEN_H

#include "csvn.h"

int csvn_listen(struct socket *sock, int backlog);
void csvn_unlisten(struct csvn_sock *cs);

#endif
