/* SPDX-License-Identifier: GPL-2.0 */
/* accept(): from both queues, the switch's and the native one. See accept.c. */
#ifndef CSVN_MODULE_ACCEPT_H
#define CSVN_MODULE_ACCEPT_H

#include "csvn.h"

int csvn_accept(struct socket *sock, struct socket *newsock, CSVN_ACCEPT_PARAMS);
bool csvn_accept_ready(struct csvn_sock *cs);

#endif
