/* SPDX-License-Identifier: GPL-2.0 */
/* recvmsg(), poll() and FIONREAD of datagrams. See dgram_recv.c. */
#ifndef CSVN_MODULE_DGRAM_RECV_H
#define CSVN_MODULE_DGRAM_RECV_H

#include "dgram.h"

void csvn_dgram_errors(struct csvn_dsock *ds);
int csvn_dgram_recvmsg(struct socket *sock, struct msghdr *msg, size_t size, int flags);
__poll_t csvn_dgram_poll(struct file *file, struct socket *sock, struct poll_table_struct *wait);
int csvn_dgram_ioctl(struct socket *sock, unsigned int cmd, unsigned long arg);

#endif
