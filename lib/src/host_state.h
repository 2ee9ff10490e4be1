/* SPDX-License-Identifier: MIT */
/* The states of stream circuits, and what is told of them. */
#ifndef CSVN_HOST_STATE_H
#define CSVN_HOST_STATE_H

#include "host.h"

/* The one place where a host circuit changes its state. error: what CONNECTING, BROKEN or DONE is due to, or 0. */
void host_become(struct port *p, struct host_circuit *h, enum host_state state, int error);
/* Tell the guest that nothing comes any more. */
void host_tell_fin(struct port *p, struct host_circuit *h);
void host_close_socket(struct host_circuit *h, bool reset);

#endif
