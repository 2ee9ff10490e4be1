/* SPDX-License-Identifier: GPL-2.0 */
/* close(), shutdown(), and the disconnecting connect(). See close.c. */
#ifndef CSVN_MODULE_CLOSE_H
#define CSVN_MODULE_CLOSE_H

#include "csvn.h"

int csvn_release(struct socket *sock);
int csvn_shutdown(struct socket *sock, int how);
void csvn_disconnect(struct csvn_sock *cs);

#endif
