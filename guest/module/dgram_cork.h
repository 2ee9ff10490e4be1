/* SPDX-License-Identifier: GPL-2.0 */
/* UDP_CORK and MSG_MORE: several sends make one datagram. See dgram_cork.c. */
#ifndef CSVN_MODULE_DGRAM_CORK_H
#define CSVN_MODULE_DGRAM_CORK_H

#include "dgram.h"

int csvn_cork(struct csvn_dsock *ds, struct csvn_dispatch *d, struct msghdr *msg, size_t size, bool more);
void csvn_uncork(struct csvn_dsock *ds);
void csvn_cork_free(struct csvn_dsock *ds);

#endif
