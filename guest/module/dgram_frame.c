// SPDX-License-Identifier: GPL-2.0
/*
 * Frames: datagrams in a circuit's rings.
 *
 * A frame is struct csvn_datagram, the payload, and padding, in one piece or wrapped around the ring's end, published
 * at once. So a reader that finds the beginning of a frame finds all of it, and whatever else is there is a lie.
 */
#include <linux/uio.h>

#include "dgram_frame.h"

u32 csvn_frame_bytes(u32 size)
{
	return sizeof(struct csvn_datagram) + ALIGN(size, CSVN_DATAGRAM_ALIGN);
}

/*
 * Write a datagram into the own ring, and publish it. The sending lock is held. Returns -ENOBUFS when there is no
 * room, -EPROTO when the peer broke an invariant, -EFAULT, -EMSGSIZE when no room would do.
 */
int csvn_frame_write(struct csvn_end *e, const struct csvn_endpoint *to, struct csvn_marks marks,
		     struct iov_iter *from, u32 size)
{
	struct csvn_datagram h = {
		.size = size, .family = to->family, .port = to->port, .scope = to->scope,
		.service = marks.service, .hops = marks.hops,
	};
	u32 need = csvn_frame_bytes(size);
	u32 room, at, first;

	if (need > e->size)
		return -EMSGSIZE;
	if (csvn_tx_room(e, need, &room))
		return -EPROTO;
	if (room < need)
		return -ENOBUFS;

	/* SAFETY: at < size, first <= size - at, and the rest is at most what is free behind the ring's beginning. */
	memcpy(h.ip, to->ip, sizeof(h.ip));
	at = e->tail & (e->size - 1);
	first = min_t(u32, sizeof(h), e->size - at);
	memcpy(e->tx + at, &h, first);
	memcpy(e->tx, (u8 *)&h + first, sizeof(h) - first);

	at = (e->tail + sizeof(h)) & (e->size - 1);
	first = min(size, e->size - at);
	if (_copy_from_iter(e->tx + at, first, from) != first ||
	    _copy_from_iter(e->tx, size - first, from) != size - first)
		return -EFAULT;
	csvn_tx_publish(e, need);
	return 0;
}

/*
 * The next frame's head; the whole frame is there. The receiving lock is held. Returns 1, 0 when there is none,
 * -EPROTO when the peer broke a rule.
 */
int csvn_frame_head(struct csvn_end *e, struct csvn_datagram *h)
{
	u32 ready, at, first;

	if (csvn_rx_ready(e, sizeof(*h), &ready))
		return -EPROTO;
	if (!ready)
		return 0;
	if (ready < sizeof(*h) || !IS_ALIGNED(ready, CSVN_DATAGRAM_ALIGN))
		return -EPROTO;
	at = e->head & (e->size - 1);
	first = min_t(u32, sizeof(*h), e->size - at);
	memcpy(h, e->rx + at, first);
	memcpy((u8 *)h + first, e->rx, sizeof(*h) - first);
	if (h->size > CSVN_DATAGRAM_MAX || ready < csvn_frame_bytes(h->size))
		return -EPROTO;
	return 1;
}

/* Is the next frame an error of the network? A hint: there must be a frame, and a reader may be just taking it. */
bool csvn_frame_is_error(const struct csvn_end *e)
{
	u32 at = (READ_ONCE(e->head) + offsetof(struct csvn_datagram, error)) & (e->size - 1);

	/* SAFETY: at is a multiple of 4, and less than size. */
	return READ_ONCE(*(const u16 *)(e->rx + at));
}

/* Copy n bytes of the next frame's payload, which has at least as many. Returns the bytes copied. */
u32 csvn_frame_read(const struct csvn_end *e, struct iov_iter *to, u32 n)
{
	u32 at = (e->head + sizeof(struct csvn_datagram)) & (e->size - 1);
	u32 first = min(n, e->size - at);
	u32 done;

	/* SAFETY: as in csvn_frame_write(); n is not more than csvn_frame_head() has checked. */
	done = _copy_to_iter(e->rx + at, first, to);
	if (done == first && n > first)
		done += _copy_to_iter(e->rx, n - first, to);
	return done;
}
