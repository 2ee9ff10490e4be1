/* SPDX-License-Identifier: GPL-2.0 */
/* poll(), select(), epoll, io_uring's polls. See poll.c. */
#ifndef CSVN_MODULE_POLL_H
#define CSVN_MODULE_POLL_H

#include "csvn.h"

__poll_t csvn_poll(struct file *file, struct socket *sock, struct poll_table_struct *wait);

#endif
