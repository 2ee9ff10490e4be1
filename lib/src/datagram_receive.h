/* SPDX-License-Identifier: MIT */
/* From the socket to the guest. */
#ifndef CSVN_DATAGRAM_RECEIVE_H
#define CSVN_DATAGRAM_RECEIVE_H

#include "datagram.h"

/* One datagram of the socket. 1: gone on; 0: no room; -EAGAIN: nothing there; -EPROTO: the guest's cursor lies. */
int datagram_receive(struct port *p, struct host_datagram *h);
/* Take the next datagram, and drop it. */
void datagram_drop(struct port *p, struct host_datagram *h);
/* What the network said of datagrams that were sent goes to whom it belongs: how many reports there were, of a turn's at most. */
int datagram_errors(struct port *p, struct host_datagram *h);
/* Tell the guest what became of datagrams to an address, if there is room for it. */
void datagram_report(struct port *p, struct host_datagram *h, const struct permit *to, int error);

#endif
