/* SPDX-License-Identifier: GPL-2.0 */
/* connect(). See connect.c. */
#ifndef CSVN_MODULE_CONNECT_H
#define CSVN_MODULE_CONNECT_H

#include "csvn.h"

int csvn_connect(struct socket *sock, csvn_sockaddr *addr, int addr_len, int flags);

#endif
