/* SPDX-License-Identifier: GPL-2.0 */
/* A CONNECT of a stream socket under way, and waiting for it. See attempt.c. */
#ifndef CSVN_MODULE_ATTEMPT_H
#define CSVN_MODULE_ATTEMPT_H

#include "csvn.h"

int csvn_attempt_start(struct csvn_sock *cs, struct csvn_device *dev, bool look);
long csvn_attempt_wait(struct csvn_sock *cs, long timeo);
int csvn_wait_connected(struct csvn_sock *cs, long *timeo);
void csvn_attempt_cancel(struct csvn_sock *cs, enum csvn_state state);

#endif
