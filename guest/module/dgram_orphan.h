/* SPDX-License-Identifier: GPL-2.0 */
/* Datagrams that outlive their socket. See dgram_orphan.c. */
#ifndef CSVN_MODULE_DGRAM_ORPHAN_H
#define CSVN_MODULE_DGRAM_ORPHAN_H

#include "dgram.h"

void csvn_orphans_drain(void);
void csvn_orphans_exit(void);
void csvn_orphan_begin(struct csvn_dsock *ds);
void csvn_orphan_charge(struct csvn_dsock *ds);
bool csvn_orphan_may_ask(const struct csvn_dsock *ds);
void csvn_orphan_end(struct csvn_dsock *ds);
bool csvn_orphan_has(struct csvn_dsock *ds, u16 port);

#endif
