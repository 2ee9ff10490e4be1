// SPDX-License-Identifier: GPL-2.0
/* Which operations the sockets have that family.c takes over: see sock.c. */
#include <linux/module.h>

#include "accept.h"
#include "close.h"
#include "connect.h"
#include "listen.h"
#include "mmap.h"
#include "names.h"
#include "ops.h"
#include "options.h"
#include "poll.h"
#include "recv.h"
#include "send.h"
#include "sock.h"

static int csvn_bind(struct socket *sock, csvn_sockaddr *addr, int len)
{
	/* An accepted socket's inner one is not bound, but it has a name. */
	if (csvn_state(csvn_sk(sock)) != CSVN_IDLE)
		return -EINVAL;
	return csvn_native(sock)->bind(sock, addr, len);
}

static void csvn_ops_take(struct proto_ops *ops, const struct proto_ops *native)
{
	*ops = *native;
	ops->owner = THIS_MODULE;
	ops->release = csvn_release;
	ops->bind = csvn_bind;
	ops->connect = csvn_connect;
	ops->accept = csvn_accept;
	ops->getname = csvn_getname;
	ops->poll = csvn_poll;
	ops->ioctl = csvn_ioctl;
	ops->listen = csvn_listen;
	ops->shutdown = csvn_shutdown;
	ops->setsockopt = csvn_setsockopt;
	ops->getsockopt = csvn_getsockopt;
	ops->sendmsg = csvn_sendmsg;
	ops->recvmsg = csvn_recvmsg;
	ops->mmap = csvn_mmap;
	ops->splice_read = csvn_splice_read;
#ifdef CSVN_HAVE_SENDPAGE
	ops->sendpage = csvn_sendpage;
#endif
}

void csvn_ops_init(const struct proto_ops *native4, const struct proto_ops *native6)
{
	csvn_natives_set(native4, native6);
	csvn_ops_take(&csvn_ops4, native4);
	if (native6)
		csvn_ops_take(&csvn_ops6, native6);
}
