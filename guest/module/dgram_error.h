/* SPDX-License-Identifier: GPL-2.0 */
/* What became of datagrams that were not taken: for the program, as ICMP would say it. See dgram_error.c. */
#ifndef CSVN_MODULE_DGRAM_ERROR_H
#define CSVN_MODULE_DGRAM_ERROR_H

#include "dgram.h"

bool csvn_dgram_error(struct csvn_dsock *ds, const struct csvn_endpoint *remote, int err, const void *data,
		      u32 size);
bool csvn_dgram_hears(struct csvn_dsock *ds);

#endif
