/* SPDX-License-Identifier: GPL-2.0 */
/* Socket options, ioctl(), and what an accepted socket inherits. See options.c. */
#ifndef CSVN_MODULE_OPTIONS_H
#define CSVN_MODULE_OPTIONS_H

#include "csvn.h"

int csvn_setsockopt(struct socket *sock, int level, int name, sockptr_t val, unsigned int len);
int csvn_getsockopt(struct socket *sock, int level, int name, char __user *val, int __user *len);
int csvn_ioctl(struct socket *sock, unsigned int cmd, unsigned long arg);
void csvn_inherit(struct socket *sock, const struct sock *listener);

#endif
