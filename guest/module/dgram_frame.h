/* SPDX-License-Identifier: GPL-2.0 */
/* Frames: datagrams in a circuit's rings. See dgram_frame.c. */
#ifndef CSVN_MODULE_DGRAM_FRAME_H
#define CSVN_MODULE_DGRAM_FRAME_H

#include "dgram.h"

u32 csvn_frame_bytes(u32 size);
int csvn_frame_write(struct csvn_end *e, const struct csvn_endpoint *to, struct csvn_marks marks,
		     struct iov_iter *from, u32 size);
int csvn_frame_head(struct csvn_end *e, struct csvn_datagram *h);
bool csvn_frame_is_error(const struct csvn_end *e);
u32 csvn_frame_read(const struct csvn_end *e, struct iov_iter *to, u32 n);

#endif
