/* SPDX-License-Identifier: MIT */
/* The pump: see pump.c. */
#ifndef CSVN_PUMP_H
#define CSVN_PUMP_H

#include "host.h"

/* Move what can be moved, within a turn's budget. readable: epoll says so of the socket. */
void pump(struct port *p, struct host_circuit *h, bool readable);

#endif
