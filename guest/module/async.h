/* SPDX-License-Identifier: GPL-2.0 */
/* SIGIO and SO_KEEPALIVE: learning of what the socket layer does without a call of ours. See async.c. */
#ifndef CSVN_MODULE_ASYNC_H
#define CSVN_MODULE_ASYNC_H

#include "csvn.h"

void csvn_async_init(struct proto *native4, struct proto *native6);
void csvn_async_watch(struct csvn_sock *cs);
void csvn_async_leave(struct csvn_sock *cs);

#endif
