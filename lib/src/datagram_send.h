/* SPDX-License-Identifier: MIT */
/* From the guest to the socket. */
#ifndef CSVN_DATAGRAM_SEND_H
#define CSVN_DATAGRAM_SEND_H

#include "datagram.h"

/* One frame of the guest. 1: gone on; 0: nothing there; -EAGAIN: the socket is full; -EPROTO: not a frame. */
int datagram_send(struct port *p, struct host_datagram *h);

#endif
