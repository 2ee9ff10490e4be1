/* SPDX-License-Identifier: GPL-2.0 */
/* sendmsg(), and what becomes of it: write(), sendfile(), splice(). See send.c. */
#ifndef CSVN_MODULE_SEND_H
#define CSVN_MODULE_SEND_H

#include "csvn.h"

int csvn_sendmsg(struct socket *sock, struct msghdr *msg, size_t size);
#ifdef CSVN_HAVE_SENDPAGE
ssize_t csvn_sendpage(struct socket *sock, struct page *page, int offset, size_t size, int flags);
#endif

#endif
