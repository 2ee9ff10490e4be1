/* SPDX-License-Identifier: GPL-2.0 */
/* A CONNECT of a stream socket under way, and waiting for it. See connecting.c. */
#ifndef CSVN_MODULE_CONNECTING_H
#define CSVN_MODULE_CONNECTING_H

#include "csvn.h"

int csvn_connecting_begin(struct csvn_sock *cs, struct csvn_device *dev, bool look);
long csvn_connecting_wait(struct csvn_sock *cs, long timeo);
int csvn_wait_connected(struct csvn_sock *cs, long *timeo);
void csvn_connecting_cancel(struct csvn_sock *cs, enum csvn_state state);

#endif
