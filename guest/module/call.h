/* SPDX-License-Identifier: GPL-2.0 */
/* Giving requests up, and those that nobody else keeps. See call.c. */
#ifndef CSVN_MODULE_CALL_H
#define CSVN_MODULE_CALL_H

#include "csvn.h"

void csvn_request_cancel(struct csvn_device *dev, struct csvn_request *req);
int csvn_spares_alloc(struct csvn_device *dev);
void csvn_spares_free(struct csvn_device *dev);
int csvn_request_call(struct csvn_device *dev, const union csvn_record *out, u16 type, u32 size,
		      union csvn_record *in, u32 in_size, unsigned int ms);
int csvn_request_tell(struct csvn_device *dev, const union csvn_record *out, u16 type, u32 size,
		      gfp_t gfp);
int csvn_request_mention(struct csvn_device *dev, const union csvn_record *out, u16 type, u32 size, gfp_t gfp);
void csvn_close_unseen(struct csvn_device *dev, u32 id);

#endif
