// SPDX-License-Identifier: GPL-2.0
/*
 * UDP_CORK and MSG_MORE: several sends make one datagram.
 *
 * Theory of operation. The first send that is corked and goes by circuits makes the cork: a buffer for the largest
 * datagram, and a note of where it goes and how. Further sends add to it, whatever destination they name. The first
 * that is not corked, or the end of UDP_CORK, sends it. A send that makes it too long fails, and all of it is dropped,
 * as udp_sendmsg() does.
 */
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/uio.h>

#include "dgram_cork.h"
#include "dgram_send.h"

struct csvn_cork {
	struct csvn_dispatch dispatch;
	u32 size; /* of data, bytes */
	u8 data[CSVN_DATAGRAM_MAX];
};

/* tx is held, or nobody else has the socket. */
void csvn_cork_free(struct csvn_dsock *ds)
{
	struct csvn_cork *cork = ds->cork;

	WRITE_ONCE(ds->cork, NULL);
	kvfree(cork);
}

static struct csvn_cork *csvn_cork_new(const struct csvn_dispatch *d)
{
	struct csvn_cork *cork = kvmalloc(sizeof(*cork), GFP_KERNEL_ACCOUNT);

	if (!cork)
		return NULL;
	cork->dispatch = *d;
	if (d->addr == &d->room)
		cork->dispatch.addr = &cork->dispatch.room;
	cork->size = 0;
	return cork;
}

/* Send what is kept back. tx is held. */
static int csvn_cork_send(struct csvn_dsock *ds)
{
	struct csvn_cork *cork = ds->cork;
	struct kvec vec = { .iov_base = cork->data, .iov_len = cork->size };
	struct iov_iter iter;
	int err;

	iov_iter_kvec(&iter, ITER_SOURCE, &vec, 1, cork->size);
	err = csvn_dgram_send(ds, &cork->dispatch, &iter, cork->size);
	if (err >= 0 && cork->dispatch.native)
		err = -ENETUNREACH; /* the route has changed meanwhile */
	csvn_cork_free(ds);
	return err;
}

/* Keep a message back, and, unless more is to come, send all that was. d: where the first one goes. */
int csvn_cork(struct csvn_dsock *ds, struct csvn_dispatch *d, struct msghdr *msg, size_t size, bool more)
{
	struct csvn_cork *cork;
	int err = 0;

	mutex_lock(&ds->tx);
	if (!ds->cork && d) {
		/* The destination may be the program's memory, which does not last. */
		if (d->addr != &d->room) {
			memcpy(&d->room, d->addr, min_t(int, d->addr_len, sizeof(d->room)));
			d->addr = &d->room;
		}
		WRITE_ONCE(ds->cork, csvn_cork_new(d));
	}
	cork = ds->cork;
	if (!cork)
		err = d ? -ENOBUFS : -EAGAIN; /* somebody else has just sent it */
	else if (size > CSVN_DATAGRAM_MAX - cork->size)
		err = -EMSGSIZE;
	else if (copy_from_iter(cork->data + cork->size, size, &msg->msg_iter) != size)
		err = -EFAULT;
	if (err) {
		csvn_cork_free(ds);
	} else {
		cork->size += size;
		if (!more)
			err = csvn_cork_send(ds);
	}
	mutex_unlock(&ds->tx);
	return err < 0 ? err : (int)size;
}

/* UDP_CORK is over. */
void csvn_uncork(struct csvn_dsock *ds)
{
	mutex_lock(&ds->tx);
	if (ds->cork)
		csvn_cork_send(ds);
	mutex_unlock(&ds->tx);
}
