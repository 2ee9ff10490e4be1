/* SPDX-License-Identifier: GPL-2.0 */
/* recvmsg(), read(), splice(). See recv.c. */
#ifndef CSVN_MODULE_RECV_H
#define CSVN_MODULE_RECV_H

#include "csvn.h"

int csvn_recvmsg(struct socket *sock, struct msghdr *msg, size_t size, int flags);
ssize_t csvn_splice_read(struct socket *sock, loff_t *ppos, struct pipe_inode_info *pipe,
			 size_t len, unsigned int flags);

#endif
