/* SPDX-License-Identifier: MIT */
/* Datagram circuits: how they are opened, and how they go. */
#ifndef CSVN_DATAGRAM_CIRCUIT_H
#define CSVN_DATAGRAM_CIRCUIT_H

#include "datagram.h"

/* The guest rang, or the socket has something. */
void datagram_doorbell(struct port *p, int handle);
void datagram_ready(struct port *p, struct host_datagram *h, uint32_t events);
void datagram_destroy(struct port *p, struct host_datagram *h);

/* Commands; see csvn_command_kind. */
void datagram_open(struct port *p, int handle, const struct csvn_host_setup *setup);
void datagram_finish(struct port *p, int handle);
void datagram_close(struct port *p, int handle);
int datagram_permit(struct port *p, int handle, const struct csvn_host_permit *permit);
void datagram_forget(struct port *p, int handle, const struct csvn_host_address *guest);

#endif
